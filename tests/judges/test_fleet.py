"""A real Ray cluster and a real PostgreSQL server judge a crew, through the death of a worker and of a node."""

from __future__ import annotations

import pytest

from tests.support import postgres, rays
from tests.torture import fleet

pytestmark = [
    pytest.mark.judge,
    pytest.mark.timeout(600),
    pytest.mark.skipif(postgres.programs() is None, reason=postgres.MISSING),
    pytest.mark.skipif(not rays.is_installed(), reason=rays.MISSING),
]


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_crew_loses_a_worker_and_a_node_and_nothing_else() -> None:
    with fleet.standing_ground() as ground:
        total, figures = fleet.struck(ground, times=1, items=150, workers=3, seed=7)
        assert total.violations == []
        assert total.done + total.doubts == total.items == 150
        assert total.crashes == figures.workers_killed >= 2
        assert (figures.nodes_killed, figures.throttled) == (1, 0)
        assert figures.held > 0
