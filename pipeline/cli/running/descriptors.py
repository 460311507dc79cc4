"""Room for open files: the soft limit is raised to what a run can need, and a hard limit that is too low is told.

Without room a connection cannot be opened. That is never in doubt, since nothing was sent, but it looks like a network
that is gone.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Protocol

from pipeline.system.network import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.runner.context import LaneLimits

OWN = 64
"""What a run opens for itself: standard streams, the ledger and its journal, the shelf, the rehearsal's sandbox."""


class ProcessLimits(Protocol):
    """What the module `resource` offers."""

    RLIMIT_NOFILE: int

    def getrlimit(self, which: int, /) -> tuple[int, int]:
        """Return a soft and a hard limit; -1 for none."""

    def setrlimit(self, which: int, limits: tuple[int, int], /) -> None:
        """Set both."""


def needed(lanes: Iterable[LaneLimits]) -> int:
    """Return how many files and connections a run can have open at once."""
    return OWN + sum(
        CONNECTIONS + limits.concurrent_billing + min(limits.concurrent_downloads, CONNECTIONS) for limits in lanes
    )


def make_room(wanted: int, process: ProcessLimits = resource) -> str:
    """Raise the soft limit on open files where it is too low.

    Returns:
        A sentence where it cannot be raised far enough; empty otherwise.
    """
    soft, hard = process.getrlimit(process.RLIMIT_NOFILE)
    if soft < 0 or soft >= wanted:
        return ""
    most = wanted if hard < 0 else min(wanted, hard)
    try:
        process.setrlimit(process.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        most = soft
    if most >= wanted:
        return ""
    return (
        f"This run can need {wanted} open files and connections, and may have {most}. Lower concurrent_downloads in "
        f"the manifest's limits, or allow more with: ulimit -n {wanted}"
    )
