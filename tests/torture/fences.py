"""Who watches a ledger that several workers share: who writes, what they have, and when it is taken from them.

Everything is seen at the commit at which it becomes true, by one question to the server. In the simulation the server's
clock is the world's, so that a lease can be held against the moment at which somebody took over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.jobs.state import State
from pipeline.ledger.writer import WORKING
from tests.torture.scenarios import CONCURRENT_BILLING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.simulation.world import World
    from tests.torture.books import Auditor

LOOK = """
SELECT 'run', '', '', epoch, commits, CASE WHEN lost THEN 'lost' WHEN ended_at IS NULL THEN 'at work' ELSE 'ended' END,
       extract(epoch FROM lease_until) FROM run
UNION ALL SELECT 'item', id, provider, epoch, coalesce(owner, 0), state, 0 FROM item
UNION ALL SELECT 'event', item_id, '', epoch, seq, kind, 0 FROM event WHERE seq > ?"""
AT_WORK = "at work"
ROUNDING_S = 0.001


@dataclass(frozen=True, slots=True)
class Run:
    """How one worker stands."""

    state: str
    until_s: float
    """When its lease ends."""
    commits: int


BEGINS = Run(AT_WORK, 0.0, 0)


@dataclass(frozen=True, slots=True)
class Had:
    """An item, and which run has it (0 for none)."""

    provider: str
    epoch: int
    owner: int
    state: State

    @property
    def is_open(self) -> bool:
        """Whether a call that bills is under way, for all that is on disk."""
        return self.state is State.CLAIMING or (self.state is State.SUBMITTING and self.provider != "modelmax")


@dataclass
class Fences:
    """The watcher of one world's shared ledger. The mutable state is what it saw last."""

    world: World
    auditor: Auditor
    epoch: int = 0
    """Of the newest run."""
    cut_short: set[str] = field(default_factory=set)
    """Items whose call that bills was open when its run had died, or had lost its lease."""
    _runs: dict[int, Run] = field(default_factory=dict)
    _items: dict[str, Had] = field(default_factory=dict)
    _last_event: int = 0

    def look(self) -> Iterator[tuple[str, str]]:
        """Yield (number, sentence) for everything that is wrong with what was just committed."""
        runs: dict[int, Run] = {}
        items: dict[str, Had] = {}
        events: list[tuple[int, int, str, str]] = []
        for what, name, provider, epoch, number, state, lease_s in self.auditor.rows(LOOK, self._last_event):
            match what:
                case "run":
                    runs[epoch] = Run(state, float(lease_s), number)
                case "item":
                    items[name] = Had(provider, epoch, number, State(state))
                case "event":
                    events.append((number, epoch, name, state))
        yield from self._taken_over(runs)
        yield from self._written(sorted(events))
        yield from self._changed_hands(items)
        yield from self._open_calls(items)
        self.cut_short |= {name for name, had in items.items() if had.is_open and runs[had.epoch].state != AT_WORK}
        self.epoch = max(runs, default=0)
        self._last_event = max([self._last_event, *(number for number, *_ in events)])
        self._runs, self._items = runs, items

    def _taken_over(self, runs: dict[int, Run]) -> Iterator[tuple[str, str]]:
        """A run is taken over from when its lease has ended, not a moment before, and comes to nothing from then on."""
        now_s = self.world.loop.time()
        for epoch, run in runs.items():
            was = self._runs.get(epoch, BEGINS)
            if run.state == "lost" and was.state == AT_WORK and was.until_s > now_s + ROUNDING_S:
                yield "I12", f"run {epoch} was taken over from, and its lease had {was.until_s - now_s:.1f} s left"
            if was.state == "lost" and run.commits != was.commits:
                yield "I12", f"run {epoch} made a transaction, and it was lost"

    def _written(self, events: list[tuple[int, int, str, str]]) -> Iterator[tuple[str, str]]:
        """Only a run at work writes; an item that another run at work has, it leaves alone."""
        for _, epoch, name, kind in events:
            state = self._runs.get(epoch, BEGINS).state
            if state != AT_WORK:
                yield "I12", f"run {epoch} wrote {kind} of {name}, and it was {state}"
            had = self._items.get(name)
            if had is not None and had.state in WORKING and had.owner != epoch and self._is_at_work(had.owner):
                yield "I12", f"run {epoch} wrote {kind} of {name}, which run {had.owner} had"

    def _changed_hands(self, items: dict[str, Had]) -> Iterator[tuple[str, str]]:
        """Nobody has what another run at work has and works on."""
        for name, had in items.items():
            before = self._items.get(name)
            if before is None or before.owner == had.owner or not had.owner or before.state not in WORKING:
                continue
            if self._is_at_work(before.owner):
                yield "I12", f"{name} was run {before.owner}'s, which was at work, and now run {had.owner} has it"

    def _open_calls(self, items: dict[str, Had]) -> Iterator[tuple[str, str]]:
        """Every worker keeps to its slots; those of the dead are nobody's."""
        for (provider, epoch), count in Counter(
            (had.provider, had.epoch) for had in items.values() if had.is_open
        ).items():
            if count > CONCURRENT_BILLING:
                yield "I14", f"{count} calls of {provider} that bill are open at once in run {epoch}"

    def _is_at_work(self, epoch: int) -> bool:
        return epoch in self._runs and self._runs[epoch].state == AT_WORK
