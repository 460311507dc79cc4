"""Sessions of simulated processes with a real PostgreSQL server, which outlives them, as a server elsewhere does.

A process's commits are steps of its own, as they are with the databases in memory; once it is dead, it can say nothing
more, and its sessions end: the server takes back what they had not committed. Its clock is not the simulation's: what a
lease is for has happened as soon as a process is dead, and so its run is marked as lost.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import psycopg

from pipeline.ledger.postgres.address import Address
from pipeline.ledger.postgres.connection import PostgresDatabase, quoted
from pipeline.system.databases import connect_postgres

if TYPE_CHECKING:
    from tests.support.simulation.process import Process

NUMBERS = itertools.count()
READS = ("SELECT", "SHOW", "SET", "BEGIN", "SAVEPOINT", "ROLLBACK", "RELEASE")


class Sessions:
    """The mutable state is which sessions each process has open."""

    def __init__(self, dsn: str) -> None:
        self.address = Address(dsn, f"simulated-{os.getpid()}-{next(NUMBERS)}")
        self._open: defaultdict[Process | None, list[psycopg.Connection[Any]]] = defaultdict(list)
        self._own = connect_postgres(dsn)

    def note(self) -> bytes:
        """Return what a batch's folder says of its ledger."""
        return json.dumps({"ledger": self.address.dsn, "batch": self.address.batch}).encode()

    def open(self, dsn: str, process: Process | None = None) -> Session:
        """Connect as a process."""
        session = connect_postgres(dsn)
        self._open[process].append(session)
        return Session(session, process)

    def observer(self) -> PostgresDatabase:
        """Return a connection of nobody's."""
        return PostgresDatabase(self.address, lambda dsn: self.open(dsn))  # type: ignore[arg-type,return-value]

    def is_laid_out(self) -> bool:
        """Tell whether there is a ledger."""
        return bool(self._own.execute("SELECT to_regnamespace(%s)", (self.address.schema,)).fetchone()[0])  # type: ignore[index]

    def crash(self, process: Process | None) -> None:
        """End a process's sessions, and let the time of its lease have passed."""
        sessions = self._open.pop(process, [])
        for session in sessions:
            session.close()
        if sessions and self.is_laid_out():
            schema = quoted(self.address.schema)
            self._own.execute(f"UPDATE {schema}.run SET lost = true WHERE ended_at IS NULL")  # type: ignore[call-overload]

    def close(self) -> None:
        """End everything, and forget the batch."""
        for process in list(self._open):
            for session in self._open.pop(process):
                session.close()
        self._own.execute(f"DROP SCHEMA IF EXISTS {quoted(self.address.schema)} CASCADE")  # type: ignore[call-overload]
        self._own.close()


class Session:
    """A psycopg connection that tells its process before and after each commit, and that a dead process cannot use."""

    def __init__(self, session: psycopg.Connection[Any], process: Process | None) -> None:
        self._session = session
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def execute(self, query: str, *values: Any) -> Any:
        if self._process is None:
            return self._session.execute(query, *values)  # type: ignore[call-overload]
        self._process.check("use the database")
        verb = query.lstrip()[:12].upper()
        outside = self._session.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if verb.startswith("COMMIT") or (outside and not verb.startswith(READS)):
            self._process.step("database: commit")
            found = self._session.execute(query, *values)  # type: ignore[call-overload]
            self._process.step("database: committed")
            return found
        return self._session.execute(query, *values)  # type: ignore[call-overload]

    def close(self) -> None:
        self._session.close()
