"""Waiting before a free call is made again."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.runner.retry import CAP_S, backoff_s


@settings(deadline=None)
@given(failures=st.integers(0, 10_000), seed=st.integers(0, 99), base_s=st.floats(0.1, 10.0))
def test_the_wait_is_at_least_half_the_base_and_at_most_a_minute(failures: int, seed: int, base_s: float) -> None:
    assert base_s / 2 <= backoff_s(failures, Random(seed), base_s=base_s) <= CAP_S


def test_the_wait_doubles_with_every_failure_until_it_is_capped() -> None:
    means = [sum(backoff_s(n, Random(seed)) for seed in range(400)) / 400 for n in range(1, 10)]
    for shorter, longer in pairwise(means[:6]):
        assert 1.8 < longer / shorter < 2.2
    assert abs(means[7] - means[8]) < 2.0


def test_two_that_failed_together_do_not_come_back_together() -> None:
    random = Random(1)
    assert len({backoff_s(3, random) for _ in range(50)}) == 50
