"""Which faults strike, and how long a generation takes: draws that depend on the seed and on what is drawn for, alone.

The same seed and the same request give the same draw whatever happened in between, across restarts too: nothing is
kept. Who asks names the occasion (`"status", job, 3rd call`), so that a call that is repeated is drawn anew.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from pipeline.sandbox.settings import Provider, look_up

if TYPE_CHECKING:
    from pipeline.sandbox.settings import Fault, SandboxSettings

SPREAD = 0.35
"""Sigma of the lognormal generation times: the slowest of a hundred takes about twice the median."""
P80 = NormalDist().inv_cdf(0.8)


@dataclass(frozen=True, slots=True)
class Draws:
    """All chance in the sandbox."""

    settings: SandboxSettings

    def strikes(self, fault: Fault, *occasion: object) -> bool:
        """Tell whether `fault` strikes on this occasion."""
        probability = self.settings.faults.get(fault, 0.0)
        return probability > 0 and self.fraction(fault, *occasion) < probability

    def fraction(self, *occasion: object) -> float:
        """Return a number in [0, 1) that belongs to this occasion."""
        text = "\x1f".join(map(str, (self.settings.seed, *occasion)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56

    def generation_s(self, provider: Provider, model: str, *occasion: object) -> float:
        """Return how long this generation takes, in real seconds: lognormal around what the class usually takes."""
        usual_s = self.usual_s(provider, model)
        if usual_s == 0:
            return 0.0
        normal = NormalDist().inv_cdf(max(self.fraction("duration", *occasion), 1e-9))
        # Venice's figure is an 80th percentile, the others' a mean; both are turned into the median of a lognormal.
        offset = P80 * SPREAD if provider is Provider.VENICE else SPREAD**2 / 2
        return usual_s * math.exp(SPREAD * normal - offset)

    def usual_s(self, provider: Provider, model: str) -> float:
        """Return what a generation of this class usually takes: Venice's 80th percentile, the others' mean."""
        settings = self.settings
        return look_up(settings.durations_s, f"{provider}/{model}") * settings.duration_scale / settings.speed
