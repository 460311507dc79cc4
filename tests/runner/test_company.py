"""Workers that share a ledger, in virtual time on a real server: what appears while another is at its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from pipeline.jobs.state import State
from pipeline.runner.stop import Stop
from tests.support.batches import Batch, a_vendor, an_item
from tests.support.simulation.sessions import Sessions
from tests.support.simulation.world import World
from tests.torture.books import FOLDER

if TYPE_CHECKING:
    from tests.support.postgres import Server

LEASE_S = 4.0


def test_what_somebody_plans_while_the_last_clip_is_made_is_submitted_by_who_waits_for_it(postgres: Server) -> None:
    with World(limit_s=600.0) as world:
        world.sessions = Sessions(postgres.dsn, world.loop.time)
        world.files.plant(FOLDER.shared, world.sessions.note())
        a_vendor(world, durations_s={"venice": 60.0})
        wanted = [an_item(f"i{number}", "venice", prompt=f"{number}") for number in range(2)]
        worker, other = (Batch(world, wanted[:count], lease_s=LEASE_S) for count in (1, 2))
        first, second = world.process("worker"), world.process("other")
        effects, leaving = world.effects(second), Stop()
        leaving.ask(signal.SIGINT)

        async def plan_and_leave() -> None:
            await effects.clock.sleep(20.0)
            await other.work(effects, leaving)

        running = world.start(worker.work(world.effects(first), Stop()), first)
        world.run(plan_and_leave(), second)
        outcome = world.finish(running)

        assert (outcome.paused_because, outcome.signal) == ((), 0)
        assert [job.state for job in other.jobs()] == [State.DONE, State.DONE]
        world.sessions.close()
