"""The law of durations: what it answers, what it learns from looks that never see the moment, and what it forgets."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.runner.hazard import EARLY, EDGES, Law

AGES = st.floats(min_value=0.0, max_value=50_000.0)
LOOKS = st.lists(
    st.tuples(st.booleans(), st.floats(0.0, 2000.0), st.floats(1e-3, 500.0)), max_size=40
)  # found finished, last age, how much later
USUAL = st.none() | st.floats(0.05, 5000.0)


def taught(looks: list[tuple[bool, float, float]], usual_s: float | None) -> Law:
    law = Law()
    if usual_s is not None:
        law.tell_usual(usual_s)
    for is_finished, last_s, later_s in looks:
        if is_finished:
            law.finished(last_s, last_s + later_s)
        else:
            law.unfinished(last_s, last_s + later_s)
    law.refresh()
    return law


def learn(law: Law, source: random.Random, jobs: int, sigma: float, median_s: float, every_s: float) -> None:
    """Have jobs of a lognormal law looked at every so often, from a random phase."""
    for _ in range(jobs):
        takes_s = source.lognormvariate(math.log(median_s), sigma)
        last_s, age_s = 0.0, source.uniform(0.0, every_s)
        while age_s < takes_s:
            law.unfinished(last_s, age_s)
            last_s, age_s = age_s, age_s + every_s
        law.finished(last_s, age_s)
        if law.unread >= 5:
            law.refresh()
    law.refresh()


@settings(max_examples=60, deadline=None)
@given(looks=LOOKS, usual_s=USUAL, ages=st.tuples(AGES, AGES))
def test_survival_falls_from_one_and_its_integral_grows_less_than_time(
    looks: list[tuple[bool, float, float]], usual_s: float | None, ages: tuple[float, float]
) -> None:
    law = taught(looks, usual_s)
    first_s, second_s = sorted(ages)
    assert law.survival(0.0) == 1.0
    assert 1.0 >= law.survival(first_s) >= law.survival(second_s) >= 0.0
    assert -1e-6 <= law.area_s(second_s) - law.area_s(first_s) <= (second_s - first_s) * (1 + 1e-9) + 1e-6


@settings(max_examples=60, deadline=None)
@given(looks=LOOKS, usual_s=USUAL, last_s=st.floats(0.0, 5000.0), steps=st.tuples(st.floats(0, 500), st.floats(0, 500)))
def test_what_is_unseen_grows_with_age_and_never_faster_than_time(
    looks: list[tuple[bool, float, float]], usual_s: float | None, last_s: float, steps: tuple[float, float]
) -> None:
    law = taught(looks, usual_s)
    sooner_s = last_s + steps[0]
    later_s = sooner_s + steps[1]
    sooner, later = law.unseen_s(last_s, sooner_s), law.unseen_s(last_s, later_s)
    assert sooner <= later + 1e-6
    assert later - sooner <= steps[1] + 1e-6
    assert -1e-6 <= later <= later_s - last_s + 1e-6


@settings(max_examples=40, deadline=None)
@given(usual_s=USUAL, last_s=st.floats(0.0, 2000.0), wanted_s=st.floats(0.005, 30.0))
def test_the_age_at_which_enough_is_unseen_is_the_inverse(
    usual_s: float | None, last_s: float, wanted_s: float
) -> None:
    law = taught([], usual_s)
    age_s = law.age_when_unseen_s(last_s, wanted_s)
    assert age_s > last_s
    assert law.unseen_s(last_s, age_s) == pytest.approx(wanted_s, rel=1e-2, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(looks=LOOKS, usual_s=USUAL, last_s=st.floats(0.0, 1000.0), later_s=st.floats(0.0, 300.0))
def test_the_expected_delay_of_a_find_lies_within_its_interval(
    looks: list[tuple[bool, float, float]], usual_s: float | None, last_s: float, later_s: float
) -> None:
    law = taught(looks, usual_s)
    assert 0.0 <= law.finished(last_s, last_s + later_s) <= later_s + 1e-5


def test_before_anything_was_seen_the_vendors_percentile_is_believed() -> None:
    law = Law()
    assert law.tell_usual(145.0)
    assert law.quantile_s(0.8) == pytest.approx(145.0, rel=0.2)
    assert 60.0 < law.mean_s < 180.0


def test_a_percentile_that_hardly_moved_changes_nothing() -> None:
    law = Law()
    assert law.tell_usual(100.0)
    assert not law.tell_usual(109.0)
    assert law.tell_usual(111.0)
    assert not law.tell_usual(0.0)
    assert law.usual_s == 111.0


@pytest.mark.parametrize(("sigma", "median_s"), [(0.25, 90.0), (0.5, 95.0), (0.8, 40.0)])
def test_the_law_is_found_from_looks_that_never_see_the_moment(sigma: float, median_s: float) -> None:
    law, source = Law(), random.Random(3)
    learn(law, source, 800, sigma, median_s, every_s=median_s / 6)
    for share, z in ((0.2, -0.8416), (0.5, 0.0), (0.8, 0.8416)):
        true_s = median_s * math.exp(sigma * z)
        assert law.survival(true_s) == pytest.approx(1 - share, abs=0.08)
    assert law.mean_s == pytest.approx(median_s * math.exp(sigma**2 / 2), rel=0.12)


def test_the_first_jobs_are_placed_by_what_the_next_ones_tell() -> None:
    """A first look after 85 s finds a job finished; that others lasted longer than 60 s says where in between."""
    law = Law()
    for _ in range(10):
        law.finished(0.0, 85.0)
    law.refresh()
    for _ in range(30):
        law.unfinished(0.0, 60.0)
        law.finished(60.0, 70.0)
        law.refresh()
    assert law.survival(50.0) > 0.85


def test_the_mean_is_not_that_of_the_short_jobs_which_finish_first() -> None:
    law = Law()
    law.tell_usual(145.0)
    for _ in range(40):
        law.unfinished(0.0, 40.0)
    for _ in range(3):
        law.unfinished(0.0, 30.0)
        law.finished(30.0, 40.0)
    law.refresh()
    assert law.mean_s > 80.0


def test_a_vendor_that_slows_down_is_noticed() -> None:
    law, source = Law(), random.Random(5)
    learn(law, source, 400, 0.3, 50.0, every_s=10.0)
    before_s = law.mean_s
    learn(law, source, 600, 0.3, 100.0, every_s=10.0)
    assert before_s == pytest.approx(50.0, rel=0.15)
    assert law.mean_s > 80.0


def test_a_wrong_percentile_is_forgotten() -> None:
    law, source = Law(), random.Random(7)
    law.tell_usual(435.0)
    learn(law, source, 200, 0.4, 90.0, every_s=15.0)
    assert law.quantile_s(0.5) == pytest.approx(90.0, rel=0.25)


def test_jobs_that_finish_at_once_are_known_to_within_milliseconds() -> None:
    law = Law()
    for _ in range(20):
        law.finished(0.0, 0.004)
    law.refresh()
    assert law.mean_s < 0.05
    assert law.age_when_unseen_s(0.0, 0.005) < 0.1


@pytest.mark.parametrize("jobs", [3, EARLY + 20])
def test_what_was_learned_survives_json_at_a_share_of_its_weight(jobs: int) -> None:
    law, source = Law(), random.Random(11)
    learn(law, source, jobs, 0.4, 90.0, every_s=15.0)
    kept = Law.from_json(json.loads(json.dumps(law.to_json())), 0.25)
    assert kept is not None
    assert kept.completions == jobs
    assert sum(kept.events) == pytest.approx(0.25 * sum(law.to_json()["events"]), rel=1e-3)
    if jobs > EARLY:
        assert kept.quantile_s(0.5) == pytest.approx(law.quantile_s(0.5), rel=0.25)


def test_counts_of_other_bins_are_not_taken_up() -> None:
    assert Law.from_json({**Law().to_json(), "ratio": 1.2}, 1.0) is None


def test_an_age_beyond_the_last_edge_is_no_error() -> None:
    law = taught([(False, 0.0, 2 * EDGES[-1])], None)
    assert law.survival(2 * EDGES[-1]) >= 0.0
    assert law.unseen_s(EDGES[-1], 3 * EDGES[-1]) > 0.0
