"""How long a run would take, as far as the limits and what is known of the provider's speed tell."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pipeline.cli.console import duration
from pipeline.jobs.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.jobs.job import Job
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


def usual_seconds(jobs: Iterable[Job]) -> dict[str, float]:
    """Return how long done jobs took from submit to end, the median by provider."""
    took: dict[str, list[float]] = {}
    for job in jobs:
        if job.state is State.DONE and job.submitted_at and job.finished_at:
            took.setdefault(job.provider, []).append((job.finished_at - job.submitted_at).total_seconds())
    return {provider: median(seconds) for provider, seconds in took.items()}


def forecast(
    providers: Iterable[str],
    limits: Mapping[str, EffectiveLimits],
    usual_s: Mapping[str, float],
    in_flight: int,
) -> Forecast:
    """Say how long it takes to make items.

    Args:
        providers: the provider of every item that is to be submitted or is at the provider.
        limits: what holds for each.
        usual_s: how long a job usually takes there; missing where nothing is known.
        in_flight: how many jobs are at a provider at once where neither the user nor the provider says.
    """
    counted = Counter(providers)
    if not counted:
        return Forecast(seconds=0.0, text="Time: nothing is left to wait for.")
    ends: list[tuple[float, str]] = []
    for provider, items in counted.items():
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
