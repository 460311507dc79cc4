"""A small world for one simulation: a loop, a network, databases, and processes that can be killed and started again.

The servers live on while a client dies: bytes that were already sent reach them, and they go on answering in the same
virtual time while the next process recovers.
"""

from __future__ import annotations

import math
import random
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp.web_app import _cached_build_middleware

from tests.support.memory_files import Crash, MemoryFiles
from tests.support.simulation.databases import MemoryDatabases
from tests.support.simulation.memory_network import MemoryNetwork
from tests.support.simulation.process import Process
from tests.support.simulation.simulated_effects import InlineThreads, VirtualClock, simulated_effects
from tests.support.simulation.trace import Trace
from tests.support.simulation.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Iterator

    from aiohttp import web

    from pipeline.effects import Effects, Files
    from tests.support.simulation.sessions import Sessions

T = TypeVar("T")


class World:
    """Everything of one seed. Use it as a context manager; the processes are what changes."""

    def __init__(
        self,
        seed: int = 0,
        *,
        shuffle: bool = False,
        latency_s: tuple[float, float] = (0.0, 0.0),
        late: tuple[float, float] = (0.0, 0.0),
        limit_s: float = math.inf,
    ) -> None:
        """Make a world at virtual time 0.

        Args:
            seed: draws the order of callbacks, the latencies and each process's jitter.
            shuffle: run each turn's callbacks in an order drawn from the seed.
            latency_s: the least and the most that a piece of data takes to cross the network.
            late: how probable it is that a piece takes longer, and by how much at most.
            limit_s: the virtual time past which the simulation fails.
        """
        self.seed = seed
        self.loop = VirtualLoop(shuffle=self.random("order") if shuffle else None, limit_s=limit_s)
        self.trace = Trace(self.loop.time)
        latency, (least_s, most_s) = self.random("latency"), latency_s
        draw = partial(latency.uniform, least_s, most_s) if most_s > least_s else lambda: least_s
        probability, later_s = late
        straggle = (lambda: draw() + later_s * latency.random() * (latency.random() < probability)) if later_s else draw
        self.network = MemoryNetwork(self.loop, self.trace, latency=straggle, now=VirtualClock(self.loop).now)
        self.files = MemoryFiles()
        """The machine's disk, which every process shares and which outlives them."""
        self.sessions: Sessions | None = None
        """The sessions with a real server, where the ledger is in one; it is on no simulated machine."""
        self.databases = MemoryDatabases(on_create=lambda path: self.files.plant(path, b""))
        self.provider = Process("provider", self.loop, self.trace)
        """Who runs the servers; it never dies."""
        self._alive: list[Process] = []
        self._aiohttp_random = self.random("aiohttp").getstate()

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.run(self.network.close())
            else:
                self.network.forget()
        finally:
            self.loop.abandon()
            self.loop.close()
            self.databases.close()
            _cached_build_middleware.cache_clear()  # aiohttp keeps 1,024 handlers with all that they refer to
        if kind is None:
            assert not self.loop.troubles, f"nobody heard these: {self.loop.troubles}"

    def random(self, purpose: str) -> random.Random:
        """Return a random of its own for a purpose, so that one's draws do not move another's."""
        return random.Random(f"{self.seed}/{purpose}")

    def serve(self, app: web.Application, host: str, port: int = 80) -> None:
        """Start a server that belongs to the provider."""
        self.run(self.network.serve(app, host, port))

    def process(self, name: str, *, crash_at: int | None = None, power_cut: bool = False) -> Process:
        """Return a new process, to be killed before the step of the given number, with or without its machine."""
        process = Process(name, self.loop, self.trace)
        process.crash_at = crash_at
        process.power_cut = power_cut
        self._alive.append(process)
        return process

    def effects(self, process: Process, *, files: Files | None = None, threads: InlineThreads | None = None) -> Effects:
        """Return the effects of a process, over the world's own files unless others are given."""
        effects = simulated_effects(
            loop=self.loop,
            network=self.network,
            files=self.files if files is None else files,
            random=self.random(process.name),
            open_database=partial(self.databases.open, process=process),
            process=process,
            threads=threads,
        )
        if self.sessions is not None:
            effects = replace(effects, open_postgres=partial(self.sessions.open, process=process))
        return effects

    def run(self, main: Coroutine[Any, Any, T], process: Process | None = None) -> T:
        """Run `main` as the process (the provider where none is given) until it returns.

        Raises:
            Crash: a process was killed; it is buried, and the world can go on.
            Deadlock, BusyLoop, TimeIsUp: the simulation cannot go on.
        """
        return self.finish(self.start(main, process))

    def start(self, main: Coroutine[Any, Any, T], process: Process | None = None) -> asyncio.Task[T]:
        """Make `main` a task of the process, which runs while anything is run."""
        return self.loop.create_task(main, context=(process or self.provider).context)

    def finish(self, task: asyncio.Future[T]) -> T:
        """Run until a started task is done; raises what `run` raises."""
        with self._aiohttp_draws_from_the_seed():
            try:
                return self.loop.run_until_complete(task)
            except Crash:
                for process in self._alive:
                    if process.is_dead:
                        self.bury(process)
                raise

    def pass_time(self, seconds: float) -> None:
        """Let the servers go on alone."""
        self.run(VirtualClock(self.loop).sleep(seconds))

    def bury(self, process: Process) -> None:
        """Take a process out of the world, dead from now on: its connections, its uncommitted writes, its tasks."""
        process.is_dead = True
        self._alive = [each for each in self._alive if each is not process]
        self.network.sever(process, silently=process.power_cut)
        self.databases.crash(process)
        if self.sessions is not None:
            self.sessions.crash(process)
        self.loop.abandon(process)
        if process.power_cut:
            self.cut_power(f"what {process.name} leaves on the disk")

    def cut_power(self, occasion: str) -> None:
        """Let the disk forget what was not synced, drawn for the occasion; whoever ran must be buried."""
        self.files.crash("power", self.random(occasion))
        self.databases.lose(self.files.holds)

    @contextmanager
    def _aiohttp_draws_from_the_seed(self) -> Iterator[None]:
        # Which of several hosts' waiters aiohttp's pool wakes first comes from the module-level random; nothing can be
        # passed in there.
        before = random.getstate()
        random.setstate(self._aiohttp_random)
        try:
            yield
        finally:
            self._aiohttp_random = random.getstate()
            random.setstate(before)
