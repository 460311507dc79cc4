"""What a seeded bug is: a small patch of the real program, of the kind that somebody could write on a Friday.

A mutant is a patched program: this is the one place where the product's code is substituted, for the length of one
life. Each says in a sentence what is wrong with it, and in which scenarios and at which strikes it is to be hunted.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.jobs.record import apply
from pipeline.ledger.store import Ledger
from tests.torture.scenarios import SCENARIOS, Flavour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.jobs.state import EventKind

ALL_FLAVOURS = frozenset(Flavour)
ALONE, SHARED = frozenset({"sqlite"}), frozenset({"postgres"})
ALL_STORES = ALONE | SHARED
BACKGROUND: set[asyncio.Task[Any]] = set()
"""Tasks that nobody waits for; without this they could be collected."""


class Patch:
    """Puts things in the place of others, and takes them back in the reverse order."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def __call__(self, where: Any, name: str, value: Any) -> Any:
        """Set an attribute that exists, and return what it was."""
        before = vars(where)[name]
        self._undo.append(lambda: setattr(where, name, before))
        setattr(where, name, value)
        return before

    def item(self, where: dict[Any, Any], key: Any, value: Any) -> Any:
        """Set an item that exists, and return what it was."""
        before = where[key]
        self._undo.append(lambda: where.__setitem__(key, before))
        where[key] = value
        return before

    def undo(self) -> None:
        """Take everything back."""
        while self._undo:
            self._undo.pop()()


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One bug."""

    name: str
    about: str
    scenarios: tuple[str, ...]
    seed_it: Callable[[Patch], None]
    flavours: frozenset[Flavour] = ALL_FLAVOURS
    """At which strikes to look for it; where the unstruck life is enough, it is found at once."""
    stores: frozenset[str] = ALL_STORES
    """What the ledger may be kept in for it to be there."""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Run the program with the bug in it."""
        patch = Patch()
        try:
            self.seed_it(patch)
            yield
        finally:
            patch.undo()


MUTANTS: dict[str, Mutant] = {}


def mutant(
    about: str,
    *scenarios: str,
    flavours: frozenset[Flavour] = ALL_FLAVOURS,
    stores: frozenset[str] = ALL_STORES,
) -> Callable[..., Any]:
    """Enter a bug; the scenarios are tried in turn."""
    assert set(scenarios) <= SCENARIOS.keys(), scenarios

    def enter(seed_it: Callable[[Patch], None]) -> Callable[[Patch], None]:
        name = seed_it.__name__
        MUTANTS[name] = Mutant(
            name=name, about=about, scenarios=scenarios, seed_it=seed_it, flavours=flavours, stores=stores
        )
        return seed_it

    return enter


KILL = frozenset({Flavour.KILL})
POWER = frozenset({Flavour.POWER})
LEAVE = frozenset({Flavour.LEAVE})
STOP = frozenset({Flavour.STOP})


def in_the_background(call: Any) -> None:
    """Let something go on that nobody waits for."""
    task = asyncio.get_running_loop().create_task(call)
    BACKGROUND.add(task)
    task.add_done_callback(BACKGROUND.discard)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


def not_awaited(patch: Patch, *kinds: EventKind) -> None:
    """Have these events written down without waiting until they are durable."""
    original = Ledger.record_all

    async def record_all(self: Ledger, moves: Any, queued: Any = None) -> Any:
        moves = list(moves)
        if all(event.kind in kinds for _, event in moves):
            after = [apply(job, event) for job, event in moves]
            in_the_background(original(self, moves, queued))
            return after
        return await original(self, moves, queued)

    patch(Ledger, "record_all", record_all)
