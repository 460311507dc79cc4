"""Who is looked at next: one schedule for all jobs of a provider, under one budget of looks.

The mutable state is `_due`, a heap of (when, order, job); a job is in it at most once, and not while it is being
looked at. `choose` is the one function that picks.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.jobs.job import Job

FIRST_SPACING_S = 0.02
GROWTH = 1.4


@dataclass(eq=False)
class Live:
    """A job that the vendor has, and what this run has seen of it. Nothing of this needs to be durable."""

    job: Job
    since: float
    """Monotonic; when the submit was acknowledged, as far as this run knows."""
    looks: int = 0
    failures: int = 0
    """Looks in a row that brought no answer."""
    gone_at: list[float] = field(default_factory=list)
    """When the vendor said that it does not know the job."""
    broken_at: list[float] = field(default_factory=list)
    """When a look was answered with a server error."""
    broken: int = 0
    """Downloads that did not arrive whole."""
    refused: int = 0
    """Claims that were refused."""
    spacing_s: float = FIRST_SPACING_S


@dataclass
class Schedule:
    """When each job is due, and who is first."""

    longest_spacing_s: float
    _due: list[tuple[float, int, Live]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, live: Live, due: float) -> None:
        """Have a job looked at, at `due` or as soon after as the budget allows."""
        heapq.heappush(self._due, (due, next(self._order), live))

    def choose(self, now: float) -> tuple[Live | None, float]:
        """Return the job to look at now and 0, or None and the seconds until one is due (infinite for never)."""
        if not self._due:
            return None, float("inf")
        due, _, live = self._due[0]
        if due > now:
            return None, due - now
        heapq.heappop(self._due)
        return live, 0.0

    def all_due(self, now: float) -> None:
        """Have everything looked at again soon: the machine slept, and what was learned of time is stale."""
        self._due = [(min(due, now), order, live) for due, order, live in self._due]
        heapq.heapify(self._due)

    def unfinished(self, live: Live, now: float) -> None:
        """Put a job back after a look that found it unfinished."""
        live.spacing_s = min(self.longest_spacing_s, live.spacing_s * GROWTH)
        self.add(live, now + live.spacing_s)
