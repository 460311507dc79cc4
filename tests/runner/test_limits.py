"""Pacing: never more than the limit in any window, whatever comes when, and no more waiting than that takes."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.runner.limits import (
    CREDIT_S,
    CUT,
    EVEN_SHARE,
    FAILURE_WINDOW_S,
    REGROW_CALLS,
    SPREAD_SHARE,
    UNTOLD_WAIT_S,
    WINDOW_S,
    Endpoint,
    EvenPace,
    FailureBudget,
    SlidingLog,
    Unpaced,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.runner.limits import Pace

NAP_S = 0.001
"""The shortest wait of a lane; rounding may leave a sliver of one."""


def leave(pace: Pace, arrivals_s: Iterable[float], lateness_s: Sequence[float] = (0.0,)) -> list[float]:
    """Let a call leave for each arrival (seconds after the one before), as soon as the pace and the wake-up allow."""
    now = 1000.0
    left: list[float] = []
    wanted = now
    for number, gap_s in enumerate(arrivals_s):
        wanted += gap_s
        now = max(now, wanted)
        while (wait_s := pace.wait_s(now)) > 0:
            now += max(wait_s, NAP_S) + lateness_s[number % len(lateness_s)]
        pace.take(now)
        left.append(now)
    return left


def most_within(times: Sequence[float], window_s: float) -> int:
    """Return the largest number of times in any half-open window."""
    most = begin = 0
    for end, time in enumerate(times):
        while time - times[begin] >= window_s:
            begin += 1
        most = max(most, end - begin + 1)
    return most


ARRIVALS_S = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.2, 1.0, 3.0, 29.0, 61.0]), max_size=150)
LATENESS_S = st.lists(st.floats(0.0, 3.0), min_size=1, max_size=7)


@settings(deadline=None)
@given(limit=st.integers(1, 50), arrivals_s=ARRIVALS_S, lateness_s=LATENESS_S)
def test_a_sliding_log_lets_no_more_than_the_limit_leave_in_any_minute_and_a_half_second(
    limit: int, arrivals_s: list[float], lateness_s: list[float]
) -> None:
    left = leave(SlidingLog(limit), arrivals_s, lateness_s)
    assert most_within(left, 60.5 - 1e-6) <= limit


@settings(deadline=None)
@given(limit=st.integers(1, 50))
def test_a_sliding_log_lets_a_small_batch_leave_at_once_and_the_rest_exactly_a_window_later(limit: int) -> None:
    left = leave(SlidingLog(limit), [0.0] * (limit * 2))
    assert left[:limit] == [1000.0] * limit
    assert all(1000.0 + WINDOW_S <= at < 1000.0 + WINDOW_S + 2 * NAP_S for at in left[limit:])


@settings(deadline=None)
@given(limit=st.integers(1, 50), windows=st.integers(1, 8))
def test_a_long_batch_is_less_bunched_and_takes_hardly_longer(limit: int, windows: int) -> None:
    bunched, spread = SlidingLog(limit), SlidingLog(limit)
    spread.expect(limit * windows)
    usual = leave(bunched, [0.0] * (limit * windows))
    left = leave(spread, [0.0] * (limit * windows))
    took_s = usual[-1] - usual[0]
    assert most_within(left, 60.5 - 1e-6) <= limit
    assert left[-1] - usual[-1] <= SPREAD_SHARE * took_s + limit * windows * NAP_S
    assert (left[limit - 1] - left[0]) * limit >= SPREAD_SHARE * took_s * (limit - 1) - 1e-6


def test_a_batch_of_many_windows_is_spread_evenly() -> None:
    log = SlidingLog(40)
    log.expect(10_000)
    left = leave(log, [0.0] * 200)
    assert all(later - earlier == pytest.approx(WINDOW_S / 40, abs=2 * NAP_S) for earlier, later in pairwise(left))


@settings(deadline=None)
@given(
    limit=st.integers(2, 50),
    factors=st.lists(st.floats(0.02, 1.0), min_size=1, max_size=6),
    arrivals_s=ARRIVALS_S,
)
def test_a_sliding_log_that_is_scaled_keeps_to_the_scaled_limit(
    limit: int, factors: list[float], arrivals_s: list[float]
) -> None:
    log = SlidingLog(limit)
    left: list[float] = []
    now = 1000.0
    for number, gap_s in enumerate(arrivals_s):
        factor = factors[number % len(factors)]
        log.scale(factor)
        now += gap_s
        while (wait_s := log.wait_s(now)) > 0:
            now += max(wait_s, NAP_S)
        log.take(now)
        left.append(now)
        recent = [at for at in left if at > now - WINDOW_S + 1e-6]
        assert len(recent) <= max(1, int(limit * factor))


@settings(deadline=None)
@given(limit=st.integers(1, 300), arrivals_s=ARRIVALS_S, lateness_s=LATENESS_S)
@example(limit=30, arrivals_s=[0.0] * 70, lateness_s=[0.0, 1.9])
@example(limit=60, arrivals_s=[61.0] + [0.0] * 120, lateness_s=[0.0])
@example(limit=1, arrivals_s=[0.0] * 3, lateness_s=[3.0])
def test_even_pacing_lets_no_more_than_the_limit_leave_in_any_minute(
    limit: int, arrivals_s: list[float], lateness_s: list[float]
) -> None:
    left = leave(EvenPace(limit), arrivals_s, lateness_s)
    assert most_within(left, 60.0) <= limit


@settings(deadline=None)
@given(limit=st.integers(1, 300), late_s=st.floats(0.0, 0.4))
def test_even_pacing_loses_nothing_to_wake_ups_that_come_a_little_late(limit: int, late_s: float) -> None:
    count = 3 * limit
    gap_s = 60.0 / (limit * EVEN_SHARE)
    left = leave(EvenPace(limit), [0.0] * count, [min(late_s, 0.9 * gap_s)])
    assert left[-1] - left[0] <= gap_s * (count - 1) + late_s + 1e-6


def test_even_pacing_spreads_calls_and_bunches_no_more_than_two() -> None:
    left = leave(EvenPace(120), [100.0] + [0.0] * 200)
    gap_s = 60.0 / (120 * EVEN_SHARE)
    gaps = [later - earlier for earlier, later in pairwise(left)]
    assert gaps[0] == pytest.approx(gap_s - CREDIT_S)
    assert gaps[1:] == pytest.approx([gap_s] * 199, abs=1e-9)


def test_even_pacing_that_is_scaled_slows_down_and_recovers() -> None:
    pace = EvenPace(60)
    pace.scale(0.5)
    slow = leave(pace, [0.0] * 20)
    assert slow[-1] - slow[2] == pytest.approx(17 * 60 / (60 * 0.5 * EVEN_SHARE))
    pace.scale(1.0)
    fast = leave(pace, [0.0] * 20)
    assert fast[-1] - fast[2] == pytest.approx(17 * 60 / (60 * EVEN_SHARE))


def test_without_a_limit_nothing_waits() -> None:
    assert leave(Unpaced(), [0.0] * 100) == [1000.0] * 100


# The budget of failures.


@settings(deadline=None)
@given(
    most=st.integers(1, 20),
    durations_s=st.lists(st.floats(0.01, 20.0), min_size=1, max_size=5),
    wanted=st.integers(1, 200),
)
def test_even_if_every_call_fails_there_are_never_more_failures_than_allowed_in_any_30_s(
    most: int, durations_s: list[float], wanted: int
) -> None:
    budget = FailureBudget(most)
    now = 0.0
    ends: list[float] = []
    failed: list[float] = []
    for number in range(wanted):
        while True:
            for end in sorted(at for at in ends if at <= now):
                ends.remove(end)
                budget.note(end)
                failed.append(end)
            wait_s = budget.wait_s(now, len(ends))
            if wait_s <= 0:
                break
            now = min([*ends, now + max(wait_s, NAP_S)])
        ends.append(now + durations_s[number % len(durations_s)])
    assert most_within(sorted([*failed, *ends]), FAILURE_WINDOW_S - 1e-6) <= most


def test_with_as_many_calls_under_way_as_may_fail_the_next_waits_for_an_answer() -> None:
    budget = FailureBudget(3)
    assert budget.wait_s(0.0, 2) == 0.0
    assert budget.wait_s(0.0, 3) == math.inf
    budget.note(0.0)
    assert budget.wait_s(1.0, 1) == 0.0
    assert budget.wait_s(1.0, 2) == FAILURE_WINDOW_S - 1.0
    assert budget.wait_s(FAILURE_WINDOW_S, 2) == 0.0


def test_without_a_budget_failures_hold_nothing_up() -> None:
    budget = FailureBudget(None)
    for number in range(100):
        budget.note(float(number))
    assert budget.wait_s(100.0, 1000) == 0.0


# One endpoint.


def test_a_pause_stops_the_whole_endpoint_for_as_long_as_was_asked() -> None:
    endpoint = Endpoint(SlidingLog(40))
    endpoint.pause(10.0, 5.0)
    assert endpoint.wait_s(10.0) == 5.0
    assert endpoint.wait_s(14.0) == 1.0
    assert endpoint.wait_s(15.0) == 0.0
    assert endpoint.try_take(12.0) == 3.0
    assert endpoint.try_take(15.0) == 0.0


def test_a_refusal_that_names_no_time_pauses_for_half_a_minute() -> None:
    endpoint = Endpoint(Unpaced())
    endpoint.pause(0.0, None)
    assert endpoint.wait_s(0.0) == UNTOLD_WAIT_S


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    endpoint = Endpoint(Unpaced())
    endpoint.pause(0.0, 60.0)
    endpoint.pause(1.0, 2.0)
    assert endpoint.wait_s(1.0) == 59.0


def test_the_rate_is_cut_once_a_pause_however_many_calls_were_refused_in_it() -> None:
    endpoint = Endpoint(SlidingLog(40))
    for _ in range(10):
        endpoint.pause(0.0, 5.0)
    assert endpoint.factor == pytest.approx(CUT)
    endpoint.pause(5.0, 5.0)
    assert endpoint.factor == pytest.approx(CUT**2)
    assert endpoint.throttled == 11
    for number in range(int(40 * CUT**2)):
        assert endpoint.try_take(10.0 + number / 1000) == 0.0
    assert endpoint.try_take(11.0) > 0


def test_the_rate_never_falls_to_nothing_and_grows_back_to_the_whole() -> None:
    endpoint = Endpoint(SlidingLog(40))
    for number in range(100):
        endpoint.pause(number * 10.0, 5.0)
    assert endpoint.factor == 0.02
    assert endpoint.try_take(2000.0) == 0.0
    for _ in range(2000):
        endpoint.succeeded()
    assert endpoint.factor == 1.0
    assert [endpoint.try_take(3000.0) for _ in range(40)] == [0.0] * 40
    assert endpoint.try_take(3000.0) > 0


def regrow(endpoint: Endpoint, calls: int) -> list[float]:
    """Return the factor after each of so many successes."""
    factors = []
    for _ in range(calls):
        endpoint.succeeded()
        factors.append(endpoint.factor)
    return factors


@given(cuts=st.integers(1, 8))
def test_a_cut_rate_regrows_soon_to_near_what_was_refused_and_lingers_there(cuts: int) -> None:
    endpoint = Endpoint(EvenPace(120))
    for number in range(cuts):
        endpoint.pause(number * 100.0, 5.0)
    refused = endpoint.factor / CUT
    factors = regrow(endpoint, int(3 * REGROW_CALLS))
    assert factors == sorted(factors)
    assert factors[-1] == 1.0
    spent = [calls for calls, factor in enumerate(factors) if refused * 0.9 < factor < min(refused * 1.1, 1.0)]
    climb = [calls for calls, factor in enumerate(factors) if factor <= refused * 0.9]
    assert len(spent) > 2 * len(climb)


def test_a_hidden_limit_is_nearly_used_up_and_found_out_anew_only_now_and_then() -> None:
    endpoint = Endpoint(EvenPace(120))
    hidden = 90 / 120
    now, refusals, sent = 0.0, 0, 0
    while now < 3600.0:
        now += endpoint.wait_s(now)
        if endpoint.try_take(now) > 0:
            continue
        if endpoint.factor * EVEN_SHARE > hidden:
            refusals += 1
            endpoint.pause(now, 10.0)
        else:
            sent += 1
            endpoint.succeeded()
    assert refusals < 12
    assert sent / 60 > 0.85 * 90


def test_a_call_that_may_not_leave_is_not_counted() -> None:
    endpoint = Endpoint(SlidingLog(1))
    assert endpoint.try_take(0.0) == 0.0
    for _ in range(10):
        assert endpoint.try_take(1.0) == WINDOW_S - 1.0
    assert endpoint.try_take(WINDOW_S) == 0.0


def test_a_hold_of_our_own_making_cuts_no_rate() -> None:
    endpoint = Endpoint(SlidingLog(40))
    endpoint.hold(8.0)
    assert endpoint.wait_s(3.0) == 5.0
    assert endpoint.factor == 1.0


# Several processes of one user.


class Cupboard:
    """A shelf in memory."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}

    def update(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.records[name] = json.loads(json.dumps(change(self.records.get(name, {}))))


@given(
    limit=st.integers(1, 30), who=st.lists(st.integers(0, 2), max_size=80), pace=st.sampled_from([SlidingLog, EvenPace])
)
@settings(deadline=None)
def test_endpoints_that_share_a_shelf_keep_to_one_limit_together(limit: int, who: list[int], pace: Any) -> None:
    shelf = Cupboard()
    endpoints = [Endpoint(pace(limit), shelf, "venice-submits") for _ in range(3)]
    now = 1000.0
    left = []
    for each in who:
        while (wait_s := endpoints[each].try_take(now)) > 0:
            now += max(wait_s, NAP_S)
        left.append(now)
    assert most_within(left, 60.0) <= limit


def test_a_pause_told_to_one_process_stops_the_others() -> None:
    shelf = Cupboard()
    one, other = (Endpoint(SlidingLog(40), shelf, "venice-looks") for _ in range(2))
    one.pause(0.0, 20.0)
    assert other.try_take(1.0) == 19.0
    assert other.try_take(20.0) == 0.0


def test_a_rate_that_one_process_was_made_to_cut_is_cut_for_the_others_too() -> None:
    shelf = Cupboard()
    one, other = (Endpoint(SlidingLog(40), shelf, "venice-looks") for _ in range(2))
    one.pause(0.0, 20.0)
    other.try_take(1.0)
    sent = 0
    while other.try_take(20.0 + sent / 1000) == 0.0:
        sent += 1
    assert sent == int(40 * CUT)


def test_endpoints_of_other_names_share_nothing() -> None:
    shelf = Cupboard()
    one, other = Endpoint(SlidingLog(1), shelf, "a"), Endpoint(SlidingLog(1), shelf, "b")
    assert (one.try_take(0.0), other.try_take(0.0)) == (0.0, 0.0)


@pytest.mark.parametrize(
    "record", [{"sent": [9e9], "paused_until": 9e9}, {"sent": "x"}, {"factor": None}, {"sent": [None]}]
)
def test_what_is_left_from_before_the_machine_was_started_stops_nobody(record: dict[str, Any]) -> None:
    shelf = Cupboard()
    shelf.records["a"] = record
    assert Endpoint(SlidingLog(2), shelf, "a").try_take(100.0) == 0.0
