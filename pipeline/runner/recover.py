"""What a run does first: settle what the run before it left in the middle. Running it twice changes nothing more.

submitting   in doubt where a submit bills; where it does not, the attempt is an orphan and the item planned again
claiming     in doubt
stored       published, adopted if its final or a spare name is already there, or fetched again if its bytes are gone
part files   of earlier runs, untrusted: removed
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clips.publish import Settled, publish_clip, settle_stored, sweep_parts
from pipeline.durable import told_as_disk_refused
from pipeline.jobs.event import Event
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.providers.answers import Billing
from pipeline.providers.base import BilledAt
from pipeline.runner.collect import publish_under_free_name
from pipeline.runner.lane import failure

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pipeline.jobs.job import Clip, Job
    from pipeline.providers.base import Capabilities
    from pipeline.runner.context import RunContext

HOME = frozenset({Settled.PUBLISHED, Settled.ADOPTED})
INTERRUPTED = "The run ended before the answer was written down."


async def recover(
    run: RunContext,
    capabilities: Mapping[str, Capabilities],
    accounts: Collection[str] | None = None,
    *,
    sweep: bool = True,
) -> list[Job]:
    """Bring every job that no run at work has into a state from which the lanes can go on.

    Args:
        run: the run that takes them up; where it shares a ledger, it may be at work already.
        capabilities: of every provider that the ledger names.
        accounts: the fingerprints of the keys that it can go on with; None for any.
        sweep: whether there may be part files of runs that are not at work any more.

    Returns:
        The jobs that are at a vendor and are to be gone on with, in the manifest's order.
    """
    cut_short = [
        await _submit_cut_short(run, job, capabilities[job.provider])
        for job in await run.ledger.take_over([State.SUBMITTING])
    ]
    await run.ledger.release(job for job in cut_short if job.state is State.PLANNED)
    for job in await run.ledger.take_over([State.CLAIMING]):
        told = failure("interrupted", INTERRUPTED, Billing.UNKNOWN)
        await _record(run, job, EventKind.CLAIM_LOST, failure=told)
        run.progress.note(f"{job.item_id} is in doubt: {INTERRUPTED} It is held, and counted as spent.")
    attached = []
    for job in await run.ledger.take_over([State.SUBMITTED, State.CLAIMED], accounts):
        for clip in job.clips:
            if clip.state is ClipState.STORED:
                job = await _settle(run, job, clip)
        if job.state in {State.SUBMITTED, State.CLAIMED}:
            attached.append(job)
    if sweep:
        at_work, stored = await run.ledger.parts_in_use()
        await run.effects.threads.run(_sweep, run, at_work, stored)
    return attached


async def _submit_cut_short(run: RunContext, job: Job, capabilities: Capabilities) -> Job:
    if capabilities.billed_at is BilledAt.SUBMIT:
        told = failure("interrupted", INTERRUPTED, Billing.UNKNOWN)
        run.progress.note(f"{job.item_id} is in doubt: {INTERRUPTED} It is held, and counted as spent.")
        return await _record(run, job, EventKind.SUBMIT_LOST, failure=told)
    return await _record(run, job, EventKind.SUBMIT_ORPHANED, why=INTERRUPTED, interrupted=True)


async def _settle(run: RunContext, job: Job, clip: Clip) -> Job:
    settled = await run.effects.threads.run(
        settle_stored,
        run.effects.files,
        run.folder.root / clip.part,
        run.folder.root / clip.file,
        clip.sha256,
        clip.size_bytes,
    )
    match settled:
        case Settled.MISSING:
            file = await run.effects.threads.run(_published_under_spare_name, run, job, clip)
        case Settled.TAKEN:
            file = await publish_under_free_name(run, job, clip)
        case _:
            file = clip.file
    if not file:
        return await _record(run, job, EventKind.CLIP_DISCARDED, index=clip.index)
    run.progress.downloaded += 1
    return await _record(run, job, EventKind.CLIP_PUBLISHED, index=clip.index, file=file)


def _published_under_spare_name(run: RunContext, job: Job, clip: Clip) -> str:
    """Return the spare name that a clip was given before that could be written down; empty where it was not."""
    files, folder = run.effects.files, run.folder
    with told_as_disk_refused(f"list {folder.clips}"):
        there = set(files.names(folder.clips))
    for spare in range(1, len(there) + 1):
        file = folder.clip_name(job.item_id, clip.index, job.revision, spare)
        path = folder.root / file
        if (
            path.name in there
            and publish_clip(files, folder.root / clip.part, path, clip.sha256, clip.size_bytes) in HOME
        ):
            return file
    return ""


def _sweep(run: RunContext, at_work: Collection[int], stored: Collection[str]) -> None:
    sweep_parts(run.effects.files, run.folder.clips, at_work, keep={Path(part).name for part in stored})


async def _record(run: RunContext, job: Job, kind: EventKind, /, **data: Any) -> Job:
    event = Event(kind=kind, item_id=job.item_id, revision=job.revision, at=run.effects.clock.now(), data=data)
    after = await run.ledger.record(job, event)
    run.meter.moved(after, event)
    return after
