"""Submitting: what each answer means for the item, for the money, and for what is sent next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, product, repeat
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.jobs.job import CostIs
from pipeline.jobs.state import State
from pipeline.manifest.model import Price
from pipeline.planning.cost import quote_key
from pipeline.planning.identity import fingerprint
from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    Billing,
    NotSent,
    Quoted,
    Refused,
    Running,
    Scope,
    Stage,
    Throttled,
    Transient,
)
from pipeline.providers.base import Account, BilledAt, InputFile
from pipeline.runner.collect import BROKEN_MOST
from pipeline.runner.lane import OFFLINE_S
from pipeline.runner.submit import UNANSWERED_MOST, UNANSWERED_OF_ALL_MOST
from tests.runner.staged import (
    CAPABILITIES,
    PROVIDERS,
    committed_most_usd,
    most_within,
    open_intents_most,
    staged,
)
from tests.support.batches import BASE_URLS, MODELS, an_item, items
from tests.support.scripted_provider import After, receipt_of, streaming

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.batches import Batch
    from tests.support.simulation.world import World

NO_ROUTE = NotSent(message="There is no route to the host")
BAD_GATEWAY = Ambiguous(message="Bad gateway.", evidence={"status": 502, "body": ""})
NO_ANSWER = Ambiguous(message="The connection was cut.", evidence={"status": None, "body": ""})
BAD_PROMPT = Refused(scope=Scope.ITEM, kind="invalid_request", message="The prompt is too long.")
NO_FUNDS = Refused(scope=Scope.ACCOUNT, kind="insufficient_balance", message="Top up your account.")
NO_MODEL = Refused(scope=Scope.MODEL, kind="model_not_found", message="There is no such model.")
TOO_FAST = Throttled(wait_s=20.0, message="Slow down.")
RUNNING = Running(stage=Stage.RUNNING, word="PROCESSING")


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What one answer to the first submit of the only item leads to."""

    answer: Any
    state: str
    usd: float = 0.0
    submits: int = 1
    least_gap_s: float = 0.0
    """How long the second submit waits, at the least."""
    paused: str = ""
    """What the run says it stopped for."""
    orphans: int = 0
    doubtful: bool = False


DONE_USD = 2.0
ALIKE = {
    "accepted": Meaning(answer=Accepted(receipt=receipt_of("i0")), state="done", usd=DONE_USD),
    "refused, the item": Meaning(answer=BAD_PROMPT, state="rejected"),
    "refused, the model": Meaning(answer=NO_MODEL, state="rejected"),
    "refused, the account": Meaning(answer=NO_FUNDS, state="planned", paused="Top up your account."),
    "throttled": Meaning(answer=TOO_FAST, state="done", usd=DONE_USD, submits=2, least_gap_s=20.0),
    "throttled, untold": Meaning(
        answer=Throttled(wait_s=None), state="done", usd=DONE_USD, submits=2, least_gap_s=30.0
    ),
    "not sent": Meaning(answer=NO_ROUTE, state="done", usd=DONE_USD, submits=2, least_gap_s=0.5),
}
MEANINGS = {
    **{(name, provider): meaning for name, meaning in ALIKE.items() for provider in PROVIDERS},
    ("ambiguous", "venice"): Meaning(answer=NO_ANSWER, state="submit_in_doubt", usd=DONE_USD, doubtful=True),
    ("ambiguous", "modelmax"): Meaning(
        answer=NO_ANSWER, state="done", usd=DONE_USD, submits=2, least_gap_s=0.5, orphans=1
    ),
}


@pytest.mark.parametrize(("name", "provider"), MEANINGS)
def test_every_answer_leads_to_its_state_its_cost_and_what_is_sent_next(name: str, provider: str) -> None:
    meaning = MEANINGS[name, provider]
    with staged(provider, submits={"i0": [meaning.answer]}) as (script, batch):
        outcome = batch.run()
        job = batch.job()
        assert job.state == meaning.state
        assert job.committed_usd == meaning.usd
        assert batch.summary().committed_usd == meaning.usd
        assert job.orphans == meaning.orphans
        sent = script.times("submit")
        assert len(sent) == meaning.submits
        if meaning.submits == 2:
            assert sent[1] - sent[0] >= meaning.least_gap_s
        assert meaning.paused in " ".join(outcome.paused_because)
        assert bool(outcome.paused_because) == bool(meaning.paused)
        assert (job.failure is not None) == (job.state in {"rejected", "submit_in_doubt"})


@pytest.mark.parametrize(("name", "provider"), MEANINGS)
def test_a_second_run_sends_again_only_what_certainly_was_not_accepted(name: str, provider: str) -> None:
    meaning = MEANINGS[name, provider]
    with staged(provider, submits={"i0": [meaning.answer]}) as (script, batch):
        batch.run()
        sent = script.count("submit")
        batch.run()
        again = meaning.state == "planned"
        assert script.count("submit") == sent + again
        assert batch.job().state == ("done" if again else meaning.state)


def test_a_doubt_keeps_the_evidence_and_tells_the_user_where_to_look() -> None:
    lost = Ambiguous(message="Venice answered 502.", evidence={"status": 502, "body": "<html>"})
    with staged("venice", submits={"i0": [lost]}) as (_, batch):
        batch.run()
        failure = batch.job().failure
        assert failure is not None
        assert (failure.kind, failure.billing) == ("submit_unanswered", Billing.UNKNOWN)
        assert failure.evidence == {"status": 502, "body": "<html>"}
        (note,) = [note for note in batch.progress.notes if "in doubt" in note]
        assert "clipmill show /batch i0" in note


def test_a_rejection_keeps_the_vendors_own_words_and_costs_nothing() -> None:
    refused = Refused(scope=Scope.ITEM, kind="POLICY", message="No.", details={"suggested_prompt": "A calm lake"})
    with staged("venice", submits={"i0": [refused]}) as (_, batch):
        assert not batch.run().paused_because
        failure = batch.job().failure
        assert failure is not None
        assert (failure.kind, failure.message, failure.billing) == ("POLICY", "No.", Billing.UNBILLED)
        assert failure.evidence == {"scope": "item", "details": {"suggested_prompt": "A calm lake"}}
        assert (batch.progress.failed, batch.progress.spent_usd) == (1, 0.0)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_receipt_the_address_and_the_key_are_frozen_at_acceptance(provider: str) -> None:
    with staged(provider, submits={"i0": [Accepted(receipt=receipt_of("i0"), warnings=("remapped",))]}) as (_, batch):
        batch.run()
        job = batch.job()
        assert job.receipt == receipt_of("i0")
        assert job.base_url == BASE_URLS[provider]
        assert job.account == Account(key="test-key", base_url="").fingerprint
        assert job.warnings == ("remapped",)
        assert "i0: remapped" in batch.progress.notes
        assert "test-key" not in str(batch.events())


# What concerns more than one item.


@pytest.mark.parametrize("provider", PROVIDERS)
def test_when_the_account_is_refused_nothing_more_is_bought_and_all_that_was_is_brought_home(provider: str) -> None:
    slow = {f"i{number}": [RUNNING] * 40 for number in range(3)}
    refused = {f"i{number}": repeat(NO_FUNDS) for number in range(3, 40)}
    with staged(provider, 40, submits=refused, looks=slow) as (script, batch):
        outcome = batch.run()
        states = batch.states()
        assert outcome.paused_because == (
            f"{provider} refuses the account (insufficient_balance): Top up your account.",
        )
        assert [states[f"i{number}"] for number in range(3)] == ["done"] * 3
        assert set(states.values()) == {"done", "planned"}
        assert script.count("submit") <= 3 + 16
        assert batch.summary().committed_usd == 6.0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_after_three_refusals_of_a_model_its_other_items_stay_planned_and_other_models_go_on(provider: str) -> None:
    other = [an_item(f"o{number}", provider, model="another") for number in range(4)]
    wanted = [*items(8, provider), *other]
    refused = {f"i{number}": repeat(NO_MODEL) for number in range(8)}
    with staged(provider, wanted=wanted, submits=refused) as (script, batch):
        outcome = batch.run()
        states = batch.states()
        assert [states[f"i{number}"] for number in range(8)] == ["rejected"] * 3 + ["planned"] * 5
        assert [states[item.id] for item in other] == ["done"] * 4
        assert script.count("submit") == 3 + 4
        (reason,) = outcome.paused_because
        assert MODELS[provider] in reason
        assert "There is no such model." in reason


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_model_whose_submits_are_never_answered_is_left_planned_and_other_models_go_on(provider: str) -> None:
    other = [an_item(f"o{number}", provider, model="another") for number in range(4)]
    dead = {f"i{number}": repeat(BAD_GATEWAY) for number in range(9)}
    wanted = [item for pair in zip(items(4, provider), other, strict=True) for item in pair]
    with staged(provider, wanted=[*wanted, *items(9, provider)[4:]], submits=dead) as (script, batch):
        (reason,) = batch.run().paused_because
        assert sum(script.count("submit", f"i{number}") for number in range(9)) == UNANSWERED_MOST
        assert [batch.states()[item.id] for item in other] == ["done"] * 4
        assert reason.startswith(f"{UNANSWERED_MOST} submits of {MODELS[provider]} in a row brought no usable answer")
        assert "choose another model" in reason
        held = sum(state == "submit_in_doubt" for state in batch.states().values())
        assert held == (UNANSWERED_MOST if provider == "venice" else 0)


def test_a_vendor_that_answers_no_submit_at_all_is_asked_for_no_more_clips() -> None:
    wanted = [an_item(f"i{number}", "venice", model=f"model-{number}") for number in range(30)]
    dead = {f"i{number}": repeat(BAD_GATEWAY) for number in range(30)}
    with staged("venice", wanted=wanted, submits=dead) as (script, batch):
        (reason,) = batch.run().paused_because
        assert UNANSWERED_OF_ALL_MOST <= script.count("submit") <= UNANSWERED_OF_ALL_MOST + 2
        assert "no usable answer from venice (Bad gateway.)" in reason


def test_submits_without_an_answer_count_only_in_a_row() -> None:
    now_and_then = {f"i{number}": [BAD_GATEWAY] for number in range(0, 16, 2)}
    with staged("venice", 16, submits=now_and_then, limits={"concurrent_billing": 1}) as (_, batch):
        assert not batch.run().paused_because
        assert sorted(batch.states().values()) == ["done"] * 8 + ["submit_in_doubt"] * 8


def test_refusals_of_a_model_count_only_in_a_row() -> None:
    refused = {name: [NO_MODEL] for name in ("i1", "i2", "i4", "i5")}
    with staged("venice", 7, submits=refused, limits={"concurrent_billing": 1}) as (_, batch):
        assert not batch.run().paused_because
        assert [batch.states()[f"i{number}"] for number in (0, 3, 6)] == ["done"] * 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_after_the_same_refusal_three_times_in_a_row_the_models_other_items_stay_planned(provider: str) -> None:
    other = [an_item(f"o{number}", provider, model="another") for number in range(4)]
    refused = {f"i{number}": repeat(BAD_PROMPT) for number in range(9)}
    with staged(provider, wanted=[*items(9, provider), *other], submits=refused) as (script, batch):
        (reason,) = batch.run().paused_because
        assert reason.startswith(f"{provider} refused {MODELS[provider]} 3 times in a row (The prompt is too long.)")
        assert sorted(batch.states().values()) == ["done"] * 4 + ["planned"] * 6 + ["rejected"] * 3
        assert script.count("submit") == 3 + 4
        batch.run()
        assert script.count("submit") == 6 + 4  # told to go on, it asks again


def test_refusals_of_items_count_only_in_a_row_and_for_one_reason() -> None:
    other = Refused(scope=Scope.ITEM, kind="invalid_request", message="Not this length.")
    told = {1: BAD_PROMPT, 2: BAD_PROMPT, 4: BAD_PROMPT, 5: BAD_PROMPT, 6: other, 7: BAD_PROMPT, 8: other}
    refused = {f"i{number}": [answer] for number, answer in told.items()}
    with staged("venice", 10, submits=refused, limits={"concurrent_billing": 1}) as (_, batch):
        assert not batch.run().paused_because
        assert [number for number in range(10) if batch.states()[f"i{number}"] == "done"] == [0, 3, 9]


@pytest.mark.parametrize("kind", ["content_policy_violation", "needs_consent"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_refusals_of_what_items_show_close_nothing(provider: str, kind: str) -> None:
    refused = Refused(scope=Scope.ITEM, kind=kind, message="Not this.")
    with staged(provider, 8, submits={f"i{number}": [refused] for number in range(7)}) as (_, batch):
        assert not batch.run().paused_because
        assert list(batch.states().values()) == ["rejected"] * 7 + ["done"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_submits_that_could_not_be_sent_for_two_minutes_pause_the_batch(provider: str) -> None:
    with staged(provider, 3, submits={f"i{number}": repeat(NO_ROUTE) for number in range(3)}) as (script, batch):
        outcome = batch.run()
        assert set(batch.states().values()) == {"planned"}
        assert {job.attempt for job in batch.jobs()} == {0}
        (reason,) = outcome.paused_because
        assert reason == f"{provider} cannot be reached: {NO_ROUTE.message}. Check the network, then resume."
        sent = script.times("submit")
        assert 5 <= len(sent) <= 15
        assert OFFLINE_S <= sent[-1] - sent[0] <= OFFLINE_S + 60.0
        gaps = [b - a for a, b in pairwise(sent)]
        assert gaps[0] <= 1.0
        assert all(longer > shorter for shorter, longer in zip(gaps, gaps[4:], strict=False))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_blip_of_the_network_ends_no_run_however_many_submits_it_hits(provider: str, seed: int) -> None:
    def blip(world: World) -> Iterator[Any]:
        while True:
            yield NO_ROUTE if 9.5 <= world.loop.time() < 13.0 else None

    limits = {"concurrent_billing": 16, "submits_per_minute": None}
    with staged(provider, 200, submits={}, limits=limits, seed=seed, latency_s=(0.0, 0.1)) as (script, batch):
        answers = blip(batch.world)
        script.submits.update({f"i{number}": answers for number in range(1, 200)})
        script.submits["i0"] = [After(9.99, None)]  # the others leave together, at about ten seconds
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}
        unsent = [at for at in script.times("submit") if 9.5 <= at < 13.0]
        assert len(unsent) >= 5
        assert min(at for at in script.times("submit") if at >= 13.0) <= 17.0


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("answer", [TOO_FAST, NO_ANSWER, BAD_PROMPT])
def test_submits_that_could_not_be_sent_count_only_in_a_row(answer: Any, provider: str) -> None:
    answers = [*[NO_ROUTE] * 4, answer, *[NO_ROUTE] * 4]
    with staged(provider, 3, submits={"i0": answers, "i1": [NO_ROUTE] * 4}) as (script, batch):
        assert not batch.run().paused_because
        assert batch.states()["i2"] == "done"
        assert script.count("submit") >= 10


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_first_submit_of_a_model_goes_alone_until_it_is_accepted(provider: str) -> None:
    slow = After(50.0, Accepted(receipt=receipt_of("i0")))
    with staged(provider, 6, submits={"i0": [slow]}) as (script, batch):
        batch.run()
        sent = script.times("submit")
        assert sent[0] < 1.0
        assert min(sent[1:]) >= 50.0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_submit_under_way_when_the_lane_closes_is_still_brought_home(provider: str) -> None:
    late = {"i1": [After(30.0, Accepted(receipt=receipt_of("i1")))], "i2": [NO_FUNDS]}
    with staged(provider, 3, submits=late, looks={"i1": [RUNNING] * 3}) as (_, batch):
        assert batch.run().paused_because
        assert batch.states() == {"i0": "done", "i1": "done", "i2": "planned"}


def test_a_throttled_submit_stops_the_others_of_its_endpoint_too() -> None:
    with staged("venice", 20, submits={"i4": [Throttled(wait_s=25.0)]}) as (script, batch):
        assert not batch.run().paused_because
        sent = script.times("submit")
        stopped = script.times("submit", "i4")[0]
        assert not [at for at in sent if stopped < at < stopped + 25.0]
        assert batch.progress.throttled == 1


@pytest.mark.parametrize("answer", [Throttled(wait_s=30.0), Throttled(wait_s=None)])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_in_a_storm_of_429_one_submit_a_pause_asks_whether_it_is_over(provider: str, answer: Any) -> None:
    limits = {"concurrent_billing": 16, "submits_per_minute": None}
    with staged(provider, 40, limits=limits) as (script, batch):

        def storm() -> Iterator[Any]:
            while True:
                yield answer if 5.0 <= batch.world.loop.time() < 605.0 else None

        script.submits.update({f"i{number}": storm() for number in range(1, 40)})
        script.submits["i0"] = [After(5.0, None)]
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}
        stormy = [at for at in script.times("submit") if 5.0 <= at < 605.0]
        first = [at for at in stormy if at < stormy[0] + 30.0]
        assert len(first) <= 16
        assert most_within(stormy[len(first) :], 29.9) == 1
        assert batch.world.loop.time() < 640.0


def test_a_lock_out_told_to_a_submit_stops_the_looks_too() -> None:
    looks = {"i0": [RUNNING] * 50}
    locked = Throttled(wait_s=30.0, locked_out=True)
    with staged("venice", 2, submits={"i1": [After(3.0, locked)]}, looks=looks) as (script, batch):
        assert not batch.run().paused_because
        stopped = script.times("submit", "i1")[0] + 3.0
        assert [at for at in script.times("look") if at < stopped]
        assert not [at for at in script.times("look") if stopped < at < stopped + 30.0]


# Limits.


@pytest.mark.parametrize("seed", range(2))
def test_no_more_submits_leave_than_the_limit_allows_even_after_slow_ones(seed: int) -> None:
    slow = {f"i{number}": [After(61.0, Accepted(receipt=receipt_of(f"i{number}")))] for number in range(1, 5)}
    with staged("venice", 90, submits=slow, seed=seed, shuffle=seed > 0, limits={"in_flight": 200}) as (script, batch):
        assert not batch.run().paused_because
        assert most_within(script.times("submit"), 60.0) <= 40
        assert len(script.times("submit")) == 90


def test_no_more_jobs_are_in_flight_than_allowed() -> None:
    running = {f"i{number}": [RUNNING] * 5 for number in range(12)}
    with staged("modelmax", 12, looks=running, limits={"in_flight": 3}) as (script, batch):
        assert not batch.run().paused_because
        begun = [(script.times("submit", item)[0], 1) for item in running]
        found = [(script.times("look", item)[-1], -1) for item in running]
        assert max(accumulate(step for _, step in sorted(begun + found))) == 3


def test_a_job_that_was_found_finished_keeps_no_place_and_few_wait_to_come_home() -> None:
    slow = {f"i{number}": [After(60.0, None)] for number in range(12)}
    with staged("modelmax", 12, claims=slow, limits={"in_flight": 3, "concurrent_billing": 1}) as (script, batch):
        assert not batch.run().paused_because
        first_home = script.times("claim")[0] + 60.0
        assert 3 < len([at for at in script.times("submit") if at < first_home]) <= 3 + 3


def test_where_jobs_are_short_a_windows_submits_still_leave_together() -> None:
    with staged("venice", 120, limits={"in_flight": None}) as (script, batch):
        assert not batch.run().paused_because
        left = script.times("submit")
        assert len(left) == 120
        assert left[119] - left[80] < 8.0


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_no_more_submits_that_bill_are_open_than_allowed(slots: int) -> None:
    slow = {f"i{number}": [After(1.0 + number % 3, Accepted(receipt=receipt_of(f"i{number}")))] for number in range(25)}
    with staged("venice", 25, submits=slow, limits={"concurrent_billing": slots}, seed=4, shuffle=True) as stage:
        script, batch = stage
        batch.run()
        assert script.open_most["submit"] == slots
        assert open_intents_most(batch.events(), BilledAt.SUBMIT) == slots


def test_submits_that_cost_nothing_need_no_slot_of_those_that_bill() -> None:
    slow = {f"i{number}": [After(9.0, Accepted(receipt=receipt_of(f"i{number}")))] for number in range(1, 12)}
    with staged("modelmax", 12, submits=slow, limits={"concurrent_billing": 1}) as (script, batch):
        batch.run()
        assert script.open_most["submit"] == 11


def test_refused_submits_never_come_closer_than_the_vendor_tolerates() -> None:
    bad = [Refused(scope=Scope.ITEM, kind="invalid_request", message=f"Not a word {number}.") for number in range(60)]
    refused = {f"i{number}": [After(0.4, answer)] for number, answer in enumerate(bad)}
    limits = {"submits_per_minute": None, "concurrent_billing": 30}
    with staged("venice", 60, submits=refused, limits=limits) as (script, batch):
        batch.run()
        assert set(batch.states().values()) == {"rejected"}
        assert most_within(script.times("submit"), 30.0) <= CAPABILITIES["venice"].limits.failures_per_30_s  # type: ignore[operator]


# Money.


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_cap_is_never_passed_by_submits_that_leave_together(provider: str, seed: int) -> None:
    answers = [[NO_ANSWER], [After(1.0, TOO_FAST)], [BAD_PROMPT], [NO_ROUTE]]
    submits = {f"i{number}": answers[number % 4] for number in range(3, 40, 2)}
    limits = {"concurrent_billing": 8}
    stage = staged(
        provider, 40, submits=submits, max_cost_usd=25.0, limits=limits, seed=seed, shuffle=True, latency_s=(0.0, 0.1)
    )
    with stage as (_, batch):
        outcome = batch.run()
        assert committed_most_usd(batch.events()) == 24.0
        assert outcome.paused_because == (
            "The next clip would cost $2.00 and $24.00 of the cap of $25.00 are spent, reserved or in doubt. "
            "Raise it with --max-cost to go on.",
        )
        assert State.PLANNED in batch.states().values()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_cap_that_is_exactly_enough_is_enough(provider: str) -> None:
    with staged(provider, 3, max_cost_usd=6.0) as (_, batch):
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}


def test_with_a_raised_cap_the_batch_goes_on_where_it_stopped() -> None:
    with staged("venice", 4, max_cost_usd=4.0) as (script, batch):
        assert batch.run().paused_because
        assert sorted(batch.states().values()) == ["done", "done", "planned", "planned"]
        batch.max_cost_usd = 8.0
        assert not batch.run().paused_because
        assert script.count("submit") == 4


def test_a_doubt_counts_against_the_cap_and_a_rejection_does_not() -> None:
    submits = {"i0": [NO_ANSWER], "i1": [BAD_PROMPT]}
    with staged("venice", 3, submits=submits, max_cost_usd=4.0) as (_, batch):
        assert not batch.run().paused_because
        assert list(batch.states().values()) == ["submit_in_doubt", "rejected", "done"]
        assert batch.summary().committed_usd == 4.0
        assert batch.summary().in_doubt_usd == 2.0


def test_an_item_that_is_too_dear_is_not_begun() -> None:
    with staged("venice", 1, max_cost_usd=1.99) as (script, batch):
        (reason,) = batch.run().paused_because
        assert reason.startswith("The next clip would cost $2.00 and $0.00 of the cap of $1.99")
        assert script.count("submit") == 0
        assert batch.kinds() == ["item_planned"]


def test_a_quote_that_has_risen_in_an_hour_is_what_the_next_intent_reserves() -> None:
    wanted = items(2, "venice")
    key = quote_key("venice", wanted[0].request)
    asked = {"wanted": wanted, "limits": {"in_flight": 1}, "looks": {"i0": [After(4000.0, RUNNING)]}}
    with staged("venice", quotes=[Quoted(price_usd=3.0)], max_cost_usd=5.0, **asked) as (script, batch):
        batch.prices, batch.quotes = {}, {key: 2.0}
        assert not batch.run().paused_because
        assert script.count("quote") == 1
        assert [(job.reserved_usd, job.cost_is) for job in batch.jobs()] == [(2.0, CostIs.QUOTED), (3.0, CostIs.QUOTED)]


def test_a_vendor_that_does_not_quote_again_is_taken_at_its_last_word() -> None:
    wanted = items(2, "venice")
    key = quote_key("venice", wanted[0].request)
    asked = {"wanted": wanted, "limits": {"in_flight": 1}, "looks": {"i0": [After(4000.0, RUNNING)]}}
    with staged("venice", quotes=[Transient(message="503")], **asked) as (script, batch):
        batch.prices, batch.quotes = {}, {key: 2.0}
        batch.run()
        assert script.count("quote") == 1
        assert batch.summary().committed_usd == 4.0


def test_without_a_price_nothing_is_reserved_and_the_cost_is_unknown() -> None:
    with staged("modelmax") as (_, batch):
        batch.prices = {}
        batch.run()
        assert (batch.job().committed_usd, batch.job().cost_is) == (0.0, CostIs.UNKNOWN)


def test_clips_of_one_job_are_priced_together() -> None:
    with staged("modelmax", wanted=[an_item("i0", sample_count=3)]) as (_, batch):
        batch.prices = {"modelmax/veo-3": Price(usd_per_second=0.5)}
        batch.run()
        assert batch.job().committed_usd == 0.5 * 8 * 3


# Lost answers.


def test_a_lost_answer_where_a_submit_bills_is_never_sent_again_in_any_run() -> None:
    with staged("venice", 3, submits={"i1": repeat(NO_ANSWER)}) as (script, batch):
        for _ in range(4):
            batch.run()
        assert script.count("submit", "i1") == 1
        assert batch.states() == {"i0": "done", "i1": "submit_in_doubt", "i2": "done"}
        assert script.count("submit") == 3


def test_an_orphan_is_sent_anew_at_most_three_times_in_all_and_none_of_them_is_ever_claimed() -> None:
    with staged("modelmax", 2, submits={"i0": repeat(NO_ANSWER)}) as (script, batch):
        assert not batch.run().paused_because
        assert script.count("submit", "i0") == 3
        job = batch.job("i0")
        assert (job.state, job.committed_usd, job.orphans) == ("failed", 0.0, 2)
        assert job.failure is not None
        assert job.failure.billing is Billing.UNBILLED
        assert [call.item_id for call in script.calls if call.kind in {"look", "claim"}].count("i0") == 0
        assert batch.states()["i1"] == "done"


def test_only_the_job_whose_acceptance_was_read_is_looked_at_and_claimed() -> None:
    with staged("modelmax", submits={"i0": [NO_ANSWER, NO_ANSWER]}) as (script, batch):
        batch.run()
        assert batch.job().state == "done"
        assert batch.job().attempt == 3
        assert {call.job_id for call in script.calls if call.kind != "submit"} == {"i0-3"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_job_id_that_another_item_holds_already_is_held_and_not_shared(provider: str) -> None:
    with staged(provider, 2, submits={"i1": [Accepted(receipt=receipt_of("i0"))]}) as (script, batch):
        batch.run()
        assert batch.states() == {"i0": "done", "i1": "submit_in_doubt"}
        failure = batch.job("i1").failure
        assert failure is not None
        assert failure.kind == "duplicate_job_id"
        assert failure.evidence["receipt"]["job_id"] == "i0-1"
        assert any("i1" in note for note in batch.progress.notes)
        assert batch.clip("i1") is None
        batch.run()
        assert script.count("submit") == 2


def held(batch: Batch) -> list[str]:
    """Return the items that are in doubt for their id, told with their names, and the id with each."""
    found = [job.item_id for job in batch.jobs() if job.failure and job.failure.kind == "duplicate_job_id"]
    for item_id in found:
        assert batch.states()[item_id] == "submit_in_doubt"
        (note,) = [note for note in batch.progress.notes if note.startswith(f"{item_id} is in doubt: ")]
        assert "i0-1" in note
    return found


@pytest.mark.parametrize(
    ("provider", "when"),
    [*product(PROVIDERS, ["between two looks", "during a look"]), ("modelmax", "before its claim")],
)
def test_two_items_with_one_job_id_are_both_held(provider: str, when: str) -> None:
    """The first is looked at as soon as it is accepted, and the second is accepted ten seconds later."""
    looks: dict[str, Any] = {
        "between two looks": {"i0": repeat(After(0.01, RUNNING))},
        "during a look": {"i0": [After(60.0, None)]},
        "before its claim": {"i0": [After(5.0, None)]},
    }[when]
    claims = {"i2": [After(60.0, None)]} if when == "before its claim" else {}
    submits = {"i1": [After(10.0, Accepted(receipt=receipt_of("i0")))]}
    stage = staged(
        provider, 4, submits=submits, looks=looks, claims=claims, limits={"concurrent_billing": 1 + (not claims)}
    )
    with stage as (script, batch):
        batch.run()
        assert held(batch) == ["i0", "i1"]
        assert [batch.states()[name] for name in ("i2", "i3")] == ["done", "done"]
        assert script.count("claim", "i0") == 0
        assert max(script.times("look", "i0")) <= script.times("submit", "i1")[0] + 10.0
        assert batch.clip("i0") is None
        assert all(body.is_closed for body in script.bodies)
        assert batch.summary().in_doubt_usd == 4.0
        calls = len(script.calls)
        batch.run()
        assert len(script.calls) == calls


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_clip_that_is_home_when_its_id_is_given_again_stays_with_a_word(provider: str) -> None:
    submits = {"i1": [After(50.0, Accepted(receipt=receipt_of("i0")))]}
    with staged(provider, 2, submits=submits) as (_, batch):
        batch.run()
        assert batch.states() == {"i0": "done", "i1": "submit_in_doubt"}
        assert "i0 shares its job id with i1: its clip may be the other's." in batch.progress.notes


def test_a_job_that_this_run_left_behind_is_held_too() -> None:
    submits = {"i1": [After(50.0, Accepted(receipt=receipt_of("i0")))]}
    broken = [streaming(b"<html>") for _ in range(BROKEN_MOST)]
    with staged("venice", 2, submits=submits, looks={"i0": broken}) as (_, batch):
        batch.limits["looks_per_minute"] = None
        batch.run()
        assert batch.states() == {"i0": "submit_in_doubt", "i1": "submit_in_doubt"}


# Input files.


def with_picture(item_id: str, content: bytes, provider: str = "venice") -> Any:
    """Return an item whose picture is `fox.png` in the inputs' folder, as it was when it was planned."""
    item = an_item(item_id, provider, image="fox.png")
    file = InputFile(
        path="fox.png",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        media_type="image/png",
    )
    request = replace(item.request, files={"fox.png": file})
    return replace(item, request=request, fingerprint=fingerprint(provider, request))


@pytest.mark.parametrize("now", [b"another fox", None])
def test_an_input_that_is_no_longer_what_was_planned_sends_nothing_and_says_so(
    tmp_path: Path, now: bytes | None
) -> None:
    if now is not None:
        (tmp_path / "fox.png").write_bytes(now)
    with staged("venice", wanted=[with_picture("i0", b"a fox")]) as (script, batch):
        batch.inputs = tmp_path
        (reason,) = batch.run().paused_because
        assert "fox.png" in reason
        assert script.count("submit") == 0
        assert batch.kinds() == ["item_planned"]
        (tmp_path / "fox.png").write_bytes(b"a fox")
        assert not batch.run().paused_because
        assert batch.job().state == "done"


def test_an_input_that_has_changed_holds_up_its_own_item_alone(tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"another fox")
    wanted = [with_picture("i0", b"a fox"), *(an_item(f"i{number}", "venice") for number in range(1, 6))]
    with staged("venice", wanted=wanted) as (script, batch):
        batch.inputs = tmp_path
        (reason,) = batch.run().paused_because
        assert reason.startswith("i0 was not submitted: fox.png has changed since the item was planned.")
        assert batch.states() == {"i0": "planned"} | {f"i{number}": "done" for number in range(1, 6)}
        assert script.count("submit") == 5
        assert reason in batch.progress.notes


def test_an_input_that_vanishes_after_the_submit_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"a fox")
    cut = {"i0": [After(5.0, Refused(scope=Scope.ACCOUNT, kind="x", message="Bad key."))]}
    with staged("venice", wanted=[with_picture("i0", b"a fox")], looks=cut) as (script, batch):
        batch.inputs = tmp_path
        assert batch.run().paused_because
        (tmp_path / "fox.png").unlink()
        assert not batch.run().paused_because
        assert batch.job().state == "done"
        assert script.count("submit") == 1
