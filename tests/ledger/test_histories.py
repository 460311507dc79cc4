"""Random histories through the real store: the rows are the fold of the events, and the money is their sum."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.jobs.state import State
from pipeline.ledger.opening import open_reader
from pipeline.ledger.reader import reading
from pipeline.ledger.rows import MICRO
from pipeline.ledger.store import Ledger
from pipeline.paths import BatchFolder
from tests.jobs.histories import BEGAN, Walk, fold
from tests.ledger.ledgers import accept, plan, start
from tests.ledger.shared import BOTH
from tests.support.memory_files import Crash
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from pipeline.effects import Effects
    from pipeline.jobs.job import Job
    from tests.ledger.ledgers import Machine

STORES = BOTH
ROOT = Path("/batch")


async def live(ledger: Ledger, random: Random, turns: int) -> None:
    """Take a few items through random histories, several at once; now and then one is withdrawn."""
    walks = [Walk(random, f"i{number}") for number in range(4)]
    for _ in range(turns):
        chosen = random.sample(walks, random.randint(1, len(walks)))
        moves = [(walk.job, walk.next_event()) for walk in chosen]
        for walk, job in zip(chosen, await ledger.record_all(moves), strict=True):
            walk.job = job
        for walk in walks:
            job = walk.job
            if job and job.state is State.PLANNED and not job.committed_usd and random.random() < 0.2:
                await ledger.withdraw([job], BEGAN)
                walk.job = None


def assert_sound(ledger: Path, effects: Effects) -> None:
    """Check that rows, events and money say the same."""
    with reading(ledger, effects) as reader:
        jobs = {(job.item_id, job.revision): job for job in reader.jobs()}
        assert jobs == fold(reader.events())
        summary = reader.summary()
        assert round(summary.committed_usd * MICRO) == sum(round(job.committed_usd * MICRO) for job in jobs.values())
        assert summary.total == len(jobs)
    with closing(open_reader(ledger, effects)) as database:
        rows = database.execute("SELECT id, state, attempt, job_id, committed_micro_usd FROM item")
        for item_id, state, attempt, job_id, micro in rows:
            job = jobs[item_id, 1]
            assert (state, attempt, job_id) == (job.state, job.attempt, job.job_id or None)
            assert micro == round(job.committed_usd * MICRO) >= 0
        (clips,) = database.execute("SELECT count(*) FROM clip").fetchone()
        assert clips == sum(len(job.clips) for job in jobs.values())
        orphans = "SELECT 1 FROM clip WHERE NOT EXISTS (SELECT 1 FROM item WHERE id = item_id)"
        assert database.execute(orphans).fetchall() == []


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_after_any_history_rows_events_and_money_say_the_same(random: Random, turns: int) -> None:
    with World() as world:
        effects = world.effects(world.process("run"))
        path = BatchFolder(ROOT).ledger

        async def work() -> None:
            ledger = await Ledger.open(path, effects, {"pid": 1})
            await live(ledger, random, turns)
            await ledger.close("finished")

        world.run(work())
        assert_sound(path, effects)


@pytest.mark.parametrize("seed", range(3))
async def test_the_same_holds_in_a_real_store(machine: Machine, seed: int) -> None:
    async with machine.ledger() as ledger:
        await live(ledger, Random(seed), 60)

    assert_sound(machine.path, machine.effects)


async def buy(ledger: Ledger, known: dict[str, Job]) -> None:
    """Take three items up to their acceptance; `known` says what the ledger has answered for."""

    async def one(name: str) -> None:
        known[name] = await ledger.record(*plan(name))
        known[name] = await ledger.record(*start(known[name]))
        known[name] = await ledger.record(*accept(known[name], f"op-{name}"))

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(one(name))


def crashed_at(step: int | None) -> tuple[int, dict[str, Job]]:
    """Run until a crash before a step; check what the next process finds; return how many steps there are."""
    known: dict[str, Job] = {}
    path = BatchFolder(ROOT).ledger
    with World() as world:
        process = world.process("first", crash_at=step)
        effects = world.effects(process)
        effects.files.make_folder(ROOT)

        async def work() -> None:
            ledger = await Ledger.open(path, effects, {"pid": 1})
            await buy(ledger, known)
            await ledger.close("finished")

        if step is None:
            world.run(work(), process)
            return process.steps, known
        with pytest.raises(Crash):
            world.run(work(), process)

        after = world.effects(world.process("second"))

        async def recover() -> dict[str, Job]:
            ledger = await Ledger.open(path, after, {"pid": 2})
            jobs = {job.item_id: job for job in await ledger.jobs()}
            await ledger.close("finished")
            return jobs

        found = world.run(recover())
        assert_sound(path, after)
        for name, job in known.items():
            assert found[name].attempt >= job.attempt
            states = [State.PLANNED, State.SUBMITTING, State.SUBMITTED]
            assert states.index(found[name].state) >= states.index(job.state), "what was answered for is never lost"
        return process.steps, known


def test_whatever_record_returned_survives_a_crash_at_every_step() -> None:
    steps, known = crashed_at(None)
    assert steps > 10
    assert {job.state for job in known.values()} == {State.SUBMITTED}

    reached = [len(crashed_at(step)[1]) for step in range(2, steps + 1)]

    assert reached == sorted(reached)
    assert reached[-1] == 3
