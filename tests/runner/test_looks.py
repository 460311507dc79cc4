"""Looking: what each answer about a job at the vendor means, and when looking stops."""

from __future__ import annotations

from itertools import pairwise, repeat
from typing import Any

import pytest

from pipeline.jobs.job import CostIs
from pipeline.providers.answers import (
    Accepted,
    Billing,
    Failed,
    Gone,
    NotSent,
    Output,
    Ready,
    Refused,
    Running,
    Scope,
    Stage,
    Throttled,
    Transient,
)
from pipeline.runner.lane import GONE_OVER_S
from pipeline.runner.looks import BROKEN_OVER_S, BROKEN_TIMES, UNREACHED_MOST, YOUNG_S
from pipeline.runner.stop import Stop
from tests.runner.staged import CAPABILITIES, PROVIDERS, most_within, staged
from tests.support.scripted_provider import CLIP, After, receipt_of

RUNNING = Running(stage=Stage.RUNNING, word="PROCESSING")
QUEUED = Running(stage=Stage.QUEUED, word="IN_QUEUE")
GONE = Gone(message="Invalid id")
BROKEN = Transient(message="The vendor answered 500.", status=500)
BAD_KEY = Refused(scope=Scope.ACCOUNT, kind="unauthorized", message="The key is not valid.")
NO_ROUTE = NotSent(message="There is no route to the host")

HARMLESS = {
    "running": RUNNING,
    "queued": QUEUED,
    "an unknown word": Running(stage=Stage.RUNNING, word="DEFROSTING"),
    "running, with times": Running(stage=Stage.RUNNING, word="PROCESSING", elapsed_s=5.0, usual_s=120.0),
    "throttled": Throttled(wait_s=3.0),
    "throttled, untold": Throttled(wait_s=None),
    "locked out": Throttled(wait_s=30.0, locked_out=True),
    "not sent": NO_ROUTE,
    "a 500": BROKEN,
    "a 502": Transient(message="Bad gateway", status=502),
    "a lost answer": Transient(message="The connection was cut."),
    "a refusal of the item": Refused(scope=Scope.ITEM, kind="invalid_request", message="What?"),
    "a refusal of the model": Refused(scope=Scope.MODEL, kind="model_not_found", message="Which?"),
    "not known": GONE,
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", HARMLESS)
def test_no_single_answer_but_the_vendors_verdict_ends_a_job(name: str, provider: str) -> None:
    with staged(provider, 2, looks={"i0": [HARMLESS[name]] * 2}) as (script, batch):
        outcome = batch.run()
        assert not outcome.paused_because
        assert set(batch.states().values()) == {"done"}
        assert script.count("look", "i0") == 3
        assert script.count("submit") == 2
        assert batch.clip("i0") == CLIP


VERDICTS = {
    "refused, unbilled": (Failed(kind="policy", message="No.", billing=Billing.UNBILLED), 0.0, CostIs.COMPUTED),
    "refused, refunded": (Failed(kind="policy", message="No.", billing=Billing.REFUNDED), 0.0, CostIs.REFUNDED),
    "refused, billed": (Failed(kind="policy", message="No.", billing=Billing.BILLED), 2.0, CostIs.COMPUTED),
    "refused, untold": (Failed(kind="policy", message="No.", billing=Billing.UNKNOWN), 2.0, CostIs.COMPUTED),
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", VERDICTS)
def test_a_job_that_failed_is_never_submitted_again_and_costs_what_the_vendor_says(name: str, provider: str) -> None:
    answer, cost_usd, cost_is = VERDICTS[name]
    with staged(provider, looks={"i0": [RUNNING, answer]}) as (script, batch):
        assert not batch.run().paused_because
        job = batch.job()
        assert (job.state, job.committed_usd, job.cost_is) == ("failed", cost_usd, cost_is)
        assert job.failure is not None
        assert (job.failure.kind, job.failure.message) == ("policy", "No.")
        batch.run()
        assert (script.count("submit"), script.count("look"), script.count("claim")) == (1, 2, 0)


def test_a_clip_that_comes_with_the_look_is_the_download() -> None:
    with staged("venice") as (script, batch):
        batch.run()
        assert (script.count("look"), script.count("fetch")) == (1, 0)
        assert batch.clip() == CLIP
        assert all(body.is_closed for body in script.bodies)


def test_a_clip_that_lies_elsewhere_is_fetched_from_there() -> None:
    elsewhere = Ready(outputs=(Output(index=0, location={"download_url": "https://files.example.com/1"}),))
    with staged("venice", looks={"i0": [RUNNING, elsewhere]}) as (script, batch):
        batch.run()
        assert (script.count("look"), script.count("fetch")) == (2, 1)
        assert batch.clip() == CLIP


# A vendor that does not know the job.


@pytest.mark.parametrize(("provider", "cost_usd"), [("venice", 2.0), ("modelmax", 0.0)])
def test_a_job_that_is_not_known_three_times_over_ten_minutes_is_lost(provider: str, cost_usd: float) -> None:
    with staged(provider, looks={"i0": repeat(GONE)}) as (script, batch):
        assert not batch.run().paused_because
        job = batch.job()
        assert (job.state, job.committed_usd) == ("lost", cost_usd)
        assert job.failure is not None
        assert job.failure.kind == "gone"
        assert job.failure.billing is (Billing.BILLED if cost_usd else Billing.UNBILLED)
        grown = [at for at in script.times("look") if at >= YOUNG_S]
        assert len(grown) == 3
        assert grown[-1] - grown[0] >= GONE_OVER_S
        batch.run()
        assert script.count("submit") == 1


def test_in_its_first_two_minutes_a_job_may_be_unknown_as_often_as_it_likes() -> None:
    with staged("venice", looks={"i0": [GONE] * 10}) as (script, batch):
        assert not batch.run().paused_because
        assert batch.states() == {"i0": "done"}
        assert script.times("look")[-1] < YOUNG_S


def test_a_job_that_is_known_again_starts_the_count_afresh() -> None:
    answers = [*[RUNNING] * 10, GONE, GONE, RUNNING, GONE, GONE, RUNNING]
    settled = [After(200.0, RUNNING), *answers]
    with staged("venice", looks={"i0": settled}) as (script, batch):
        assert not batch.run().paused_because
        assert batch.states() == {"i0": "done"}
        assert script.times("look")[-1] > YOUNG_S + GONE_OVER_S


def test_three_times_within_ten_minutes_is_not_enough() -> None:
    with staged("venice", looks={"i0": [After(200.0, GONE), GONE]}) as (_, batch):
        assert not batch.run().paused_because
        assert batch.states() == {"i0": "done"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_job_that_another_key_does_not_know_is_left_for_the_key_that_made_it(provider: str) -> None:
    with staged(provider, looks={"i0": [BAD_KEY, *[GONE] * 20]}) as (script, batch):
        assert batch.run().paused_because
        batch.key = "another-key"
        (reason,) = batch.run().paused_because
        assert "another key" in reason
        job = batch.job()
        assert (job.state, job.committed_usd) == ("submitted", 2.0)
        batch.key = "test-key"
        script.looks.clear()
        script.forget()
        assert not batch.run().paused_because
        assert batch.job().state == "done"
        assert script.count("submit") == 1


def test_after_many_paid_clips_that_were_not_delivered_nothing_more_is_bought() -> None:
    looks = {f"i{number}": repeat(GONE) for number in range(11)}
    with staged("venice", 30, looks=looks, limits={"in_flight": 11}) as (script, batch):
        (reason,) = batch.run().paused_because
        assert "11 clips were paid for and not delivered" in reason
        states = list(batch.states().values())
        assert (states.count("lost"), states.count("planned") > 0, states.count("submitted")) == (11, True, 0)
        assert script.count("submit") == 30 - states.count("planned")


# Server errors.


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_job_that_is_answered_500_ten_times_over_half_an_hour_has_failed(provider: str) -> None:
    with staged(provider, 2, looks={"i0": repeat(BROKEN), "i1": [RUNNING] * 100}) as (script, batch):
        assert not batch.run().paused_because
        job = batch.job()
        assert (job.state, job.committed_usd) == ("failed", 2.0)
        assert job.failure is not None
        assert (job.failure.kind, job.failure.billing) == ("server_error", Billing.UNKNOWN)
        assert script.count("look", "i0") >= BROKEN_TIMES
        assert script.count("look", "i0") < 100
        assert script.times("look")[-1] >= BROKEN_OVER_S


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_vendor_that_answers_500_to_everything_takes_no_job_down_with_it(provider: str) -> None:
    with staged(provider, 3, looks={f"i{number}": repeat(BROKEN) for number in range(3)}) as (script, batch):
        (reason,) = batch.run().paused_because
        assert "errors alone for half an hour; resume" in reason
        assert set(batch.states().values()) == {"submitted"}
        assert script.times("look")[-1] >= BROKEN_OVER_S
        script.looks.clear()
        script.forget()
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}
        assert script.count("submit") == 3


def test_other_errors_never_end_a_job() -> None:
    bad_gateway = Transient(message="Bad gateway", status=502)
    cut = Transient(message="The connection was cut.")
    with staged("venice", looks={"i0": [bad_gateway, cut] * 60}) as (script, batch):
        assert not batch.run().paused_because
        assert batch.states() == {"i0": "done"}
        assert script.times("look")[-1] > 1.5 * BROKEN_OVER_S


def test_a_job_that_says_now_and_then_that_it_runs_has_not_failed() -> None:
    now_and_then = [BROKEN, BROKEN, BROKEN, RUNNING]
    with staged("venice", looks={"i0": now_and_then * 160}) as (script, batch):
        assert not batch.run().paused_because
        assert batch.states() == {"i0": "done"}
        assert script.times("look")[-1] > 1.2 * BROKEN_OVER_S


def test_looks_that_fail_come_less_and_less_often_up_to_a_minute() -> None:
    with staged("modelmax", looks={"i0": [Transient(message="503", status=503)] * 20}) as (script, batch):
        batch.run()
        looks = script.times("look")
        gaps = [later - earlier for earlier, later in pairwise(looks)]
        assert gaps[0] <= 2.0
        assert all(30.0 <= gap <= 60.1 for gap in gaps[8:])


# Throttling, keys, the network.


@pytest.mark.parametrize("wait_s", [7.0, 45.0])
def test_a_throttled_look_stops_every_look_at_that_vendor(wait_s: float) -> None:
    looks: dict[str, Any] = {f"i{number}": [RUNNING] * 12 for number in range(8)}
    looks["i3"] = [RUNNING, RUNNING, Throttled(wait_s=wait_s), *[RUNNING] * 3]
    with staged("venice", 8, looks=looks) as (script, batch):
        assert not batch.run().paused_because
        stopped = script.times("look", "i3")[2]
        assert not [at for at in script.times("look") if stopped < at < stopped + wait_s - 1e-6]
        assert [at for at in script.times("look") if at > stopped + wait_s - 1e-6]


def test_a_lock_out_told_to_a_look_stops_the_submits_too() -> None:
    slow = {f"i{number}": [After(2.0, Accepted(receipt=receipt_of(f"i{number}")))] for number in range(30)}
    looks = {"i0": [RUNNING, RUNNING, Throttled(wait_s=30.0, locked_out=True)]}
    with staged("venice", 30, submits=slow, looks=looks, limits={"concurrent_billing": 1}) as (script, batch):
        assert not batch.run().paused_because
        stopped = script.times("look", "i0")[2]
        sent = script.times("submit")
        assert sent[0] < stopped < sent[-1] - 30.0
        assert not [at for at in sent if stopped < at < stopped + 30.0]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_refused_key_halts_everything_and_leaves_every_job_as_it_is(provider: str) -> None:
    looks = {"i0": [RUNNING] * 40, "i1": [RUNNING] * 40, "i2": [RUNNING, BAD_KEY]}
    with staged(provider, 3, looks=looks) as (script, batch):
        (reason,) = batch.run().paused_because
        assert reason == f"{provider} refuses the key (unauthorized): The key is not valid."
        assert set(batch.states().values()) == {"submitted"}
        halted = script.times("look", "i2")[1]
        assert max(call.at for call in script.calls) == halted
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}
        assert script.count("submit") == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_network_that_is_gone_halts_the_run_and_leaves_every_job_as_it_is(provider: str) -> None:
    looks = {f"i{number}": [RUNNING, RUNNING, *[NO_ROUTE] * UNREACHED_MOST] for number in range(3)}
    with staged(provider, 3, looks=looks) as (script, batch):
        (reason,) = batch.run().paused_because
        assert reason == f"{provider} cannot be reached: {NO_ROUTE.message}. Check the network, then resume."
        assert set(batch.states().values()) == {"submitted"}
        for table in script.looks:
            script.looks[table] = ()
        script.forget()
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}
        assert script.count("submit") == 3


def test_looks_that_do_not_get_through_now_and_then_halt_nothing() -> None:
    flaky = [NO_ROUTE] * (UNREACHED_MOST - 1) + [RUNNING]
    with staged("venice", looks={"i0": flaky * 3}) as (_, batch):
        assert not batch.run().paused_because
        assert batch.states() == {"i0": "done"}


def test_looks_that_fail_together_after_minutes_of_silence_halt_nothing() -> None:
    looks = {f"i{number}": [After(300.0, NO_ROUTE)] for number in range(10, UNREACHED_MOST + 14)}
    limits = {"looks_per_minute": None, "submits_per_minute": None}
    with staged("venice", UNREACHED_MOST + 14, looks=looks, limits=limits) as (_, batch):
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}


# How long a job may take.


def test_a_job_that_takes_far_longer_than_its_like_is_left_for_another_run() -> None:
    looks: dict[str, Any] = {f"i{number}": [After(60.0, RUNNING)] for number in range(8)}
    looks["i8"] = repeat(RUNNING)
    with staged("modelmax", 9, looks=looks) as (script, batch):
        (reason,) = batch.run().paused_because
        assert reason == "i8 takes much longer than its like; resume to ask for it again."
        assert batch.states()["i8"] == "submitted"
        assert script.times("look")[-1] >= 1800.0
        script.looks["i8"] = ()
        script.forget()
        assert not batch.run().paused_because
        assert batch.states()["i8"] == "done"


def test_before_anything_is_known_of_its_like_a_job_may_take_hours() -> None:
    with staged("modelmax", looks={"i0": [After(5400.0, RUNNING)] * 2}) as (_, batch):
        assert not batch.run().paused_because
        assert batch.states() == {"i0": "done"}


# Budgets.


def test_no_more_looks_leave_than_the_limit_allows() -> None:
    looks = {f"i{number}": [RUNNING] * 12 for number in range(25)}
    with staged("venice", 25, looks=looks, limits={"looks_per_minute": 50}) as (script, batch):
        batch.run()
        assert most_within(script.times("look"), 60.0) <= 50
        assert set(batch.states().values()) == {"done"}


def test_failing_looks_stay_within_what_the_vendor_tolerates() -> None:
    answers = [GONE, Refused(scope=Scope.ITEM, kind="x", message="What?"), Transient(message="403", status=403)]
    looks = {f"i{number}": [After(0.3, answer) for answer in answers] for number in range(40)}
    with staged("venice", 40, looks=looks, limits={"looks_per_minute": 1000}) as (script, batch):
        batch.run()
        assert set(batch.states().values()) == {"done"}
        failed = sorted(at + 0.3 for number in range(40) for at in script.times("look", f"i{number}")[:-1])
        assert len(failed) == 3 * 40
        assert most_within(failed, 30.0) == CAPABILITIES["venice"].limits.failures_per_30_s


def test_a_job_is_looked_at_no_more_often_than_the_vendor_advises_once_it_is_known_how_long_it_takes() -> None:
    usual = Running(stage=Stage.RUNNING, word="PROCESSING", usual_s=300.0)
    with staged("modelmax", looks={"i0": [usual] * 40}) as (script, batch):
        batch.run()
        looks = script.times("look")
        assert min(later - earlier for earlier, later in pairwise(looks[1:])) >= 5.0 - 1e-9


def looked_at_within_6_s_of(moment_s: float, suspended_s: float) -> set[str]:
    """Return which of five long jobs are looked at after the machine has slept at some moment."""
    usual = Running(stage=Stage.RUNNING, word="PROCESSING", elapsed_s=1.0, usual_s=3000.0)
    with staged("venice", 5, looks={f"i{number}": [usual] * 20 for number in range(5)}) as (script, batch):
        process = batch.world.process("run")
        effects = batch.world.effects(process)

        async def suspend() -> None:
            await effects.clock.sleep(moment_s)
            effects.clock.suspended_s += suspended_s  # type: ignore[attr-defined]

        batch.world.start(suspend(), process)
        batch.world.run(batch.work(effects, Stop()), process)
        assert set(batch.states().values()) == {"done"}
        told = f"The machine was suspended for {suspended_s:.0f} s; every job is looked at anew."
        assert (told in batch.progress.notes) == (suspended_s > 15.0)
        return {call.item_id for call in script.calls if call.kind == "look" and moment_s <= call.at < moment_s + 6.0}


def test_after_the_machine_was_suspended_every_job_is_looked_at_anew() -> None:
    assert looked_at_within_6_s_of(200.0, 8 * 3600.0) == {f"i{number}" for number in range(5)}
    assert len(looked_at_within_6_s_of(200.0, 0.0)) < 3
