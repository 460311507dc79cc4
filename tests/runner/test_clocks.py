"""Time that passes otherwise than a run believes: a suspended machine, a wall clock that jumps, links that expire."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.jobs.job import Job
from pipeline.jobs.state import State
from pipeline.providers.answers import Accepted, Gone, Refused, Running, Scope, Stage
from pipeline.runner.expiry import by_expiry, countdown
from pipeline.runner.stop import Stop
from tests.runner.staged import PROVIDERS, staged
from tests.support.batches import an_item
from tests.support.scripted_provider import After, receipt_of
from tests.support.simulation.simulated_effects import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipeline.runner.batch import Outcome
    from tests.support.batches import Batch

HOUR_S = 3600.0
SLOW = Running(stage=Stage.RUNNING, word="PROCESSING", usual_s=2 * HOUR_S)
BAD_KEY = Refused(scope=Scope.ACCOUNT, kind="unauthorized", message="The key is not valid.")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def disturbed(batch: Batch, at_s: float, change: Callable[[VirtualClock], None]) -> Outcome:
    """Run a batch and do something to its clock at a moment."""
    process = batch.world.process("disturbed")
    effects = batch.world.effects(process)
    clock = effects.clock
    assert isinstance(clock, VirtualClock)

    async def later() -> None:
        await clock.sleep(at_s)
        change(clock)

    waiting = batch.world.start(later(), process)
    try:
        return batch.world.run(batch.work(effects, Stop()), process)
    finally:
        waiting.cancel()


def suspended_for(seconds: float) -> Callable[[VirtualClock], None]:
    def suspend(clock: VirtualClock) -> None:
        clock.suspended_s += seconds

    return suspend


def slow_until(batch: Batch, moment_s: float, then: Sequence[Any] = ()) -> Iterator[Any]:
    """Yield answers to looks: an unfinished job's up to a moment, and others from then on."""
    while batch.world.loop.time() < moment_s:
        yield SLOW
    yield from then


# A machine that is suspended.


@pytest.mark.parametrize("provider", PROVIDERS)
def test_after_the_machine_was_suspended_every_job_is_looked_at_anew(provider: str) -> None:
    with staged(provider, 12) as (script, batch):
        script.looks.update({f"i{number}": slow_until(batch, 300.0) for number in range(12)})
        assert not disturbed(batch, 300.0, suspended_for(2 * HOUR_S)).paused_because
        assert set(batch.states().values()) == {"done"}
        assert batch.world.loop.time() < 320.0
        for number in range(12):
            *_, before, last = script.times("look", f"i{number}")
            assert before < 300.0 <= last < 315.0
        (note,) = [note for note in batch.progress.notes if "suspended" in note]
        assert note == "The machine was suspended for 7200 s; every job is looked at anew."


def test_a_pause_of_a_few_seconds_is_no_suspension() -> None:
    with staged("venice") as (script, batch):
        script.looks["i0"] = slow_until(batch, 300.0)
        disturbed(batch, 300.0, suspended_for(10.0))
        assert not [at for at in script.times("look") if 300.0 < at < 315.0]
        assert not [note for note in batch.progress.notes if "suspended" in note]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_submit_that_was_under_way_while_the_machine_slept_is_answered_as_any_other(provider: str) -> None:
    late = {"i1": [After(400.0, Accepted(receipt=receipt_of("i1")))]}
    with staged(provider, 2, submits=late) as (script, batch):
        assert not disturbed(batch, 100.0, suspended_for(2 * HOUR_S)).paused_because
        assert set(batch.states().values()) == {"done"}
        assert script.count("submit") == 2


def test_after_a_long_sleep_the_user_is_told_what_the_vendor_may_keep_no_longer() -> None:
    gone = [Gone(message="Not found")] * 9
    with staged("venice", 2) as (script, batch):
        script.looks.update(i0=slow_until(batch, 300.0, gone), i1=slow_until(batch, 300.0))
        disturbed(batch, 300.0, suspended_for(25 * HOUR_S))
        (note,) = [note for note in batch.progress.notes if "may be gone" in note]
        assert note.startswith("Of the clips that venice is paid for, 2 may be gone")
        assert batch.states() == {"i0": "lost", "i1": "done"}
        assert batch.summary().committed_usd == 4.0


# A wall clock that jumps.


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0, -5.0])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_wall_clock_that_jumps_changes_nothing_of_what_is_asked_and_when(provider: str, jump_s: float) -> None:
    def calls(change: Callable[[VirtualClock], None]) -> list[Any]:
        looks = {f"i{number}": [SLOW] * number for number in range(6)}
        submits = {"i5": [After(200.0, Accepted(receipt=receipt_of("i5")))]}
        with staged(provider, 6, looks=looks, submits=submits) as (script, batch):
            assert not disturbed(batch, 100.0, change).paused_because
            assert set(batch.states().values()) == {"done"}
            return script.calls

    def jump(clock: VirtualClock) -> None:
        clock.wall_offset_s = jump_s

    assert calls(jump) == calls(lambda clock: None)


# What expires.


def a_job(item_id: str, hours_ago: float, state: State = State.SUBMITTED, intent_hours_ago: float | None = None) -> Job:
    """Return a job that was submitted some hours before noon."""
    submitted_at = NOON - timedelta(hours=hours_ago)
    began_at = submitted_at if intent_hours_ago is None else NOON - timedelta(hours=intent_hours_ago)
    job = Job(item_id=item_id, revision=1, fingerprint="", provider="venice", request=an_item(item_id).request)
    return replace(job, state=state, submitted_at=submitted_at, intent_at=began_at)


def test_what_is_claimed_comes_home_first_and_then_what_is_oldest() -> None:
    jobs = [
        a_job("young", 1),
        a_job("old", 20),
        a_job("adopted just now", 0, intent_hours_ago=23),
        a_job("claimed", 0.1, State.CLAIMED, intent_hours_ago=0.05),
    ]
    assert [job.item_id for job in by_expiry(jobs, NOON)] == ["claimed", "adopted just now", "old", "young"]


def test_the_countdown_begins_when_half_of_the_time_is_over() -> None:
    def says(*hours_ago: float, lifetime_s: float | None = 24 * HOUR_S) -> str:
        return countdown([a_job(f"i{at}", at) for at in hours_ago], lifetime_s, NOON)

    assert says() == says(0, 3, 11.9) == says(20, lifetime_s=None) == ""
    assert says(1, 13, 21.5, 23.25) == (
        "3 can be fetched for less than 12 h more, the first for 0:45 h; those come first."
    )
    assert "1 can be fetched" in says(13, 25)
    assert "1 may be gone: they are older than the 24 h that they are kept" in says(13, 25)


@pytest.mark.parametrize(("hours", "is_told"), [(20, True), (1, False)])
def test_a_run_that_goes_on_with_old_jobs_tells_how_long_they_can_be_had(hours: int, is_told: bool) -> None:
    with staged("venice", 3, looks={f"i{number}": [BAD_KEY] for number in range(3)}) as (script, batch):
        batch.run()
        script.looks.clear()
        script.forget()
        count = list(batch.states().values()).count("submitted")
        assert count
        batch.world.pass_time(hours * HOUR_S)
        batch.run()
        told = [note for note in batch.progress.notes if note.startswith("Of the clips that venice is paid for")]
        assert [f" {count} can be fetched" in note and " 4:00 h;" in note for note in told] == [True] * is_told
        assert set(batch.states().values()) == {"done"}


def test_clips_that_are_claimed_are_fetched_before_anything_more_is_claimed() -> None:
    fetches = {"i1": [BAD_KEY]}
    limits = {"concurrent_downloads": 1}
    looks: dict[str, Any] = {"i0": repeat(SLOW)}
    with staged("modelmax", 2, looks=looks, fetches=fetches, limits=limits) as (script, batch):
        batch.run()
        assert batch.states() == {"i0": "submitted", "i1": "claimed"}
        script.looks.clear()
        script.forget()
        script.fetches.clear()
        asked = len(script.calls)
        batch.run()
        assert [(call.kind, call.item_id) for call in script.calls[asked:] if call.kind != "look"] == [
            ("fetch", "i1"),
            ("claim", "i0"),
            ("fetch", "i0"),
        ]
