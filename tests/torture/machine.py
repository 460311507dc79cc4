"""What a simulated machine has beside its disk: threads that are slow at times, and a shelf that its user shares."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.support.simulation.process import Process

THREAD_S = 0.004
SLOW, SLOW_THREAD_S = 0.1, 0.12
"""How probable it is that a thread's work takes longer, as a disk's does, and how long at most."""


def thread_s(chance: random.Random) -> float:
    """Draw how long the work of a thread takes."""
    return chance.uniform(0.0, SLOW_THREAD_S if chance.random() < SLOW else THREAD_S)


@dataclass
class MemoryShelf:
    """The shelf of a simulated user: one for all processes. The mutable state is the records."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    process: Process | None = None

    def of(self, process: Process) -> MemoryShelf:
        """Return the same shelf as one process reaches it."""
        return MemoryShelf(self.records, process)

    def update(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        assert self.process is not None
        self.process.check("reach for the shelf")
        self.records[name] = json.loads(json.dumps(change(dict(self.records.get(name, {})))))
