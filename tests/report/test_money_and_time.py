"""What a batch cost and how long it took, counted from its items."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.jobs.job import CostIs
from pipeline.jobs.state import State
from pipeline.report.money import money_of
from pipeline.report.timing import timing_of
from tests.report.reports import BEGAN, clip, job


def test_money_is_spent_reserved_or_in_doubt() -> None:
    committed = {State.DONE: 4.0, State.LOST: 1.0, State.SUBMITTED: 0.4, State.CLAIMING: 0.2, State.CLAIM_IN_DOUBT: 0.8}
    money = money_of([], committed, 10.0, 0)
    assert (money.spent_usd, money.reserved_usd, money.in_doubt_usd) == (5.0, 0.6, 0.8)
    assert money.total_usd == pytest.approx(6.4)
    assert money.share(money.spent_usd) == 50


def test_without_a_cap_the_bar_is_all_that_there_is() -> None:
    money = money_of([], {State.DONE: 3.0, State.SUBMITTED: 1.0}, None, 0)
    assert money.share(money.spent_usd) == 75
    assert money_of([], {}, None, 0).share(0.0) == 0


def test_over_the_cap_the_bar_does_not_run_over() -> None:
    money = money_of([], {State.DONE: 9.0, State.CLAIM_IN_DOUBT: 1.0}, 5.0, 0)
    assert money.share(money.spent_usd) + money.share(money.in_doubt_usd) == 100


def test_a_model_tells_what_a_clip_and_a_second_cost() -> None:
    two = job("b", clips=(clip("b"), clip("b", 1)), reserved_usd=0.8)
    doubt = job("c", State.CLAIM_IN_DOUBT, reserved_usd=5.0)
    other = job("d", provider="venice", model="wan", cost_is=CostIs.UNKNOWN, reserved_usd=0.0)
    modelmax, venice = money_of(
        [job("a"), two, doubt, other], {State.DONE: 1.2, State.CLAIM_IN_DOUBT: 5}, None, 1
    ).models
    assert (modelmax.model, modelmax.items, modelmax.clips, modelmax.clip_seconds) == ("modelmax/veo-3", 3, 3, 12.0)
    assert modelmax.committed_usd == pytest.approx(6.2)
    assert modelmax.usd_a_clip == pytest.approx(0.4)
    assert modelmax.usd_a_second == pytest.approx(0.1)
    assert (venice.unpriced, venice.usd_a_clip) == (1, None)


def test_what_earlier_revisions_cost_is_told_apart() -> None:
    assert money_of([job("a")], {State.DONE: 1.0}, None, 0).earlier_usd == pytest.approx(0.6)
    assert money_of([job("a")], {State.DONE: 0.4}, None, 0).earlier_usd == 0


def test_time_is_told_of_the_items_that_are_done() -> None:
    jobs = [job(f"i{n}", submitted_at=BEGAN + timedelta(seconds=n), took_s=10.0 * n) for n in range(1, 11)]
    jobs.append(job("late", State.FAILED, submitted_at=BEGAN))
    timing = timing_of(jobs, {"lag_s": 2.5, "looks_a_clip": 3})
    assert (timing.began, timing.whole_s) == (BEGAN, 110.0)
    assert (timing.median_s, timing.slow_s, timing.longest_s) == (50.0, 90.0, 100.0)
    assert (timing.lag_s, timing.looks_a_clip) == (2.5, 3.0)


def test_what_is_not_known_is_none() -> None:
    timing = timing_of([job("a", State.PLANNED)], {"lag_s": None})
    assert timing.began is timing.ended is timing.whole_s is timing.median_s is timing.lag_s is timing.finished is None


def test_a_clock_that_was_set_back_makes_no_negative_wait() -> None:
    assert timing_of([job("a", took_s=-5.0)], {}).longest_s == 0
