"""Who is looked at next: the job that has most probably been finished, unseen, for longest; and nobody too often."""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobs.job import Job
from pipeline.providers.answers import Running, Stage
from pipeline.runner.hazard import Law
from pipeline.runner.schedule import (
    DEADLINE_KNOWN_AFTER,
    DEADLINE_LEAST_S,
    DEADLINE_UNKNOWN_S,
    GUARD_S,
    SCOUTS,
    Live,
    Schedule,
    class_names,
)
from tests.support.batches import an_item

if TYPE_CHECKING:
    from collections.abc import Callable

RUNNING = Running(stage=Stage.RUNNING, word="IN_PROGRESS")
QUEUED = Running(stage=Stage.QUEUED, word="IN_QUEUE")
SPACING_S = 5.0


def a_job(item_id: str = "i0", provider: str = "modelmax", **changes: Any) -> Job:
    item = an_item(item_id, provider, **changes)
    return Job(item_id=item.id, revision=1, fingerprint=item.fingerprint, provider=provider, request=item.request)


def known(*lasted_s: float) -> Schedule:
    """Return a schedule that has seen jobs of this class finish; 100 s each where none are given."""
    schedule = Schedule(SPACING_S)
    for number, lasted in enumerate(lasted_s or (100.0,) * 40):
        live = schedule.accept(a_job(f"seen{number}"), 0.0)
        for law in live.laws:
            law.unfinished(0.0, lasted * 0.98)
        live.looked_at = lasted * 0.98
        schedule.finished(live, lasted)
    return schedule


def begin(schedule: Schedule, now: float, count: int = 1, **changes: Any) -> list[Live]:
    """Have the vendor accept jobs now."""
    lives = [schedule.accept(a_job(f"i{number}", **changes), now) for number in range(count)]
    for live in lives:
        schedule.add(live, now)
    return lives


def next_look(schedule: Schedule, now: float) -> tuple[Live | None, float]:
    """Wait for the next job that is due; return it and when that was."""
    live, wait_s = schedule.choose(now)
    if live is None and wait_s < math.inf:
        now += wait_s + 1e-9
        live, _ = schedule.choose(now)
        assert live is not None
    return live, now


def ages_of_looks(schedule: Schedule, lasts_s: float, answer: Running = RUNNING) -> list[float]:
    """Return the ages at which one job is looked at, until it is found finished."""
    (live,) = begin(schedule, 0.0)
    ages, now = [], 0.0
    while True:
        chosen, now = next_look(schedule, now)
        assert chosen is live
        live.looks += 1
        ages.append(now)
        if now >= lasts_s:
            return ages
        schedule.unfinished(live, answer, now)


def test_an_empty_schedule_waits_for_ever() -> None:
    assert Schedule(SPACING_S).choose(0.0) == (None, math.inf)
    assert len(Schedule(SPACING_S)) == 0


def test_the_first_jobs_of_an_unknown_class_are_looked_at_at_once_and_the_others_wait_for_what_is_found() -> None:
    schedule = Schedule(SPACING_S)
    lives = begin(schedule, 0.0, SCOUTS + 4)
    at_once = [schedule.choose(0.0)[0] for _ in range(SCOUTS)]
    assert {id(live) for live in at_once} == {id(live) for live in lives[:SCOUTS]}
    live, wait_s = schedule.choose(0.0)
    assert live is None
    assert wait_s == pytest.approx(GUARD_S)
    for scout in lives[:DEADLINE_KNOWN_AFTER]:
        schedule.finished(scout, 0.01)
    assert schedule.choose(1.0)[0] in lives[SCOUTS:]


@pytest.mark.parametrize("lasts_s", [0.001, 0.3, 2.0, 50.0, 700.0])
def test_a_job_of_unknown_length_is_found_within_half_its_age_and_by_few_looks(lasts_s: float) -> None:
    ages = ages_of_looks(Schedule(SPACING_S), lasts_s)
    assert ages[-1] <= max(0.1, 1.5 * lasts_s)
    assert len(ages) <= 25 + lasts_s / SPACING_S


def test_of_many_jobs_of_known_length_none_is_looked_at_before_it_is_worth_it() -> None:
    schedule = known()
    assert 2 * SPACING_S < begin(schedule, 0.0, 60)[-1].due < 101.0


def test_the_fewer_jobs_there_are_the_sooner_each_is_looked_at_and_found() -> None:
    ages = ages_of_looks(known(), 100.0)
    assert ages[0] == pytest.approx(SPACING_S)
    assert ages[-1] < 106.0


def test_jobs_that_finish_at_once_are_found_at_once() -> None:
    ages = ages_of_looks(known(*[0.2] * 40), 0.2)
    assert ages[-1] < 0.3


def test_between_two_looks_at_a_job_lies_what_the_vendor_advises() -> None:
    ages = ages_of_looks(known(), 400.0)
    assert min(later - earlier for earlier, later in pairwise(ages)) >= SPACING_S - 1e-6


@given(seed=st.integers(0, 500))
@settings(deadline=None, max_examples=40)
def test_of_jobs_that_are_due_the_one_that_was_probably_finished_longest_goes_first(seed: int) -> None:
    random = Random(seed)
    schedule = known()
    lives = []
    for number in range(12):
        live = schedule.accept(a_job(f"i{number}"), random.uniform(0.0, 60.0))
        schedule.add(live, 0.0)
        lives.append(live)
    now = 175.0  # all are due, and nobody is starved
    chosen = [schedule.choose(now)[0] for _ in lives]
    assert [id(live) for live in chosen] == [id(live) for live in sorted(lives, key=lambda live: live.since)]


def test_a_job_that_was_passed_over_for_long_comes_before_all_others() -> None:
    schedule = known(*[30.0] * 40)
    (old,) = begin(schedule, 0.0)
    old.looked_at = 0.0
    # The law holds it for as good as finished and so do the others; but it is the one that nobody looks at.
    fresh = begin(schedule, 100.0, 5)
    for live in fresh:
        live.looked_at = 100.0
    chosen, _ = schedule.choose(0.0 + GUARD_S + 30.0)
    assert chosen is old


def test_a_look_that_brought_no_answer_is_not_repeated_before_its_time() -> None:
    schedule = known()
    (live,) = begin(schedule, 0.0)
    chosen, now = next_look(schedule, 0.0)
    assert chosen is live
    schedule.add(live, now, now + 33.0)
    assert schedule.choose(now + 32.0)[0] is None
    assert schedule.choose(now + 33.0)[0] is live


def test_what_is_learned_meanwhile_does_not_bring_such_a_look_forward() -> None:
    schedule = Schedule(SPACING_S)
    lives = begin(schedule, 0.0, SCOUTS)
    for _ in lives:
        schedule.choose(0.0)
    held, *others = lives
    schedule.add(held, 1.0, 500.0)
    for live in others:
        schedule.finished(live, 1.0)
    assert schedule.choose(499.0) == (None, pytest.approx(1.0))
    assert schedule.choose(500.0)[0] is held


def test_a_job_is_in_the_schedule_once_and_not_while_it_is_looked_at() -> None:
    schedule = Schedule(SPACING_S)
    (live,) = begin(schedule, 0.0)
    assert len(schedule) == 1
    assert schedule.choose(0.0)[0] is live
    assert len(schedule) == 0
    assert schedule.choose(1e9) == (None, math.inf)
    schedule.unfinished(live, RUNNING, 1.0)
    assert len(schedule) == 1


@given(
    steps=st.lists(st.tuples(st.sampled_from("anfqwl"), st.floats(0.0, 50.0)), max_size=60),
    usual_s=st.sampled_from([None, 20.0, 145.0]),
)
@settings(deadline=None, max_examples=80)
def test_nobody_is_forgotten_and_nobody_is_looked_at_twice_at_once(
    steps: list[tuple[str, float]], usual_s: float | None
) -> None:
    schedule = Schedule(SPACING_S)
    now, number = 0.0, 0
    inside: set[int] = set()
    for step, seconds in steps:
        now += seconds
        if step == "a":
            (live,) = begin(schedule, now, model=f"m{number % 2}")
            inside.add(id(live))
            number += 1
        elif step == "l":
            schedule.all_due(now)
        else:
            chosen, _ = schedule.choose(now)
            if chosen is None:
                continue
            assert id(chosen) in inside
            chosen.looks += 1
            match step:
                case "n":
                    answer = Running(stage=Stage.RUNNING, word="x", elapsed_s=seconds, usual_s=usual_s)
                    schedule.unfinished(chosen, answer, now)
                case "q":
                    schedule.unfinished(chosen, QUEUED, now)
                case "w":
                    schedule.add(chosen, now, now + seconds)
                case _:
                    schedule.finished(chosen, now)
                    inside.discard(id(chosen))
        assert len(schedule) == len(inside)
    seen = set()
    for _ in range(len(inside)):
        chosen, now = next_look(schedule, now)
        assert chosen is not None
        seen.add(id(chosen))
    assert seen == inside
    assert schedule.choose(now) == (None, math.inf)


def test_after_the_machine_slept_everything_is_due() -> None:
    schedule = known(*[1000.0] * 40)
    lives = begin(schedule, 0.0, 7)
    schedule.add(late := schedule.accept(a_job("late"), 0.0), 0.0, 5000.0)
    assert schedule.choose(1.0)[0] is None
    schedule.all_due(1.0)
    chosen = {id(schedule.choose(1.0)[0]) for _ in range(8)}
    assert chosen == {id(live) for live in [*lives, late]}


def test_time_in_the_vendors_queue_is_no_time_at_work() -> None:
    schedule = known()
    (live,) = begin(schedule, 0.0)
    for now in (100.0, 200.0, 300.0):
        schedule.unfinished(live, QUEUED, now)
    assert live.last_age_s == 0.0
    assert live.since == 300.0
    assert not schedule.is_overdue(live, 300.0 + 1000.0)


def test_a_vendor_that_says_how_long_it_has_been_at_it_is_believed() -> None:
    schedule = Schedule(SPACING_S)
    (live,) = begin(schedule, 500.0)
    schedule.unfinished(live, Running(stage=Stage.RUNNING, word="x", elapsed_s=80.0), 510.0)
    assert live.since == 430.0


def test_what_the_vendor_calls_usual_decides_before_anything_was_seen() -> None:
    schedule = Schedule(SPACING_S)
    begin(schedule, 0.0, 60)
    answer = Running(stage=Stage.RUNNING, word="x", usual_s=600.0)
    for _ in range(SCOUTS):
        live, _ = schedule.choose(0.1)
        assert live is not None
        schedule.unfinished(live, answer, 0.1)
    _, wait_s = schedule.choose(0.2)
    assert 30.0 < wait_s <= GUARD_S
    assert schedule.expected_s() == pytest.approx(450.0, rel=0.3)


# Deadlines.


def test_a_job_is_overdue_when_it_lasts_ten_times_as_long_as_nearly_all_of_its_like() -> None:
    schedule = known(*[400.0] * 40)
    (live,) = begin(schedule, 0.0)
    assert not schedule.is_overdue(live, 3900.0)
    assert schedule.is_overdue(live, 12_000.0)


def test_no_job_is_overdue_within_half_an_hour() -> None:
    schedule = known(*[1.0] * 40)
    (live,) = begin(schedule, 0.0)
    assert not schedule.is_overdue(live, DEADLINE_LEAST_S)
    assert schedule.is_overdue(live, DEADLINE_LEAST_S + 1.0)


def test_a_job_of_an_unknown_class_is_overdue_after_hours() -> None:
    schedule = Schedule(SPACING_S)
    (live,) = begin(schedule, 0.0)
    assert not schedule.is_overdue(live, DEADLINE_UNKNOWN_S)
    assert schedule.is_overdue(live, DEADLINE_UNKNOWN_S + 1.0)


# Classes, and what is learned.


def test_what_changes_how_long_a_job_takes_makes_its_class() -> None:
    own, pooled = class_names(a_job(duration_seconds=4, resolution="1080p", generate_audio=True))
    assert pooled == "modelmax/veo-3"
    assert own == "modelmax/veo-3/4/1080p/True"
    assert class_names(a_job(prompt="Another prompt")) == class_names(a_job())
    assert class_names(a_job(model="veo-2"))[1] != pooled


def test_until_a_class_is_known_that_of_its_model_is_believed() -> None:
    schedule = known()
    (other,) = begin(schedule, 0.0, duration_seconds=4)
    assert other.law is other.laws[1]
    (same,) = begin(schedule, 0.0)
    assert same.law is same.laws[0]


def test_what_was_learned_is_taken_up_by_the_next_run() -> None:
    kept = json.loads(json.dumps(known().to_json()))
    fresh = Schedule(SPACING_S)
    fresh.take_up(kept)
    assert SPACING_S < begin(fresh, 0.0, 60)[-1].due < 101.0
    assert fresh.expected_s() == pytest.approx(100.0, rel=0.25)


def test_what_was_learned_in_another_form_is_passed_over() -> None:
    kept = known().to_json()
    for law in kept.values():
        law["ratio"] = 2.0
    fresh = Schedule(SPACING_S)
    fresh.take_up(kept)
    assert fresh.expected_s() is None


def test_a_rehearsal_waits_as_much_less_as_it_is_faster() -> None:
    slow, fast = Schedule(SPACING_S), Schedule(SPACING_S / 60, speed=60.0)
    (slow_job,), (fast_job,) = begin(slow, 0.0), begin(fast, 0.0)
    assert fast.is_overdue(fast_job, DEADLINE_UNKNOWN_S / 60 + 1.0)
    assert not slow.is_overdue(slow_job, DEADLINE_UNKNOWN_S / 60 + 1.0)


# The law of a class.


def learned(draw: Callable[[], float], count: int, gap_s: float = 5.0) -> Law:
    law = Law()
    for _ in range(count):
        lasted = draw()
        last = 0.0
        while last + gap_s < lasted:
            law.unfinished(last, last + gap_s)
            last += gap_s
        law.finished(last, last + gap_s)
    law.refresh()
    return law


LAWS = {
    "nothing known": Law,
    "told": lambda: Law(usual_s=145.0),
    "alike": lambda: learned(lambda: 100.0, 60),
    "spread": lambda: learned(partial(Random(1).lognormvariate, 4.6, 0.5), 200),
    "at once": lambda: learned(lambda: 0.02, 60, gap_s=0.05),
}


@pytest.mark.parametrize("name", LAWS)
def test_survival_falls_from_one_and_its_integral_grows(name: str) -> None:
    law = LAWS[name]()
    ages = [0.0, *(1.3**k / 100 for k in range(60))]
    survival = [law.survival(age) for age in ages]
    assert survival[0] == 1.0
    assert all(0.0 <= later <= earlier <= 1.0 for earlier, later in pairwise(survival))
    areas = [law.area_s(age) for age in ages]
    assert areas[0] == 0.0
    assert all(earlier <= later + 1e-9 for earlier, later in pairwise(areas))


@pytest.mark.parametrize("name", LAWS)
@given(last=st.floats(0.0, 5000.0), gaps=st.tuples(st.floats(0.001, 900.0), st.floats(0.001, 900.0)))
@settings(deadline=None, max_examples=30)
def test_unseen_time_grows_with_age_and_is_less_than_the_time_since_the_last_look(
    name: str, last: float, gaps: tuple[float, float]
) -> None:
    law = CACHE.setdefault(name, LAWS[name]())
    sooner, later = law.unseen_s(last, last + gaps[0]), law.unseen_s(last, last + gaps[0] + gaps[1])
    assert -1e-6 <= sooner <= gaps[0] + 1e-6
    assert sooner <= later + 1e-6


CACHE: dict[str, Law] = {}


@pytest.mark.parametrize("name", LAWS)
@given(last=st.floats(0.0, 2000.0), wanted_s=st.floats(0.005, 60.0))
@settings(deadline=None, max_examples=30)
def test_the_age_at_which_so_much_is_unseen_is_found(name: str, last: float, wanted_s: float) -> None:
    law = CACHE.setdefault(name, LAWS[name]())
    age = law.age_when_unseen_s(last, wanted_s)
    assert age > last
    assert law.unseen_s(last, age) == pytest.approx(wanted_s, rel=0.05, abs=1e-3)


@pytest.mark.parametrize("mean_s", [3.0, 100.0, 1500.0])
def test_a_law_learns_how_long_jobs_take_from_looks_that_never_see_one_finish(mean_s: float) -> None:
    random = Random(3)
    law = learned(lambda: random.lognormvariate(math.log(mean_s) - 0.045, 0.3), 150, gap_s=mean_s / 10)
    assert law.mean_s == pytest.approx(mean_s, rel=0.2)
    assert law.quantile_s(0.5) == pytest.approx(mean_s * 0.95, rel=0.25)


def test_a_law_notices_that_the_vendor_has_slowed_down() -> None:
    law = learned(lambda: 60.0, 300)
    for _ in range(600):
        for last in range(0, 180, 5):
            law.unfinished(float(last), last + 5.0)
        law.finished(180.0, 185.0)
    law.refresh()
    assert law.mean_s > 120.0


def test_a_law_goes_through_json_unharmed() -> None:
    law = LAWS["spread"]()
    again = Law.from_json(json.loads(json.dumps(law.to_json())), 1.0)
    assert again is not None
    for age in (1.0, 50.0, 100.0, 300.0):
        assert again.survival(age) == pytest.approx(law.survival(age), abs=0.05)
