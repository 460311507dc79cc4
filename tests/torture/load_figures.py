"""What the load tests measure, and the table that they print."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.tables import show

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, and what it has to be."""

    name: str
    value: float
    unit: str
    most: float = math.inf
    least: float = -math.inf
    beside: str = ""
    """What else there is to say of it."""

    @property
    def is_met(self) -> bool:
        """Whether it is what it has to be."""
        return self.least <= self.value <= self.most

    @property
    def target(self) -> str:
        """What it has to be, as text."""
        if self.least == self.most:
            return f"{self.most:,g}"
        most = f"at most {self.most:,g}" if self.most < math.inf else ""
        least = f"at least {self.least:,g}" if self.least > -math.inf else ""
        return " and ".join(part for part in (least, most) if part)

    def row(self) -> tuple[str, ...]:
        """Return the line of a table."""
        digits = 0 if self.value == int(self.value) or abs(self.value) >= 1000 else 1 if abs(self.value) >= 10 else 3
        verdict = "" if self.is_met else "MISSED"
        return (self.name, f"{self.value:,.{digits}f} {self.unit}", self.target, self.beside, verdict)


def print_figures(title: str, figures: Iterable[Figure]) -> bool:
    """Print a table; return whether every figure is what it has to be."""
    every = list(figures)
    show(title, ("", "measured", "target", "", ""), [figure.row() for figure in every])
    return all(figure.is_met for figure in every)
