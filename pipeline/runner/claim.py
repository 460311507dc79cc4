"""Where a vendor bills the result call: the intent is durable, the call leaves, the answer is durable.

A claim whose answer was lost is in doubt: it may have billed, and nobody asks again but the operator.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pipeline.jobs.state import EventKind, State
from pipeline.providers.answers import (
    Ambiguous,
    Billing,
    Claimed,
    Failed,
    NotSent,
    Refused,
    Running,
    Scope,
    Throttled,
)
from pipeline.runner.collect import fetch_outputs
from pipeline.runner.contested import hold
from pipeline.runner.lane import OFFLINE_S, failure
from pipeline.runner.progress import Binding
from pipeline.runner.retry import backoff_s
from pipeline.runner.space import NoRoom, refuse_without_space

if TYPE_CHECKING:
    from pipeline.jobs.job import Job
    from pipeline.providers.answers import ClaimAnswer
    from pipeline.runner.lane import Lane
    from pipeline.runner.schedule import Live

OUTPUT_REFUSALS_MOST = 3
UNSENT_MOST = 5
"""Claims of one job in a row that could not even be sent, over `OFFLINE_S` at the least, before the run gives up."""


async def claim_and_fetch(lane: Lane, live: Live) -> None:
    """Claim a finished job, once, then fetch its clips.

    What a claim names may be fetched for a short while only: it is paid for when there is a slot to fetch it in.
    """
    try:
        await _take_slots(lane, live.job)
        try:
            if lane.drained:
                return
            if live.job.job_id in lane.contested and await hold(lane, live):
                return
            await refuse_without_space(lane)
            if lane.when_drained.is_set():  # meanwhile
                return
            await lane.bill(_intend_and_claim(lane, live))
        except NoRoom as reason:
            lane.drain(str(reason))
            return
        finally:
            lane.billing_slots.release(live.job)
        if live.job.state is State.CLAIMED:
            await fetch_outputs(lane, live, live.job.outputs)
    finally:
        lane.download_slots.release(live.job)


async def _take_slots(lane: Lane, job: Job) -> None:
    """Wait until the job may be claimed. A slot to download in comes last: nobody who has one waits to claim."""
    while not lane.drained:
        if (wait_s := lane.claims.wait_s(lane.now())) > 0:
            await lane.rest(wait_s, until=lane.when_drained)
            continue
        if lane.billing_slots.full:
            lane.run.progress.binding[lane.name] = Binding.BILLING_CALLS
        await lane.billing_slots.acquire(job)
        if lane.download_slots.full:
            lane.run.progress.binding[lane.name] = Binding.DOWNLOADS
        await lane.download_slots.acquire(job)
        if lane.claims.wait_s(lane.now()) <= 0:
            return
        lane.billing_slots.release(job)
        lane.download_slots.release(job)


async def _intend_and_claim(lane: Lane, live: Live) -> None:
    live.job = await lane.intend(live.job, EventKind.CLAIM_STARTED, EventKind.CLAIM_DEFERRED)
    receipt = live.job.receipt
    assert receipt is not None
    try:
        answer: ClaimAnswer = await lane.seat.provider.claim(receipt)
    except asyncio.CancelledError:
        await _hold_claim(lane, live, Ambiguous(message="The run was stopped before the answer came."))
        raise
    await lane.write_to_the_end(_settle_claim(lane, live, answer))


async def _settle_claim(lane: Lane, live: Live, answer: ClaimAnswer) -> None:
    """Write down what became of a claim, then act on it."""
    now = lane.now()
    if not isinstance(answer, NotSent):
        live.unsent_at.clear()
    match answer:
        case Claimed():
            await _claimed(lane, live, answer)
        case Running():
            await _claim_again_later(lane, live, f"it is {answer.word} after all", 5.0)
        case Failed():
            told = failure(answer.kind, answer.message, answer.billing)
            live.job = await lane.record(live.job, EventKind.JOB_FAILED, failure=told)
            lane.finish(live)
        case Refused(scope=Scope.ACCOUNT):
            await _claim_again_later(lane, live, answer.message, 0.0)
            lane.drain(f"{lane.name} refuses the account ({answer.kind}): {answer.message}")
        case Refused():
            lane.failures.note(now)
            live.refused += 1
            if live.refused >= OUTPUT_REFUSALS_MOST:
                live.job = await lane.record(live.job, EventKind.CLAIM_DEFERRED, why=answer.message)
                told = failure(answer.kind, answer.message, Billing.UNBILLED)
                live.job = await lane.record(live.job, EventKind.JOB_LOST, failure=told)
                lane.finish(live)
            else:
                await _claim_again_later(lane, live, answer.message, 30.0)
        case Throttled(wait_s=wait_s):
            lane.claims.pause(now, wait_s)
            lane.throttled()
            await _claim_again_later(lane, live, answer.message, 0.0)
        case NotSent():
            await _not_sent(lane, live, answer)
        case Ambiguous():
            await _hold_claim(lane, live, answer)


async def _claimed(lane: Lane, live: Live, answer: Claimed) -> None:
    job = live.job
    cost_usd = lane.run.prices.of_usage(lane.name, job.request, answer.usage, len(answer.outputs))
    live.job = await lane.record(
        job,
        EventKind.CLAIM_RECEIVED,
        outputs=[{"index": o.index, "location": dict(o.location)} for o in answer.outputs],
        usage=dict(answer.usage),
        answer=dict(answer.answer),
        cost_usd=cost_usd,
        warnings=list(answer.warnings),
    )
    for warning in answer.warnings:
        lane.run.progress.note(f"{job.item_id}: {warning}")
    if not answer.outputs:
        message = "The provider billed the result and named no clip. Ask its support, with the job id."
        told = failure("billed_without_clip", message, Billing.BILLED)
        live.job = await lane.record(live.job, EventKind.JOB_LOST, failure=told)
        lane.not_delivered()
        lane.finish(live)


async def _claim_again_later(lane: Lane, live: Live, why: str, wait_s: float) -> None:
    live.job = await lane.record(live.job, EventKind.CLAIM_DEFERRED, why=why)
    lane.schedule.add(live, lane.now(), lane.now() + lane.scaled(wait_s))
    lane.changed()


async def _not_sent(lane: Lane, live: Live, answer: NotSent) -> None:
    """Wait longer each time; a vendor that takes no claims for minutes is not asked on and on."""
    now = lane.now()
    live.unsent_at.append(now)
    wait_s = backoff_s(len(live.unsent_at), lane.run.effects.random)
    await _claim_again_later(lane, live, answer.message, wait_s)
    if len(live.unsent_at) >= UNSENT_MOST and now - live.unsent_at[0] >= lane.scaled(OFFLINE_S):
        lane.halt(f"{lane.name} cannot be reached: {answer.message}. Check the network, then resume.")


async def _hold_claim(lane: Lane, live: Live, answer: Ambiguous) -> None:
    told = failure("claim_unanswered", answer.message, Billing.UNKNOWN, **answer.evidence)
    live.job = await lane.record(live.job, EventKind.CLAIM_LOST, failure=told)
    lane.run.progress.note(
        f"{live.job.item_id} is in doubt: {answer.message} It may be paid for, and asking again may bill again; "
        f"see: clipmill show {lane.run.folder.root} {live.job.item_id}"
    )
    lane.finish(live)
