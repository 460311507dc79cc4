"""The schedule: who is looked at next, and that nobody is forgotten whatever the law believes."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.providers.answers import Running, Stage
from pipeline.runner.hazard import Law
from pipeline.runner.schedule import GUARD_S, MANY, SCOUTS, UNSEEN_S, Live, Schedule
from tests.support.batches import an_item

MODELS = ("veo-3", "veo-2")


@dataclass(frozen=True)
class Told:
    """As much of a job as the schedule reads."""

    item_id: str
    provider: str
    request: object


def a_job(number: int, model: str = "veo-3") -> Told:
    return Told(f"i{number}", "modelmax", an_item(f"i{number}", model=model).request)


def accept(schedule: Schedule, number: int, now: float, model: str = "veo-3") -> Live:
    live = schedule.accept(a_job(number, model), now)  # type: ignore[arg-type]
    schedule.add(live, now)
    return live


def running(usual_s: float | None = None, stage: Stage = Stage.RUNNING) -> Running:
    return Running(stage=stage, word="PROCESSING", usual_s=usual_s)


@dataclass
class Outcome:
    looks: int
    lags_s: list[float]
    longest_unwatched_s: float


def drive(
    schedule: Schedule, takes_s: list[float], *, looks_per_s: float, at_once: int, usual_s: float | None
) -> Outcome:
    """Take jobs through a schedule, with a budget of looks and no network."""
    now, free = 0.0, 0.0
    started: dict[str, float] = {}
    watched: dict[str, float] = {}
    outcome = Outcome(0, [], 0.0)
    waiting, live_count = list(enumerate(takes_s))[::-1], 0
    while waiting or live_count:
        while waiting and live_count < at_once:
            number, _ = waiting.pop()
            live = accept(schedule, number, now)
            started[live.job.item_id] = watched[live.job.item_id] = now
            live_count += 1
        chosen, due_in_s = schedule.choose(now) if free <= now else (None, free - now)
        if chosen is None:
            now += max(due_in_s, 1e-6)
            continue
        outcome.looks += 1
        free = now + 1 / looks_per_s
        name = chosen.job.item_id
        outcome.longest_unwatched_s = max(outcome.longest_unwatched_s, now - watched[name])
        watched[name] = now
        chosen.looks += 1
        ends = started[name] + takes_s[int(name[1:])]
        if now >= ends:
            outcome.lags_s.append(now - ends)
            schedule.finished(chosen, now)
            live_count -= 1
        else:
            schedule.unfinished(chosen, running(usual_s), now)
    return outcome


def lognormal(seed: int, count: int, median_s: float, sigma: float) -> list[float]:
    source = random.Random(seed)
    return [source.lognormvariate(math.log(median_s), sigma) for _ in range(count)]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    median_s=st.sampled_from([0.05, 2.0, 60.0, 600.0]),
    sigma=st.floats(0.05, 1.2),
    usual_s=st.none() | st.floats(1.0, 1000.0),
)
def test_every_job_is_found_whatever_the_law_and_the_vendors_word(
    seed: int, median_s: float, sigma: float, usual_s: float | None
) -> None:
    takes_s = lognormal(seed, 40, median_s, sigma)
    outcome = drive(Schedule(5.0), takes_s, looks_per_s=5.0, at_once=20, usual_s=usual_s)
    assert len(outcome.lags_s) == 40
    # The guard: at least once in two minutes, or in half as long as the job has lasted, plus the wait for a turn.
    assert outcome.longest_unwatched_s <= max(GUARD_S, max(takes_s)) + 20.0


def test_with_a_limit_looks_are_spent_where_they_find_most() -> None:
    takes_s = lognormal(1, 300, 95.0, 0.5)
    outcome = drive(Schedule(5.0), takes_s, looks_per_s=2.0, at_once=80, usual_s=145.0)
    assert outcome.looks / 300 < 4.0
    assert sum(outcome.lags_s) / 300 < 20.0


def test_without_a_limit_a_look_waits_until_it_is_worth_its_cost() -> None:
    takes_s = lognormal(2, 400, 95.0, 0.5)
    outcome = drive(Schedule(5.0), takes_s, looks_per_s=1000.0, at_once=100, usual_s=None)
    assert outcome.looks / 400 < 9.0
    assert sum(outcome.lags_s) / 400 < 9.0


def test_jobs_that_finish_at_once_are_found_at_once() -> None:
    outcome = drive(Schedule(5.0), [0.02] * 200, looks_per_s=1e6, at_once=50, usual_s=None)
    assert sum(outcome.lags_s[50:]) / 150 < 0.1
    assert outcome.looks / 200 < 6.0


def test_of_an_unknown_class_a_few_scouts_are_looked_at_in_turns_and_the_others_wait() -> None:
    schedule = Schedule(5.0)
    lives = [accept(schedule, number, 0.0) for number in range(30)]
    looks: list[tuple[float, str]] = []
    now = 0.0
    while now < 60.0:
        live, due_in_s = schedule.choose(now)
        if live is None:
            now += max(due_in_s, 1e-3)
            continue
        looks.append((now, live.job.item_id))
        live.looks += 1
        schedule.unfinished(live, running(), now)
        assert sum(each.is_scout for each in lives) == SCOUTS
    late = [(at, name) for at, name in looks if at > 10.0]
    assert len(late) <= SCOUTS * math.ceil(50.0 / 3.0)
    assert len({name for _, name in late}) == 30
    for _, name in late:
        ages = [at for at, each in looks if each == name]
        assert len(ages) <= 2 + len(looks) / 30 * 1.5


def test_an_old_job_is_not_relieved_by_a_young_one() -> None:
    schedule = Schedule(5.0)
    old = [accept(schedule, number, 0.0) for number in range(SCOUTS)]
    now = 40.0
    for number in range(SCOUTS, 30):
        accept(schedule, number, now)
    while now < 60.0:
        live, due_in_s = schedule.choose(now)
        if live is None:
            now += max(due_in_s, 1e-3)
            continue
        live.looks += 1
        schedule.unfinished(live, running(), now)
        assert all(each.is_scout for each in old)


def test_while_places_are_wanted_jobs_are_looked_at_sooner() -> None:
    def due_s(*, wanted: bool) -> float:
        schedule = Schedule(5.0)
        takes_s = lognormal(3, 300, 95.0, 0.5)
        drive(schedule, takes_s, looks_per_s=1000.0, at_once=60, usual_s=None)
        schedule.places_wanted = wanted
        return [accept(schedule, 1000 + number, 0.0).due for number in range(MANY)][-1]

    assert due_s(wanted=True) < due_s(wanted=False)


@pytest.mark.parametrize(("wanted", "share"), [(False, 1 / 10), (True, 1 / 20)])
def test_looks_at_short_jobs_lie_closer_while_places_are_wanted(wanted: bool, share: float) -> None:
    schedule = Schedule(5.0)
    drive(schedule, [8.0] * 60, looks_per_s=100.0, at_once=20, usual_s=None)
    schedule.places_wanted = wanted
    live = accept(schedule, 1000, 0.0)
    schedule.unfinished(live, running(), 7.9)
    expected_s = schedule.expected_s()
    assert expected_s is not None
    assert live.due == pytest.approx(7.9 + expected_s * share)


def test_a_vendor_that_slows_down_shows_by_the_age_of_its_jobs() -> None:
    schedule = Schedule(5.0)
    assert schedule.lasting_s(0.0) is None
    drive(schedule, [100.0] * 60, looks_per_s=10.0, at_once=20, usual_s=None)
    expected_s = schedule.expected_s()
    assert schedule.lasting_s(0.0) == expected_s
    for number in range(20):
        accept(schedule, 1000 + number, 0.0)
    assert schedule.lasting_s(10.0) == expected_s
    assert schedule.lasting_s(200.0) == 400.0


def test_the_vendors_word_wakes_the_jobs_that_wait() -> None:
    schedule = Schedule(5.0)
    lives = [accept(schedule, number, 0.0) for number in range(20)]
    others = [live for live in lives if not live.is_scout]
    assert min(live.due for live in others) >= GUARD_S
    live, _ = schedule.choose(0.0)
    assert live is not None
    live.looks += 1
    schedule.unfinished(live, running(usual_s=20.0), 0.0)
    assert max(live.due for live in others) < GUARD_S / 2


def test_two_looks_at_one_job_keep_the_spacing_that_the_vendor_advises() -> None:
    schedule = Schedule(5.0)
    live = accept(schedule, 0, 0.0)
    law = live.laws[1]
    for each in live.laws:
        each.tell_usual(145.0)
    live.looked_at, live.looks = 140.0, 4
    schedule.add(live, 140.0)
    assert law.mean_s > 50.0
    assert live.due >= 145.0


def test_a_job_that_was_not_looked_at_for_long_comes_first() -> None:
    schedule = Schedule(5.0)
    forgotten = accept(schedule, 0, 0.0)
    promising = accept(schedule, 1, 0.0)
    for law in forgotten.laws:
        law.tell_usual(145.0)
    promising.looked_at, forgotten.looked_at = 130.0, 20.0
    schedule.all_due(145.0)
    assert schedule.choose(145.0)[0] is forgotten


def test_a_queued_jobs_age_begins_when_it_was_last_known_to_wait() -> None:
    schedule = Schedule(5.0)
    live = accept(schedule, 0, 0.0)
    schedule.choose(0.0)
    schedule.unfinished(live, running(stage=Stage.QUEUED), 70.0)
    assert live.since == 70.0
    assert sum(live.laws[0].exposure_s) == 0.0


def test_what_one_model_teaches_is_not_believed_of_another() -> None:
    schedule = Schedule(5.0)
    fast, slow = (accept(schedule, number, 0.0, model) for number, model in enumerate(MODELS))
    for _ in range(30):
        for law in fast.laws:
            law.finished(0.0, 10.0)
            law.refresh()
    assert fast.law.mean_s < 15.0
    assert not slow.law.is_known


def test_a_floor_falls_with_fewer_jobs_and_never_passes_a_second() -> None:
    schedule, law = Schedule(5.0), Law(usual_s=400.0)
    few_s = schedule._floor_s(law)
    for number in range(2 * MANY):
        accept(schedule, number, 0.0)
    assert few_s < 0.1
    assert schedule._floor_s(law) == UNSEEN_S


def test_a_job_is_given_up_for_this_run_alone() -> None:
    schedule = Schedule(5.0)
    live = accept(schedule, 0, 0.0)
    for law in live.laws:
        for _ in range(30):
            law.finished(80.0, 100.0)
        law.refresh()
    assert not schedule.is_overdue(live, 1700.0)
    assert schedule.is_overdue(live, 5000.0)
    later = Schedule(5.0, learned=schedule.learned)
    attached = later.accept(a_job(0), 0.0)  # type: ignore[arg-type]
    later.add(attached, 5000.0)
    assert not later.is_overdue(attached, 5001.0)
    assert later.is_overdue(attached, 10_000.0)


def test_a_rehearsal_at_speed_keeps_the_same_shape() -> None:
    """Durations, limits and the advised spacing a hundredth: the looks a clip are the same, the lag a hundredth."""
    takes_s = lognormal(3, 300, 95.0, 0.5)
    real = drive(Schedule(5.0), takes_s, looks_per_s=2.0, at_once=80, usual_s=145.0)
    quick = drive(Schedule(0.05, 100.0), [each / 100 for each in takes_s], looks_per_s=200.0, at_once=80, usual_s=1.45)
    assert abs(quick.looks - real.looks) / real.looks < 0.1
    assert abs(100 * sum(quick.lags_s) - sum(real.lags_s)) / sum(real.lags_s) < 0.15


def test_what_was_learned_is_taken_up_at_a_quarter_of_its_weight() -> None:
    first = Schedule(5.0)
    drive(first, lognormal(4, 60, 20.0, 0.3), looks_per_s=10.0, at_once=20, usual_s=None)
    second = Schedule(5.0)
    second.take_up(first.to_json())
    assert accept(second, 0, 0.0).law.is_known
    assert 15.0 < (second.expected_s() or 0.0) < 30.0
