"""Being told to stop: once to finish the calls that bill, twice to write their doubt down and go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Stop:
    """The mutable state is how often it was asked, and by which signal first."""

    asked: int = 0
    signal: int = 0
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first: no new call that bills, no new download; answers under way are awaited."""
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the second: what is under way is written down as unknown."""

    def ask(self, signal: int) -> None:
        """Ask once more."""
        self.asked += 1
        self.signal = self.signal or signal
        self.finish.set()
        if self.asked > 1:
            self.leave.set()
