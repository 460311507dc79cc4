"""Rate limits and the failure block, for each key: who may ask now, and when the next one may.

Venice rate-limiting page: 40 queue and 120 retrieve requests a minute; more than 20 failed requests in 30 s block the
key for 30 s. Windows slide: a request is admitted when fewer than the limit were admitted in the last window.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.effects import Clock
    from pipeline.sandbox.settings import SandboxSettings

MINUTE_S = 60.0


class Bucket(StrEnum):
    """What is limited together."""

    VENICE_QUEUE = "venice-queue"
    VENICE_RETRIEVE = "venice-retrieve"
    MODELMAX_SUBMIT = "modelmax-submit"
    MODELMAX_LOOK = "modelmax-look"
    OPENAI_VIDEOS_SUBMIT = "openai-videos-submit"
    OPENAI_VIDEOS_LOOK = "openai-videos-look"


@dataclass(frozen=True, slots=True)
class Allowance:
    """Where a key stands with one bucket after asking."""

    limit: int
    remaining: int
    reset_s: float
    """Seconds until the oldest request leaves the window."""
    admitted: bool


@dataclass(slots=True)
class _Failures:
    """The failed calls of one key, and until when it is blocked."""

    at_s: deque[float] = field(default_factory=deque)
    blocked_until_s: float = float("-inf")


class Limits:
    """The windows of all keys. Kept in memory alone: a sandbox that starts again has forgotten them."""

    def __init__(self, settings: SandboxSettings, clock: Clock) -> None:
        self._clock = clock
        self._on = settings.limits
        self._limits = {
            bucket: int(limit * settings.speed)
            for bucket, limit in (
                (Bucket.VENICE_QUEUE, settings.venice_queue_per_minute),
                (Bucket.VENICE_RETRIEVE, settings.venice_retrieve_per_minute),
                (Bucket.MODELMAX_SUBMIT, settings.modelmax_submits_per_minute),
                (Bucket.MODELMAX_LOOK, settings.modelmax_looks_per_minute),
                (Bucket.OPENAI_VIDEOS_SUBMIT, settings.openai_videos_submits_per_minute),
                (Bucket.OPENAI_VIDEOS_LOOK, settings.openai_videos_looks_per_minute),
            )
        }
        self._failure_limit = int(settings.venice_failures * settings.speed)
        self._failure_window_s = settings.venice_failure_window_s
        self._block_s = settings.venice_block_s / settings.speed
        self._admitted: defaultdict[tuple[Bucket, str], deque[float]] = defaultdict(deque)
        self._failures: defaultdict[str, _Failures] = defaultdict(_Failures)

    def admit(self, bucket: Bucket, key: str) -> Allowance | None:
        """Ask for one request; None where the bucket has no limit. A refused request does not count."""
        limit = self._limits[bucket]
        if not self._on or limit == 0:
            return None
        now_s = self._clock.monotonic()
        window = self._admitted[bucket, key]
        while window and window[0] <= now_s - MINUTE_S:
            window.popleft()
        admitted = len(window) < limit
        if admitted:
            window.append(now_s)
        return Allowance(limit, limit - len(window), window[0] + MINUTE_S - now_s, admitted)

    def note_failure(self, key: str) -> None:
        """Count one failed call; the one too many starts the block."""
        if not self._on:
            return
        now_s = self._clock.monotonic()
        failures = self._failures[key]
        failures.at_s.append(now_s)
        while failures.at_s[0] <= now_s - self._failure_window_s:
            failures.at_s.popleft()
        if len(failures.at_s) > self._failure_limit:
            failures.at_s.clear()
            failures.blocked_until_s = now_s + self._block_s

    def failures_left(self, key: str) -> int:
        """Return how many more calls may fail before the block."""
        return self._failure_limit - len(self._failures[key].at_s)

    def blocked_s(self, key: str) -> float:
        """Return for how long the key is still blocked; 0 where it is not."""
        if not self._on or key not in self._failures:
            return 0.0
        return max(0.0, self._failures[key].blocked_until_s - self._clock.monotonic())
