"""The effects of a simulated process: a clock whose time jumps, threads that are not, and the rest as given."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pipeline.effects import Effects
from pipeline.system.databases import connect_postgres
from pipeline.system.effects import system_mounts
from pipeline.system.locks import SystemLocks

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.effects import Files
    from tests.support.simulation.memory_network import MemoryNetwork
    from tests.support.simulation.process import Process

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall time at virtual time 0."""


class VirtualClock:
    """The loop's time, as the three clocks of a machine. The mutable state is how far they were pushed apart."""

    def __init__(self, loop: asyncio.AbstractEventLoop, process: Process | None = None) -> None:
        self.suspended_s = 0.0
        """How long the machine was suspended: the wall clock and `boottime` went on, timers did not."""
        self.wall_offset_s = 0.0
        """How far somebody set the wall clock wrong."""
        self._loop = loop
        self._process = process

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.boottime() + self.wall_offset_s)

    def monotonic(self) -> float:
        return self._loop.time()

    def boottime(self) -> float:
        return self._loop.time() + self.suspended_s

    async def sleep(self, seconds: float) -> None:
        if self._process is not None:
            self._process.check("sleep")
        await asyncio.sleep(seconds)  # noqa: TID251  # this is the clock


@dataclass
class _Work:
    run: Callable[[], Any]
    future: asyncio.Future[Any]


@dataclass
class _Lane:
    free: int
    waiting: deque[_Work] = field(default_factory=deque)


class InlineThreads:
    """Work runs on the loop, one turn (or `duration_s`) after it was given: in order, as if in a pool's threads.

    As with real threads, work that has begun cannot be called back by a cancellation; work that still waits can.
    The mutable state is `_lanes`.
    """

    def __init__(self, *, workers: int = 4, duration_s: Callable[[], float] = lambda: 0.0) -> None:
        self._workers = workers
        self._duration_s = duration_s
        self._lanes: dict[str, _Lane] = {}

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        return await self._give("pool", self._workers, partial(work, *args))

    async def run_alone(self, lane: str, work: Callable[..., T], *args: Any) -> T:
        return await self._give(f"lane-{lane}", 1, partial(work, *args))

    def close(self) -> None:
        """Wait for what has begun or waits: nothing can be under way once the loop stands still."""
        for lane in self._lanes.values():
            assert not lane.waiting, "threads were closed with work waiting"

    def _give(self, name: str, workers: int, run: Callable[[], T]) -> asyncio.Future[T]:
        lane = self._lanes.setdefault(name, _Lane(workers))
        work = _Work(run, asyncio.get_running_loop().create_future())
        lane.waiting.append(work)
        self._begin(lane)
        return work.future

    def _begin(self, lane: _Lane) -> None:
        loop = asyncio.get_running_loop()
        while lane.free and lane.waiting:
            work = lane.waiting.popleft()
            if work.future.cancelled():
                continue
            lane.free -= 1
            duration_s = self._duration_s()
            if duration_s > 0:
                loop.call_later(duration_s, self._finish, lane, work)
            else:
                loop.call_soon(self._finish, lane, work)

    def _finish(self, lane: _Lane, work: _Work) -> None:
        lane.free += 1
        try:
            result = work.run()
        except Exception as error:
            if not work.future.done():
                work.future.set_exception(error)
        else:
            if not work.future.done():
                work.future.set_result(result)
        self._begin(lane)


CHANGING = frozenset(
    {"create", "write", "fsync", "fsync_file", "close", "link", "replace", "unlink", "fsync_folder", "make_folder"}
)
"""The calls of `Files` after which a crash finds the disk in another state."""


class GuardedFiles:
    """Any `Files`: each call that changes the disk is a step of a process, and a dead process can make none."""

    def __init__(self, files: Files, process: Process) -> None:
        self._files = files
        self._process = process

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, name, getattr(self._files, name))

    def _call(self, name: str, call: Callable[..., Any], *args: Any, **rest: Any) -> Any:
        if name in CHANGING:
            told = (f"{len(each)} bytes" if isinstance(each, bytes | bytearray) else str(each) for each in args)
            self._process.step(f"files: {name} {' '.join(told)}")
        else:
            self._process.check(name)
        return call(*args, **rest)


def simulated_effects(
    *,
    loop: asyncio.AbstractEventLoop,
    network: MemoryNetwork,
    files: Files,
    random: random.Random,
    open_database: Callable[[Path], sqlite3.Connection],
    process: Process | None = None,
    threads: InlineThreads | None = None,
) -> Effects:
    """Return effects in virtual time; with `process`, each of them that changes the world is a step of that process."""
    return Effects(
        clock=VirtualClock(loop, process),
        random=random,
        files=files if process is None else cast("Files", GuardedFiles(files, process)),
        threads=InlineThreads() if threads is None else threads,
        connector=lambda fresh: network.connector(fresh, process=process),
        open_database=open_database,
        locks=SystemLocks(),
        mounts=system_mounts,
        open_postgres=connect_postgres,
    )
