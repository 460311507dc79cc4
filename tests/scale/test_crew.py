"""A crew without Ray: an engine whose workers do what the test says."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pipeline.errors import Exit
from pipeline.runner.meter import Family, Type
from pipeline.runner.stop import Stop
from pipeline.scale.crew import (
    AGAIN_MOST,
    HEARD_EVERY_S,
    HEARD_WITHIN_S,
    REMINDED_EVERY_S,
    Crew,
    Ended,
    WorkerLost,
)
from pipeline.scale.figures import Figures, Told
from tests.support.simulation.world import World

Part = Callable[["FakeWorker"], Awaitable[Ended]]


@dataclass
class FakeWorker:
    number: int
    part: Part
    begun: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    reports: int = 0
    silent_from: int = 1 << 30

    async def work(self) -> Ended:
        self.begun += 1
        return await self.part(self)

    async def stop(self, asked: int, signal: int) -> None:
        self.asked.append((asked, signal))
        self.told.set()

    async def tell(self) -> Told | None:
        self.reports += 1
        if self.reports >= self.silent_from:
            await asyncio.Event().wait()
        return self.report(self.reports)

    def report(self, number: int) -> Told:
        samples = [("", {}, float(number))]
        family = Family(name="clipmill_looks_total", type=Type.COUNTER, says="Looks.", samples=samples)
        return Told(life=f"life-{self.number}-{self.begun}", number=number, families=(family,))


class FakeEngine:
    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self.workers: list[FakeWorker] = []

    def hire(self, number: int) -> FakeWorker:
        self.workers.append(FakeWorker(number, self._parts[number - 1]))
        return self.workers[-1]


async def done(worker: FakeWorker) -> Ended:
    return Ended(notes=(f"note {worker.number}",))


async def lost(worker: FakeWorker) -> Ended:
    raise WorkerLost("Its node is gone.")


async def slow(worker: FakeWorker) -> Ended:
    return Ended(code=Exit.PAUSED, said="silent for too long", again=True)


async def until_told(worker: FakeWorker) -> Ended:
    await worker.told.wait()
    return Ended()


def carry_out(
    engine: FakeEngine, size: int, *, told_at_s: float = 0, figures: Figures | None = None
) -> tuple[list[Ended], list[str]]:
    """Let a crew of an engine go, and tell it to stop after so long; return how each ended and what was said."""
    notes: list[str] = []
    with World(1) as world:
        process = world.process("crew")
        clock = world.effects(process).clock

        async def go() -> list[Ended]:
            asked = Stop()
            if told_at_s:
                asyncio.get_running_loop().call_later(told_at_s, asked.ask, signal.SIGINT)
            return list(await Crew(engine, size, clock, notes.append, figures).go(asked))

        return world.finish(world.start(go(), process)), notes


def test_every_worker_is_hired_and_followed_to_its_end() -> None:
    engine = FakeEngine(done, done, done)
    endings, notes = carry_out(engine, 3)
    assert [ended.code for ended in endings] == [Exit.DONE] * 3
    assert [worker.number for worker in engine.workers] == [1, 2, 3]
    assert sorted(notes) == ["note 1", "note 2", "note 3"]


def test_a_worker_that_is_lost_for_good_ends_nobody_else() -> None:
    endings, _ = carry_out(FakeEngine(lost, done), 2)
    assert endings[0].paused_because == ("Worker 1 is lost. Its node is gone.",)
    assert endings[1] == Ended(notes=("note 2",))


def test_a_worker_that_was_too_slow_for_its_lease_begins_anew_and_not_for_ever() -> None:
    engine = FakeEngine(slow)
    endings, notes = carry_out(engine, 1)
    assert engine.workers[0].begun == AGAIN_MOST + 1
    assert endings[0].said == "silent for too long"
    assert notes.count("Worker 1 was silent for longer than its lease, and begins anew.") == AGAIN_MOST


def test_the_crew_is_told_to_stop_with_the_users_signal() -> None:
    engine = FakeEngine(until_told, until_told)
    carry_out(engine, 2, told_at_s=5)
    assert [worker.asked for worker in engine.workers] == [[(1, signal.SIGINT)]] * 2


def test_a_worker_that_is_begun_anew_while_the_crew_stops_hears_of_it_too() -> None:
    async def deaf(worker: FakeWorker) -> Ended:
        while len(worker.asked) < 3:
            worker.told.clear()
            await worker.told.wait()
        return Ended()

    engine = FakeEngine(deaf)
    carry_out(engine, 1, told_at_s=REMINDED_EVERY_S)
    assert engine.workers[0].asked == [(1, signal.SIGINT)] * 3


def test_a_worker_that_lost_its_lease_is_not_begun_anew_once_the_user_wants_to_stop() -> None:
    async def told_and_slow(worker: FakeWorker) -> Ended:
        await worker.told.wait()
        return await slow(worker)

    engine = FakeEngine(told_and_slow)
    carry_out(engine, 1, told_at_s=1)
    assert engine.workers[0].begun == 1


def numbers(figures: Figures) -> dict[str, float]:
    """Return the sum of each name's samples."""
    return {each.name: sum(value for _, _, value in each.samples) for each in figures.families()}


def test_nobody_is_asked_for_figures_that_nobody_wants() -> None:
    engine = FakeEngine(until_told)
    carry_out(engine, 1, told_at_s=10 * HEARD_EVERY_S)
    assert engine.workers[0].reports == 0


def test_workers_are_heard_while_they_work_and_once_more_at_their_end() -> None:
    async def at_last(worker: FakeWorker) -> Ended:
        await worker.told.wait()
        return Ended(told=worker.report(100))

    figures, seen = Figures(), []

    async def watching(worker: FakeWorker) -> Ended:
        while not worker.told.is_set():
            seen.append(numbers(figures))
            await asyncio.sleep(HEARD_EVERY_S)  # noqa: TID251 - of the simulated world
        return Ended(told=worker.report(100))

    carry_out(FakeEngine(at_last, watching), 2, told_at_s=10.5 * HEARD_EVERY_S, figures=figures)
    counts = [each.get("clipmill_looks_total", 0.0) for each in seen]
    assert counts == sorted(counts)
    assert counts[-1] >= 18
    assert seen[-1]["clipmill_worker_at_work"] == 2
    assert numbers(figures) == {"clipmill_looks_total": 200.0, "clipmill_worker_at_work": 0.0}


def test_a_worker_that_does_not_answer_is_not_at_work_and_what_it_did_stays_counted() -> None:
    figures = Figures()
    seen: list[dict[str, float]] = []

    async def dead(worker: FakeWorker) -> Ended:
        worker.silent_from = 3
        await asyncio.sleep(5 * HEARD_EVERY_S)  # noqa: TID251 - of the simulated world
        seen.append(numbers(figures))
        await asyncio.sleep(HEARD_WITHIN_S)  # noqa: TID251
        seen.append(numbers(figures))
        return Ended()

    carry_out(FakeEngine(dead), 1, figures=figures)
    assert seen == [
        {"clipmill_looks_total": 2.0, "clipmill_worker_at_work": 1.0},
        {"clipmill_looks_total": 2.0, "clipmill_worker_at_work": 0.0},
    ]
