"""The ledger as an outsider reads it: what is committed at this moment, whoever is alive.

In goes a simulated world; out come records. The connection belongs to no process, so that no crash closes it, and every
read is finished before it returns, so that no writer ever waits for it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind
from pipeline.ledger import rows
from pipeline.paths import BatchFolder
from tests.support.batches import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.jobs.job import Job
    from pipeline.ledger.interface import Database
    from tests.support.simulation.world import World

FOLDER = BatchFolder(ROOT)
LEDGER = FOLDER.ledger
JOURNAL = re.compile(r"ledger\.emergency(\.[0-9]+)?\.jsonl")
"""The batch's, and that of each worker that shared its ledger."""
TABLES = {
    "item": "id, revision, position, state, event, attempt, moves, epoch, provider, model, job_id, "
    "committed_micro_usd, request, record",
    "clip": "*",
    "event": "*",
    "money": "*",
}
"""What of each table tells what happened; who had an item in a shared ledger is not of it."""
EVERY_TEXT = " UNION ALL ".join(
    f"SELECT {table}::text FROM {table}" for table in ("item", "clip", "event", "meta", "run", "learned")
)
AUTHORISING = frozenset({"doubt_resubmitted", "retried", "claim_allowed"})


@dataclass(frozen=True, kw_only=True)
class Books:
    """Everything that a ledger says."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    """By item; these simulations make no second revision."""
    events: Sequence[tuple[int, Event]] = ()
    """With the epoch that wrote each, in order."""
    committed_micro_usd: int = 0
    by_item_micro_usd: Mapping[str, int] = field(default_factory=dict)
    max_cost_usd: float | None = None
    saved_ids: frozenset[str] = frozenset()
    """The vendor's ids in the journal of last resort."""
    saved: frozenset[tuple[str, str]] = frozenset()
    """Item and kind of the events in that journal."""
    operators: frozenset[int] = frozenset()
    """The epochs in which an operator answered, and no run worked."""

    def authorised(self, item_id: str) -> int:
        """Return how many extra charges of an item the operator, and nobody else, has authorised."""
        return sum(
            epoch in self.operators and event.item_id == item_id and event.kind.value in AUTHORISING
            for epoch, event in self.events
        )

    @cached_property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """The kinds of the events of each item, in order."""
        found: dict[str, list[str]] = {}
        for _, event in self.events:
            found.setdefault(event.item_id, []).append(event.kind.value)
        return found

    def count(self, item_id: str, *kinds: str) -> int:
        """Return how many events of these kinds an item has."""
        return sum(kind in kinds for kind in self.kinds.get(item_id, ()))

    @cached_property
    def accepted_ids(self) -> frozenset[str]:
        """The vendor's ids that were ever written down."""
        return frozenset(
            event.data["receipt"]["job_id"]
            for _, event in self.events
            if event.kind.value in {"submit_accepted", "doubt_adopted"}
        )


class Auditor:
    """Reads the books of one world. The mutable state is the connection, opened once there is a ledger, and
    `operators`, the epochs that were an operator's."""

    def __init__(self, world: World) -> None:
        self.operators: set[int] = set()
        self._world = world
        self._database: Database | None = None

    def connection(self) -> Database | None:
        """Return a connection to the ledger, or None while there is none with a schema in it."""
        sessions = self._world.sessions
        if sessions is not None:
            if self._database is None and sessions.is_laid_out():
                self._database = sessions.observer()
            return self._database
        if self._database is not None and not self._world.files.holds(LEDGER):
            self.let_go()
        if self._database is None and self._world.files.bytes_at(LEDGER) is not None:
            database = self._world.databases.open(LEDGER)
            if database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                self._database = database
            else:
                database.close()
        return self._database

    def let_go(self) -> None:
        """Close the connection: the ledger may be gone with the machine's power."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return the rows of a query; none where there is no ledger."""
        database = self.connection()
        return [] if database is None else database.execute(query, values).fetchall()

    def saved(self) -> list[Event]:
        """Return the events in the journal of last resort: they are as durable as the ledger's."""
        files = self._world.files
        names = files.names(FOLDER.root) if files.exists(FOLDER.root) else []
        journals = [files.bytes_at(FOLDER.root / name) for name in names if JOURNAL.fullmatch(name)]
        return [Event.from_json(json.loads(line)) for journal in journals for line in (journal or b"").splitlines()]

    def saved_ids(self) -> frozenset[str]:
        """Return the vendor's ids that are in that journal."""
        accepted = [event for event in self.saved() if event.kind is EventKind.SUBMIT_ACCEPTED]
        return frozenset(event.data["receipt"]["job_id"] for event in accepted)

    def bytes_of_ledger(self) -> bytes:
        """Return what lies in the ledger's file, or every text in a shared one."""
        if self._world.sessions is None:
            return self._world.databases.bytes_of(LEDGER)
        return "\n".join(text for (text,) in self.rows(EVERY_TEXT)).encode()

    def content(self) -> dict[str, list[Any]]:
        """Return all that a run with nothing to do must not change, by table; how it fared is not of it."""
        return {table: self.rows(f"SELECT {columns} FROM {table} ORDER BY 1, 2") for table, columns in TABLES.items()}

    def books(self) -> Books:
        """Read everything."""
        database = self.connection()
        if database is None:
            return Books()
        jobs = list(rows.read_jobs(database, "ORDER BY position, revision"))
        events = self.rows("SELECT epoch, kind, item_id, revision, at, data FROM event ORDER BY seq")
        told = rows.read_events(event for _, *event in events)
        cap = self.rows("SELECT value FROM meta WHERE key = 'max_cost_usd'")
        return Books(
            jobs={job.item_id: job for job in jobs},
            events=[(epoch, event) for (epoch, *_), event in zip(events, told, strict=True)],
            committed_micro_usd=self.rows("SELECT committed_micro_usd FROM money")[0][0],
            by_item_micro_usd=dict(self.rows("SELECT id, committed_micro_usd FROM item")),
            max_cost_usd=json.loads(cap[0][0]) if cap else None,
            saved_ids=self.saved_ids(),
            saved=frozenset((event.item_id, event.kind.value) for event in self.saved()),
            operators=frozenset(self.operators),
        )
