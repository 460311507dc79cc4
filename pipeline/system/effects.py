"""The real effects in one record, and those of them that are too small for a file of their own."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime

from pipeline.effects import Effects
from pipeline.system.databases import connect_postgres, open_database
from pipeline.system.files import SystemFiles
from pipeline.system.locks import SystemLocks
from pipeline.system.network import system_connector
from pipeline.system.threads import SystemThreads


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:  # noqa: D102
        return datetime.now(UTC)  # noqa: TID251

    def monotonic(self) -> float:  # noqa: D102
        return time.monotonic()

    def boottime(self) -> float:  # noqa: D102
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()  # macOS: its monotonic clock is the best there is

    async def sleep(self, seconds: float) -> None:  # noqa: D102
        await asyncio.sleep(seconds)  # noqa: TID251


def system_mounts() -> str:
    """Return what Linux says is mounted; nothing elsewhere."""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def system() -> Effects:
    """Return the real effects."""
    return Effects(
        clock=SystemClock(),
        random=random.Random(),  # noqa: S311
        files=SystemFiles(),
        threads=SystemThreads(),
        connector=system_connector,
        open_database=open_database,
        locks=SystemLocks(),
        mounts=system_mounts,
        open_postgres=connect_postgres,
    )
