"""A crew of workers on one batch: started together, followed to their ends, told to stop together.

An engine gives each worker a process somewhere and a new one when that dies. It may therefore begin a worker's work
anew at any moment, even while the first lives on unseen: that is safe, because work is nothing but what the ledger
leases, and a worker whose lease is lost can write nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import Exit, Paused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from pipeline.clips.decoders import Decodes
    from pipeline.effects import Clock
    from pipeline.runner.stop import Stop
    from pipeline.scale.figures import Figures, Teller, Told

    MakesDecoders = Callable[[int], AbstractAsyncContextManager[Decodes]]

AGAIN_MOST = 20
"""How often one worker is begun anew. Whatever kills it more often is not cured by one more time."""
REMINDED_EVERY_S = 1.0
"""How often a crew that is to stop is told so: a worker that is begun anew meanwhile has not heard it."""
HEARD_EVERY_S = 2.0
"""How often a worker is asked for its figures, where somebody wants them."""
HEARD_WITHIN_S = 10.0
"""A worker that has not answered by then is dead, or being begun anew."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a worker's work ended."""

    code: Exit = Exit.DONE
    """What its error stands for; DONE where it came to an end of its own."""
    said: str = ""
    """The error, in words."""
    paused_because: tuple[str, ...] = ()
    """Why it could not go on, in sentences."""
    not_uploaded: str = ""
    """Why clips are missing in the store, in sentences."""
    notes: tuple[str, ...] = ()
    """What it had to tell the user."""
    again: bool = False
    """Whether it was only too slow for its lease, so that it may begin anew."""
    told: Told | None = None
    """Its figures at the end; None where it never began."""


@dataclass(frozen=True)
class Lent:
    """Keys, addresses and the ledger's password, lent to a worker for as long as it works. Its text shows none."""

    variables: Mapping[str, str] = field(repr=False)


class Work(Protocol):
    """What every worker does: a function that any process can find by its name, with values that can be sent."""

    async def __call__(self, lent: Lent, stop: Stop, decoders: MakesDecoders, teller: Teller, /) -> Ended:
        """Work on the batch until nothing is left to do.

        Args:
            lent: what it may use, and may tell nobody.
            stop: asked when the crew is to stop.
            decoders: makes what decodes clips, so many at once.
            teller: is to know its figures.

        Returns:
            How it ended; it raises nothing.
        """


class WorkerLost(Paused):
    """A worker died, and the engine begins it anew no more."""


class Worker(Protocol):
    """One worker, in a process of its own somewhere."""

    async def work(self) -> Ended:
        """Have it work to its end, begun anew where its process is lost. Raises WorkerLost."""

    async def stop(self, asked: int, signal: int) -> None:
        """Have it know that the user asked so often to stop; the same may be told again. Raises WorkerLost."""

    async def tell(self) -> Told | None:
        """Return its figures; None where it has not begun. Raises WorkerLost."""


class Engine(Protocol):
    """Where workers come from."""

    def hire(self, number: int) -> Worker:
        """Make a worker; its process comes up by itself."""


class Crew:
    """So many workers of one engine. The mutable state is in them."""

    def __init__(
        self,
        engine: Engine,
        size: int,
        clock: Clock,
        note: Callable[[str], None],
        figures: Figures | None = None,
    ) -> None:
        """`note` is given sentences for the user, and `figures` what the workers tell of theirs, where wanted."""
        self._engine = engine
        self._size = size
        self._clock = clock
        self._note = note
        self._figures = figures

    async def go(self, stop: Stop) -> Sequence[Ended]:
        """Follow every worker to its end; return how each ended."""
        async with asyncio.TaskGroup() as group:
            following = [group.create_task(self._follow(number, stop)) for number in range(1, self._size + 1)]
        return [each.result() for each in following]

    async def _follow(self, number: int, stop: Stop) -> Ended:
        worker = self._engine.hire(number)
        loop = asyncio.get_running_loop()
        beside = {loop.create_task(self._remind(worker, stop)), loop.create_task(self._hear(number, worker))}
        try:
            ended = await worker.work()
            for _ in range(AGAIN_MOST):
                if not ended.again or stop.asked:
                    break
                self._take(number, ended)
                self._note(f"Worker {number} was silent for longer than its lease, and begins anew.")
                ended = await worker.work()
        except WorkerLost as lost:
            ended = Ended(paused_because=(f"Worker {number} is lost. {lost}",))
        finally:
            for each in beside:
                each.cancel()
            await asyncio.wait(beside)
        self._take(number, ended)
        for note in ended.notes:
            self._note(note)
        return ended

    def _take(self, number: int, ended: Ended) -> None:
        """Take the last figures of a worker that came to an end."""
        if self._figures is not None:
            if ended.told is not None:
                self._figures.hear(number, ended.told)
            self._figures.miss(number)

    async def _hear(self, number: int, worker: Worker) -> None:
        """Have a worker tell its figures, again and again."""
        if self._figures is None:
            return
        with suppress(WorkerLost):  # whoever follows its work says so
            while True:
                asked = asyncio.get_running_loop().create_task(worker.tell())
                try:
                    if not (await asyncio.wait({asked}, timeout=HEARD_WITHIN_S))[0]:
                        self._figures.miss(number)
                    told = await asked
                finally:
                    asked.cancel()
                if told is not None:
                    self._figures.hear(number, told)
                await self._clock.sleep(HEARD_EVERY_S)

    async def _remind(self, worker: Worker, stop: Stop) -> None:
        """Tell a worker to stop as soon as the user asks, as often as the user asks, and again and again."""
        await stop.finish.wait()
        try:
            while True:
                await worker.stop(stop.asked, stop.signal)
                await self._clock.sleep(REMINDED_EVERY_S)
        except WorkerLost:
            return  # whoever follows its work says so
