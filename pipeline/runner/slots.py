"""How many jobs may do the same thing at once: calls that can bill, downloads."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.jobs.job import Job
    from pipeline.runner.planned import Head


class Slots:
    """How many jobs may do something at once; a job that has a slot may ask for it again, and keeps the one.

    Those of calls that can bill are free again as soon as the outcome is queued for a commit. The next intent is queued
    behind it and its call leaves only when that is durable, so the ledger never holds more open intents than slots.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._held: set[tuple[str, int]] = set()

    @property
    def full(self) -> bool:
        """Whether the next one must wait."""
        return self._free.locked()

    async def acquire(self, job: Job | Head) -> None:
        """Wait for a slot and take it, unless the job has one."""
        if (job.item_id, job.revision) not in self._held:
            await self._free.acquire()
            self._held.add((job.item_id, job.revision))

    def release(self, job: Job | Head) -> None:
        """Give the job's slot back, if it has one."""
        if (job.item_id, job.revision) in self._held:
            self._held.remove((job.item_id, job.revision))
            self._free.release()

    @asynccontextmanager
    async def held(self, job: Job) -> AsyncIterator[None]:
        """Have a slot for a while."""
        await self.acquire(job)
        try:
            yield
        finally:
            self.release(job)
