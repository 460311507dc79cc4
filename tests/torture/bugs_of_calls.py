"""Seeded bugs in how calls are made and their answers read: submits, claims, looks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.jobs.state import EventKind, State
from pipeline.providers import transport
from pipeline.providers.answers import Accepted, Ambiguous, Billing, NotSent, Receipt, Refused, Scope, Throttled
from pipeline.providers.exchange import Lost
from pipeline.providers.http import Wire
from pipeline.providers.venice import provider as venice
from pipeline.runner import batch, claim, looks, recover, submit
from pipeline.runner.lane import failure
from pipeline.runner.planned import Head
from tests.support.batches import MODELS
from tests.torture.mutant import KILL, LEAVE, in_the_background, mutant, not_awaited

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.torture.mutant import Patch


@mutant("A submit's intent is written down after the call.", "venice")
def intent_after_the_call(patch: Patch) -> None:
    async def send_first(lane: Any, job: Any, contents: Any) -> None:
        answer = await lane.seat.provider.submit(job.request, contents)
        price_usd, price_is = lane.price(job.request)
        job = await lane.record(
            job,
            EventKind.SUBMIT_STARTED,
            price_usd=price_usd,
            price_is=price_is.value,
            base_url=lane.seat.base_url,
            account=lane.seat.account,
        )
        await submit.settle_submit(lane, job, answer)

    patch(submit, "_intend_and_send", send_first)


@mutant("A submit does not wait until its intent is durable.", "venice")
def intent_not_awaited(patch: Patch) -> None:
    not_awaited(patch, EventKind.SUBMIT_STARTED)


@mutant("A submit whose answer was lost is sent once more.", "venice-faults", "venice-wire")
def post_repeated_on_error(patch: Patch) -> None:
    original = Wire.submit

    async def twice(self: Wire, path: str, body: bytes) -> Any:
        outcome = await original(self, path, body)
        return await original(self, path, body) if isinstance(outcome, Lost) else outcome

    patch(Wire, "submit", twice)


@mutant("A submit that was cut short is planned again at Venice.", "venice", flavours=KILL)
def submitting_resumed_as_planned(patch: Patch) -> None:
    async def put_back(run: Any, job: Any, _capabilities: Any) -> Any:
        return await recover._record(run, job, EventKind.SUBMIT_DEFERRED, why="It was cut short.")

    patch(recover, "_submit_cut_short", put_back)


def answers_read_as(patch: Patch, read: Callable[[Any], Any]) -> None:
    """Have the answers to submits read otherwise."""
    original = submit.settle_submit

    async def settle(lane: Any, job: Any, answer: Any) -> None:
        await original(lane, job, read(answer))

    patch(submit, "settle_submit", settle)


def is_server_error(answer: Any) -> bool:
    """Tell whether an ambiguous answer is one of 5xx."""
    return isinstance(answer, Ambiguous) and (answer.evidence.get("status") or 0) >= 500


@mutant("An answer 5xx to a submit is read as a refusal.", "venice-faults")
def server_error_is_a_refusal(patch: Patch) -> None:
    refused = Refused(scope=Scope.ITEM, kind="server_error", message="It did not work.")
    answers_read_as(patch, lambda answer: refused if is_server_error(answer) else answer)


@mutant("An answer 5xx to a submit is read as: not now.", "venice-faults")
def server_error_is_not_now(patch: Patch) -> None:
    later = Throttled(wait_s=1.0, message="It did not work.")
    answers_read_as(patch, lambda answer: later if is_server_error(answer) else answer)


@mutant("A submit whose answer was lost is taken for one that never left.", "venice-faults", "venice-wire")
def lost_answer_is_not_sent(patch: Patch) -> None:
    unsent = NotSent(message="The connection broke.")
    answers_read_as(patch, lambda answer: unsent if isinstance(answer, Ambiguous) else answer)


@mutant("A deferred submit is counted as accepted.", "venice-faults", "modelmax-faults")
def deferred_is_accepted(patch: Patch) -> None:
    def read(answer: Any) -> Any:
        if not isinstance(answer, Throttled):
            return answer
        return Accepted(receipt=Receipt(job_id="pending", model=MODELS["venice"], answer={}))

    answers_read_as(patch, read)


@mutant("A refusal of the account rejects the item.", "funds", "revoked")
def account_refusal_rejects_the_item(patch: Patch) -> None:
    def read(answer: Any) -> Any:
        return replace(answer, scope=Scope.ITEM) if isinstance(answer, Refused) else answer

    answers_read_as(patch, read)


@mutant("A job is looked at before its receipt is durable.", "venice", "modelmax")
def receipt_not_awaited(patch: Patch) -> None:
    not_awaited(patch, EventKind.SUBMIT_ACCEPTED)


@mutant("A submit that is cancelled is taken for one that never left.", "venice-signals", flavours=LEAVE)
def cancelled_is_not_sent(patch: Patch) -> None:
    original = submit._write_lost

    async def write_lost(lane: Any, job: Any, answer: Any) -> None:
        if "stopped" in answer.message:
            await lane.record(job, EventKind.SUBMIT_DEFERRED, why=answer.message)
        else:
            await original(lane, job, answer)

    patch(submit, "_write_lost", write_lost)


@mutant("A submit that is slow is given up, and what it accepts later is claimed as well.", "modelmax")
def orphan_is_claimed(patch: Patch) -> None:
    original = submit._intend_and_send

    async def claim_late(lane: Any, sending: Any) -> None:
        answer = await sending
        while isinstance(answer, Accepted):
            await lane.run.effects.clock.sleep(1.0)
            answer = await lane.seat.provider.claim(answer.receipt)

    async def impatient(lane: Any, job: Any, contents: Any) -> None:
        if job.orphans:
            return await original(lane, job, contents)
        job = await lane.intend(
            job,
            EventKind.SUBMIT_STARTED,
            EventKind.SUBMIT_DEFERRED,
            price_usd=None,
            price_is="unknown",
            base_url=lane.seat.base_url,
            account=lane.seat.account,
        )
        sending = asyncio.get_running_loop().create_task(lane.seat.provider.submit(job.request, contents))
        in_the_background(claim_late(lane, sending))
        await submit.settle_submit(lane, job, Ambiguous(message="It took too long."))
        return None

    patch(submit, "_intend_and_send", impatient)


@mutant("A claim is made without an intent.", "modelmax")
def claim_without_intent(patch: Patch) -> None:
    async def claim_first(lane: Any, live: Any) -> None:
        answer = await lane.seat.provider.claim(live.job.receipt)
        live.job = await lane.record(live.job, EventKind.CLAIM_STARTED)
        await claim._settle_claim(lane, live, answer)

    patch(claim, "_intend_and_claim", claim_first)


@mutant("A claim does not wait until its intent is durable.", "modelmax")
def claim_intent_not_awaited(patch: Patch) -> None:
    not_awaited(patch, EventKind.CLAIM_STARTED)


@mutant("A claim whose answer was lost is made once more at once.", "modelmax-faults")
def claim_repeated_on_error(patch: Patch) -> None:
    original = Wire.claim

    async def twice(self: Wire, path: str, cap_bytes: int) -> Any:
        outcome = await original(self, path, cap_bytes)
        return await original(self, path, cap_bytes) if isinstance(outcome, Lost) else outcome

    patch(Wire, "claim", twice)


@mutant("A claim whose outcome is unknown is made once more later.", "modelmax-faults")
def claim_doubt_asked_again(patch: Patch) -> None:
    async def ask_again(lane: Any, live: Any, answer: Any) -> None:
        await claim._claim_again_later(lane, live, answer.message, 1.0)

    patch(claim, "_hold_claim", ask_again)


@mutant("A claim that was cut short is made again by the next run.", "modelmax", flavours=KILL)
def claiming_resumed_as_submitted(patch: Patch) -> None:
    original = recover._record

    async def write(run: Any, job: Any, kind: EventKind, /, **data: Any) -> Any:
        if kind is EventKind.CLAIM_LOST:
            return await original(run, job, EventKind.CLAIM_DEFERRED, why="It was cut short.")
        return await original(run, job, kind, **data)

    patch(recover, "_record", write)


@mutant("The library repeats a GET whose connection was dropped.", "modelmax-faults", "modelmax-wire")
def library_repeats_the_get(patch: Patch) -> None:
    async def let_it(request: Any, send: Any) -> Any:
        return await send(request)

    patch(transport, "never_again", let_it)


@mutant("What was claimed is claimed again by the next run.", "modelmax", flavours=KILL)
def claimed_is_claimed_again(patch: Patch) -> None:
    original = batch._attach

    def attach(lane: Any, job: Any) -> None:
        if job.state is State.CLAIMED:
            lane.group.create_task(lane.seat.provider.claim(job.receipt))
        original(lane, job)

    patch(batch, "_attach", attach)


@mutant("A job that the vendor does not know once is lost.", "venice-links-faults", "venice-faults")
def gone_once_is_lost(patch: Patch) -> None:
    patch(looks, "YOUNG_S", 0.0)
    patch(looks, "GONE_TIMES", 1)
    patch(looks, "GONE_OVER_S", 0.0)


@mutant("A job that the vendor does not know is submitted again.", "venice-links-faults", "venice-faults")
def gone_is_submitted_again(patch: Patch) -> None:
    async def again(lane: Any, live: Any, answer: Any) -> None:
        told = failure("gone", answer.message, Billing.BILLED)
        job = await lane.record(live.job, EventKind.JOB_LOST, failure=told)
        job = await lane.record(job, EventKind.RETRIED)
        lane.finish(live)
        lane.planned.add(Head(job.item_id, job.revision, job.request.model))
        lane.changed()

    patch(looks, "_gone", again)


@mutant("A look names the model of the manifest, and not that of the receipt.", "both")
def model_of_the_receipt_ignored(patch: Patch) -> None:
    original = venice.retrieve_body
    patch(venice, "retrieve_body", lambda receipt: original(replace(receipt, model=MODELS["venice"])))


@mutant("A look asks the vendor to delete what it sends.", "venice")
def deleted_on_retrieve(patch: Patch) -> None:
    def body(receipt: Receipt) -> bytes:
        told = {"model": receipt.model, "queue_id": receipt.job_id, "delete_media_on_completion": True}
        return venice.encode_json(told)

    patch(venice, "retrieve_body", body)


@mutant("What is done is looked at again by the next run.", "venice", "modelmax")
def done_is_looked_at_again(patch: Patch) -> None:
    original = batch.BatchRun._run_lanes

    async def run_lanes(self: Any, *args: Any) -> None:
        done = await self.run.ledger.jobs([State.DONE])
        for lane in self.lanes.values():
            for job in done:
                if job.provider == lane.name:
                    await lane.seat.provider.look(job.receipt)
        await original(self, *args)

    patch(batch.BatchRun, "_run_lanes", run_lanes)
