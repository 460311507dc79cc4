"""Every class of trouble has a sentence that says what to do, and every way for an item to end has a class."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.jobs.job import Failure
from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, State
from pipeline.jobs.trouble import MONEY_SAYS, WHAT_TO_DO, Trouble, trouble_of, what_to_do
from pipeline.providers.answers import Billing
from tests.jobs.histories import HERE, E, planned, price, receipt, tell, told

BEGUN = ((E.ITEM_PLANNED, planned()), (E.SUBMIT_STARTED, HERE | price(3.2)))
ACCEPTED = (*BEGUN, (E.SUBMIT_ACCEPTED, {"receipt": receipt()}))


def failed(billing: str, kind: str = "kind", **evidence: Any) -> dict[str, Any]:
    return {"failure": told(billing, kind) | {"evidence": evidence}}


@pytest.mark.parametrize(
    ("steps", "trouble", "says"),
    [
        ((*BEGUN, (E.SUBMIT_REFUSED, failed("unbilled", scope="item"))), Trouble.ITEM, "--on-change new"),
        ((*BEGUN, (E.SUBMIT_REFUSED, failed("unbilled", scope="model"))), Trouble.MODEL, "clipmill models"),
        ((*BEGUN, (E.SUBMIT_LOST, failed("unknown"))), Trouble.AMBIGUOUS, "clipmill resolve"),
        ((*BEGUN, (E.JOB_FAILED, failed("unbilled", "submit_unanswered"))), Trouble.TRANSIENT, "Nothing was made"),
        ((*ACCEPTED, (E.JOB_FAILED, failed("unknown", "server_error"))), Trouble.TRANSIENT, "stays counted"),
        ((*ACCEPTED, (E.JOB_FAILED, failed("refunded"))), Trouble.ITEM, "gave the money back"),
        ((*ACCEPTED, (E.JOB_FAILED, failed("billed"))), Trouble.ITEM, "kept the charge"),
        ((*ACCEPTED, (E.JOB_LOST, failed("billed"))), Trouble.PAID_AND_LOST, "support"),
        ((*ACCEPTED, (E.JOB_LOST, failed("unbilled"))), Trouble.ITEM, "clipmill retry"),
    ],
)
def test_an_end_has_its_class_and_its_way_on(steps: Any, trouble: Trouble, says: str) -> None:
    job = tell(*steps)
    assert trouble_of(job) is trouble
    assert says in what_to_do(job)


def test_what_is_well_has_no_trouble() -> None:
    for steps in (BEGUN[:1], BEGUN, ACCEPTED):
        assert (trouble_of(tell(*steps)), what_to_do(tell(*steps))) == (None, "")


@pytest.mark.parametrize("state", sorted(UNSUCCESSFUL | IN_DOUBT))
@pytest.mark.parametrize("billing", list(Billing))
def test_no_end_is_without_a_class_and_a_sentence(state: State, billing: Billing) -> None:
    from dataclasses import replace

    job = replace(tell(*ACCEPTED), state=state, failure=Failure(kind="tomorrow's", message="No.", billing=billing))
    assert trouble_of(job) in set(Trouble)
    assert what_to_do(job).endswith(".")


def test_every_class_and_every_kind_of_money_has_words() -> None:
    assert set(WHAT_TO_DO) == set(Trouble)
    assert set(MONEY_SAYS) == set(Billing)
    assert all("clipmill " in sentence for sentence in WHAT_TO_DO.values())
