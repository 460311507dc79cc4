"""A slice of the cuts, the disk's refusals and the operators' sequences for every run of the tests."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.providers.http import Wire
from tests.support.simulation.memory_network import Action, Direction, Fault
from tests.torture import cuts, disks
from tests.torture.bugs_of_calls import post_repeated_on_error
from tests.torture.cut_bodies import cut_bodies
from tests.torture.cut_sockets import cut_sockets
from tests.torture.mutant import Patch
from tests.torture.one_fault import CUT_SCENARIOS, DISK_SCENARIOS, Cut, live_with
from tests.torture.operating import Operating, Violation
from tests.torture.operators import play

if TYPE_CHECKING:
    from pathlib import Path

# A killed process leaves coroutines behind that nobody will ever await: that is what being killed means.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
SEED = 1
DRAWN = 25


@pytest.mark.parametrize("name", CUT_SCENARIOS)
def test_no_cut_of_a_connection_breaks_an_invariant(name: str) -> None:
    drawn = random.Random(name).sample(list(cuts.cuts_of(name, SEED, 1)), DRAWN)
    figures = cuts.play(name, SEED, drawn)
    assert not figures.violations, "\n".join(figures.violations)
    assert (figures.lives, figures.struck) == (DRAWN, DRAWN)


def test_every_byte_both_ways_and_every_ending_is_a_cut_of_its_own() -> None:
    every = list(cuts.cuts_of("cut-venice", SEED, 1))
    assert len(set(map(str, every))) == len(every)
    first = [cut for cut in every if cut.exchange == 1 and cut.fault.direction is Direction.REQUEST]
    assert {cut.fault.after_bytes for cut in first} == set(range(len(first) // len(Action)))


def test_a_submit_that_is_sent_again_after_a_cut_is_noticed() -> None:
    cut = Cut(exchange=1, fault=Fault(action=Action.RESET, direction=Direction.RESPONSE, after_bytes=0))
    assert not live_with(CUT_SCENARIOS["cut-venice"], SEED, cut).blamed
    patch = Patch()
    try:
        post_repeated_on_error(patch)
        assert live_with(CUT_SCENARIOS["cut-venice"], SEED, cut).blamed
    finally:
        patch.undo()
    assert Wire.submit.__name__ == "submit"


def test_a_clip_that_is_cut_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    assert cut_bodies(tmp_path, every=16) == 0


async def test_real_connections_that_are_cut_cost_nothing_twice(tmp_path: Path) -> None:
    async with asyncio.timeout(100):
        assert await cut_sockets(tmp_path, 6, SEED) == 0


@pytest.mark.parametrize("name", DISK_SCENARIOS)
def test_no_refusal_of_a_disk_breaks_an_invariant(name: str) -> None:
    drawn = random.Random(name).sample(list(disks.refusals_of(name, SEED)), DRAWN)
    struck, violations = disks.play(name, SEED, drawn)
    assert not violations, "\n".join(violations)
    assert struck >= DRAWN


def test_operators_can_do_nothing_that_breaks_the_promise() -> None:
    seen = play(SEED, 12)
    assert not seen.failure, seen.failure
    assert seen.sequences >= 12
    assert seen.charges


def test_a_model_that_is_lied_to_notices() -> None:
    operating = Operating(SEED)
    try:
        assert operating.run() == "finished"
        operating.judge()
        vendor: Any = operating.vendor.state
        charged = next(iter(vendor.jobs))
        vendor.billed[charged] += 1
        with pytest.raises(Violation, match="was charged 2 times"):
            operating.judge()
    finally:
        operating.end()
