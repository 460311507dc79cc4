"""When to try again a call that costs nothing. Pure; calls that can bill never come here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

CAP_S = 60.0


def backoff_s(failures: int, random: Random, *, base_s: float = 1.0) -> float:
    """Return the seconds to wait after the n-th failure in a row: doubling, at most a minute, with jitter."""
    doubled = base_s * 2.0 ** min(max(failures, 1) - 1, 16)
    return min(CAP_S, doubled) * random.uniform(0.5, 1.0)
