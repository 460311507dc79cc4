"""Claiming: the one call that bills at ModelMax, made once, and what each of its answers means."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pytest

from pipeline.manifest.model import Price
from pipeline.providers.answers import (
    Ambiguous,
    Billing,
    Claimed,
    Failed,
    NotSent,
    Output,
    Refused,
    Running,
    Scope,
    Stage,
    Throttled,
    Transient,
)
from pipeline.providers.base import BilledAt
from pipeline.runner.claim import OUTPUT_REFUSALS_MOST
from tests.runner.staged import committed_most_usd, open_intents_most, staged
from tests.support.batches import an_item
from tests.support.scripted_provider import CLIP, After, streaming

LOST = Ambiguous(message="The connection was cut.", evidence={"status": None})
EMPTY = Claimed(outputs=(), usage={"video_seconds": 8}, answer={"status": "COMPLETED", "data": []})
ONE = (Output(index=0, location={"n": 0}),)


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What one answer to the first claim of the only item leads to."""

    answer: Any
    state: str = "done"
    usd: float = 2.0
    claims: int = 1
    least_gap_s: float = 0.0
    paused: str = ""
    failure: str = ""


MEANINGS = {
    "claimed": Meaning(answer=Claimed(outputs=ONE, usage={}, answer={})),
    "claimed, and no clip named": Meaning(answer=EMPTY, state="lost", failure="billed_without_clip"),
    "running after all": Meaning(answer=Running(stage=Stage.RUNNING, word="IN_PROGRESS"), claims=2, least_gap_s=5.0),
    "failed, unbilled": Meaning(
        answer=Failed(kind="failed", message="No.", billing=Billing.UNBILLED), state="failed", usd=0.0, failure="failed"
    ),
    "failed, billed": Meaning(
        answer=Failed(kind="failed", message="No.", billing=Billing.BILLED), state="failed", failure="failed"
    ),
    "refused, the item": Meaning(
        answer=Refused(scope=Scope.ITEM, kind="bad_request", message="What?"), claims=2, least_gap_s=30.0
    ),
    "refused, the account": Meaning(
        answer=Refused(scope=Scope.ACCOUNT, kind="insufficient_balance", message="Top up."),
        state="submitted",
        paused="modelmax refuses the account (insufficient_balance): Top up.",
    ),
    "throttled": Meaning(answer=Throttled(wait_s=12.0), claims=2, least_gap_s=12.0),
    "throttled, untold": Meaning(answer=Throttled(wait_s=None), claims=2, least_gap_s=30.0),
    "not sent": Meaning(answer=NotSent(message="There is no route to the host"), claims=2, least_gap_s=0.5),
    "lost": Meaning(answer=LOST, state="claim_in_doubt", failure="claim_unanswered"),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_every_answer_leads_to_its_state_and_its_cost_and_to_another_claim_only_where_none_was_billed(
    name: str,
) -> None:
    meaning = MEANINGS[name]
    with staged("modelmax", claims={"i0": [meaning.answer]}) as (script, batch):
        outcome = batch.run()
        job = batch.job()
        assert (job.state, job.committed_usd) == (meaning.state, meaning.usd)
        assert (job.failure.kind if job.failure else "") == meaning.failure
        assert " ".join(outcome.paused_because) == meaning.paused
        made = script.times("claim")
        assert len(made) == meaning.claims
        if meaning.claims == 2:
            assert made[1] - made[0] >= meaning.least_gap_s
        assert script.count("submit") == 1
        assert (batch.clip() == CLIP) == (meaning.state == "done")


@pytest.mark.parametrize("name", MEANINGS)
def test_a_second_run_claims_again_only_what_certainly_was_not_billed(name: str) -> None:
    meaning = MEANINGS[name]
    with staged("modelmax", claims={"i0": [meaning.answer]}) as (script, batch):
        batch.run()
        made = script.count("claim")
        batch.run()
        again = meaning.state == "submitted"
        assert script.count("claim") == made + again
        assert batch.job().state == ("done" if again else meaning.state)
        assert script.count("submit") == 1


def test_a_claim_whose_answer_was_lost_is_held_counted_as_spent_and_never_made_again() -> None:
    with staged("modelmax", 3, claims={"i1": repeat(LOST)}) as (script, batch):
        for _ in range(3):
            assert not batch.run().paused_because
        assert batch.states() == {"i0": "done", "i1": "claim_in_doubt", "i2": "done"}
        assert script.count("claim", "i1") == 1
        summary = batch.summary()
        assert (summary.committed_usd, summary.in_doubt_usd) == (6.0, 2.0)
        assert batch.clip("i1") is None


def test_a_claim_in_doubt_keeps_the_evidence_and_tells_the_user_where_to_look() -> None:
    with staged("modelmax", claims={"i0": [Ambiguous(message="502.", evidence={"status": 502})]}) as (_, batch):
        batch.run()
        failure = batch.job().failure
        assert failure is not None
        assert (failure.billing, failure.evidence) == (Billing.UNKNOWN, {"status": 502})
        (note,) = [note for note in batch.progress.notes if "in doubt" in note]
        assert "clipmill show /batch i0" in note
        assert batch.progress.in_doubt == 1


def test_a_claim_that_is_refused_again_and_again_is_given_up_and_costs_nothing() -> None:
    refused = Refused(scope=Scope.ITEM, kind="bad_request", message="Invalid request ID")
    with staged("modelmax", claims={"i0": repeat(refused)}) as (script, batch):
        assert not batch.run().paused_because
        job = batch.job()
        assert (job.state, job.committed_usd) == ("lost", 0.0)
        assert job.failure is not None
        assert job.failure.billing is Billing.UNBILLED
        assert script.count("claim") == OUTPUT_REFUSALS_MOST


def test_many_results_that_were_billed_and_named_no_clip_stop_further_buying() -> None:
    claims = {f"i{number}": [EMPTY] for number in range(11)}
    with staged("modelmax", 40, claims=claims, limits={"in_flight": 11}) as (_, batch):
        (reason,) = batch.run().paused_because
        assert "not delivered" in reason
        assert batch.progress.undelivered == 11
        states = list(batch.states().values())
        assert states.count("lost") == 11
        assert states.count("planned") >= 40 - 11 - 2 * 11  # at the vendor, and coming home


@pytest.mark.parametrize("slots", [1, 2, 4])
@pytest.mark.parametrize("seed", range(2))
def test_no_more_claims_are_open_than_allowed_on_the_wire_or_in_the_ledger(slots: int, seed: int) -> None:
    answers: list[Any] = [LOST, Throttled(wait_s=1.0), NotSent(message="No route"), None]
    claims = {f"i{number}": [After(0.5 + number % 4, answers[number % 4])] for number in range(30)}
    stage = staged(
        "modelmax",
        30,
        claims=claims,
        seed=seed,
        shuffle=True,
        latency_s=(0.0, 0.05),
        limits={"concurrent_billing": slots},
    )
    with stage as (script, batch):
        batch.run()
        assert script.open_most["claim"] == slots
        assert open_intents_most(batch.events(), BilledAt.CLAIM) == slots
        assert sorted(set(batch.states().values())) == ["claim_in_doubt", "done"]


def test_an_account_that_is_refused_at_a_claim_leaves_every_job_where_it_can_be_claimed_later() -> None:
    refused = Refused(scope=Scope.ACCOUNT, kind="insufficient_balance", message="Top up.")
    with staged("modelmax", 6, claims={f"i{number}": [refused] for number in range(6)}) as (script, batch):
        assert batch.run().paused_because
        assert set(batch.states().values()) == {"submitted"}
        assert script.count("claim") <= 2
        assert {job.claims_made for job in batch.jobs()} == {0}
        for table in script.claims:
            script.claims[table] = ()
        script.forget()
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}


def test_an_account_that_is_refused_at_a_claim_lets_what_is_claimed_come_home() -> None:
    refused = Refused(scope=Scope.ACCOUNT, kind="insufficient_balance", message="Top up.")
    slow = [streaming(CLIP[:300], 50.0), Transient(message="Bad gateway", status=502), streaming()]
    late = {f"i{number}": [After(5.0, refused)] for number in range(1, 6)}
    with staged("modelmax", 6, claims=late, fetches={"i0": slow}) as (script, batch):
        (reason,) = batch.run().paused_because
        assert reason == "modelmax refuses the account (insufficient_balance): Top up."
        assert batch.states() == {"i0": "done"} | {f"i{number}": "submitted" for number in range(1, 6)}
        assert batch.clip("i0") == CLIP
        assert batch.world.loop.time() >= 50.0
        refused_at = script.times("claim", "i1")[0] + 5.0
        assert [call for call in script.calls if call.at > refused_at and call.kind in {"claim", "look"}] == []
        for table in script.claims:
            script.claims[table] = ()
        script.forget()
        assert not batch.run().paused_because
        assert script.count("claim", "i0") == 1


@pytest.mark.parametrize("downloads", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_claimed_before_there_is_a_slot_to_fetch_it_in(downloads: int, seed: int) -> None:
    slow = {f"i{number}": [streaming(CLIP[:300], 40.0, CLIP[300:])] for number in range(12)}
    stage = staged(
        "modelmax",
        12,
        fetches=slow,
        seed=seed,
        shuffle=True,
        claims={f"i{number}": [Throttled(wait_s=3.0)] for number in range(5, 9)},
        limits={"concurrent_downloads": downloads, "concurrent_billing": 4},
    )
    with stage as (script, batch):
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}
        for number in range(12):
            claimed, fetched = script.times("claim", f"i{number}")[-1], script.times("fetch", f"i{number}")[0]
            assert fetched - claimed < 1.0


def test_with_free_slots_a_claim_waits_for_nothing() -> None:
    with staged("modelmax", 8, claims={f"i{number}": [After(1.0, None)] for number in range(8)}) as (script, batch):
        batch.run()
        assert max(script.times("claim")) - min(script.times("claim")) < 4 * 1.0
        assert script.open_most["claim"] == 2


def test_several_clips_of_a_job_and_retries_need_no_more_than_one_slot() -> None:
    broken = [streaming(CLIP[:100]), streaming(), Transient(message="No.", status=502), streaming()] * 2
    wanted = [an_item(f"i{number}", sample_count=3) for number in range(4)]
    limits = {"concurrent_downloads": 1}
    with staged("modelmax", wanted=wanted, fetches={f"i{n}": broken for n in range(4)}, limits=limits) as (_, batch):
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}


def test_a_throttled_claim_stops_the_other_claims_too() -> None:
    with staged("modelmax", 8, claims={"i0": [Throttled(wait_s=40.0)]}) as (script, batch):
        batch.run()
        stopped = script.times("claim", "i0")[0]
        later = [at for at in script.times("claim") if at > stopped]
        assert min(later) >= stopped + 40.0
        assert len(script.times("claim")) == 9


# Money.


def test_what_the_vendor_says_it_billed_replaces_what_was_reserved() -> None:
    usage = {"video_seconds": 6, "video_resolution": "720p", "video_has_audio": True}
    answer = Claimed(outputs=ONE, usage=usage, answer={"id": 7}, warnings=("6 s were billed, 8 were asked for",))
    with staged("modelmax", claims={"i0": [answer]}) as (_, batch):
        batch.prices = {"modelmax/veo-3": Price(usd_per_second=0.5)}
        batch.run()
        job = batch.job()
        assert (job.committed_usd, job.usage) == (3.0, usage)
        assert job.warnings == ("6 s were billed, 8 were asked for",)
        assert committed_most_usd(batch.events()) == 4.0
        assert batch.progress.spent_usd == pytest.approx(3.0)


@pytest.mark.parametrize("seconds", [None, "8", 0, -1, float("inf"), float("nan"), True])
def test_a_usage_that_makes_no_sense_changes_no_price(seconds: Any) -> None:
    answer = Claimed(outputs=ONE, usage={"video_seconds": seconds} if seconds is not None else {}, answer={})
    with staged("modelmax", claims={"i0": [answer]}) as (_, batch):
        batch.prices = {"modelmax/veo-3": Price(usd_per_second=0.5)}
        batch.run()
        assert batch.job().committed_usd == 4.0


def test_a_result_with_fewer_clips_than_asked_for_is_done_with_those_it_has() -> None:
    with staged("modelmax", wanted=[an_item("i0", sample_count=3)], claims={"i0": [None]}) as (script, batch):
        script.claims["i0"] = [Claimed(outputs=ONE, usage={}, answer={})]
        assert not batch.run().paused_because
        job = batch.job()
        assert (job.state, len(job.clips)) == ("done", 1)
        assert script.count("claim") == 1


def test_nothing_is_claimed_that_there_is_no_room_for() -> None:
    bad_key = Refused(scope=Scope.ACCOUNT, kind="unauthorized", message="The key is not valid.")
    with staged("modelmax", 1, looks={"i0": [bad_key]}) as (script, batch):
        assert batch.run().paused_because
        assert batch.job("i0").state == "submitted"
        batch.world.files.capacity_bytes = 65 << 20  # not enough for a clip
        (reason,) = batch.run().paused_because
        assert "Free space" in reason
        assert batch.job("i0").state == "submitted"
        assert script.count("claim") == 0
        batch.world.files.capacity_bytes = None
        assert not batch.run().paused_because
        assert script.count("claim") == 1
