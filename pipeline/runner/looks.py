"""Lane 2: every job that the vendor has is looked at, under one budget, until the vendor says how it ended.

A timeout is no verdict, an unknown word means that the job still runs, and a job that the vendor does not know is
never submitted again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.jobs.state import EventKind
from pipeline.providers.answers import (
    Billing,
    Failed,
    Gone,
    NotSent,
    Ready,
    Refused,
    Running,
    Scope,
    Streaming,
    Throttled,
    Transient,
)
from pipeline.providers.base import BilledAt
from pipeline.runner.claim import claim_and_fetch
from pipeline.runner.collect import fetch_outputs, keep_stream
from pipeline.runner.contested import hold
from pipeline.runner.lane import GONE_OVER_S, GONE_TIMES, OFFLINE_S, failure
from pipeline.runner.progress import Binding
from pipeline.runner.retry import backoff_s

if TYPE_CHECKING:
    from asyncio import TaskGroup

    from pipeline.providers.answers import LookAnswer
    from pipeline.runner.lane import Lane
    from pipeline.runner.schedule import Live

LOOKS_AT_ONCE = 32
YOUNG_S = 120.0
"""A vendor may not know a job in its first two minutes: its reads lag behind its writes."""
BROKEN_TIMES, BROKEN_OVER_S = 10, 1800.0
UNREACHED_MOST = 12
"""Looks in a row that could not even be sent, over `OFFLINE_S` at the least, before the run gives up for now."""


async def look_at_jobs(lane: Lane, group: TaskGroup) -> None:
    """Look until nothing is left that could be looked at."""
    while not lane.drained and (lane.live or lane.submitting or lane.may_submit()):
        now = lane.now()
        if lane.looking >= LOOKS_AT_ONCE or lane.arriving:
            await lane.wait(float("inf"), Binding.DOWNLOADS)
            continue
        wait_s = max(lane.looks.wait_s(now), lane.failures.wait_s(now, lane.submitting + lane.looking))
        if wait_s > 0:
            paused = lane.looks.paused_until > now
            await lane.wait(wait_s, Binding.THROTTLED if paused else Binding.LOOK_RATE)
            continue
        live, due_in_s = lane.schedule.choose(now)
        if live is None:
            await lane.wait(due_in_s, None if lane.planned else Binding.VENDOR)
            continue
        if live.job.job_id in lane.contested and await hold(lane, live):
            continue
        wait_s = lane.looks.try_take(now)
        if wait_s > 0:
            lane.schedule.add(live, now, now)
            await lane.wait(wait_s, Binding.LOOK_RATE)
            continue
        lane.looking += 1
        group.create_task(_look(lane, live, group))


async def _look(lane: Lane, live: Live, group: TaskGroup) -> None:
    receipt = live.job.receipt
    assert receipt is not None
    try:
        answer = await lane.seat.provider.look(receipt)
    finally:
        lane.looking -= 1
        lane.changed()
    live.looks += 1
    lane.run.progress.looks += 1
    lane.run.meter.looked(live.job)
    if live.job.job_id in lane.contested and await hold(lane, live):
        if isinstance(answer, Streaming):
            await answer.source.close()
        return
    await _settle(lane, live, answer, group)


async def _settle(lane: Lane, live: Live, answer: LookAnswer, group: TaskGroup) -> None:
    """Decide what a look's answer means."""
    now = lane.now()
    lane.heard(sent=not isinstance(answer, NotSent))
    if not isinstance(answer, Throttled | NotSent | Transient):
        lane.looks.succeeded()
        lane.told_at = now
        live.failures = 0
    match answer:
        case Running():
            live.gone_at.clear()
            live.broken_at.clear()
            if lane.schedule.is_overdue(live, now):
                lane.left_behind(
                    live, f"{live.job.item_id} takes much longer than its like; resume to ask for it again."
                )
            else:
                lane.schedule.unfinished(live, answer, now)
        case Ready() | Streaming():
            lane.found(live, now)
            await _bring_home(lane, live, answer, group)
        case Failed():
            lane.schedule.ended(live, now)
            told = failure(answer.kind, answer.message, answer.billing)
            live.job = await lane.record(live.job, EventKind.JOB_FAILED, failure=told)
            lane.failures.note(now)
            lane.finish(live)
        case Gone():
            await _gone(lane, live, answer)
        case Refused(scope=Scope.ACCOUNT):
            lane.failures.note(now)
            lane.halt(f"{lane.name} refuses the key ({answer.kind}): {answer.message}")
        case Throttled(wait_s=wait_s):
            lane.looks.pause(now, wait_s)
            if answer.locked_out:
                lane.submits.pause(now, wait_s)
            lane.throttled()
            lane.schedule.add(live, now, now)
        case Refused() | NotSent() | Transient():
            await _failed_look(lane, live, answer)


async def _bring_home(lane: Lane, live: Live, answer: Ready | Streaming, group: TaskGroup) -> None:
    match answer:
        case Streaming():
            await keep_stream(lane, live, answer)
        case Ready() if lane.seat.capabilities.has_claim_step:
            group.create_task(claim_and_fetch(lane, live))
        case Ready(outputs=outputs):
            group.create_task(fetch_outputs(lane, live, outputs))


async def _gone(lane: Lane, live: Live, answer: Gone) -> None:
    """A vendor that does not know a job is believed when it has said so three times over ten minutes."""
    now = lane.now()
    lane.failures.note(now)
    submitted_at = live.job.submitted_at
    age_s = (lane.run.effects.clock.now() - submitted_at).total_seconds() if submitted_at else float("inf")
    if age_s >= lane.scaled(YOUNG_S):
        live.gone_at.append(now)
    if len(live.gone_at) >= GONE_TIMES and now - live.gone_at[0] >= lane.scaled(GONE_OVER_S):
        if why := lane.of_another_key(live.job):
            lane.left_behind(live, why)
            return
        billed = lane.seat.capabilities.billed_at is BilledAt.SUBMIT
        told = failure("gone", answer.message, Billing.BILLED if billed else Billing.UNBILLED)
        live.job = await lane.record(live.job, EventKind.JOB_LOST, failure=told)
        if billed:
            lane.not_delivered()
        lane.finish(live)
        return
    wait_s = lane.scaled(GONE_OVER_S / (GONE_TIMES - 1) if live.gone_at else 10.0)
    lane.schedule.add(live, now, now + wait_s)


async def _failed_look(lane: Lane, live: Live, answer: Refused | NotSent | Transient) -> None:
    now = lane.now()
    live.failures += 1
    if isinstance(answer, Refused) or (isinstance(answer, Transient) and 400 <= (answer.status or 0) < 500):
        lane.failures.note(now)
    if lane.not_sent >= UNREACHED_MOST and lane.outage_s() >= OFFLINE_S:
        lane.halt(f"{lane.name} cannot be reached: {answer.message}. Check the network, then resume.")
        return
    if isinstance(answer, Transient) and answer.status == 500:
        live.broken_at.append(now)
        if len(live.broken_at) >= BROKEN_TIMES and now - live.broken_at[0] >= lane.scaled(BROKEN_OVER_S):
            if lane.told_at < live.broken_at[0]:
                lane.left_behind(
                    live,
                    f"{lane.name} has answered with errors alone for half an hour; resume to ask for its jobs again.",
                )
                return
            told = failure("server_error", answer.message, Billing.UNKNOWN)
            live.job = await lane.record(live.job, EventKind.JOB_FAILED, failure=told)
            lane.finish(live)
            return
    wait_s = lane.scaled(backoff_s(live.failures, lane.run.effects.random, base_s=2.0))
    lane.schedule.add(live, now, now + wait_s)
