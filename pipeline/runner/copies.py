"""What was uploaded, held against what the ledger says of it. Nothing is changed, here or there.

Jobs and a way to open a store come in; a `Finding` for each copy that is gone or was changed comes out. An object that
bears the tag and the size that it had when it was verified is taken at its word; any other is read and compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.jobs.event import Event
from pipeline.jobs.state import ClipState, CopyState, EventKind
from pipeline.runner.inspection import Finding, Kind
from pipeline.runner.retry import backoff_s
from pipeline.storage.base import StoreDown
from pipeline.storage.keep import digest
from pipeline.together import some_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from pipeline.effects import Effects
    from pipeline.jobs.job import Clip, Job
    from pipeline.ledger.store import Ledger
    from pipeline.storage.base import ObjectStore

AT_ONCE = 16
TRIES_MOST = 5
COPIES = (Kind.COPY_GONE, Kind.COPY_CHANGED)


def copied(jobs: Iterable[Job]) -> list[tuple[Job, Clip]]:
    """Return the finished clips of which the ledger says that there is a copy, each with its job."""
    return [
        (job, clip)
        for job in jobs
        for clip in job.clips
        if clip.state is ClipState.DONE and clip.copy is CopyState.UPLOADED
    ]


async def inspect_copies(
    clips: Sequence[tuple[Job, Clip]], open_store: Callable[[str], ObjectStore], effects: Effects
) -> list[Finding]:
    """Look at copies, some at once.

    Args:
        clips: as `copied` returns them.
        open_store: given a store's URL; asked once for each.
        effects: for the pauses between tries.

    Raises:
        InputError: a store cannot be opened. StoreDown, StoreRefused: one does not answer, or will not.
    """
    stores = {url: open_store(url) for url in sorted({clip.remote.store for _, clip in clips if clip.remote})}
    findings: dict[int, Finding] = {}

    async def look(numbered: tuple[int, tuple[Job, Clip]]) -> None:
        place, (job, clip) = numbered
        assert clip.remote is not None
        found = await _looked_at(job, clip, stores[clip.remote.store], effects)
        if found is not None:
            findings[place] = found

    await some_at_once(enumerate(clips), look, AT_ONCE)
    return [findings[place] for place in sorted(findings)]


async def _looked_at(job: Job, clip: Clip, store: ObjectStore, effects: Effects) -> Finding | None:
    for tries in range(1, TRIES_MOST + 1):
        try:
            return await _of_copy(job, clip, store)
        except StoreDown:
            if tries == TRIES_MOST:
                raise
            await effects.clock.sleep(backoff_s(tries, effects.random, base_s=0.5))
    raise AssertionError("the last try returns or raises")


async def _of_copy(job: Job, clip: Clip, store: ObjectStore) -> Finding | None:
    remote = clip.remote
    assert remote is not None
    found = await store.look(remote.key)
    if found is None:
        return _finding(Kind.COPY_GONE, job, clip, f"{remote.url} is gone; {clip.file} was uploaded there.")
    if found.size_bytes == clip.size_bytes:
        if found.e_tag == remote.e_tag and remote.e_tag:
            return None
        if await digest(store, remote.key) == clip.sha256:
            return None
    return _finding(Kind.COPY_CHANGED, job, clip, f"{remote.url} is not what was uploaded there. It is left as it is.")


def _finding(kind: Kind, job: Job, clip: Clip, says: str) -> Finding:
    return Finding(
        kind=kind, item_id=job.item_id, revision=job.revision, clip_index=clip.index, file=clip.file, says=says
    )


async def forget_copies(findings: Iterable[Finding], ledger: Ledger, at: datetime) -> int:
    """Write down that copies are lost, so that the next run uploads those clips again; return how many.

    Raises:
        ClipmillError: the ledger cannot be written.
    """
    lost = [finding for finding in findings if finding.kind in COPIES]
    for finding in lost:
        job = await ledger.job(finding.item_id, finding.revision)
        data = {"index": finding.clip_index, "why": finding.says}
        kind = EventKind.CLIP_COPY_LOST
        await ledger.record(job, Event(kind=kind, item_id=job.item_id, revision=job.revision, at=at, data=data))
    return len(lost)
