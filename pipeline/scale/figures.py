"""The figures of a crew: what its workers tell of theirs, at any moment, becomes one account of the batch.

A worker that is begun anew counts from nothing. So each report says of which of the worker's lives it is, and the last
report of every life counts. What a worker did after it was heard for the last time, and before it was killed, is in the
ledger and in no counter.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.runner.meter import Among, Family, Labels, Type, labels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

WORKER = "worker"
"""The label."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A worker's report."""

    life: str
    """Of which of its lives: no two bear the same."""
    number: int
    """Counts the reports of that life."""
    families: tuple[Family, ...]


class Teller:
    """In a worker's process: what it has to tell. The mutable state is its life, and how often it was asked."""

    def __init__(self) -> None:
        self._life = ""
        self._families: Callable[[], Iterable[Family]] = tuple
        self._number = 0

    def begin(self, life: str, families: Callable[[], Iterable[Family]]) -> None:
        """Have these figures told from now on; `life` is a name that nobody else has."""
        self._life, self._families, self._number = life, families, 0

    def tell(self) -> Told | None:
        """Return the figures as they now are; None where nothing has begun."""
        if not self._life:
            return None
        self._number += 1
        return Told(life=self._life, number=self._number, families=tuple(self._families()))


class Figures:
    """Where the crew is led from. The mutable state is the last report of every life, and whose is the present one."""

    def __init__(self) -> None:
        self._last: dict[str, Told] = {}
        self._present: dict[int, str] = {}

    def hear(self, worker: int, told: Told) -> None:
        """Take a worker's report; one that was overtaken by a later one is dropped."""
        known = self._last.get(told.life)
        if known is None or known.number < told.number:
            self._last[told.life] = told
        self._present[worker] = told.life

    def miss(self, worker: int) -> None:
        """Note that a worker is not heard, or at its end: what it said of its present is not so any more."""
        self._present[worker] = ""

    def families(self) -> Iterator[Family]:
        """Yield the figures of all together, each name once."""
        at_work = [("", {WORKER: str(worker)}, float(bool(life))) for worker, life in sorted(self._present.items())]
        says = "1 for a worker that is heard."
        yield Family(name="clipmill_worker_at_work", type=Type.GAUGE, says=says, samples=at_work, among=Among.EACH)
        found: defaultdict[str, list[tuple[str, Family]]] = defaultdict(list)
        whose = {life: str(worker) for worker, life in self._present.items() if life}
        for life, told in self._last.items():
            for family in told.families:
                if family.type is not Type.GAUGE or life in whose:
                    found[family.name].append((whose.get(life, ""), family))
        for theirs in found.values():
            yield _together(theirs)


def _together(theirs: list[tuple[str, Family]]) -> Family:
    """Return what several workers tell under one name as one family."""
    one = theirs[0][1]
    values: dict[tuple[str, Labels], float] = {}
    for worker, family in theirs:
        for suffix, labels, value in family.samples:
            own = {WORKER: worker} if one.among is Among.EACH else {}
            key = suffix, labels_of(**labels, **own)
            before = values.get(key)
            if before is None:
                values[key] = value
            else:
                values[key] = max(before, value) if one.among is Among.MOST else before + value
    return replace(one, samples=[(suffix, dict(labels), value) for (suffix, labels), value in values.items()])
