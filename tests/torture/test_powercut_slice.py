"""A few power cuts under the real command, and, among the judges, that no weakness goes unnoticed."""

from __future__ import annotations

import pytest

from tests.torture.forgetful_fs import missing_part
from tests.torture.powercut import torture
from tests.torture.weakened import WEAKNESSES

reason = missing_part()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"no power is cut: {reason}")

CUTS_TO_NOTICE = 150
"""The hardest weakness to notice shows in about one of eighteen cuts."""


@pytest.mark.parametrize("provider", ["modelmax", "venice"])
def test_nothing_is_paid_twice_and_no_clip_is_lost_through_power_cuts(provider: str) -> None:
    series = torture(provider, cuts=5, seed=1, items=8)
    assert series.total.violations == []
    assert series.total.crashes >= 5
    assert series.total.items == 8 * series.total.batches


@pytest.mark.judge
@pytest.mark.timeout(600)
@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_a_weakness_does_not_go_unnoticed(weakness: str) -> None:
    assert torture("modelmax", cuts=CUTS_TO_NOTICE, seed=1, weakness=weakness).total.violations
