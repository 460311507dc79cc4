"""From a batch's folder to its `report.html`: the ledger is read, thumbnails are made, the page is written whole."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.durable import make_folder, told_as_disk_refused, write_atomically
from pipeline.effects import LockHeld
from pipeline.errors import BatchLocked, InputError
from pipeline.jobs.state import ClipState
from pipeline.ledger.reader import reading
from pipeline.ledger.results import result
from pipeline.report.gallery import gallery_of
from pipeline.report.money import money_of
from pipeline.report.page import MARK, Report, refuse_without_templates, render
from pipeline.report.thumbnails import make_thumbnails
from pipeline.report.timing import timing_of
from pipeline.report.troubles import troubles_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pipeline.effects import Effects, Files
    from pipeline.jobs.job import Clip, Job
    from pipeline.ledger.reader import Reader
    from pipeline.paths import BatchFolder
    from pipeline.report.thumbnails import Draws

HEAD_BYTES = 4096
"""The mark of a page of ours stands within them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What was written."""

    path: Path
    items: int
    clips: int
    thumbnails: int
    """Clips that have one."""


async def make_report(
    folder: BatchFolder,
    effects: Effects,
    *,
    next_command: str,
    begun: Callable[[int], Callable[[], object]],
    pencils: Draws | None = None,
) -> Made:
    """Write the page of a batch, which may be being run. The old page stays until the new one is whole.

    Args:
        folder: the batch's folder.
        effects: the outside world.
        next_command: what the batch waits for, as a command; empty where nothing is left to do.
        begun: told how many clips there are; returns what is called after each.
        pencils: who draws the thumbnails; None for threads of this process.

    Raises:
        InputError: there is no ledger, Jinja2 is missing, or a file of the user's bears the page's name.
        BatchLocked: another process makes this report.
        DiskRefused: the disk said no.
    """
    refuse_without_templates()
    with reading(folder.ledger, effects) as reader:
        refuse_foreign(effects.files, folder.report)
        with _only_maker(folder, effects):
            jobs = list(reader.jobs())
            clips = [clip for job in jobs for clip in job.clips if clip.state is ClipState.DONE]
            make_folder(effects.files, folder.thumbnails)
            thumbnails = await make_thumbnails(clips, folder, effects, begun(len(clips)), pencils)
            report = report_of(folder, effects, reader, jobs, thumbnails, next_command)
            write_atomically(effects.files, folder.report, render(report))
    return Made(path=folder.report, items=len(jobs), clips=len(clips), thumbnails=len(thumbnails))


def report_of(
    folder: BatchFolder,
    effects: Effects,
    reader: Reader,
    jobs: list[Job],
    thumbnails: Mapping[str, str],
    next_command: str,
) -> Report:
    """Return all that the page says; `jobs` are the latest revision of every item."""
    summary, rules = reader.summary(), reader.acceptance()
    told = [(job, result(job, rules)) for job in jobs]
    clips: list[Clip] = [clip for job in jobs for clip in job.clips if clip.state is ClipState.DONE]
    return Report(
        name=summary.name,
        made_at=effects.clock.now(),
        is_rehearsal=bool(reader.meta("rehearsal_speed")),
        next_command=next_command,
        states=summary.items,
        clips=len(clips),
        clip_seconds=sum(clip.facts.get("duration_s") or 0.0 for clip in clips),
        clip_bytes=sum(clip.size_bytes for clip in clips),
        money=money_of(jobs, reader.committed_usd(), summary.max_cost_usd, summary.unpriced),
        timing=timing_of(jobs, reader.meta("progress") or {}),
        troubles=troubles_of(told, str(folder.root)),
        gallery=gallery_of(told, thumbnails),
    )


def refuse_foreign(files: Files, page: Path) -> None:
    """Stop where something that is no page of ours bears its name.

    Raises:
        InputError: with what to do.
    """
    if not files.exists(page):
        return
    try:
        files.size(page)
        is_ours = f'content="{MARK}'.encode() in files.read(page, 0, HEAD_BYTES)
    except OSError:  # no regular file, or not ours to read
        is_ours = False
    if not is_ours:
        raise InputError(f"{page} is not a report of clipmill's, and is left as it is. Move it away, then try again.")


@contextmanager
def _only_maker(folder: BatchFolder, effects: Effects) -> Iterator[None]:
    """Keep a second process from writing the same part files."""
    holder = {"pid": os.getpid(), "host": socket.gethostname()}
    try:
        with told_as_disk_refused(f"take the lock {folder.report_lock}"):
            release = effects.locks.acquire(folder.report_lock, json.dumps(holder))
    except LockHeld:
        raise BatchLocked(f"Another process makes the report of {folder.root} now. Wait for it to end.") from None
    try:
        yield
    finally:
        release()
