"""Figures as bars: where each stands, how high it is, and what the axes say. Pure; the page draws them as SVG.

Places are in percent of the plot, so that the drawing stretches to any width while its words keep their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from pipeline.report.words import count, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BARS_MOST = 48
STEPS_S = (1, 2, 5, 10, 15, 30, *(60 * n for n in (1, 2, 5, 10, 15, 30)), *(3600 * n for n in (1, 2, 3, 6, 12)))
DAY_S = 86_400
LAST_TICK = 0.86
"""The place of the plot after which a word would run over its edge."""
WIDEST = 9.0
"""A bar's place, in percent, however few there are: a slab says no more than a bar."""
GAP = 0.16
"""The part of a bar's place that is left free beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One bar, in percent of the plot, and what it says."""

    left: float
    width: float
    height: float
    says: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A word on an axis, and where it stands in percent."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One chart."""

    says: str
    """What it shows, for whoever does not see it."""
    unit: str
    """What a bar counts."""
    bars: tuple[Bar, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


def finished_over_time(moments: Sequence[tuple[datetime, int]]) -> Chart | None:
    """Return how many clips were finished when.

    Args:
        moments: when items were done, and how many clips each brought; in any order.
    """
    if not moments:
        return None
    first, last = min(at for at, _ in moments), max(at for at, _ in moments)
    step_s = _step((last - first).total_seconds())
    start_s = floor(first.timestamp() / step_s) * step_s
    counts = [0] * (floor((last.timestamp() - start_s) / step_s) + 1)
    for at, clips in moments:
        counts[floor((at.timestamp() - start_s) / step_s)] += clips
    form = "%H:%M:%S" if step_s < 60 else "%H:%M" if len(counts) * step_s <= DAY_S else "%d %b %H:%M"

    def told(place: int) -> str:
        return f"{datetime.fromtimestamp(start_s + place * step_s, UTC):{form}}"

    best, span = max(range(len(counts)), key=counts.__getitem__), seconds(step_s)
    return Chart(
        says=f"Clips finished over time. The most were {counts[best]:,} in the {span} from {told(best)} UTC.",
        unit=f"clips in {span}, times in UTC",
        bars=_bars(counts, lambda place: f"{told(place)}: {count(counts[place], 'clip')}"),
        across=_across(len(counts), told),
        up=_up(max(counts)),
    )


def spread_of(waits_s: Sequence[float]) -> Chart | None:
    """Return how many items took how long, from submit to the last clip."""
    if not waits_s:
        return None
    least, most = min(waits_s), max(waits_s)
    step_s = _round_step((most - least or most) / (BARS_MOST / 2))
    first = floor(least / step_s)
    counts = [0] * (floor(most / step_s) + 1 - first)
    for wait_s in waits_s:
        counts[floor(wait_s / step_s) - first] += 1

    def told(place: int) -> str:
        return seconds((first + place) * step_s)

    return Chart(
        says=f"How long items took from submit to clip: between {seconds(least)} and {seconds(most)}.",
        unit="items",
        bars=_bars(counts, lambda place: f"{told(place)} to {told(place + 1)}: {count(counts[place], 'item')}"),
        across=_across(len(counts), told),
        up=_up(max(counts)),
    )


def _step(span_s: float) -> int:
    """Return a length of time that people count in, such that a span takes no more than the most bars."""
    least = span_s / (BARS_MOST - 1)
    return next((step for step in STEPS_S if step >= least), max(DAY_S, ceil(least / DAY_S) * DAY_S))


def _round_step(least: float) -> float:
    """Return the next length of time that people count in; tenths and hundredths below a second."""
    if least > 1:
        return next((step for step in STEPS_S if step >= least), ceil(least / DAY_S) * DAY_S)
    power = float(10 ** floor(log10(max(least, 0.001))))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)


def _bars(counts: Sequence[int], says: Callable[[int], str]) -> tuple[Bar, ...]:
    place_width, most = 100 / len(counts), _ceiling(max(counts))
    drawn_width = min(place_width, WIDEST)
    return tuple(
        Bar(
            left=round(place * place_width + GAP / 2 * drawn_width, 3),
            width=round((1 - GAP) * drawn_width, 3),
            height=round(100 * number / most, 3),
            says=says(place),
        )
        for place, number in enumerate(counts)
        if number
    )


def _across(places: int, told: Callable[[int], str]) -> tuple[Tick, ...]:
    every = max(1, ceil(places / 4))
    shown = [place for place in range(0, places, every) if place <= LAST_TICK * places]
    return tuple(Tick(at=round(100 * place / places, 3), label=told(place)) for place in shown)


def _up(most: int) -> tuple[Tick, ...]:
    top = _ceiling(most)
    return tuple(Tick(at=100 * value / top, label=f"{value:,}") for value in sorted({0, top // 2, top}))


def _ceiling(most: int) -> int:
    """Return the next even, round number: 1 to 2, 7 to 8, 43 to 60, 130 to 200."""
    power = 1
    while 10 * power < most:
        power *= 10
    return next(power * factor for factor in (2, 4, 6, 8, 10) if power * factor >= most)
