"""How fast a vendor may be called: pacing, pauses, and the budget of failures, one set an endpoint and key.

All times are monotonic seconds, passed in. `wait_s(now)` says how long to wait before the next call; `take(now)` says
that it is made now. Nothing here waits.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.effects import Shelf

WINDOW_S = 60.5
"""A minute and a little, so that a limit counted at the vendor's clock is kept too."""
EVEN_SHARE = 0.99
"""Evenly paced calls at 99 % of a limit meet no refusal under fixed or sliding windows; at 100 % they do."""
CREDIT_S = 0.5
"""How late an evenly paced call may be without delaying the next: less than the 0.6 s that 99 % leaves of a minute."""
SPREAD_SHARE = 0.015
"""What a long batch gives of its time so that its submits leave less bunched."""
CUT, LEAST_FACTOR = 0.7, 0.02
LONGEST_PAUSE_S = 600.0
REGROW_CALLS = 1500.0
"""Calls, at the whole limit, after which a rate is back where it was refused."""
FAILURE_WINDOW_S = 30.0
LOCKED_OUT_S = 30.0
UNCOUNTED_WAIT_S = 1.0
"""How long a call waits that could not be counted, since whoever counts for all is away."""
UNTOLD_WAIT_S = 30.0
"""How long a refusal that names no time stops an endpoint."""


class Pace(Protocol):
    """When the next call may leave."""

    def wait_s(self, now: float) -> float:
        """Return the seconds until a call may leave; 0 for at once."""

    def take(self, now: float) -> None:
        """Count a call that leaves now."""

    def scale(self, factor: float) -> None:
        """Set the rate to `factor` times the limit it was made with."""

    def state(self) -> list[float]:
        """Return the times that decide when the next call may leave, for others that share the limit."""

    def take_up(self, times: list[float]) -> None:
        """Go on from what `state` returned elsewhere."""

    def expect(self, calls: int) -> None:
        """Be told how many calls are to come."""


@dataclass
class Unpaced:
    """No limit is known."""

    def wait_s(self, now: float) -> float:  # noqa: ARG002, D102
        return 0.0

    def take(self, now: float) -> None:  # noqa: D102
        pass

    def scale(self, factor: float) -> None:  # noqa: D102
        pass

    def state(self) -> list[float]:  # noqa: D102
        return []

    def take_up(self, times: list[float]) -> None:  # noqa: D102
        pass

    def expect(self, calls: int) -> None:  # noqa: D102
        pass


@dataclass
class SlidingLog:
    """At most `per_minute` calls in any 60.5 s: exact, and a small batch leaves at once. For submits.

    What leaves in a burst comes due in a burst, and then waits for looks; and each burst repeats the first one. So
    where many windows are to come, each window's calls are spread over a small part of the time that they all take.
    """

    per_minute: float
    spread_s: float = 0.0
    """Over how long a window's calls are spread."""
    _sent: deque[float] = field(default_factory=deque)
    _factor: float = 1.0

    def wait_s(self, now: float) -> float:  # noqa: D102
        allowed = max(1, int(self.per_minute * self._factor))
        while self._sent and self._sent[0] <= now - WINDOW_S:
            self._sent.popleft()
        gap_s = self._sent[-1] + self.spread_s / allowed - now if self._sent else 0.0
        if len(self._sent) < allowed:
            return max(0.0, gap_s)
        return max(self._sent[len(self._sent) - allowed] + WINDOW_S - now, gap_s)

    def take(self, now: float) -> None:  # noqa: D102
        self._sent.append(now)

    def scale(self, factor: float) -> None:  # noqa: D102
        self._factor = factor

    def state(self) -> list[float]:  # noqa: D102
        return list(self._sent)

    def take_up(self, times: list[float]) -> None:  # noqa: D102
        self._sent = deque(times)

    def expect(self, calls: int) -> None:  # noqa: D102
        they_take_s = WINDOW_S * max(0.0, calls / self.per_minute - 1)
        self.spread_s = min(WINDOW_S, SPREAD_SHARE * they_take_s)


@dataclass
class EvenPace:
    """Calls evenly spread at 99 % of `per_minute`, never more than that in any minute. For looks."""

    per_minute: float
    _next_at: float = float("-inf")
    _factor: float = 1.0

    @property
    def _gap_s(self) -> float:
        return 60.0 / (self.per_minute * self._factor * EVEN_SHARE)

    def wait_s(self, now: float) -> float:  # noqa: D102
        return max(0.0, self._next_at - now)

    def take(self, now: float) -> None:  # noqa: D102
        gap_s = self._gap_s
        self._next_at = max(self._next_at, now - min(gap_s, CREDIT_S)) + gap_s

    def scale(self, factor: float) -> None:  # noqa: D102
        self._factor = factor

    def state(self) -> list[float]:  # noqa: D102
        return [self._next_at]

    def take_up(self, times: list[float]) -> None:  # noqa: D102
        self._next_at = max(times, default=float("-inf"))

    def expect(self, calls: int) -> None:  # noqa: D102
        pass


@dataclass
class FailureBudget:
    """At most `most` answers of 4xx (429 apart) in any 30 s; beyond it the vendor would lock the key out."""

    most: int | None
    _seen: deque[float] = field(default_factory=deque)

    def note(self, now: float) -> None:
        """Count a failed answer."""
        self._seen.append(now)

    def wait_s(self, now: float, under_way: int) -> float:
        """Return the wait before one more call, were all that are under way to fail too.

        It is infinite where those alone could use the budget up: then an answer has to come first.
        """
        if self.most is None:
            return 0.0
        while self._seen and self._seen[0] <= now - FAILURE_WINDOW_S:
            self._seen.popleft()
        spare = self.most - len(self._seen) - under_way
        if spare > 0:
            return 0.0
        if -spare >= len(self._seen):
            return float("inf")
        return self._seen[-spare] + FAILURE_WINDOW_S - now


@dataclass
class Endpoint:
    """One endpoint with one key: its pace, and the pauses that the vendor asks for.

    A throttled answer stops the whole endpoint and cuts its rate to 0.7 once a pause. Successes regrow it along a cubic
    curve, as TCP does (RFC 9438): soon back to near the rate that was refused, lingering there, and only then beyond.
    A limit that is lower than documented is thus nearly used up, and found out anew every thousand calls or so.
    Where a shelf is given, all this is shared with the other processes of this user that call the endpoint: monotonic
    time is the machine's, and one file under a lock holds the record.
    """

    pace: Pace
    shelf: Shelf | None = None
    name: str = ""
    """Of the record on the shelf: one endpoint, one origin, one key."""
    paused_until: float = float("-inf")
    factor: float = 1.0
    refused_factor: float = 1.0
    """That of the rate that was refused last."""
    calls: float = 0.0
    """Calls since the last cut, each counted as those that the whole limit would have let leave meanwhile."""
    throttled: int = 0
    """How many answers said "too fast"."""

    def wait_s(self, now: float) -> float:
        """Return the wait before the next call, as far as this process knows."""
        return max(self.paused_until - now, self.pace.wait_s(now), 0.0)

    def try_take(self, now: float) -> float:
        """Count a call that leaves now and return 0; or return the wait, if others have used the limit up."""
        waits = [UNCOUNTED_WAIT_S]

        def take() -> None:
            waits[0] = self.wait_s(now)
            if waits[0] <= 0:
                self.pace.take(now)

        self._shared(now, take)
        return waits[0]

    def pause(self, now: float, wait_s: float | None) -> None:
        """Stop the endpoint for as long as the vendor asked."""
        self.throttled += 1

        def stop() -> None:
            if now >= self.paused_until:
                self._cut_to(max(LEAST_FACTOR, self.factor * CUT))
            self.paused_until = max(self.paused_until, now + (UNTOLD_WAIT_S if wait_s is None else wait_s))

        if not self._shared(now, stop):
            stop()

    def _cut_to(self, factor: float) -> None:
        self.factor, self.refused_factor, self.calls = factor, factor / CUT, 0.0
        self.pace.scale(factor)

    def hold(self, until: float) -> None:
        """Stop this process's calls until then, for a reason that is none of the vendor's."""
        self.paused_until = max(self.paused_until, until)

    def succeeded(self) -> None:
        """Regrow the rate after an answer that was no refusal."""
        if self.factor < 1.0:
            self.calls += 1 / self.factor
            short = 1 - self.calls / (REGROW_CALLS * math.cbrt(self.refused_factor))
            self.factor = min(1.0, self.refused_factor * (1 - (1 - CUT) * short**3))
            self.pace.scale(self.factor)

    def _shared(self, now: float, change: Callable[[], None]) -> bool:
        """Make a change, on the shared record where there is one; tell whether that could be reached."""
        if self.shelf is None or isinstance(self.pace, Unpaced):
            change()
            return True
        made = False

        def on_shelf(record: dict[str, Any]) -> dict[str, Any]:
            nonlocal made
            self._take_up(record, now)
            change()
            made = True
            return {"sent": self.pace.state(), "paused_until": self.paused_until, "factor": self.factor}

        self.shelf.update(self.name, on_shelf)
        return made

    def _take_up(self, record: Mapping[str, Any], now: float) -> None:
        # Times ahead of what any limit can mean are from before the machine was last started.
        ahead_s = now + LONGEST_PAUSE_S
        sent = [at for at in record.get("sent", []) if isinstance(at, (int, float)) and at <= ahead_s]
        if sent or not record:
            self.pace.take_up(sent or self.pace.state())
        paused = record.get("paused_until", float("-inf"))
        if isinstance(paused, (int, float)) and paused <= now + LONGEST_PAUSE_S:
            self.paused_until = max(self.paused_until, paused)
        factor = record.get("factor", 1.0)
        if isinstance(factor, (int, float)) and paused > now and factor < self.factor:
            self._cut_to(factor)
