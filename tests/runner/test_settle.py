"""What an operator's answer makes of an item. Jobs are folded from events, as a ledger folds them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.jobs.event import Event
from pipeline.jobs.job import CostIs
from pipeline.jobs.record import apply
from pipeline.jobs.state import UNSUCCESSFUL, EventKind, State
from pipeline.manifest.model import Price as ListedPrice
from pipeline.providers.answers import Receipt
from pipeline.providers.modelmax.provider import ModelMax
from pipeline.providers.venice.provider import Venice
from pipeline.runner.money import Prices
from pipeline.runner.settle import (
    UNKNOWN,
    Answer,
    Move,
    Price,
    after_restore,
    over_cap,
    price_again,
    price_at_risk,
    retry,
    settle,
)
from pipeline.system.effects import system

if TYPE_CHECKING:
    from pipeline.jobs.job import Job

E = EventKind
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
AGAIN = Price(usd=0.44, price_is=CostIs.QUOTED)


def failure(kind: str, billing: str = "unknown") -> dict[str, Any]:
    return {"kind": kind, "message": "No answer.", "billing": billing, "evidence": {}}


PLANNED = {
    "fingerprint": "0" * 64,
    "provider": "venice",
    "request": {"model": "wan-2.6", "prompt": "A fox", "parameters": {}, "options": {}, "files": {}},
    "metadata": {},
}
STARTED = {
    "base_url": "https://api.venice.ai/api/v1",
    "account": "0123456789ab",
    "price_usd": 0.44,
    "price_is": "quoted",
}
ACCEPTED = {"receipt": {"job_id": "job-1", "model": "wan-2.6", "answer": {}, "asked": {}}, "warnings": []}
SUBMIT_DOUBT = [(E.SUBMIT_STARTED, STARTED), (E.SUBMIT_LOST, {"failure": failure("submit_unanswered")})]
AT_VENDOR = [(E.SUBMIT_STARTED, STARTED), (E.SUBMIT_ACCEPTED, ACCEPTED)]
CLAIM_DOUBT = [*AT_VENDOR, (E.CLAIM_STARTED, {}), (E.CLAIM_LOST, {"failure": failure("claim_unanswered")})]
ENDS: dict[State, Any] = {
    State.REJECTED: [
        (E.SUBMIT_STARTED, STARTED),
        (E.SUBMIT_REFUSED, {"failure": failure("invalid_request", "unbilled")}),
    ],
    State.FAILED: [*AT_VENDOR, (E.JOB_FAILED, {"failure": failure("failed", "refunded")})],
    State.LOST: [*AT_VENDOR, (E.JOB_LOST, {"failure": failure("gone", "billed")})],
    State.ABANDONED: [*SUBMIT_DOUBT, (E.DOUBT_ABANDONED, {"failure": failure("abandoned")})],
}


def story(history: Any, plan: dict[str, Any] = PLANNED) -> tuple[Job, list[Event]]:
    """Return the job that a history makes, ten seconds a step, and its events."""
    events = [
        Event(kind=kind, item_id="fox", revision=1, at=NOW + timedelta(seconds=10 * step), data=data)
        for step, (kind, data) in enumerate([(E.ITEM_PLANNED, plan), *history])
    ]
    job: Job | None = None
    for event in events:
        job = apply(job, event)
    assert job is not None
    return job, events


def settled(history: Any, answer: Answer, **rest: Any) -> Job:
    """Return the job as it is after an answer that is taken."""
    job, events = story(history)
    move = settle(job, answer, events, AGAIN, **rest)
    assert isinstance(move, Move), move
    return apply(job, move.event(NOW))


def refused(history: Any, answer: Answer, **rest: Any) -> str:
    """Return the sentence with which an answer is refused."""
    job, events = story(history)
    why = settle(job, answer, events, AGAIN, **rest)
    assert isinstance(why, str)
    return why


@pytest.mark.parametrize("doubt", [SUBMIT_DOUBT, CLAIM_DOUBT])
def test_a_resubmitted_doubt_is_planned_again_and_what_it_may_have_cost_stays_counted(doubt: Any) -> None:
    after = settled(doubt, Answer.RESUBMIT)
    assert (after.state, after.settled_usd, after.reserved_usd) == (State.PLANNED, 0.44, 0.0)


@pytest.mark.parametrize("doubt", [SUBMIT_DOUBT, CLAIM_DOUBT])
def test_an_abandoned_doubt_stays_counted_as_spent(doubt: Any) -> None:
    after = settled(doubt, Answer.ABANDON)
    assert (after.state, after.committed_usd) == (State.ABANDONED, 0.44)


def test_an_adopted_doubt_can_be_looked_at_where_and_as_whom_it_was_submitted() -> None:
    after = settled(SUBMIT_DOUBT, Answer.ADOPT, adopted_id=" q-7 ", submitted_to=("elsewhere", "other"))
    assert after.receipt == Receipt(job_id="q-7", model="wan-2.6", answer={}, asked={})
    assert (after.state, after.base_url, after.account) == (State.SUBMITTED, STARTED["base_url"], "0123456789ab")
    assert (after.failure, after.committed_usd) == (None, 0.44)


@pytest.mark.parametrize("is_first", [True, False])
def test_what_the_vendor_said_of_an_adopted_id_is_kept(is_first: bool) -> None:
    answer = {"queue_id": "q-7", "download_url": "https://media.example.com/q-7"}
    receipt = {"job_id": "q-7", "model": "wan-2.6", "answer": answer, "asked": {}}
    twice = failure("duplicate_job_id") | {"evidence": {} if is_first else {"receipt": receipt}}
    accepted = [(E.SUBMIT_ACCEPTED, {"receipt": receipt, "warnings": []})] if is_first else []
    history = [(E.SUBMIT_STARTED, STARTED), *accepted, (E.SUBMIT_LOST, {"failure": twice})]
    adopted = settled(history, Answer.ADOPT, adopted_id="q-7").receipt
    assert adopted is not None
    assert adopted.answer == answer
    other = settled(history, Answer.ADOPT, adopted_id="q-8").receipt
    assert other is not None
    assert (other.job_id, other.answer) == ("q-8", {})


def test_an_allowed_claim_is_counted_twice_and_allowed_once() -> None:
    after = settled(CLAIM_DOUBT, Answer.ASK_ONCE)
    assert (after.state, after.claims_allowed - after.claims_made, after.committed_usd) == (State.SUBMITTED, 1, 0.88)


@pytest.mark.parametrize("answer", Answer)
def test_every_answer_is_written_down_with_its_price_and_who_gave_it(answer: Answer) -> None:
    job, events = story(CLAIM_DOUBT if answer is Answer.ASK_ONCE else SUBMIT_DOUBT)
    move = settle(job, answer, events, AGAIN, adopted_id="q-7", by="ada")
    assert isinstance(move, Move)
    data = move.event(NOW).data
    assert (data["price_usd"], data["price_is"], data["by"]) == (0.44, "quoted", "ada")


def test_only_a_claim_in_doubt_can_be_asked_for_once_more() -> None:
    assert "there is no result to ask for" in refused(SUBMIT_DOUBT, Answer.ASK_ONCE)


def test_only_a_submit_in_doubt_can_be_adopted() -> None:
    assert "the provider's id is known (job-1)" in refused(CLAIM_DOUBT, Answer.ADOPT, adopted_id="q-7")


@pytest.mark.parametrize("bad", ["", "  ", "two words", "line\nbreak", "\x1b[2J", "x" * 1001, "ünï"])
def test_what_cannot_be_an_id_is_not_adopted(bad: str) -> None:
    assert "cannot be a provider's id" in refused(SUBMIT_DOUBT, Answer.ADOPT, adopted_id=bad)


def test_an_item_that_a_restored_ledger_forgot_is_adopted_where_and_as_whom_the_operator_says() -> None:
    lost = {"price_usd": None, "price_is": "unknown", "failure": failure("history_lost")}
    here = ("https://api.venice.ai/api/v1", "ffffffffffff")
    after = settled([(E.HISTORY_LOST, lost)], Answer.ADOPT, adopted_id="q-7", submitted_to=here)
    assert (after.state, after.base_url, after.account, after.job_id) == (State.SUBMITTED, *here, "q-7")


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        (E.DOUBT_RESUBMITTED, {}, "it was to be submitted again. It is planned now."),
        (E.DOUBT_ADOPTED, ACCEPTED, "it was adopted under an id that was found. It is submitted now."),
        (E.DOUBT_ABANDONED, {"failure": failure("abandoned")}, "it was given up. It is abandoned now."),
    ],
)
def test_a_doubt_that_was_answered_twice_says_how_it_was_settled(
    kind: EventKind, data: dict[str, Any], says: str
) -> None:
    told = refused([*SUBMIT_DOUBT, (kind, data)], Answer.RESUBMIT)
    assert told == f"fox was settled already, at 2026-11-21 12:00:30 UTC: {says}"


def test_what_never_was_in_doubt_says_what_it_is() -> None:
    assert refused(AT_VENDOR, Answer.ABANDON) == "fox is not in doubt; it is submitted."
    assert "cut short; clipmill resume finds out" in refused([(E.SUBMIT_STARTED, STARTED)], Answer.ABANDON)


@pytest.mark.parametrize("state", sorted(UNSUCCESSFUL))
def test_what_ended_without_a_clip_can_be_attempted_again_and_its_cost_stays_counted(state: State) -> None:
    job, _ = story(ENDS[state])
    assert job.state is state
    move = retry(job, AGAIN, by="ada")
    assert isinstance(move, Move)
    after = apply(job, move.event(NOW))
    assert (after.state, after.settled_usd) == (State.PLANNED, job.committed_usd)
    assert move.data["price_usd"] == 0.44


@pytest.mark.parametrize(
    ("history", "says"),
    [
        (SUBMIT_DOUBT, "settle that first"),
        (CLAIM_DOUBT, "settle that first"),
        (AT_VENDOR, "is at the provider"),
        ([], "waits to be submitted already"),
    ],
)
def test_what_has_not_ended_is_not_attempted_again(history: Any, says: str) -> None:
    why = retry(story(history)[0], AGAIN)
    assert isinstance(why, str)
    assert says in why


def test_the_price_of_another_submit_is_the_manifests_else_that_of_the_last_one() -> None:
    job, events = story(SUBMIT_DOUBT)
    venice = Venice(None, system())
    listed = Prices(listed={"venice/wan-2.6": ListedPrice(usd_per_clip=0.5, usd_per_second=None)})
    assert price_again(job, events, venice, listed) == Price(usd=0.5, price_is=CostIs.COMPUTED)
    assert price_again(job, events, venice, Prices()) == Price(usd=0.44, price_is=CostIs.QUOTED)
    assert price_again(job, events[:1], venice, Prices()) == UNKNOWN


def test_a_refused_item_has_a_price_for_its_next_attempt_though_it_cost_nothing() -> None:
    job, events = story(ENDS[State.REJECTED])
    assert job.committed_usd == 0
    assert price_again(job, events, Venice(None, system()), Prices()).usd == 0.44


def test_a_doubt_of_unknown_price_puts_an_unknown_amount_at_risk() -> None:
    unpriced = {**STARTED, "price_usd": None, "price_is": "unknown"}
    job, _ = story([(E.SUBMIT_STARTED, unpriced), SUBMIT_DOUBT[1]])
    assert price_at_risk(job) == UNKNOWN


def claims_to_allow(count: int, price_usd: float | None = 0.44) -> list[Move]:
    started = {**STARTED, "price_usd": price_usd, "price_is": "quoted" if price_usd else "unknown"}
    job, events = story([(E.SUBMIT_STARTED, started), *CLAIM_DOUBT[1:]])
    moves = [settle(replace(job, item_id=f"fox{n}"), Answer.ASK_ONCE, events, AGAIN) for n in range(count)]
    return [move for move in moves if isinstance(move, Move)]


def test_the_cap_counts_every_claim_that_is_allowed_again() -> None:
    assert over_cap(claims_to_allow(2), NOW, 0.88, 1.76) == ""
    assert over_cap(claims_to_allow(2), NOW, 0.88, None) == ""
    assert over_cap(claims_to_allow(3), NOW, 0.88, 1.76).startswith("This may cost $1.32 more")


def test_a_cap_cannot_be_kept_against_a_claim_of_unknown_price() -> None:
    assert "nobody says what fox0 costs" in over_cap(claims_to_allow(1, None), NOW, 0.0, 10.0)


def test_a_cap_stands_against_no_answer_that_reserves_nothing() -> None:
    job, events = story(SUBMIT_DOUBT)
    for answer in (Answer.RESUBMIT, Answer.ABANDON, Answer.ADOPT):
        move = settle(job, answer, events, AGAIN, adopted_id="q-7")
        assert isinstance(move, Move)
        assert over_cap([move], NOW, 0.44, 0.44) == ""


@pytest.mark.parametrize(
    ("provider", "history", "held"),
    [
        (Venice, [], State.SUBMIT_IN_DOUBT),
        (Venice, AT_VENDOR, None),
        (Venice, [(E.SUBMIT_STARTED, STARTED)], None),
        (Venice, SUBMIT_DOUBT, None),
        (ModelMax, [], State.SUBMIT_IN_DOUBT),
        (ModelMax, AT_VENDOR, State.CLAIM_IN_DOUBT),
        (ModelMax, [(E.SUBMIT_STARTED, STARTED)], State.SUBMIT_IN_DOUBT),
        (ModelMax, CLAIM_DOUBT, None),
        (ModelMax, ENDS[State.LOST], None),
    ],
)
def test_a_restored_ledger_holds_what_may_have_been_bought_since(
    provider: Any, history: Any, held: State | None
) -> None:
    job, _ = story(history, {**PLANNED, "provider": provider.capabilities.name})
    moves = after_restore(job, provider.capabilities, AGAIN)
    after = job
    for move in moves:
        after = apply(after, move.event(NOW))
    assert (after.state if moves else None) is held
    if held:
        assert after.committed_usd == 0.44
