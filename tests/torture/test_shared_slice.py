"""A slice of what `make scale` does for every run of the tests: simulated crash points and struck workers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.torture import workers
from tests.torture.life import live, points_of
from tests.torture.scenarios import SCENARIOS

if TYPE_CHECKING:
    from tests.support.postgres import Server

pytestmark = [
    pytest.mark.timeout(240),
    # A killed process leaves coroutines behind that nobody will ever await: that is what being killed means.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
SEED, STRIKES = 5, 4


@pytest.mark.parametrize(
    "name", ["modelmax-faults", "openai-budget", "venice-twins", "full-ledger", "broken-ledger", "full-disk"]
)
def test_no_life_with_a_shared_ledger_breaks_an_invariant(name: str, postgres: Server) -> None:
    told = live(name, SEED, None, server=postgres.dsn)
    assert told.blamed == ()
    assert told.items == len(SCENARIOS[name].items)

    for point in random.Random(name).sample(points_of(name, told), STRIKES):
        struck = live(name, SEED, point, server=postgres.dsn)
        assert struck.blamed == (), point
        assert struck.strikes >= 1


def test_one_life_is_the_same_in_a_file_and_in_a_server(postgres: Server) -> None:
    in_a_file, in_a_server = (live("venice", SEED, None, server=dsn) for dsn in (None, postgres.dsn))
    assert (in_a_file.items, in_a_file.done, in_a_file.charges) == (
        in_a_server.items,
        in_a_server.done,
        in_a_server.charges,
    )


def test_workers_that_are_struck_pay_for_nothing_twice_and_lose_no_clip(postgres: Server) -> None:
    assert postgres.port, "there is a server to be had"
    seen = workers.torture("venice", seed=1, items=16, workers=2, strikes=3)
    assert seen.violations == []
    assert (seen.batches, seen.items, seen.strikes.total()) == (1, 16, 3)
    assert seen.done + seen.doubts == 16
