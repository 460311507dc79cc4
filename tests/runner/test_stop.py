"""Being told to stop, at any moment: what was asked is answered and written down, and nothing is bought twice."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import contextmanager
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.jobs.state import IN_DOUBT, EventKind, State
from pipeline.providers.answers import Accepted, Ambiguous, Claimed, Output, Running, Stage
from pipeline.runner.batch import GRACE_S
from pipeline.runner.stop import Stop
from tests.runner.staged import PROVIDERS, staged, stopped
from tests.support.batches import ROOT, Batch, a_vendor, items
from tests.support.scripted_provider import CLIP, After, receipt_of, streaming
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.batches import Vendor

RUNNING = Running(stage=Stage.RUNNING, word="PROCESSING")
SEEDS = range(10)
ITEMS = 6


@contextmanager
def at_the_sandbox(provider: str, seed: int) -> Iterator[tuple[Vendor, Batch]]:
    with World(seed, shuffle=True, latency_s=(0.01, 0.4), limit_s=30 * 86400) as world:
        vendor = a_vendor(world, seed=seed, durations_s={provider: 4.0})
        yield vendor, Batch(world, items(ITEMS, provider))


@cache
def whole_run_s(provider: str) -> float:
    with at_the_sandbox(provider, 0) as (_, batch):
        stopped(batch)
        return batch.world.loop.time()


@cache
def first_submit_s(provider: str) -> float:
    with staged(provider, 4) as (script, batch):
        stopped(batch)
        return script.times("submit")[0]


def moment_s(provider: str, seed: int) -> float:
    """Draw a moment, each part of a run being as likely as any other."""
    return (seed + Random(seed).random()) / len(SEEDS) * whole_run_s(provider)


def charges(vendor: Vendor) -> Counter[str]:
    """Return how often each item was charged."""
    counted: Counter[str] = Counter()
    for job in vendor.bill()["jobs"].values():
        counted[job["prompt"].rpartition(" ")[2]] += job["charges"]
    return counted


def states(batch: Batch) -> Counter[State]:
    return Counter(job.state for job in batch.jobs())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_first_stop_at_any_moment_leaves_no_doubt_and_the_next_run_finishes_everything(
    provider: str, seed: int
) -> None:
    with at_the_sandbox(provider, seed) as (vendor, batch):
        outcome = stopped(batch, moment_s(provider, seed))
        left = states(batch)
        assert set(left) <= {State.PLANNED, State.SUBMITTED, State.CLAIMED, State.DONE}
        if set(left) != {State.DONE}:
            assert outcome.signal == signal.SIGINT
        parts = {path for path in batch.world.files.sizes(ROOT / "clips") if path.name.endswith(".part")}
        assert parts <= {ROOT / clip.part for job in batch.jobs() for clip in job.clips if clip.part}, "an orphan's"
        known = {job.job_id for job in batch.jobs() if job.job_id}
        assert known == set(vendor.bill()["jobs"])
        batch.run()
        assert states(batch) == {State.DONE: ITEMS}
        assert charges(vendor) == {f"i{number}": 1 for number in range(ITEMS)}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_second_stop_writes_doubts_down_and_the_bill_is_what_is_done_and_what_of_those_was_charged(
    provider: str, seed: int
) -> None:
    first_s = moment_s(provider, seed)
    with at_the_sandbox(provider, seed) as (vendor, batch):
        stopped(batch, first_s, first_s + Random(seed).choice([0.0, 0.03, 0.2]))
        left = states(batch)
        assert not left.keys() & {State.SUBMITTING, State.CLAIMING}
        doubts = [job.item_id for job in batch.jobs() if job.state in IN_DOUBT]
        assert len(doubts) <= 2
        batch.run()
        assert states(batch)[State.DONE] == ITEMS - len(doubts)
        billed = charges(vendor)
        assert max(billed.values()) == 1
        assert {item_id for item_id, count in billed.items() if count} == {
            job.item_id for job in batch.jobs() if job.state is State.DONE
        } | {item_id for item_id in doubts if billed[item_id]}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_at_some_of_these_moments_a_second_stop_does_leave_doubts(provider: str) -> None:
    seen = 0
    for seed in SEEDS:
        with at_the_sandbox(provider, seed) as (_, batch):
            first_s = moment_s(provider, seed)
            stopped(batch, first_s, first_s)
            seen += sum(job.state in IN_DOUBT for job in batch.jobs())
    assert seen > 0


# Single moments, by the script.


def slow_submits(seconds: float) -> dict[str, Any]:
    return {f"i{number}": [After(seconds, Accepted(receipt=receipt_of(f"i{number}")))] for number in range(9)}


ONE = Claimed(outputs=(Output(index=0, location={}),), usage={}, answer={})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_submit_under_way_is_awaited_and_its_receipt_written_down(provider: str) -> None:
    with staged(provider, 9, submits=slow_submits(50.0)) as (script, batch):
        outcome = stopped(batch, 20.0)
        assert (outcome.signal, outcome.paused_because) == (signal.SIGINT, ())
        assert batch.world.loop.time() >= 50.0
        assert states(batch) == {State.SUBMITTED: 1, State.PLANNED: 8}
        assert batch.job("i0").receipt == receipt_of("i0")
        assert script.count("look") == 0
        batch.run()
        assert states(batch) == {State.DONE: 9}
        assert script.count("submit") == 9


def test_a_claim_under_way_is_awaited_and_what_it_billed_written_down() -> None:
    with staged("modelmax", 4, claims={"i0": [After(50.0, ONE)]}) as (script, batch):
        stopped(batch, 20.0)
        assert batch.job("i0").state is State.CLAIMED
        assert script.count("fetch", "i0") == 0
        batch.run()
        assert states(batch) == {State.DONE: 4}
        assert script.count("claim") == 4


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_download_under_way_is_given_up_and_fetched_by_the_next_run(provider: str) -> None:
    slow = streaming(CLIP[:500], 50.0, CLIP[500:])
    table = {"looks" if provider == "venice" else "fetches": {"i0": [slow]}}
    with staged(provider, 1, **table) as (script, batch):
        stopped(batch, 20.0)
        assert batch.world.loop.time() < 21.0
        assert batch.job().state is (State.SUBMITTED if provider == "venice" else State.CLAIMED)
        assert script.bodies[0].is_closed
        assert batch.world.files.sizes(ROOT / "clips") == {}
        batch.run()
        assert batch.clip() == CLIP
        assert script.count("claim") == (provider == "modelmax")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_second_stop_does_not_wait(provider: str) -> None:
    with staged(provider, 9, submits=slow_submits(50.0)) as (script, batch):
        stopped(batch, 20.0, 25.0)
        assert batch.world.loop.time() < 26.0
        held = {"venice": State.SUBMIT_IN_DOUBT, "modelmax": State.PLANNED}[provider]
        assert batch.job("i0").state is held
        assert batch.job("i0").orphans == (provider == "modelmax")
        script.submits.clear()
        script.forget()
        batch.run()
        assert script.count("submit", "i0") == (1 if provider == "venice" else 2)
        assert states(batch)[State.DONE] == (8 if provider == "venice" else 9)


def test_a_claim_in_doubt_after_a_second_stop_is_counted_as_spent() -> None:
    with staged("modelmax", 1, claims={"i0": [After(50.0, ONE)]}) as (script, batch):
        stopped(batch, 20.0, 25.0)
        job = batch.job()
        assert (job.state, job.committed_usd) == (State.CLAIM_IN_DOUBT, 2.0)
        assert job.failure is not None
        assert "stopped before the answer came" in job.failure.message
        batch.run()
        assert script.count("claim") == 1


@pytest.mark.parametrize("answer", [Accepted(receipt=receipt_of("i0")), Ambiguous(message="The answer was cut.")])
def test_whatever_answer_comes_after_the_first_stop_is_written_down(answer: Any) -> None:
    with staged("venice", 1, submits={"i0": [After(50.0, answer)]}) as (_, batch):
        stopped(batch, 20.0)
        expected = State.SUBMITTED if isinstance(answer, Accepted) else State.SUBMIT_IN_DOUBT
        assert batch.job().state is expected


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_that_is_told_to_terminate_waits_only_so_long_for_answers(provider: str) -> None:
    with staged(provider, 3, submits=slow_submits(3600.0)) as (_, batch):
        outcome = stopped(batch, 20.0, number=signal.SIGTERM)
        assert outcome.signal == signal.SIGTERM
        assert 20.0 + GRACE_S <= batch.world.loop.time() < 21.0 + GRACE_S
        assert State.SUBMITTING not in states(batch)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("asked", [1, 2])
@pytest.mark.parametrize("step", range(12))
def test_a_call_that_had_not_left_when_the_stop_came_never_leaves_and_makes_no_doubt(
    provider: str, asked: int, step: int
) -> None:
    at_s = first_submit_s(provider) - 0.05 + step * 0.017  # around the first intents, whose commits take their time
    with staged(provider, 4) as (script, batch):
        stopped(batch, *[at_s] * asked)
        late = [call for call in script.calls if call.kind in {"submit", "claim"} and call.at > at_s]
        assert late == []
        assert not states(batch).keys() & {State.SUBMITTING, State.CLAIMING, *IN_DOUBT}
        assert batch.summary().committed_usd == 2.0 * sum(bool(job.job_id) for job in batch.jobs())
        batch.run()
        assert states(batch) == {State.DONE: 4}
        assert script.count("submit") == 4
        assert script.count("claim") == (4 if provider == "modelmax" else 0)


def test_among_those_moments_are_some_at_which_an_intent_is_taken_back() -> None:
    taken_back = 0
    for provider in PROVIDERS:
        for step in range(12):
            with staged(provider, 4) as (_, batch):
                stopped(batch, first_submit_s(provider) - 0.05 + step * 0.017)
                kinds = [event.kind for event in batch.events()]
                taken_back += kinds.count(EventKind.SUBMIT_DEFERRED) + kinds.count(EventKind.CLAIM_DEFERRED)
    assert taken_back > 0


def test_a_stop_that_came_before_the_run_began_buys_nothing() -> None:
    with staged("venice", 3) as (script, batch):
        stopped(batch, 0.0)
        assert script.calls == []
        assert states(batch) == {State.PLANNED: 3}


def test_a_stop_while_everybody_waits_ends_the_run_at_once() -> None:
    with staged("venice", 90, looks={f"i{number}": [RUNNING] * 99 for number in range(90)}) as (_, batch):
        stopped(batch, 45.0)
        assert batch.world.loop.time() < 46.0
        assert set(states(batch)) == {State.SUBMITTED, State.PLANNED}


def test_asking_to_stop_counts_and_the_first_signal_stays() -> None:
    stop = Stop()
    stop.ask(signal.SIGTERM)
    assert (stop.finish.is_set(), stop.leave.is_set()) == (True, False)
    stop.ask(signal.SIGINT)
    assert (stop.asked, stop.signal, stop.leave.is_set()) == (2, signal.SIGTERM, True)
