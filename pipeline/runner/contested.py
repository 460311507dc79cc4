"""A vendor's id that two items were given: nobody knows whose clip is behind it, so both are in doubt.

What is claimed or brought home by then stays as it is, with a word that its clip may be the other's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.jobs.codec import receipt_to_json
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.providers.answers import Billing
from pipeline.runner.lane import failure

if TYPE_CHECKING:
    from pipeline.jobs.job import Job
    from pipeline.providers.answers import Receipt
    from pipeline.runner.lane import Lane
    from pipeline.runner.schedule import Live

KIND = "duplicate_job_id"


async def hold_both(lane: Lane, job: Job, receipt: Receipt) -> None:
    """Hold an item whose submit was answered with another item's id, and that other item."""
    job_id = receipt.job_id
    lane.contested[job_id] = job.item_id
    live = next((live for live in lane.live.values() if live.job.job_id == job_id), None)
    other = f"{live.job.item_id}'s" if live else "another item's"
    why = f"{lane.name} gave it the job id {job_id}, which is {other}."
    told = failure(KIND, why, Billing.UNKNOWN, receipt=receipt_to_json(receipt))
    await lane.record(job, EventKind.SUBMIT_LOST, failure=told)
    _tell(lane, job, why)
    first = live.job if live else await _holder(lane, job_id)
    if live is not None and live.ticket and await hold(lane, live):  # nothing of it is under way
        return
    if live is None and first is not None and first.state is State.SUBMITTED and _nothing_is_here(first):
        await _hold(lane, first)
    elif first is not None:
        lane.run.progress.note(f"{first.item_id} shares its job id with {job.item_id}: its clip may be the other's.")


async def hold(lane: Lane, live: Live) -> bool:
    """Hold a job that is followed and whose id another item was given as well; a second time, do nothing.

    Returns:
        Whether it is held; a job of which a clip is here already goes on.
    """
    if not _nothing_is_here(live.job):
        return False
    if lane.live.get((live.job.item_id, live.job.revision)) is live:
        lane.finish(live)
        live.job = await _hold(lane, live.job)
    return True


def _nothing_is_here(job: Job) -> bool:
    return all(clip.state is ClipState.WANTED for clip in job.clips)


async def _hold(lane: Lane, job: Job) -> Job:
    why = f"{lane.name} gave its job id {job.job_id} to {lane.contested[job.job_id]} as well."
    _tell(lane, job, why)
    return await lane.record(job, EventKind.SUBMIT_LOST, failure=failure(KIND, why, Billing.UNKNOWN))


def _tell(lane: Lane, job: Job, why: str) -> None:
    lane.run.progress.note(
        f"{job.item_id} is in doubt: {why} It is held, and counted as spent; "
        f"see: clipmill show {lane.run.folder.root} {job.item_id}"
    )


async def _holder(lane: Lane, job_id: str) -> Job | None:
    """Return the item that has the id, where this run does not follow it."""
    jobs = await lane.run.ledger.jobs()
    return next((job for job in jobs if (job.provider, job.job_id) == (lane.name, job_id)), None)
