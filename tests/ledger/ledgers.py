"""Ledgers in a real file, whose connections a test can watch and hinder."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.jobs.state import EventKind
from pipeline.ledger.database import open_writer
from pipeline.ledger.store import Ledger
from pipeline.system.databases import open_database
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles
from tests.jobs.histories import HERE, event, planned, price, receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job
    from pipeline.ledger.interface import Database
    from pipeline.paths import BatchFolder

E = EventKind
NO_LIMIT = 1 << 30


class Disk(SystemFiles):
    """Files of a machine whose ledger may find the disk full, until the reserve is given back to it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        if path.name == "ledger.reserve" and self._machine.reserve_helps:
            self._machine.make_room()

    def replace(self, source: Path, target: Path) -> None:
        if self._machine.files_full and target.name == "ledger.emergency.jsonl":
            raise OSError(28, "No space left on device")
        super().replace(source, target)


@dataclass
class Machine:
    """Real effects. The mutable state is every connection opened, each statement run, and how full the disk is."""

    folder: BatchFolder
    connections: list[sqlite3.Connection] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What the ledger had to say to the user."""
    reserve_helps: bool = False
    files_full: bool = False
    _full: bool = False

    def __post_init__(self) -> None:
        self.effects: Effects = replace(system(), open_database=self._open, files=Disk(self))

    @property
    def path(self) -> Path:
        return self.folder.ledger

    def _open(self, path: Path) -> sqlite3.Connection:
        database = open_database(path)
        database.set_trace_callback(self.statements.append)
        if self._full:
            (pages,) = database.execute("PRAGMA page_count").fetchone()
            database.execute(f"PRAGMA max_page_count = {pages}")
        self.connections.append(database)
        return database

    def fill_the_disk(self) -> None:
        """Let the ledger grow by no page more, on the connections that are open and on those to come."""
        self._full = True
        (pages,) = self.connections[-1].execute("PRAGMA page_count").fetchone()
        self.connections[-1].execute(f"PRAGMA max_page_count = {pages}")

    def make_room(self) -> None:
        """Let it grow again."""
        self._full = False
        with suppress(sqlite3.ProgrammingError):  # it may be closed
            self.connections[-1].execute(f"PRAGMA max_page_count = {NO_LIMIT}")

    def count(self, word: str) -> int:
        """Return how many statements began with a word since the last `forget`."""
        return sum(statement.startswith(word) for statement in self.statements)

    async def open(self) -> Ledger:
        return await Ledger.open(self.path, self.effects, {"pid": 1}, self.told.append)

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        ledger = await self.open()
        try:
            yield ledger
        finally:
            await ledger.close("finished")

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a stranger's connection sees."""
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute(query, values).fetchall()

    def change(self, statement: str) -> None:
        """Do what a stranger with the right to do it could do."""
        with closing(sqlite3.connect(self.path)) as database, database:
            database.execute(statement)

    def open_writer(self) -> Database:
        """Connect as a writer does."""
        return open_writer(self.path, self.effects)

    def kinds(self, item_id: str = "fox") -> list[str]:
        """Return the kinds of an item's events, as a stranger sees them."""
        return [kind for (kind,) in self.ask("SELECT kind FROM event WHERE item_id = ? ORDER BY seq", item_id)]

    def close(self) -> None:
        self.effects.threads.close()
        for database in self.connections:
            database.close()


def plan(item_id: str = "fox", revision: int = 1, **changes: Any) -> tuple[None, Event]:
    """Return the move that plans an item."""
    return None, event(E.ITEM_PLANNED, item_id, revision, **planned(**changes))


def start(job: Job, usd: float | None = 1.0) -> tuple[Job, Event]:
    """Return the move that begins a submit."""
    return job, event(E.SUBMIT_STARTED, job.item_id, job.revision, **HERE, **price(usd))


def accept(job: Job, job_id: str = "op-1", padding: int = 0) -> tuple[Job, Event]:
    """Return the move that accepts it, with an answer as large as wanted."""
    answer = receipt(job_id) | {"answer": {"padding": "x" * padding}}
    return job, event(E.SUBMIT_ACCEPTED, job.item_id, job.revision, receipt=answer)


def move(job: Job, kind: EventKind, **data: Any) -> tuple[Job, Event]:
    """Return any other move."""
    return job, event(kind, job.item_id, job.revision, **data)


async def follow(ledger: Ledger, *steps: tuple[EventKind, dict[str, Any]], item_id: str = "fox") -> Job:
    """Record the steps of an item one after the other."""
    job: Job | None = None
    for kind, data in steps:
        job = await ledger.record(job, event(kind, item_id, 1, **data))
    assert job is not None
    return job


async def told(record: Awaitable[Job]) -> Job | Exception:
    """Return the job, or what was raised instead."""
    try:
        return await record
    except Exception as error:
        return error


def names(jobs: Sequence[Job]) -> list[str]:
    return [job.item_id for job in jobs]
