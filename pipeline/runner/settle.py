"""What an operator's answer makes of an item: a doubt that is settled, a new attempt, a history that was lost.

Pure: a job, its events and the answer come in; a `Move` to be written down comes out, or a sentence that says why not.
Nothing here guesses: every way out of a doubt is one that a person has named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.jobs.codec import receipt_to_json, request_to_json
from pipeline.jobs.event import Event
from pipeline.jobs.job import CostIs
from pipeline.jobs.record import apply
from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, EventKind, State
from pipeline.providers.answers import Billing, Receipt
from pipeline.providers.base import BilledAt
from pipeline.runner.lane import failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pipeline.jobs.job import Job
    from pipeline.providers.base import Capabilities, Provider
    from pipeline.runner.money import Prices

JOB_ID = re.compile(r"[!-~]{1,1000}")
"""Visible characters alone: what a vendor's id, copied from somewhere, can be."""

PRICED = frozenset({EventKind.SUBMIT_STARTED, EventKind.HISTORY_LOST})
"""Events that tell what a submit costs."""


class Answer(StrEnum):
    """What the operator says of a doubt."""

    RESUBMIT = "resubmit"
    """Submit it again, knowing that it may have been paid for."""
    ADOPT = "adopt"
    """The vendor has it, under an id that the operator found."""
    ABANDON = "abandon"
    """Give it up; what it may have cost stays counted."""
    ASK_ONCE = "ask-once"
    """Claim it once more, knowing that it may be billed again."""


SETTLED_SAYS = {
    EventKind.DOUBT_RESUBMITTED: "it was to be submitted again",
    EventKind.DOUBT_ADOPTED: "it was adopted under an id that was found",
    EventKind.DOUBT_ABANDONED: "it was given up",
    EventKind.CLAIM_ALLOWED: "its result was to be asked for once more",
}
"""What each event that settles a doubt said of the item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What one more billing call of an item may cost."""

    usd: float | None
    """None where nobody knows."""
    price_is: CostIs


UNKNOWN = Price(usd=None, price_is=CostIs.UNKNOWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One event that is to be written down, and what may be paid because of it."""

    job: Job
    kind: EventKind
    price: Price
    data: Mapping[str, Any]

    @property
    def before(self) -> Job | None:
        """The job that the event happens to; None where it begins a new revision beside it."""
        return None if self.kind is EventKind.ITEM_PLANNED else self.job

    def event(self, at: datetime) -> Event:
        """Return it as it is written down."""
        job = self.job
        revision = job.revision + (self.before is None)
        return Event(kind=self.kind, item_id=job.item_id, revision=revision, at=at, data=self.data)

    def reserved_usd(self, at: datetime) -> float:
        """Return what the budget counts more, as soon as it is written down."""
        return apply(self.job, self.event(at)).committed_usd - self.job.committed_usd


def price_at_risk(job: Job) -> Price:
    """Return what the call in doubt may have cost."""
    if job.cost_is is CostIs.UNKNOWN and not job.reserved_usd:
        return UNKNOWN
    return Price(usd=job.reserved_usd, price_is=job.cost_is)


def price_again(job: Job, events: Sequence[Event], provider: Provider, prices: Prices) -> Price:
    """Return what one more submit may cost: by the manifest's prices, else what the last one was said to cost."""
    listed_usd, listed_is = prices.of(job.provider, provider, job.request)
    if listed_usd is not None:
        return Price(usd=listed_usd, price_is=listed_is)
    for event in reversed(events):
        priced = event.kind in PRICED and event.data["price_usd"] is not None
        if priced and event.revision == job.revision:
            return Price(usd=event.data["price_usd"], price_is=CostIs(event.data["price_is"]))
    return UNKNOWN


def settle(
    job: Job,
    answer: Answer,
    events: Sequence[Event],
    again: Price,
    *,
    adopted_id: str = "",
    submitted_to: tuple[str, str] = ("", ""),
    by: str = "",
) -> Move | str:
    """Decide what an answer makes of a doubt.

    Args:
        job: the item as it is.
        answer: what the operator says.
        events: the item's history; it tells how a doubt was settled before.
        again: what one more submit may cost.
        adopted_id: the vendor's id, for `ADOPT`.
        submitted_to: base URL and fingerprint of the key, for `ADOPT` where a restored ledger no longer knows them.
        by: who says so, for the record.

    Returns:
        The event to be written down, or a sentence that says why the answer does not fit.
    """
    if job.state not in IN_DOUBT:
        return _not_in_doubt(job, events)
    match answer:
        case Answer.RESUBMIT:
            return _move(job, EventKind.DOUBT_RESUBMITTED, again, by)
        case Answer.ABANDON:
            told = failure("abandoned", "The operator gave it up; it may have been paid for.", Billing.UNKNOWN)
            return _move(job, EventKind.DOUBT_ABANDONED, price_at_risk(job), by, failure=told)
        case Answer.ADOPT:
            return _adopt(job, adopted_id.strip(), events, submitted_to, by)
        case Answer.ASK_ONCE:
            if job.state is not State.CLAIM_IN_DOUBT:
                return (
                    f"{job.item_id}: its submit is in doubt, so there is no result to ask for. "
                    "Say --resubmit, --adopt ID or --abandon."
                )
            return _move(job, EventKind.CLAIM_ALLOWED, price_at_risk(job), by)


def _adopt(job: Job, adopted_id: str, events: Sequence[Event], submitted_to: tuple[str, str], by: str) -> Move | str:
    if job.state is not State.SUBMIT_IN_DOUBT:
        return (
            f"{job.item_id}: the provider's id is known ({job.job_id}); it is the result that is in doubt. "
            "Say --ask-once, --resubmit or --abandon."
        )
    if not JOB_ID.fullmatch(adopted_id):
        return f"{job.item_id}: {adopted_id!r} cannot be a provider's id; copy the id alone, without spaces."
    receipt = _receipt(job, adopted_id, events)
    where = {} if job.base_url else dict(zip(("base_url", "account"), submitted_to, strict=True))
    return _move(job, EventKind.DOUBT_ADOPTED, price_at_risk(job), by, receipt=receipt, warnings=[], **where)


def _receipt(job: Job, adopted_id: str, events: Sequence[Event]) -> Mapping[str, Any]:
    """Return what the vendor said of that id, where an answer with it was written down; it may hold the clip's link."""
    for event in reversed(events):
        evidence = (event.data.get("failure") or {}).get("evidence") or {}
        for receipt in (event.data.get("receipt"), evidence.get("receipt")):
            if isinstance(receipt, dict) and receipt.get("job_id") == adopted_id:
                return receipt
    return receipt_to_json(Receipt(job_id=adopted_id, model=job.request.model, answer={}))


def retry(job: Job, again: Price, *, by: str = "") -> Move | str:
    """Decide on a new attempt of an item that ended without a clip."""
    if job.state in UNSUCCESSFUL:
        return _move(job, EventKind.RETRIED, again, by)
    if job.state in IN_DOUBT:
        return f"{job.item_id} is in doubt, and may be paid for: settle that first with clipmill resolve."
    if job.state is State.PLANNED:
        return f"{job.item_id} waits to be submitted already: go on with clipmill resume."
    if job.state is State.DONE:
        return f"{job.item_id} is done; to make another clip of it, raise its `repeat` or give a copy an id of its own."
    return f"{job.item_id} is at the provider: bring it home with clipmill resume."


def buy_again(job: Job, rejected: int, again: Price, *, by: str = "") -> Move | str:
    """Decide on buying an item once more whose clips the manifest's `accept` turns down: a new revision beside it.

    Args:
        job: the item as it is.
        rejected: how many of its clips are turned down.
        again: what one more submit may cost.
        by: who says so, for the record.
    """
    if job.state not in {State.DONE, State.LOST}:
        return f"{job.item_id} is {job.state}: its clips are judged when they are here. Go on with clipmill resume."
    if not rejected:
        return f"{job.item_id}: none of its clips is turned down by `accept`."
    request = {
        "fingerprint": job.fingerprint,
        "provider": job.provider,
        "request": request_to_json(job.request),
        "metadata": dict(job.metadata),
    }
    return _move(job, EventKind.ITEM_PLANNED, again, by, **request)


def after_restore(job: Job, capabilities: Capabilities, again: Price) -> tuple[Move, ...]:
    """Decide what is not known of an item any more, now that its ledger was restored from a copy.

    What had not been submitted may have been since. Where a claim bills, what had been submitted may have been claimed
    since, and what was being submitted as well. All else is settled by the next run as after a crash.

    Returns:
        The events that hold it in doubt, in their order; each after the first is of the job as the one before left it.
    """
    at_claim = capabilities.billed_at is BilledAt.CLAIM
    told = failure(
        "history_lost",
        "The ledger was restored from a copy; what happened to the item since is not known.",
        Billing.UNKNOWN,
    )
    lost = {"price_usd": again.usd, "price_is": again.price_is.value, "failure": told}
    hold = Move(job=job, kind=EventKind.HISTORY_LOST, price=again, data=lost)
    if job.state is State.PLANNED or (at_claim and job.state is State.SUBMITTED):
        return (hold,)
    if at_claim and job.state is State.SUBMITTING:
        why = {"why": "The ledger was restored from a copy that was made while this submit was under way."}
        return (Move(job=job, kind=EventKind.SUBMIT_ORPHANED, price=again, data={**why, "evidence": {}}), hold)
    return ()


def over_cap(moves: Iterable[Move], at: datetime, committed_usd: float, cap_usd: float | None) -> str:
    """Return why the cap stands against moves that reserve money when they are written down; empty for no reason."""
    if cap_usd is None:
        return ""
    asking = [move for move in moves if move.kind is EventKind.CLAIM_ALLOWED]
    unpriced = sorted(move.job.item_id for move in asking if move.price.usd is None)
    if unpriced:
        return (
            f"There is a cap of ${cap_usd:,.2f}, and nobody says what {', '.join(unpriced)} costs, so it cannot be "
            "kept. Say --abandon, or --resubmit with a price in the manifest."
        )
    more_usd = sum(move.reserved_usd(at) for move in asking)
    if round((committed_usd + more_usd) * 1_000_000) > round(cap_usd * 1_000_000):
        return (
            f"This may cost ${more_usd:,.2f} more, and ${committed_usd:,.2f} of the cap of ${cap_usd:,.2f} are spent, "
            "reserved or in doubt. Raise it with --max-cost."
        )
    return ""


def _move(job: Job, kind: EventKind, price: Price, by: str, **data: Any) -> Move:
    said = {"price_usd": price.usd, "price_is": price.price_is.value, **({"by": by} if by else {})}
    return Move(job=job, kind=kind, price=price, data=said | data)


def _not_in_doubt(job: Job, events: Sequence[Event]) -> str:
    settled = [event for event in events if event.kind in SETTLED_SAYS and event.revision == job.revision]
    if settled:
        last = settled[-1]
        return (
            f"{job.item_id} was settled already, at {last.at:%Y-%m-%d %H:%M:%S} UTC: {SETTLED_SAYS[last.kind]}. "
            f"It is {job.state} now."
        )
    if job.state in {State.SUBMITTING, State.CLAIMING}:
        return f"{job.item_id}: its last call was cut short; clipmill resume finds out whether it is in doubt."
    return f"{job.item_id} is not in doubt; it is {job.state}."
