"""How long a run would take, as far as the limits and what is known of the provider's speed tell."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pipeline.cli.wording.console import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.planning.limits import EffectiveLimits

ASSUMED_S = 120.0
"""How long a clip is taken to be in the making where the batch has none to go by."""
LOOKS_A_CLIP = 3
"""What the scheduler of looks needs of a shared budget, the one that brings the clip included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """An expected time, and what it rests on."""

    seconds: float
    text: str


def usual_seconds(times: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return how long jobs usually take, the median by provider, from the provider and the seconds of each."""
    took: dict[str, array[float]] = {}
    for provider, seconds in times:
        took.setdefault(provider, array("d")).append(seconds)
    return {provider: median(seconds) for provider, seconds in took.items()}


def forecast(
    providers: Mapping[str, int],
    limits: Mapping[str, EffectiveLimits],
    usual_s: Mapping[str, float],
    in_flight: int,
) -> Forecast:
    """Say how long it takes to make items.

    Args:
        providers: how many items are to be submitted to each provider, or are there.
        limits: what holds for each.
        usual_s: how long a job usually takes there; missing where nothing is known.
        in_flight: how many jobs are at a provider at once where neither the user nor the provider says.
    """
    if not providers:
        return Forecast(seconds=0.0, text="Time: nothing is left to wait for.")
    ends: list[tuple[float, str]] = []
    for provider, items in providers.items():
        usual = usual_s.get(provider, ASSUMED_S)
        waits = _waits(items, limits.get(provider), usual, in_flight)
        longest = max(waits, key=waits.__getitem__)
        told = f"what {provider} needs for the clips decides" if not waits[longest] else f"{longest} decides"
        basis = "as the batch's clips did so far" if provider in usual_s else "an assumption"
        ends.append((waits[longest] + usual, f"{told}, with {duration(usual)} a clip ({basis})"))
    seconds, because = max(ends)
    return Forecast(seconds=seconds, text=f"Time: about {duration(seconds)}; {because}. Downloads are not counted.")


def _waits(items: int, limits: EffectiveLimits | None, usual_s: float, in_flight: int) -> dict[str, float]:
    """Return how many seconds the last item waits for each limit before the provider begins with it."""
    at_once = (limits.in_flight if limits else None) or in_flight
    waits = {f"the limit of {at_once:,} jobs in flight": (math.ceil(items / at_once) - 1) * usual_s}
    if limits and limits.submits_per_minute:
        windows = math.ceil(items / limits.submits_per_minute) - 1
        waits[f"the limit of {limits.submits_per_minute:g} submits a minute"] = windows * 60.0
    if limits and limits.looks_per_minute:
        looks_s = items * LOOKS_A_CLIP / limits.looks_per_minute * 60.0
        waits[f"the limit of {limits.looks_per_minute:g} looks a minute"] = max(0.0, looks_s - usual_s)
    return waits
