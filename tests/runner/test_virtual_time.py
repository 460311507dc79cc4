"""The promise of `effects`: the real runner, providers and ledger, in virtual time, with the same trace every time."""

from __future__ import annotations

import pytest

from tests.support.batches import Batch, a_vendor, items
from tests.support.simulation.world import World


def run_batch(provider: str, seed: int = 1) -> tuple[float, list[str], dict[str, str]]:
    with World(seed) as world:
        a_vendor(world, durations_s={provider: 145.0})
        batch = Batch(world, items(12, provider))
        outcome = batch.run()
        assert not outcome.paused_because
        return world.loop.time(), list(world.trace.lines), batch.states()


@pytest.mark.parametrize("provider", ["modelmax", "venice"])
def test_a_batch_of_minutes_finishes_in_milliseconds_twice_with_the_same_trace(provider: str) -> None:
    first_s, first_trace, states = run_batch(provider)
    second_s, second_trace, _ = run_batch(provider)
    assert set(states.values()) == {"done"}
    assert first_s > 100
    assert first_s == second_s
    assert first_trace == second_trace
    assert len(first_trace) > 100
