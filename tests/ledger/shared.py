"""Ledgers in PostgreSQL, with the same face as those in a file: statements to be watched, and a stranger's view."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psycopg

from pipeline.ledger.postgres.address import bind
from pipeline.ledger.postgres.connection import PostgresDatabase, translated
from pipeline.ledger.postgres.layout import open_writer
from pipeline.ledger.store import Ledger
from pipeline.system.databases import connect_postgres
from pipeline.system.threads import SystemThreads
from tests.ledger.ledgers import Machine

if TYPE_CHECKING:
    from tests.support.postgres import Server

BOTH = ("sqlite", "shared")


@dataclass
class SharedMachine(Machine):
    """A machine whose batch's ledger is in a server. The mutable state, beside a machine's: the sessions opened."""

    server: Server = None  # type: ignore[assignment]
    sessions: list[psycopg.Connection[Any]] = field(default_factory=list)
    threads: list[SystemThreads] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.effects = replace(self.effects, open_postgres=self._connect)
        self.address, _ = bind(self.folder, self.server.dsn, self.effects.files, lambda address, password: None)

    def __init__(self, folder: Any, server: Server) -> None:
        self.server, self.sessions, self.threads = server, [], []
        super().__init__(folder)

    unreachable = False
    """Whether the server lets nobody in any more."""
    cuts = 0
    """How many cuts are still to come."""

    def cut_at(self, word: str, *, landed: bool = False) -> None:
        """Cut the next connection that begins a statement so: before it is carried out, or right after."""
        self.cuts, self._cut_word, self._cut_late = 1, word, landed

    lease_s = 1.0

    async def worker(self) -> Ledger:
        """Let one more worker join, with threads of its own."""
        threads = SystemThreads()
        self.threads.append(threads)
        effects = replace(self.effects, threads=threads)
        return await Ledger.open(self.path, effects, {"pid": 1, "host": "here"}, self.told.append, lease_s=self.lease_s)

    def _connect(self, dsn: str) -> psycopg.Connection[Any]:
        if self.unreachable:
            dsn = dsn.replace(f":{self.server.port}/", ":1/")
        session = connect_postgres(dsn)
        execute = session.execute

        def watched(query: Any, *rest: Any, **more: Any) -> Any:
            self.statements.append(str(query))
            if self.cuts and str(query).lstrip().startswith(self._cut_word):
                self.cuts -= 1
                if self._cut_late:
                    execute(query, *rest, **more)
                session.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return execute(query, *rest, **more)

        session.execute = watched  # type: ignore[method-assign]
        self.sessions.append(session)
        return session

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a stranger's connection sees."""
        with closing(self.server.connect(self.address.schema)) as database:
            if not values:
                return database.execute(query).fetchall()  # type: ignore[call-overload]
            return database.execute(translated(query), values).fetchall()  # type: ignore[call-overload]

    def change(self, statement: str) -> None:
        """Do what a stranger with the right to do it could do."""
        with closing(self.server.connect(self.address.schema)) as database:
            database.execute(statement)  # type: ignore[call-overload]

    def open_writer(self) -> PostgresDatabase:
        """Connect as a writer does."""
        return open_writer(self.address, self.effects)

    def close(self) -> None:
        self.effects.threads.close()
        for threads in self.threads:
            threads.close()
        for session in self.sessions:
            session.close()
        self.server.drop(self.address.schema)
