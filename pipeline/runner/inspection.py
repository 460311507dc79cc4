"""The ledger held against the disk, and against itself. Nothing is changed; whoever asks holds the batch's lock.

A batch folder comes in, `Finding`s come out, each with a sentence: clips that are missing or were changed, stored
parts that are gone, files that bear a name of ours and are not in the ledger, a database that is not sound, and items
whose state is not what their own events make of them.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pipeline.clips.mp4 import walk
from pipeline.clips.publish import verify_file
from pipeline.durable import told_as_disk_refused
from pipeline.errors import BrokenClip, InputError
from pipeline.jobs.codec import job_to_json
from pipeline.jobs.record import IllegalMove, apply
from pipeline.jobs.state import ClipState, EventKind
from pipeline.ledger import rows
from pipeline.ledger.database import told_as_our_errors
from pipeline.ledger.mark import refuse_restored
from pipeline.ledger.opening import open_reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pipeline.effects import Effects, Files
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Clip, Job
    from pipeline.ledger.interface import Database
    from pipeline.paths import BatchFolder

NAME = re.compile(r"(?P<id>[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_)){0,99})(?:__r[0-9]+)?(?:__[0-9]+)?\.mp4")
"""As `BatchFolder.clip_name` makes them; an id holds no `__`."""


class Kind(StrEnum):
    """What is wrong."""

    MISSING = "missing"
    """A finished clip is not there. It can be fetched again while the vendor has it."""
    CHANGED = "changed"
    """A finished clip's file is not what was published. It is the user's now, and never touched."""
    PART_GONE = "part_gone"
    """The bytes of a clip that was not yet published are gone. The next run fetches it again."""
    FOREIGN = "foreign"
    """A file bears a name of ours, and the ledger knows nothing of it."""
    UNSOUND = "unsound"
    """The ledger's file is damaged."""
    DRIFTED = "drifted"
    """An item is not what its events make of it: a bug of ours, or somebody wrote into the ledger."""
    RESTORED = "restored"
    """The ledger is older than it was."""
    COPY_GONE = "copy_gone"
    """A clip that was uploaded is no longer in the store."""
    COPY_CHANGED = "copy_changed"
    """Something else is in the store under the name of a clip that was uploaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One difference."""

    kind: Kind
    says: str
    item_id: str = ""
    revision: int = 0
    clip_index: int = 0
    file: str = ""
    """Relative to the batch folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What an inspection looked at, and what it found."""

    findings: tuple[Finding, ...]
    items: int
    clips: int
    """Finished clips that were read."""
    size_bytes: int
    """What they should take, all together."""

    def of_kind(self, *kinds: Kind) -> list[Finding]:
        """Return the findings of some kinds."""
        return [finding for finding in self.findings if finding.kind in kinds]


def inspect(folder: BatchFolder, effects: Effects, marks: Path | None) -> Inspection:
    """Hold a batch's ledger against its folder, against itself, and against its mark.

    Args:
        folder: the batch's.
        effects: what it is read with.
        marks: where this user's high-water marks lie; None for a rehearsal, which has none.

    Raises:
        InputError: there is no ledger of ours there.
        DiskRefused: something is there and cannot be read.
    """
    there = _names_there(folder, effects.files)  # before the ledger is read: what workers publish meanwhile is in it
    with closing(open_reader(folder.ledger, effects)) as database:
        database.execute("BEGIN")  # one state of the ledger, whatever workers that share it commit meanwhile
        unsound = list(_unsound(database, folder.ledger))
        if unsound:  # what such a file says of clips is worth nothing
            return Inspection(findings=tuple(unsound), items=0, clips=0, size_bytes=0)
        with told_as_our_errors(folder.ledger):
            jobs = list(rows.read_jobs(database, "ORDER BY position, revision"))
        findings = list(_restored(database, folder, marks, effects.files)) if marks is not None else []
        findings += [*_drifted(database, folder.ledger, jobs), *_overdrawn(database, folder.ledger)]
        published = _names_ever_given(database, folder.ledger)
    done = 0
    size_bytes = 0
    for job in jobs:
        for clip in job.clips:
            if clip.state is ClipState.DONE:
                done += 1
                size_bytes += clip.size_bytes
            findings += _of_clip(job, clip, folder, effects.files)
    findings += _foreign(jobs, published, folder, there)
    return Inspection(findings=tuple(findings), items=len(jobs), clips=done, size_bytes=size_bytes)


def _unsound(database: Database, path: Path) -> Iterator[Finding]:
    """Have SQLite check its own file; a server's is the server's affair."""
    if not isinstance(database, sqlite3.Connection):
        return
    try:
        told = [text for (text,) in database.execute("PRAGMA integrity_check(20)") if text != "ok"]
        dangling = len(database.execute("PRAGMA foreign_key_check").fetchall())
    except sqlite3.DatabaseError as error:
        told, dangling = [str(error)], 0
    for text in told:
        yield Finding(kind=Kind.UNSOUND, says=f"{path.name} is damaged: {text}. Restore it from a copy.")
    if dangling:
        says = f"{path.name} holds {dangling} rows of items that it does not have. Restore it from a copy."
        yield Finding(kind=Kind.UNSOUND, says=says)


def _restored(database: Database, folder: BatchFolder, marks: Path, files: Files) -> Iterator[Finding]:
    with told_as_our_errors(folder.ledger):
        (identity,) = database.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()
        (last,) = database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
    try:
        refuse_restored(marks, json.loads(identity), last, folder.root, files)
    except InputError as older:
        yield Finding(kind=Kind.RESTORED, says=str(older))


def _drifted(database: Database, path: Path, jobs: Iterable[Job]) -> Iterator[Finding]:
    """Replay every item's events and compare what they make with what the ledger says."""
    there = {(job.item_id, job.revision): job for job in jobs}
    query = "SELECT kind, item_id, revision, at, data FROM event ORDER BY item_id, revision, seq"
    with told_as_our_errors(path):
        history = rows.read_events(database.execute(query))
        for key, events in groupby(history, key=lambda event: (event.item_id, event.revision)):
            job = there.pop(key, None)
            try:
                replayed = replay(events)
            except (IllegalMove, KeyError, TypeError, ValueError, AttributeError) as error:
                yield _drift(key, f"its events contradict each other: {error}")
                continue
            says = _difference(job, replayed)
            if says:
                yield _drift(key, says)
    for key in there:
        yield _drift(key, "the ledger has no event of it")


def replay(events: Iterable[Event]) -> Job | None:
    """Fold an item's events into the job that they make; None where it was withdrawn.

    Raises:
        IllegalMove: an event does not fit what was before it.
    """
    job: Job | None = None
    for event in events:
        job = None if event.kind is EventKind.ITEM_WITHDRAWN else apply(job, event)
    return job


def _difference(job: Job | None, replayed: Job | None) -> str:
    if job is None or replayed is None:
        if job is replayed:
            return ""
        return "its events say that it was " + ("withdrawn, and it is there" if job else "planned, and it is not there")
    said, made = _comparable(job), _comparable(replayed)
    differing = sorted(name for name in said if said[name] != made[name])
    if not differing:
        return ""
    name = "state" if "state" in differing else differing[0]
    return f"the ledger says {name} {said[name]!r:.80}, and its events make it {made[name]!r:.80}"


def _comparable(job: Job) -> dict[str, Any]:
    value = job_to_json(job)
    value["clips"] = sorted(value["clips"], key=lambda clip: clip["index"])
    return value


def _drift(key: tuple[str, int], why: str) -> Finding:
    item_id, revision = key
    says = f"{item_id} is not what its history makes of it: {why}. Restore the ledger from a copy, or report this."
    return Finding(kind=Kind.DRIFTED, item_id=item_id, revision=revision, says=says)


def _overdrawn(database: Database, path: Path) -> Iterator[Finding]:
    """Compare the sum that the cap is held against with the items that it is the sum of."""
    with told_as_our_errors(path):
        (kept,) = database.execute("SELECT committed_micro_usd FROM money").fetchone()
        (summed,) = database.execute("SELECT coalesce(sum(committed_micro_usd), 0) FROM item").fetchone()
    if kept != summed:
        says = (
            f"The ledger counts ${kept / rows.MICRO:.2f} as spent, and its items add up to ${summed / rows.MICRO:.2f}. "
            "Restore it from a copy, or report this."
        )
        yield Finding(kind=Kind.DRIFTED, says=says)


def _names_ever_given(database: Database, path: Path) -> set[str]:
    """Return every name that a clip was ever published under; those of earlier attempts are ours too."""
    query = "SELECT json_extract(data, '$.file') FROM event WHERE kind = ?"
    with told_as_our_errors(path):
        return {name for (name,) in database.execute(query, (EventKind.CLIP_PUBLISHED.value,))}


def _of_clip(job: Job, clip: Clip, folder: BatchFolder, files: Files) -> list[Finding]:
    match clip.state:
        case ClipState.DONE:
            finding = _of_done(job, clip, folder, files)
        case ClipState.STORED:
            finding = _of_stored(job, clip, folder, files)
        case _:
            finding = None
    return [finding] if finding else []


def _of_done(job: Job, clip: Clip, folder: BatchFolder, files: Files) -> Finding | None:
    path = folder.root / clip.file
    with told_as_disk_refused(f"look at {path}"):
        if not files.exists(path):
            says = f"{clip.file} is missing."
            return _finding(Kind.MISSING, job, clip, clip.file, says)
        try:
            size_bytes = files.size(path)
        except FileNotFoundError:  # a folder, or a link that the user has put there
            return _finding(Kind.CHANGED, job, clip, clip.file, f"{clip.file} is no longer a regular file.")
    is_ours = verify_file(files, path, clip.sha256, clip.size_bytes)
    broken = _broken(path, size_bytes, files)
    if is_ours and not broken:
        return None
    if is_ours:
        says = f"{clip.file} is as it was published, and that is no whole MP4: {broken}"
    else:
        kept = f"it is no whole MP4 any more: {broken}" if broken else "it is still a whole MP4."
        says = (
            f"{clip.file} was changed: {size_bytes:,} bytes where {clip.size_bytes:,} were published; {kept} "
            "It is left as it is; move it away to have the clip fetched again."
        )
    return _finding(Kind.CHANGED, job, clip, clip.file, says)


def _broken(path: Path, size_bytes: int, files: Files) -> str:
    """Return why a file is no whole MP4; empty where it is one."""
    with told_as_disk_refused(f"read {path}"):
        try:
            walk(lambda offset, size: files.read(path, offset, size), size_bytes)
        except BrokenClip as error:
            return str(error)
    return ""


def _of_stored(job: Job, clip: Clip, folder: BatchFolder, files: Files) -> Finding | None:
    """A stored clip's bytes are under the part's name, or already under the final one."""
    if any(verify_file(files, folder.root / name, clip.sha256, clip.size_bytes) for name in (clip.part, clip.file)):
        return None
    says = f"{clip.part} holds a clip of {job.item_id} that was not yet published, and its bytes are gone."
    return _finding(Kind.PART_GONE, job, clip, clip.part, says)


def _finding(kind: Kind, job: Job, clip: Clip, file: str, says: str) -> Finding:
    return Finding(kind=kind, item_id=job.item_id, revision=job.revision, clip_index=clip.index, file=file, says=says)


def _names_there(folder: BatchFolder, files: Files) -> list[str]:
    with told_as_disk_refused(f"list {folder.clips}"):
        return files.names(folder.clips) if files.exists(folder.clips) else []


def _foreign(jobs: Iterable[Job], published: set[str], folder: BatchFolder, there: Iterable[str]) -> Iterator[Finding]:
    """Find files that a clip of ours would be named like, and that no clip of ours ever was."""
    items = {job.item_id.lower(): job.item_id for job in jobs}
    ours = published | {clip.file for job in jobs for clip in job.clips if clip.file}
    for name in there:
        match = NAME.fullmatch(name)
        file = f"{folder.clips.name}/{name}"
        item_id = items.get(match["id"].lower()) if match else None
        if item_id and file not in ours:
            says = (
                f"{file} bears a name of {item_id}'s clips, and this batch did not put it there. "
                "It is left as it is; a clip that needs the name gets the next free one."
            )
            yield Finding(kind=Kind.FOREIGN, item_id=item_id, file=file, says=says)
