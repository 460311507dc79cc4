"""Threads: a small pool for what waits, one for what is busy, and lanes of one thread each."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass
class SystemThreads:
    """A small pool, and one thread for each lane.

    The mutable state is `_lanes`; it grows on the first use of a lane and is emptied by `close`.
    """

    workers: int = 12
    _lanes: dict[str, ThreadPoolExecutor] = field(default_factory=dict)

    async def run(self, work: Callable[..., T], *args: Any) -> T:  # noqa: D102
        return await self._submit("pool", self.workers, work, *args)

    async def run_busy(self, work: Callable[..., T], *args: Any) -> T:  # noqa: D102
        return await self._submit("busy", (os.cpu_count() or 1) + 1, work, *args)

    async def run_alone(self, lane: str, work: Callable[..., T], *args: Any) -> T:  # noqa: D102
        return await self._submit(f"lane-{lane}", 1, work, *args)

    async def _submit(self, lane: str, workers: int, work: Callable[..., T], *args: Any) -> T:
        if lane not in self._lanes:
            self._lanes[lane] = ThreadPoolExecutor(workers, thread_name_prefix=lane)
        return await asyncio.get_running_loop().run_in_executor(self._lanes[lane], work, *args)

    def close(self) -> None:  # noqa: D102
        while self._lanes:
            self._lanes.popitem()[1].shutdown(wait=True)
