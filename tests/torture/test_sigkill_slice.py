"""A few real kills of the real command for every run of the tests; `make torture` makes hundreds."""

from __future__ import annotations

import pytest

from tests.torture import halfway, sigkill
from tests.torture.verdict import CONCURRENT_BILLING

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("provider", ["modelmax", "venice"])
def test_nothing_is_paid_twice_and_no_clip_is_lost_through_kills(provider: str) -> None:
    seen = sigkill.torture(provider, kills=4, seed=1, items=12, kills_per_batch=4)
    assert seen.violations == []
    assert seen.crashes == 4
    assert seen.items == 12 * seen.batches
    assert seen.doubts_most_a_crash <= CONCURRENT_BILLING


@pytest.mark.parametrize("provider", ["modelmax", "venice"])
def test_a_batch_that_is_killed_at_half_pays_for_and_asks_about_nothing_twice(provider: str) -> None:
    seen = halfway.torture(provider, times=1, seed=1, items=30)
    assert seen.violations == []
    assert seen.charges == seen.done + seen.charged_doubts
