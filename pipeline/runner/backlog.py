"""Finished jobs that wait to have something done beside the run: put in as they end, dealt with a few at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Backlog:
    """The mutable state is the jobs that wait, by id and revision, and how many are not dealt with yet."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.left = 0
        """Jobs that wait or are being dealt with."""

    def put(self, item_id: str, revision: int) -> None:
        """Have a job dealt with."""
        self.left += 1
        self._waiting.put_nowait((item_id, revision))

    async def work(self, deal_with: Callable[[str, int], Awaitable[None]], at_once: int) -> None:
        """Deal with what comes, for ever. Raises what `deal_with` raises."""
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._work(deal_with))

    async def drained(self) -> None:
        """Wait until nothing is left; somebody must be at `work`."""
        await self._waiting.join()

    async def _work(self, deal_with: Callable[[str, int], Awaitable[None]]) -> None:
        while True:
            item_id, revision = await self._waiting.get()
            try:
                await deal_with(item_id, revision)
            finally:
                self.left -= 1
                self._waiting.task_done()
