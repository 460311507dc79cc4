"""Lane 4, where the manifest wants it: the vendor's copies of what is safely here are deleted.

A job comes here when its last clip's `clip_published` is durable, and never before; each clip is then read back from
its final name, and only if it is still the one that was published does the vendor hear of it. To ask twice is harmless,
so nothing is written down before the call: a run that dies in between asks again.

A copy that cannot be deleted is no failure of the clip, and no reason to end otherwise than well.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pipeline.clips.publish import verify_file
from pipeline.errors import DiskRefused
from pipeline.jobs.job import CleanUp
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.providers.answers import Deleted, Gone, NotSent, Refused, Scope, Throttled, Transient
from pipeline.runner.expiry import made_at
from pipeline.runner.retry import backoff_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from datetime import datetime

    from pipeline.jobs.job import Job
    from pipeline.providers.answers import CleanupAnswer
    from pipeline.providers.base import Capabilities
    from pipeline.runner.context import RunContext
    from pipeline.runner.lane import Lane

TRIES_MOST = 4
"""Calls about one job that come to nothing, before it is left for the next run."""
KEPT_MOST = 3
"""Jobs in a row whose copies could not be deleted, before this run asks no more."""


async def clean_up_delivered(lane: Lane) -> None:
    """Have the copies of delivered jobs deleted, one after the other, until nothing more can be delivered."""
    deleted = kept = 0
    why = ""
    while not lane.drained and kept < KEPT_MOST:
        if not lane.delivered:
            if not (lane.live or lane.submitting or lane.may_submit()):
                break
            await lane.wait(float("inf"))
            continue
        job = lane.delivered.popleft()
        async with _turn_at(lane.run, job) as now:
            if not is_to_clean(lane, now) or not await _is_home(lane.run, now):
                continue
            refused = await _clean_up(lane, now)
        deleted, kept, why = (deleted, kept + 1, refused) if refused else (deleted + 1, 0, why)
    if deleted:
        lane.run.progress.note(f"{lane.name}'s own copies of {deleted} delivered items are deleted.")
    if why:
        lane.run.progress.note(
            f"Some of {lane.name}'s own copies could not be deleted: {why} The clips here are whole all the same."
        )


@asynccontextmanager
async def _turn_at(run: RunContext, job: Job) -> AsyncIterator[Job]:
    """Yield the job as it now is: where clips are decoded or uploaded, that may have been written down meanwhile."""
    if run.turns is None:
        yield job
        return
    async with run.turns.at(job.item_id, job.revision) as now:
        yield now


def is_to_clean(lane: Lane, job: Job) -> bool:
    """Tell whether this run, with its key and its base URL, has a delivered job's copies to delete."""
    now = lane.run.effects.clock.now()
    ours = job.base_url == lane.seat.base_url and job.account == lane.seat.account
    return ours and has_copies(job, lane.seat.capabilities, now)


def has_copies(job: Job, capabilities: Capabilities, now: datetime) -> bool:
    """Tell whether all clips of a job are here, and its vendor can be asked to delete copies that it may have."""
    lifetime_s = capabilities.id_lifetime_s
    return (
        capabilities.cleans_up
        and job.state is State.DONE
        and job.cleanup is CleanUp.NONE
        and job.receipt is not None
        and all(clip.state is ClipState.DONE for clip in job.clips)
        and (lifetime_s is None or (now - made_at(job, now)).total_seconds() < lifetime_s)
    )


def vendors_to_ask(done: Iterable[Job], capabilities_of: Callable[[str], Capabilities], now: datetime) -> set[str]:
    """Return the names of the providers that have copies to delete of done jobs."""
    return {job.provider for job in done if has_copies(job, capabilities_of(job.provider), now)}


async def _is_home(run: RunContext, job: Job) -> bool:
    """Read every clip back; what the user has moved or changed since may be wanted from the vendor once more."""

    def read_back() -> bool:
        try:
            return all(
                verify_file(run.effects.files, run.folder.root / clip.file, clip.sha256, clip.size_bytes)
                for clip in job.clips
            )
        except DiskRefused:
            return False

    return await run.effects.threads.run(read_back)


async def _clean_up(lane: Lane, job: Job) -> str:
    """Ask until the vendor has answered; return why its copies are still there, empty where they are not."""
    assert job.receipt is not None
    why = ""
    for tries in range(1, TRIES_MOST + 1):
        await _wait_for_a_place(lane)
        if lane.drained:
            return why or "the run was ending."
        answer: CleanupAnswer = await lane.seat.provider.cleanup(job.receipt)
        match answer:
            case Deleted():
                await lane.record(job, EventKind.CLEANED_UP)
                return ""
            case Gone(message=why):
                lane.failures.note(lane.now())
                await lane.record(job, EventKind.CLEANED_UP, why=why)
                return ""
            case Refused(scope=Scope.ACCOUNT, message=why):  # of the key; the looks will hear of it too
                lane.failures.note(lane.now())
                return why
            case Refused(message=why):
                lane.failures.note(lane.now())
                await lane.record(job, EventKind.CLEANUP_REFUSED, why=why)
                return why
            case Throttled(wait_s=wait_s, message=why):
                lane.cleanups.pause(lane.now(), wait_s)
                if answer.locked_out:
                    lane.submits.pause(lane.now(), wait_s)
                    lane.looks.pause(lane.now(), wait_s)
                lane.throttled()
            case NotSent(message=why) | Transient(message=why):
                await lane.rest(lane.scaled(backoff_s(tries, lane.run.effects.random)), until=lane.when_drained)
    return why


async def _wait_for_a_place(lane: Lane) -> None:
    while not lane.drained:
        now = lane.now()
        wait_s = max(lane.cleanups.wait_s(now), lane.failures.wait_s(now, lane.submitting + lane.looking))
        if wait_s <= 0 and (wait_s := lane.cleanups.try_take(now)) <= 0:
            return
        await lane.rest(wait_s, until=lane.when_drained)
