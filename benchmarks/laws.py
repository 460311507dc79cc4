"""How long the emulated jobs take: laws, drawn by seed, so that every policy meets the same durations.

A law gives for each clip, by its number, a duration in seconds that may depend on when it was submitted (drift).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

P80_S = 145.0
Z80 = 0.8416
DRIFT_AT_S = 900.0
THREE_P80_S = (50.0, 145.0, 400.0)


@dataclass(frozen=True, kw_only=True)
class Law:
    """One law of durations, and what the vendor says of it."""

    name: str
    draw: Callable[[random.Random, int], float]
    """The duration of a clip of a model, in seconds."""
    told_s: tuple[float | None, ...] = (P80_S,)
    """The 80th percentile that the vendor tells, by model; None where it tells nothing. Clips take turns."""
    later: float = 1.0
    """What durations are multiplied by where the submit comes after a quarter of an hour."""
    _seeds: dict[int, list[float]] = field(default_factory=dict)

    @property
    def models(self) -> int:
        """How many models there are."""
        return len(self.told_s)

    def takes_s(self, seed: int, number: int, submitted_s: float) -> float:
        """Return how long clip `number` takes."""
        drawn = self.draw(random.Random(f"{seed}/{number}"), number % self.models)
        return drawn * (self.later if submitted_s >= DRIFT_AT_S else 1.0)


def lognormal(sigma: float, p80_s: float = P80_S) -> Callable[[random.Random, int], float]:
    """Return a lognormal law with a given 80th percentile."""
    mu = math.log(p80_s) - Z80 * sigma
    return lambda source, _: source.lognormvariate(mu, sigma)


def bimodal(source: random.Random, _: int) -> float:
    """60 s or 170 s, each with a spread of a tenth."""
    return source.choice((60.0, 170.0)) * source.lognormvariate(0.0, 0.1)


def shifted(source: random.Random, _: int) -> float:
    """40 s and an exponential of 65 s."""
    return 40.0 + source.expovariate(1 / 65.0)


def straggling(source: random.Random, model: int) -> float:
    """Lognormal with sigma 0.5; every fiftieth takes twelve times as long."""
    return lognormal(0.5)(source, model) * (12.0 if source.random() < 0.02 else 1.0)


def three_models(sigma: float) -> Callable[[random.Random, int], float]:
    """Return the law of three models whose 80th percentiles are 50, 145 and 400 s."""
    draws = [lognormal(sigma, p80_s) for p80_s in THREE_P80_S]
    return lambda source, model: draws[model](source, model)


USUAL = Law(name="lognormal 0.5", draw=lognormal(0.5))
SHAPES = (
    Law(name="lognormal 0.1", draw=lognormal(0.1)),
    Law(name="lognormal 0.25", draw=lognormal(0.25)),
    Law(name="lognormal 0.8", draw=lognormal(0.8)),
    Law(name="bimodal 60/170", draw=bimodal),
    Law(name="40 + exp(65)", draw=shifted),
)
TROUBLES = (
    Law(name="drift: x2 after 15 min", draw=lognormal(0.35, P80_S * 2 / 3), later=2.0),
    Law(name="drift: x0.5 after 15 min", draw=lognormal(0.35, P80_S * 4 / 3), later=0.5),
    Law(name="2 % stragglers x12", draw=straggling),
    Law(name="models of 50/145/400 s", draw=three_models(0.35), told_s=THREE_P80_S),
    Law(name="told P80 3 times too low", draw=lognormal(0.5), told_s=(P80_S / 3,)),
    Law(name="told P80 3 times too high", draw=lognormal(0.5), told_s=(P80_S * 3,)),
    Law(name="no P80 told", draw=lognormal(0.5), told_s=(None,)),
)
"""Where the model of events does not say how its durations were spread, they are such that timers of 5 s, and a first
look at half the P80 with timers of 15 s, have the mean and 99th percentile of lag that it reports for them: rules in
which nothing of ours has a part. `bench_looks.py --alone` prints them."""
WIDER = (
    Law(name="drift x2, sigma 0.5", draw=lognormal(0.5, P80_S / math.sqrt(2)), later=2.0),
    Law(name="drift x0.5, sigma 0.5", draw=lognormal(0.5, P80_S * math.sqrt(2)), later=0.5),
    Law(name="three models, sigma 0.5", draw=three_models(0.5), told_s=THREE_P80_S),
)
"""The same troubles, harder."""
