"""Lane 1: planned items become jobs at the vendor, each intent on disk before its first byte leaves.

What each answer means for money is decided here and nowhere below:

    accepted    the receipt is durable before anybody acts on it
    refused     a definite no: the item is rejected, or goes back where the refusal concerns the account
    throttled   a definite not-now: back to planned, and the whole endpoint waits
    not sent    certainly nothing left: back to planned
    ambiguous   in doubt where a submit bills; where it does not, the job is given up as an orphan and sent anew
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.jobs.codec import receipt_to_json
from pipeline.jobs.state import EventKind, State
from pipeline.ledger.writer import DuplicateJob, OverBudget
from pipeline.planning.inputs import read_inputs
from pipeline.providers.answers import Accepted, Ambiguous, Billing, NotSent, Refused, Scope, Throttled
from pipeline.providers.base import BilledAt
from pipeline.runner.contested import hold_both
from pipeline.runner.lane import OFFLINE_S, failure
from pipeline.runner.money import refresh_quote
from pipeline.runner.planned import Head
from pipeline.runner.progress import Binding
from pipeline.runner.retry import backoff_s
from pipeline.runner.space import NoRoom, refuse_without_space

if TYPE_CHECKING:
    from asyncio import TaskGroup
    from collections.abc import Mapping

    from pipeline.jobs.job import Job
    from pipeline.providers.answers import SubmitAnswer
    from pipeline.providers.base import InputFile
    from pipeline.runner.lane import Lane

ORPHANS_MOST = 3
"""How many submits of an item may be lost in a row where that costs nothing, before the item fails."""
NOT_SENT_MOST = 5
"""Submits in a row that could not be sent, over `OFFLINE_S` at the least, before no more is submitted for now."""
REFUSALS_MOST = 3
"""Refusals of a model in a row, for the same reason, before its other items are left planned."""
UNANSWERED_MOST, UNANSWERED_OF_ALL_MOST = 5, 10
"""Submits in a row without a usable answer, of one model and of all, before no more of it leaves in this run: a model
that was retired upstream answers as a gateway that is ill does."""
ABOUT_CONTENT = re.compile(r"polic(?:y|ies)|moderat|safety|consent", re.IGNORECASE)
"""Refusals of what one item shows or says: they tell nothing of the next one."""
SUBMITS_AT_ONCE = 16


async def submit_planned(lane: Lane, group: TaskGroup) -> None:
    """Submit what is planned, as fast as the limits allow, until nothing is left or the lane closes."""
    lane.submits.pace.expect(len(lane.planned))
    while lane.may_submit_later():
        if lane.planned.hungry:
            await lane.planned.read_on()
            continue
        wait_s, binding = _must_wait(lane)
        head = lane.planned.take() if wait_s <= 0 else None
        if head is None:
            await lane.wait(wait_s if wait_s > 0 else float("inf"), binding)
            continue
        wait_s = lane.submits.try_take(lane.now())
        if wait_s > 0:
            lane.planned.returned(head.model)
            lane.planned.put_back(head)
            await lane.wait(wait_s, Binding.SUBMIT_RATE)
            continue
        lane.submitting += 1
        if _bills(lane):
            await lane.billing_slots.acquire(head)  # at once, for one is free: a submit that has to wait is not counted
        group.create_task(_submit_one(lane, head))
    lane.schedule.places_wanted = False


def _must_wait(lane: Lane) -> tuple[float, Binding]:
    """Return how long the next submit must wait, and for what; waits without an end are woken by a change."""
    if lane.submitting >= SUBMITS_AT_ONCE or (_bills(lane) and lane.billing_slots.full):
        return float("inf"), Binding.BILLING_CALLS
    is_full = _is_full(lane)
    lane.schedule.places_wanted = is_full and lane.seat.limits.in_flight is not None and len(lane.planned) > 0
    if is_full:
        return float("inf"), Binding.IN_FLIGHT
    now = lane.now()
    if lane.probing and lane.submitting:
        return float("inf"), Binding.THROTTLED
    if lane.submits.paused_until > now:
        return lane.submits.paused_until - now, Binding.THROTTLED
    wait_s = max(lane.submits.wait_s(now), lane.failures.wait_s(now, lane.submitting + lane.looking))
    return wait_s, Binding.SUBMIT_RATE


def _is_full(lane: Lane) -> bool:
    """Tell whether the vendor has as many jobs as it may.

    A job that was found finished keeps no place there, wherever its clip is; but no more of them than there are places
    are let pile up, for they are paid for and the vendor will not keep them long.
    """
    most = lane.in_flight_most
    if len(lane.live) + lane.submitting < most:
        return False
    coming_home = sum(live.found_at is not None for live in lane.live.values())
    return coming_home >= most or len(lane.live) - coming_home + lane.submitting >= most


def _bills(lane: Lane) -> bool:
    return lane.seat.capabilities.billed_at is BilledAt.SUBMIT


async def _submit_one(lane: Lane, head: Head) -> None:
    job = await lane.run.ledger.job(head.item_id, head.revision)
    try:
        if job.state is not State.PLANNED:  # this worker was silent for too long, and another has it
            return
        files = job.request.files
        try:
            contents = await _read(lane, files) if files else {}
        except InputError as changed:
            lane.leave_planned(f"{job.item_id} was not submitted: {changed}")
            return
        await refresh_quote(lane.run.prices, lane.name, lane.seat.provider, job.request, lane.run.effects)
        await refuse_without_space(lane)
        if lane.closed:  # meanwhile
            lane.planned.put_back(head)
            return
        await lane.bill(_intend_and_send(lane, job, contents))
    except (OverBudget, NoRoom) as reason:
        lane.close(str(reason))
    finally:
        if _bills(lane):  # where it does not, the slot may be that of the item's claim by now
            lane.billing_slots.release(head)
        lane.planned.returned(head.model)
        lane.submitting -= 1
        lane.changed()


async def _read(lane: Lane, files: Mapping[str, InputFile]) -> dict[str, bytes]:
    run = lane.run
    return await run.effects.threads.run(read_inputs, run.inputs, files, run.allowed_inputs)


async def _intend_and_send(lane: Lane, job: Job, contents: dict[str, bytes]) -> None:
    price_usd, price_is = lane.price(job.request)
    job = await lane.intend(
        job,
        EventKind.SUBMIT_STARTED,
        EventKind.SUBMIT_DEFERRED,
        price_usd=price_usd,
        price_is=price_is.value,
        base_url=lane.seat.base_url,
        account=lane.seat.account,
    )
    try:
        answer: SubmitAnswer = await lane.seat.provider.submit(job.request, contents)
    except asyncio.CancelledError:
        await _write_lost(lane, job, Ambiguous(message="The run was stopped before the answer came."))
        raise
    await lane.write_to_the_end(settle_submit(lane, job, answer))


async def settle_submit(lane: Lane, job: Job, answer: SubmitAnswer) -> None:
    """Write down what became of a submit, then act on it."""
    lane.heard(sent=not isinstance(answer, NotSent))
    lane.probing = isinstance(answer, Throttled | NotSent)
    match answer:
        case Accepted():
            await _accept(lane, job, answer)
        case Refused(scope=Scope.ACCOUNT):
            await _put_back(lane, job, answer.message)
            lane.failures.note(lane.now())
            lane.close(f"{lane.name} refuses the account ({answer.kind}): {answer.message}")
        case Refused():
            await _reject(lane, job, answer)
        case Throttled(wait_s=wait_s):
            lane.submits.pause(lane.now(), wait_s)
            if answer.locked_out:
                lane.looks.pause(lane.now(), wait_s)
            lane.throttled()
            await _put_back(lane, job, answer.message)
        case NotSent():
            # By the time that it lasts, not by the calls: many that left together fail together.
            wait_s = lane.scaled(backoff_s(1, lane.run.effects.random, base_s=max(1.0, lane.outage_s())))
            lane.submits.hold(lane.now() + wait_s)
            await _put_back(lane, job, answer.message)
            if lane.not_sent >= NOT_SENT_MOST and lane.outage_s() >= OFFLINE_S:
                lane.close(f"{lane.name} cannot be reached: {answer.message}. Check the network, then resume.")
        case Ambiguous():
            await _write_lost(lane, job, answer)


async def _accept(lane: Lane, job: Job, answer: Accepted) -> None:
    receipt = receipt_to_json(answer.receipt)
    try:
        job = await lane.record(job, EventKind.SUBMIT_ACCEPTED, receipt=receipt, warnings=list(answer.warnings))
    except DuplicateJob:
        await hold_both(lane, job, answer.receipt)
        return
    lane.submits.succeeded()
    lane.planned.prove(job.request.model)
    lane.refusals.pop(job.request.model, None)
    lane.unanswered.pop(job.request.model, None)
    lane.unanswered_in_a_row = 0
    lane.run.progress.submitted += 1
    for warning in answer.warnings:
        lane.run.progress.note(f"{job.item_id}: {warning}")
    lane.follow(job)


async def _put_back(lane: Lane, job: Job, why: str) -> None:
    await lane.record(job, EventKind.SUBMIT_DEFERRED, why=why)
    lane.planned.put_back(Head(job.item_id, job.revision, job.request.model))


async def _reject(lane: Lane, job: Job, answer: Refused) -> None:
    lane.failures.note(lane.now())
    told = failure(
        answer.kind, answer.message, Billing.UNBILLED, scope=answer.scope.value, details=dict(answer.details)
    )
    await lane.record(job, EventKind.SUBMIT_REFUSED, failure=told)
    _count_refusal(lane, job.request.model, answer)


def _count_refusal(lane: Lane, model: str, answer: Refused) -> None:
    """Give a model up that is refused time and again: what is wrong is then wrong with all of its items.

    Of refusals that concern an item, only the same one counts, and none that is about what the item shows.
    """
    about_model = answer.scope is Scope.MODEL
    if not about_model and ABOUT_CONTENT.search(f"{answer.kind} {answer.message}"):
        return
    error = "" if about_model else f"{answer.kind}: {answer.message}"
    last, times = lane.refusals.get(model, ("", 0))
    times = times + 1 if error == last else 1
    lane.refusals[model] = (error, times)
    if times >= REFUSALS_MOST:
        lane.planned.close_model(model)
        lane.leave_planned(
            f"{lane.name} refused {model} {REFUSALS_MOST} times in a row ({answer.message}); its other items stay "
            "planned. Correct them, or run the same command to try the next."
        )


async def _write_lost(lane: Lane, job: Job, answer: Ambiguous) -> None:
    """Write down that the outcome is unknown: a doubt where a submit bills, an orphan where it does not."""
    evidence: dict[str, Any] = dict(answer.evidence)
    if _bills(lane):
        told = failure("submit_unanswered", answer.message, Billing.UNKNOWN, **evidence)
        await lane.record(job, EventKind.SUBMIT_LOST, failure=told)
        lane.run.progress.note(
            f"{job.item_id} is in doubt: {answer.message} It is held, and counted as spent; "
            f"see: clipmill show {lane.run.folder.root} {job.item_id}"
        )
        _count_unanswered(lane, job.request.model, answer)
        return
    _count_unanswered(lane, job.request.model, answer)
    if job.orphans + 1 < ORPHANS_MOST:
        job = await lane.record(job, EventKind.SUBMIT_ORPHANED, why=answer.message, evidence=evidence)
        assert job.state is State.PLANNED
        wait_s = lane.scaled(backoff_s(job.orphans, lane.run.effects.random))
        lane.submits.hold(lane.now() + wait_s)
        lane.planned.add(Head(job.item_id, job.revision, job.request.model))
        return
    told = failure("submit_unanswered", answer.message, Billing.UNBILLED, **evidence)
    await lane.record(job, EventKind.JOB_FAILED, failure=told)


def _count_unanswered(lane: Lane, model: str, answer: Ambiguous) -> None:
    """Give up a model, or the provider, that answers nothing usable time and again: every submit may cost a clip."""
    lane.unanswered[model] += 1
    lane.unanswered_in_a_row += 1
    if lane.unanswered_in_a_row >= UNANSWERED_OF_ALL_MOST:
        lane.close(
            f"{lane.unanswered_in_a_row} submits in a row brought no usable answer from {lane.name} "
            f"({answer.message}), so no more leaves. What is at the provider is brought home. Wait until it is well "
            "again, then resume."
        )
    elif lane.unanswered[model] == UNANSWERED_MOST:
        lane.planned.close_model(model)
        lane.leave_planned(
            f"{UNANSWERED_MOST} submits of {model} in a row brought no usable answer ({answer.message}); its other "
            f"items stay planned. {lane.name} may be ill, or the model retired: run the same command to try the next, "
            "or choose another model."
        )
