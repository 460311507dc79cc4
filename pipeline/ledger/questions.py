"""What a run asks of the ledger that it writes: reads through the writer's own connection, between two of its writes.

Who only reads has a `Reader`, with a connection of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from pipeline.jobs.state import EventKind, State
from pipeline.ledger import rows
from pipeline.ledger.patience import patiently

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from pathlib import Path

    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job
    from pipeline.ledger.interface import Database

T = TypeVar("T")


class PlannedHead(NamedTuple):
    """The least of an item that waits to be submitted."""

    item_id: str
    revision: int
    model: str
    at: tuple[int, int]
    """Where it stands among those that wait; to be handed back by whoever wants those after it."""


BEFORE_ALL = (-1, -1)
"""Where nothing stands that waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Some of the items that wait to be submitted."""

    heads: Sequence[PlannedHead]
    at: tuple[int, int]
    """Where the last one stands that was looked at."""
    is_last: bool


class Questions:
    """Reads of one ledger by the one thread that writes it. A stranger who holds the file is waited for."""

    _waiting: ClassVar[str] = "state = 'planned'"
    """What of an item tells that it waits to be submitted, and that this run may have it."""

    def __init__(self, path: Path, database: Database, tell: Callable[[str], None]) -> None:
        """`tell` is given sentences for the user, in the thread of whatever call they come from."""
        self.path = path
        self.tell = tell
        self._database = database

    def meta(self, key: str) -> Any:
        """Return a fact about the batch as a whole, or None."""
        rows_found = self._ask("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(rows_found[0][0]) if rows_found else None

    def learned(self) -> dict[str, Any]:
        """Return what earlier runs learned of each class of jobs."""
        return {name: json.loads(state) for name, state in self._ask("SELECT * FROM learned")}

    def jobs(self, states: Sequence[State] | None) -> list[Job]:
        """Return the jobs in some states (all of them for None), in the manifest's order."""
        if states is None:
            return self._read_jobs("ORDER BY position, revision")
        if not states:
            return []
        names = [state.value for state in states]
        marks = ",".join("?" * len(names))
        return self._read_jobs(f"WHERE state IN ({marks}) ORDER BY position, revision", names)

    def uncleaned(self) -> list[Job]:
        """Return the done jobs whose vendors were not asked to delete their copies, in the manifest's order."""
        return self._read_jobs(f"WHERE {rows.UNCLEANED} ORDER BY position, revision")

    def job(self, item_id: str, revision: int) -> Job | None:
        """Return one job, or None where there is no such item."""
        (found,) = self.jobs_at([(item_id, revision)])
        return found

    def jobs_at(self, keys: Sequence[tuple[str, int]]) -> list[Job | None]:
        """Return jobs by id and revision; None in the place of one that is not there."""
        return [next(iter(self._read_jobs("WHERE id = ? AND revision = ?", key)), None) for key in keys]

    def counts(self) -> dict[State, int]:
        """Return how many jobs there are in each state, all revisions counted."""
        return {State(state): count for state, count in self._ask("SELECT state, count(*) FROM item GROUP BY state")}

    def planned_counts(self, chosen: Container[str] | None) -> Counter[tuple[str, str]]:
        """Return by provider and model how many of the chosen items (of all, for None) wait to be submitted."""
        if chosen is None:
            query = f"SELECT provider, model, count(*) FROM item WHERE {self._waiting} GROUP BY provider, model"  # noqa: S608
            return Counter({(provider, model): count for provider, model, count in self._ask(query)})
        query = f"SELECT id, provider, model FROM item WHERE {self._waiting}"  # noqa: S608 - a literal of this class

        def count() -> Counter[tuple[str, str]]:
            rows_found = self._database.execute(query)
            return Counter((provider, model) for item_id, provider, model in rows_found if item_id in chosen)

        return self._patiently(count)

    def planned_after(self, provider: str, at: tuple[int, int], most: int, chosen: Container[str] | None) -> Page:
        """Return the next items of a provider that wait to be submitted, in the manifest's order."""
        query = (
            "SELECT id, revision, model, position, rowid FROM item WHERE state = 'planned' AND provider = ? "
            "AND (position > ? OR (position = ? AND rowid > ?)) AND position >= ? ORDER BY position, rowid LIMIT ?"
        )
        position, row = at
        found = self._ask(query, (provider, position, position, row, position, most))
        heads = [PlannedHead(item_id, revision, model, (*where,)) for item_id, revision, model, *where in found]
        return Page(
            heads=[head for head in heads if chosen is None or head.item_id in chosen],
            at=heads[-1].at if heads else at,
            is_last=len(found) < most,
        )

    def stored_parts(self) -> set[str]:
        """Return the names of the part files that hold clips which are not published yet."""
        query = "SELECT part FROM clip WHERE state = 'stored'"
        return {part for (part,) in self._ask(query)}

    def not_uploaded(self, store: str) -> list[tuple[str, int]]:
        """Return the id and revision of every finished job with a clip of which a store has no copy."""
        return self._patiently(lambda: rows.not_uploaded(self._database, store))

    def undecoded(self) -> list[tuple[str, int]]:
        """Return the id and revision of every finished job with a clip that no decoder has seen."""
        return self._patiently(lambda: rows.undecoded(self._database))

    def committed_usd(self) -> float:
        """Return what is spent, reserved or in doubt, over all items."""
        ((micro,),) = self._ask("SELECT committed_micro_usd FROM money")
        return float(micro) / rows.MICRO

    def last_event(self) -> int:
        """Return the number of the newest event; 0 for none."""
        ((seq,),) = self._ask("SELECT coalesce(max(seq), 0) FROM event")
        return int(seq)

    def interrupted_doubts(self, epochs: int) -> list[int]:
        """Return how many doubts each of the newest runs, this one first, found left behind by a run that died."""
        query = (
            "SELECT (SELECT count(*) FROM event WHERE event.epoch = run.epoch AND event.kind IN (?, ?) "
            "AND json_extract(event.data, '$.failure.kind') = 'interrupted') FROM run ORDER BY epoch DESC LIMIT ?"
        )
        kinds = (EventKind.SUBMIT_LOST.value, EventKind.CLAIM_LOST.value)
        return [found for (found,) in self._ask(query, (*kinds, epochs))]

    def has(self, event: Event) -> bool:
        """Tell whether this very event was written."""
        query = "SELECT 1 FROM event WHERE item_id = ? AND revision = ? AND kind = ? AND at = ? AND data = ?"
        values = (event.item_id, event.revision, event.kind.value, event.at.isoformat(), rows.compact(event.data))
        return bool(self._ask(query, values))

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._patiently(lambda: self._database.execute(query, values).fetchall())

    def _read_jobs(self, where: str, values: Sequence[Any] = ()) -> list[Job]:
        return self._patiently(lambda: list(rows.read_jobs(self._database, where, values)))

    def _patiently(self, work: Callable[[], T]) -> T:
        return patiently(self.path, self.tell, work)
