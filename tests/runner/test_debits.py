"""Venice's bill held against submits in doubt: which debits nothing else explains."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind
from pipeline.providers.venice.billing import BillRow
from pipeline.runner.debits import (
    Evidence,
    Submission,
    Verdict,
    clusters,
    explain,
    spans,
    submissions,
)

E = EventKind
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MODEL = "wan-2.6"
LATER = NOON + timedelta(hours=2)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def submit(item: str, began: float, ended: float, job_id: str = "", model: str = MODEL) -> Submission:
    return Submission(item_id=item, revision=1, model=model, began=at(began), ended=at(ended), job_id=job_id)


def debit(
    seconds: float, request_id: str = "", sku: str = f"{MODEL}-video-unit", amount: float = -0.44, currency: str = "USD"
) -> BillRow:
    return BillRow(at=at(seconds), sku=sku, amount=amount, currency=currency, request_id=request_id)


DOUBT = submit("fox", 100, 160)


def evidence(*rows: BillRow, others: tuple[Submission, ...] = (), now: datetime = LATER, **rest: Any) -> Evidence:
    """Return what a bill says of DOUBT."""
    (cluster,) = [each for each in clusters([DOUBT, *others]) if DOUBT in each.submissions]
    return explain(DOUBT, cluster, rows, rest.get("models", {MODEL, "wan-2.6-flash"}), now)


def test_without_a_debit_it_was_probably_not_accepted() -> None:
    found = evidence()
    assert (found.verdict, found.unexplained, found.unknown) == (Verdict.NOT_ACCEPTED, 0, 1)


def test_without_a_debit_it_is_too_early_while_one_may_still_be_entered() -> None:
    assert evidence(now=at(459)).verdict is Verdict.TOO_EARLY
    assert evidence(now=at(460)).verdict is Verdict.NOT_ACCEPTED


def test_a_debit_that_nothing_explains_was_probably_paid_for_it() -> None:
    row = debit(101, "req-1")
    found = evidence(row, now=at(161))
    assert (found.verdict, found.candidates) == (Verdict.PAID, (row,))


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(39, "not_accepted"), (40, "paid"), (459, "paid"), (460, "not_accepted")]
)
def test_a_debit_counts_from_a_minute_before_the_submit_to_five_after_its_loss(seconds: float, verdict: str) -> None:
    assert evidence(debit(seconds)).verdict == verdict


def test_debits_of_accepted_submits_are_explained_by_their_ids() -> None:
    others = (submit("deer", 90, 95, "job-1"), submit("wave", 170, 175, "job-2"))
    assert evidence(debit(91, "job-1"), debit(171, "job-2"), others=others).verdict is Verdict.NOT_ACCEPTED
    found = evidence(debit(91, "job-1"), debit(120, "job-9"), debit(171, "job-2"), others=others)
    assert (found.verdict, [row.request_id for row in found.candidates]) == (Verdict.PAID, ["job-9"])


def test_an_accepted_submit_without_a_debit_of_its_name_hides_none_where_the_rows_name_jobs() -> None:
    others = (submit("deer", 90, 95, "job-1"), submit("wave", 170, 175, "job-2"))
    found = evidence(debit(91, "job-1"), debit(120, "job-9"), others=others)
    assert found.verdict is Verdict.PAID


def test_debits_of_accepted_submits_are_counted_where_the_rows_name_no_job() -> None:
    others = (submit("deer", 90, 95, "job-1"), submit("wave", 170, 175, "job-2"))
    assert evidence(debit(91), debit(171), others=others).verdict is Verdict.NOT_ACCEPTED
    found = evidence(debit(91), debit(110), debit(171), others=others)
    assert (found.verdict, found.candidates) == (Verdict.PAID, ())  # which of the three is its own is not known


def test_a_charge_at_the_edge_of_the_window_is_counted_with_the_submit_it_belongs_to() -> None:
    edge = submit("deer", 38, 42, "job-1")  # its debit, at 39, is a second before the doubt's window
    assert evidence(debit(39), others=(edge,)).verdict is Verdict.NOT_ACCEPTED
    assert evidence(debit(39), debit(120), others=(edge,)).verdict is Verdict.PAID


def test_fewer_debits_than_accepted_submits_prove_nothing() -> None:
    found = evidence(others=(submit("deer", 90, 95, "job-1"),))
    assert (found.verdict, found.unexplained) == (Verdict.UNCLEAR, -1)


def test_two_doubts_and_one_debit_cannot_be_told_apart() -> None:
    other = submit("deer", 130, 190)
    assert evidence(debit(131), others=(other,)).verdict is Verdict.UNCLEAR
    assert evidence(debit(101), debit(131), others=(other,)).verdict is Verdict.PAID
    assert evidence(others=(other,)).verdict is Verdict.NOT_ACCEPTED


def test_more_debits_than_doubts_cannot_be_told_apart() -> None:
    assert evidence(debit(101), debit(102)).verdict is Verdict.UNCLEAR


def test_refunds_other_models_and_longer_names_do_not_count() -> None:
    rows = (
        debit(101, amount=0.44),
        debit(101, sku="kling-o3-video-unit"),
        debit(101, sku="wan-2.6-flash-video-unit"),
        debit(101, sku="wan-2.61"),
    )
    assert evidence(*rows, models={MODEL, "wan-2.6-flash", "kling-o3"}).verdict is Verdict.NOT_ACCEPTED


def test_a_video_debit_of_an_unknown_model_keeps_it_unclear() -> None:
    found = evidence(debit(101, sku="wan-9-video-unit"), debit(101, sku="llama-4-llm-output-mtoken"))
    assert (found.verdict, found.strangers) == (Verdict.UNCLEAR, 1)


@pytest.mark.parametrize("request_id", ["", "req-1"])
def test_a_charge_that_two_balances_shared_is_one_debit(request_id: str) -> None:
    rows = (debit(101, request_id, amount=-0.40, currency="DIEM"), debit(101, request_id, amount=-0.04))
    found = evidence(*rows)
    assert (found.verdict, found.unexplained) == (Verdict.PAID, 1)


def test_two_charges_of_one_instant_and_one_balance_are_two() -> None:
    assert evidence(debit(101), debit(101)).unexplained == 2


def test_submits_far_apart_are_not_counted_together() -> None:
    far = submit("deer", 1000, 1010, "job-1")
    assert len(clusters([DOUBT, far])) == 2
    assert len(clusters([DOUBT, submit("deer", 110, 120, "job-1", model="kling-o3")])) == 2
    chain = [DOUBT, submit("deer", 500, 510, "a"), submit("wave", 850, 860, "b")]
    assert [len(each.submissions) for each in clusters(chain)] == [3]


def test_the_bill_is_asked_for_once_where_windows_overlap() -> None:
    near = submit("deer", 400, 410, model="kling-o3")
    far = submit("wave", 5000, 5010)
    assert spans(clusters([DOUBT, near, far])) == [(at(40), at(710)), (at(4940), at(5310))]


def history(*steps: tuple[str, EventKind, dict[str, Any]]) -> list[Event]:
    """Return events ten seconds apart."""
    return [
        Event(kind=kind, item_id=item, revision=1, at=at(10 * step), data=data)
        for step, (item, kind, data) in enumerate(steps)
    ]


def receipt(job_id: str, model: str = MODEL) -> dict[str, Any]:
    return {"receipt": {"job_id": job_id, "model": model, "answer": {}}}


MODELS = {("fox", 1): MODEL, ("deer", 1): MODEL}
LOST: dict[str, Any] = {"failure": {}}


def test_the_submits_that_count_are_those_that_may_have_been_accepted() -> None:
    events = history(
        ("fox", E.SUBMIT_STARTED, {}),
        ("deer", E.SUBMIT_STARTED, {}),
        ("fox", E.SUBMIT_DEFERRED, {}),
        ("deer", E.SUBMIT_ACCEPTED, receipt("job-1")),
        ("fox", E.SUBMIT_STARTED, {}),
        ("fox", E.SUBMIT_LOST, LOST),
        ("cut", E.SUBMIT_STARTED, {}),
    )
    deer, fox = submit("deer", 10, 30, "job-1"), submit("fox", 40, 50)
    assert submissions(events, MODELS) == [deer, fox]
    cut_short = submit("cut", 60, 60)
    assert submissions(events, MODELS | {("cut", 1): MODEL}) == [deer, fox, cut_short]


def test_a_refused_submit_was_not_charged() -> None:
    assert submissions(history(("fox", E.SUBMIT_STARTED, {}), ("fox", E.SUBMIT_REFUSED, LOST)), MODELS) == []


def test_a_doubt_that_was_resubmitted_may_have_been_charged_as_well() -> None:
    events = history(
        ("fox", E.SUBMIT_STARTED, {}),
        ("fox", E.SUBMIT_LOST, LOST),
        ("fox", E.DOUBT_RESUBMITTED, {}),
        ("fox", E.SUBMIT_STARTED, {}),
        ("fox", E.SUBMIT_LOST, LOST),
        ("fox", E.DOUBT_ADOPTED, receipt("job-2")),
    )
    assert submissions(events, MODELS) == [submit("fox", 0, 10), submit("fox", 30, 40, "job-2")]


def test_an_id_that_two_items_were_given_is_nobodys() -> None:
    events = history(
        ("deer", E.SUBMIT_STARTED, {}),
        ("deer", E.SUBMIT_ACCEPTED, receipt("job-1")),
        ("fox", E.SUBMIT_STARTED, {}),
        ("fox", E.SUBMIT_LOST, LOST),
        ("deer", E.SUBMIT_LOST, LOST),
    )
    assert submissions(events, MODELS) == [submit("deer", 0, 10), submit("fox", 20, 30)]


def test_what_a_restored_ledger_forgot_may_have_happened_since_it_ended() -> None:
    events = history(
        ("deer", E.SUBMIT_STARTED, {}), ("deer", E.SUBMIT_ACCEPTED, receipt("job-1")), ("fox", E.HISTORY_LOST, LOST)
    )
    assert submissions(events, MODELS)[1] == submit("fox", 10, 20)


def test_a_model_that_venice_replaced_is_looked_for_under_its_new_name() -> None:
    events = history(
        ("deer", E.SUBMIT_STARTED, {}),
        ("deer", E.SUBMIT_ACCEPTED, receipt("job-1", "wan-9")),
        ("fox", E.SUBMIT_STARTED, {}),
        ("fox", E.SUBMIT_LOST, LOST),
    )
    assert {each.model for each in submissions(events, MODELS)} == {"wan-9"}
