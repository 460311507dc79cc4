"""How long jobs of one class take, learned from looks that never see the moment at which a job finishes.

A look finds a job unfinished (it lasts longer than this: right-censored) or finished (it ended since the last look:
interval-censored). Both are counted as events and seconds of exposure in bins of age, whose ratio is the hazard; old
counts fade, so that a vendor that slows down is noticed. Before anything was seen, a vendor's own 80th percentile, or
failing that a hazard of 1/age, stands in; either weighs as much as a few jobs and is soon forgotten.

The one question that is asked of a law is `unseen_s`: of a job unfinished when last looked at, how many seconds is it
to be expected to have been finished by now? Ranking jobs by it stays close to the optimal inspection policy.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_EDGE_S, RATIO, BINS = 0.01, 1.15, 118
EDGES = (0.0, *(FIRST_EDGE_S * RATIO**k for k in range(BINS - 1)))
"""Where the bins begin, in seconds of age; the last is open and begins after a day and a half."""
MEMORY = 400.0
"""Completions after which a count has faded to a third."""
MEAN_UNTIL = 0.99
"""The mean is taken of the law cut here: what lies beyond was made up by the hazard of 1/age, and has no end."""
EARLY = 100
"""How many jobs of a class count as early."""
PRIOR_JOBS = 8.0
PRIOR_SIGMA = 0.6
Z80 = 0.8416
TAIL_EVENTS = 0.01
"""Weight, a bin, of the hazard of 1/age, which keeps every hazard above zero."""
YOUNG_TAIL_EVENTS = 0.001
"""The same at ages far below what the vendor calls usual."""
NEWTON_MOST, NEWTON_ENOUGH = 20, 0.001
"""How the age is found at which a job is due: at most so many steps, and to this share of the unseen time."""


@dataclass
class Law:
    """The law of one class. The mutable state is the counts, and the curves that `refresh` makes of them."""

    usual_s: float | None = None
    """The 80th percentile that the vendor tells, if it does."""
    events: list[float] = field(default_factory=lambda: [0.0] * BINS)
    exposure_s: list[float] = field(default_factory=lambda: [0.0] * BINS)
    completions: int = 0
    """How many finished jobs were ever seen."""
    survived_s: float = 0.0
    """The greatest age at which a job was still unfinished."""
    scouts: int = 0
    """How many jobs were sent ahead while nothing was known."""
    unread: int = 0
    """Completions since the curves were last made."""
    early: list[tuple[float, float]] = field(default_factory=list)
    """Between which ages the first jobs finished. They are spread anew at each refresh: the law under which they were
    seen was mere ignorance, and what it made of them would be remembered for long."""

    def __post_init__(self) -> None:
        """Make the curves."""
        self.refresh()

    @property
    def is_known(self) -> bool:
        """Whether anything but ignorance speaks: a finished job, or the vendor's word."""
        return self.completions > 0 or self.usual_s is not None

    @property
    def mean_s(self) -> float:
        """Return the mean duration as far as it is known; before that, how old jobs have been seen to get.

        The mean of those that finished would not do: the short ones finish first.
        """
        return self._mean_s if self.is_known else self.survived_s

    def tell_usual(self, usual_s: float) -> bool:
        """Take the vendor's 80th percentile; return whether it changed by more than a tenth."""
        if usual_s <= 0 or (self.usual_s is not None and abs(usual_s / self.usual_s - 1) <= 0.1):
            return False
        self.usual_s = usual_s
        self.refresh()
        return True

    def unfinished(self, last_s: float, age_s: float) -> None:
        """A look at `age_s` found a job unfinished that was unfinished at `last_s` too."""
        self.survived_s = max(self.survived_s, age_s)
        for k, begin, end in _pieces(last_s, age_s):
            self.exposure_s[k] += end - begin

    def finished(self, last_s: float, age_s: float) -> float:
        """A look at `age_s` found a job finished that was unfinished at `last_s`; return the expected delay, seconds.

        The one event is spread over the interval as the present law expects, with the exposure that goes with it.
        """
        age_s = max(age_s, last_s + 1e-6)
        self.completions += 1
        self.unread += 1
        if self.completions <= EARLY:
            self.early.append((last_s, age_s))
            return self._spread_event(last_s, age_s, [0.0] * BINS, [0.0] * BINS)
        if self.early:
            self.events, self.exposure_s = self._counts()
            self.early.clear()
        delay_s = self._spread_event(last_s, age_s, self.events, self.exposure_s)
        fade = math.exp(-1.0 / MEMORY)
        self.events = [value * fade for value in self.events]
        self.exposure_s = [value * fade for value in self.exposure_s]
        return delay_s

    def _spread_event(self, last_s: float, age_s: float, events: list[float], exposures_s: list[float]) -> float:
        """Add one event between two ages, and the exposure that goes with it; return its expected delay, seconds."""
        survival_end = self.survival(age_s)
        survival_begin, area_begin_s = self.survival(last_s), self.area_s(last_s)
        chance = survival_begin - survival_end
        if chance <= 1e-12:
            return self._spread_evenly(last_s, age_s, events, exposures_s)
        lasted_s = 0.0
        for k, begin, end in _pieces(last_s, age_s):
            if end == age_s:
                survival, area_s = survival_end, self.area_s(age_s)
            else:
                survival, area_s = self._survival[k + 1], self._area_s[k + 1]
            exposed_s = max((area_s - area_begin_s - survival_end * (end - begin)) / chance, 0.0)
            events[k] += (survival_begin - survival) / chance
            exposures_s[k] += exposed_s
            lasted_s += exposed_s
            survival_begin, area_begin_s = survival, area_s
        return max(age_s - last_s - lasted_s, 0.0)

    @staticmethod
    def _spread_evenly(last_s: float, age_s: float, events: list[float], exposures_s: list[float]) -> float:
        """The same where the law thinks that nothing can happen there."""
        for k, begin, end in _pieces(last_s, age_s):
            events[k] += (end - begin) / (age_s - last_s)
            exposures_s[k] += (end - begin) * (1 - (end + begin - 2 * last_s) / (2 * (age_s - last_s)))
        return (age_s - last_s) / 2

    def _counts(self) -> tuple[list[float], list[float]]:
        """Return events and exposure, the early jobs spread as the present law expects."""
        events, exposure_s = list(self.events), list(self.exposure_s)
        for last_s, age_s in self.early:
            self._spread_event(last_s, age_s, events, exposure_s)
        return events, exposure_s

    def refresh(self) -> None:
        """Make the hazard, the survival function and its integral anew from the counts."""
        events, exposure_s = self._counts()
        prior_events, prior_exposure_s = _prior(self.usual_s)
        events = _smooth([a + b for a, b in zip(events, prior_events, strict=True)])
        exposure_s = _smooth([a + b for a, b in zip(exposure_s, prior_exposure_s, strict=True)])
        self._hazard = [e / x for e, x in zip(events, exposure_s, strict=True)]
        self._survival = [1.0]
        self._area_s = [0.0]
        for k in range(BINS - 1):
            width_s, hazard, alive = EDGES[k + 1] - EDGES[k], self._hazard[k], self._survival[k]
            decay = math.exp(-hazard * width_s)
            self._survival.append(alive * decay)
            self._area_s.append(self._area_s[k] + alive * (1 - decay) / hazard)
        self._mean_s = self.area_s(self.quantile_s(MEAN_UNTIL))
        self.unread = 0

    def survival(self, age_s: float) -> float:
        """Return the chance that a job lasts longer than `age_s`."""
        k = bisect_right(EDGES, age_s) - 1
        return self._survival[k] * math.exp(-self._hazard[k] * (age_s - EDGES[k]))

    def area_s(self, age_s: float) -> float:
        """Return the integral of `survival` from 0 to `age_s`."""
        k = bisect_right(EDGES, age_s) - 1
        hazard = self._hazard[k]
        return self._area_s[k] + self._survival[k] * -math.expm1(-hazard * (age_s - EDGES[k])) / hazard

    def unseen_s(self, last_s: float, age_s: float) -> float:
        """Return for how many seconds, in expectation, a job unfinished at `last_s` has been finished at `age_s`."""
        alive = self.survival(last_s)
        if alive > 1e-7:
            return (age_s - last_s) - (self.area_s(age_s) - self.area_s(last_s)) / alive
        passed = self._hazard[bisect_right(EDGES, last_s) - 1] * (age_s - last_s)
        return (age_s - last_s) * (1 + math.expm1(-passed) / passed) if passed > 0 else 0.0

    def age_when_unseen_s(self, last_s: float, wanted_s: float) -> float:
        """Return the age at which `unseen_s` of a job last looked at at `last_s` reaches `wanted_s`."""
        age_s = last_s + max(wanted_s, FIRST_EDGE_S)
        while self.unseen_s(last_s, age_s) < wanted_s and age_s < EDGES[-1]:
            age_s = last_s + 2 * (age_s - last_s)
        # Newton's steps: the unseen time is convex, its slope the chance to have finished, so they never fall short.
        for _ in range(NEWTON_MOST):
            chance = self._chance(last_s, age_s)
            beyond_s = self.unseen_s(last_s, age_s) - wanted_s
            if beyond_s <= NEWTON_ENOUGH * wanted_s or chance <= 0:
                break
            age_s -= beyond_s / chance
        return age_s

    def _chance(self, last_s: float, age_s: float) -> float:
        """Return the chance that a job unfinished at `last_s` has finished at `age_s`."""
        alive = self.survival(last_s)
        if alive > 1e-7:
            return 1 - self.survival(age_s) / alive
        return -math.expm1(-self._hazard[bisect_right(EDGES, last_s) - 1] * (age_s - last_s))

    def quantile_s(self, share: float) -> float:
        """Return the age by which a share of the jobs has finished."""
        for k in range(1, BINS):
            if self._survival[k] <= 1 - share:
                return EDGES[k]
        return EDGES[-1]

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON."""
        events, exposure_s = self._counts()
        return {
            "first_edge_s": FIRST_EDGE_S,
            "ratio": RATIO,
            "usual_s": self.usual_s,
            "events": [round(value, 4) for value in events],
            "exposure_s": [round(value, 4) for value in exposure_s],
            "completions": self.completions,
            "survived_s": self.survived_s,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], share: float) -> Law | None:
        """Take up what an earlier run learned, at a share of its weight; None where the bins were others."""
        if value.get("first_edge_s") != FIRST_EDGE_S or value.get("ratio") != RATIO or len(value["events"]) != BINS:
            return None
        return cls(
            usual_s=value["usual_s"],
            events=[each * share for each in value["events"]],
            exposure_s=[each * share for each in value["exposure_s"]],
            completions=value["completions"],
            survived_s=value["survived_s"],
        )


def _pieces(begin_s: float, end_s: float) -> list[tuple[int, float, float]]:
    """Cut an interval of ages at the bins' edges."""
    pieces = []
    k = bisect_right(EDGES, begin_s) - 1
    at = begin_s
    while at < end_s:
        stop = end_s if k == BINS - 1 else min(end_s, EDGES[k + 1])
        pieces.append((k, at, stop))
        at, k = stop, k + 1
    return pieces


def _smooth(values: list[float]) -> list[float]:
    padded = [values[0], *values, values[-1]]
    return [(padded[i] / 2 + padded[i + 1] + padded[i + 2] / 2) / 2 for i in range(len(values))]


@lru_cache(maxsize=64)
def _prior(usual_s: float | None) -> tuple[list[float], list[float]]:
    """Return the events and the exposure that stand in for observations."""
    events, exposure_s = [], []
    for k in range(BINS):
        end = EDGES[k + 1] if k < BINS - 1 else EDGES[k] * RATIO
        middle, width = (EDGES[k] + end) / 2, end - EDGES[k]
        tail = TAIL_EVENTS if usual_s is None or middle > usual_s / 10 else YOUNG_TAIL_EVENTS
        event, exposure = tail, tail * middle
        if usual_s is not None:
            log_median = math.log(usual_s) - Z80 * PRIOR_SIGMA
            done = [
                _normal((math.log(t) - log_median) / PRIOR_SIGMA) if t > 0 else 0.0 for t in (EDGES[k], middle, end)
            ]
            event += PRIOR_JOBS * (done[2] - done[0])
            exposure += PRIOR_JOBS * (1 - done[1]) * width
        events.append(event)
        exposure_s.append(exposure)
    return events, exposure_s


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
