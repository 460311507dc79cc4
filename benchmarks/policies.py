"""The oracle and the usual ways to wait, in a small model of events: the same durations, limits and network.

Every function takes durations by number and time of submit and returns an `Account`. The submits of all but the naive
script leave by the same sliding log as the runner's, and their looks through one paced bucket.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.laws import P80_S
from benchmarks.vendor import Gate
from pipeline.runner.limits import EVEN_SHARE, WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.laws import Law

ONE_WAY_S = 0.05
NAIVE_BACKOFF_S, NAIVE_BACKOFF_MOST_S = 1.0, 60.0


@dataclass
class Account:
    """What became of a batch."""

    makespan_s: float = 0.0
    looks: int = 0
    refusals: int = 0
    lockouts: int = 0
    lags_s: list[float] = field(default_factory=list)
    order: list[int] | None = None
    """The clips in the order of their submits, where that is not the order of their numbers."""


def submit_times(clips: int, per_minute: float) -> list[float]:
    """Return when submits arrive that leave by a sliding log, `per_minute` in any 60.5 s."""
    sent: list[float] = []
    most = int(per_minute)
    for number in range(clips):
        sent.append(max(number * 0.001, sent[number - most] + WINDOW_S) if most and number >= most else number * 0.001)
    return [at + ONE_WAY_S for at in sent]


def oracle(
    law: Law, seed: int, clips: int, submits: float, looks: float, order: Sequence[int] | None = None
) -> Account:
    """Look once at each job, at the moment at which it finishes, as far as the budget of looks allows.

    `order` names the clips in the order in which they are submitted; that of their numbers where it is None.
    """
    began = submit_times(clips, submits)
    numbers = range(clips) if order is None else order
    ends = sorted(at + law.takes_s(seed, number, at) for number, at in zip(numbers, began, strict=True))
    gap_s = 60.0 / (looks * EVEN_SHARE) if looks else 0.0
    account, free = Account(looks=clips), 0.0
    for end in ends:
        arrives = max(end, free)
        free = arrives + gap_s
        account.lags_s.append(arrives - end)
        account.makespan_s = arrives + ONE_WAY_S
    return account


def timers(
    law: Law, seed: int, clips: int, submits: float, looks: float, first_s: float, then_s: Callable[[int], float]
) -> Account:
    """Look at each job by a timer of its own, all through one bucket: at `first_s`, then `then_s(k)` after look k."""
    began = submit_times(clips, submits)
    ends = [at + law.takes_s(seed, number, at) for number, at in enumerate(began)]
    gap_s = 60.0 / (looks * EVEN_SHARE) if looks else 0.0
    due = [(at + ONE_WAY_S + first_s, number, 1) for number, at in enumerate(began)]
    heapq.heapify(due)
    account, free = Account(), 0.0
    while due:
        at, number, k = heapq.heappop(due)
        leaves = max(at, free)
        free = leaves + gap_s
        account.looks += 1
        arrives = leaves + ONE_WAY_S
        if arrives >= ends[number]:
            account.lags_s.append(arrives - ends[number])
            account.makespan_s = max(account.makespan_s, arrives + ONE_WAY_S)
        else:
            heapq.heappush(due, (arrives + ONE_WAY_S + then_s(k), number, k + 1))
    return account


def steady_timers(
    law: Law, seed: int, clips: int, submits: float, looks: float, first_s: Sequence[float], then_s: float
) -> Account:
    """Look by timers, the first look by model, submits and looks evenly spread at just these rates a minute."""
    began = [number * 60.0 / submits + ONE_WAY_S for number in range(clips)]
    ends = [at + law.takes_s(seed, number, at) for number, at in enumerate(began)]
    due = [(at + ONE_WAY_S + first_s[number % len(first_s)], number) for number, at in enumerate(began)]
    heapq.heapify(due)
    account, free = Account(), 0.0
    while due:
        at, number = heapq.heappop(due)
        arrives = max(at, free) + ONE_WAY_S
        free = arrives - ONE_WAY_S + 60.0 / looks
        account.looks += 1
        if arrives >= ends[number]:
            account.lags_s.append(arrives - ends[number])
            account.makespan_s = max(account.makespan_s, arrives + ONE_WAY_S)
        else:
            heapq.heappush(due, (arrives + ONE_WAY_S + then_s, number))
    return account


def places_bound_s(law: Law, seed: int, clips: int, places: int) -> float:
    """Return the least time in which jobs of these durations can be done, so many at once."""
    free = [0.0] * places
    for number in range(clips):
        began = heapq.heappop(free)
        heapq.heappush(free, began + law.takes_s(seed, number, began))
    return max(free)


def naive(law: Law, seed: int, clips: int, submits: float, looks: float) -> Account:
    """Run a task a clip: submit at once, look every 5 s, and back off from 1 s to 60 s with jitter at each 429."""
    gate, jitter, account = Gate(submits, looks, seed), random.Random(f"jitter/{seed}"), Account()
    ends: dict[int, float] = {}
    due = [(number * 0.001, number, 0) for number in range(clips)]
    heapq.heapify(due)
    while due:
        at, number, tries = heapq.heappop(due)
        arrives = at + ONE_WAY_S
        what = "look" if number in ends else "submit"
        if gate.admit(what, arrives) is not None:
            wait_s = min(NAIVE_BACKOFF_MOST_S, NAIVE_BACKOFF_S * 2.0 ** min(tries, 10)) * (0.5 + jitter.random())
            heapq.heappush(due, (arrives + ONE_WAY_S + wait_s, number, tries + 1))
            continue
        if what == "submit":
            ends[number] = arrives + law.takes_s(seed, number, arrives)
        else:
            account.looks += 1
            if arrives >= ends[number]:
                account.lags_s.append(arrives - ends[number])
                account.makespan_s = max(account.makespan_s, arrives + ONE_WAY_S)
                continue
        heapq.heappush(due, (arrives + ONE_WAY_S + 5.0, number, 0))
    account.refusals, account.lockouts = gate.refusals, gate.lockouts
    return account


def usual(law: Law, seed: int, clips: int, submits: float, looks: float) -> dict[str, Account]:
    """Return the usual policies' accounts by name."""
    given = (law, seed, clips, submits, looks)
    told_s = law.told_s[0] or P80_S
    return {
        "naive: a task a clip, 5 s": naive(*given),
        "5 s timers, one bucket": timers(*given, 5.0, lambda _: 5.0),
        "exponential 5 * 1.5^k <= 60 s": timers(*given, 5.0, lambda k: min(60.0, 5.0 * 1.5**k)),
        "first at P80, then 15 s": timers(*given, told_s, lambda _: 15.0),
    }
