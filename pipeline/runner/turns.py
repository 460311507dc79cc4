"""Turns at a job that no lane follows any more: whoever writes about it reads it anew, and nobody writes in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.jobs.job import Job
    from pipeline.ledger.store import Ledger


class Turns:
    """The mutable state is the locks of the jobs that somebody has, or waits for."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}
        self._wanted: Counter[tuple[str, int]] = Counter()

    @asynccontextmanager
    async def at(self, item_id: str, revision: int) -> AsyncIterator[Job]:
        """Wait for the job and yield it as it now is; nobody else who takes turns writes about it meanwhile."""
        key = (item_id, revision)
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._wanted[key] += 1
        try:
            async with lock:
                yield await self._ledger.job(item_id, revision)
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key], self._locks[key]
