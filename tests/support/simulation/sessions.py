"""Sessions of simulated processes with a real PostgreSQL server, which outlives them, as a server elsewhere does.

A process's commits are steps of its own, as they are with the databases in memory; once it is dead, it can say nothing
more, and its sessions end: the server takes back what they had not committed. The server's clock is the simulation's,
so that a lease ends when its time has come.

A server is dear where it makes tables and lets somebody in. So both are kept from life to life (`Housekeeping`): a
session is handed on once nothing of its last holder's is left in it, and a batch's tables are emptied. A life may still
ask for a server on which nothing was ever laid out.
"""

from __future__ import annotations

import atexit
import json
import os
from collections import defaultdict
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

from pipeline.ledger.postgres.address import Address
from pipeline.ledger.postgres.connection import PostgresDatabase, quoted
from pipeline.system.databases import connect_postgres
from tests.support.simulation.mishaps import Mishap

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.simulation.process import Process

READS = ("SELECT", "SHOW", "SET", "BEGIN", "SAVEPOINT", "ROLLBACK", "RELEASE")
HANDED_ON = "ROLLBACK; RESET ALL; SELECT pg_advisory_unlock_all()"
"""What was learned of statements is kept: it tells nothing of who made them."""
EMPTIED = """
BEGIN;
SET LOCAL session_replication_role = replica;
SET LOCAL search_path = {schema};
DELETE FROM event; DELETE FROM clip; DELETE FROM item; DELETE FROM run; DELETE FROM learned;
DELETE FROM meta WHERE key NOT IN ('uuid', 'layout', 'rules');
UPDATE money SET committed_micro_usd = 0;
SELECT setval(pg_get_serial_sequence('event', 'seq'), 1, false);
SELECT setval(pg_get_serial_sequence('item', 'rowid'), 1, false);
COMMIT
"""
TABLES = ("event", "clip", "item", "run", "learned", "meta", "money")
SWEPT_EVERY = 40
"""Lives between two sweeps of what the server keeps of emptied tables."""
GONE = SimpleNamespace(transaction_status=TransactionStatus.UNKNOWN)
"""What a connection that is no more says of itself."""
SERVERS_CLOCK = ("clock_timestamp()", "pg_postmaster_start_time()")


class Housekeeping:
    """What of one server is kept from life to life. The mutable state is the idle sessions, and how many lives were."""

    def __init__(self, dsn: str) -> None:
        self.address = Address(dsn, f"simulated-{os.getpid()}")
        self.own = connect_postgres(dsn)
        self._idle: list[psycopg.Connection[Any]] = []
        self._lives = 0

    def take(self, dsn: str) -> psycopg.Connection[Any]:
        """Return a session that is as good as new."""
        return self._idle.pop() if self._idle else connect_postgres(dsn)

    def hand_on(self, session: psycopg.Connection[Any]) -> None:
        """End what its last holder had begun, and keep it."""
        with suppress(psycopg.Error):
            session.execute(HANDED_ON)
            self._idle.append(session)

    def begin_life(self, *, anew: bool) -> None:
        """Have an empty ledger there, or none at all; the first life of all finds none in any case."""
        if anew:
            self.forget()
        elif self.is_laid_out():
            self.own.execute(EMPTIED.format(schema=quoted(self.address.schema)))  # type: ignore[arg-type]
        self._lives += 1
        if self._lives % SWEPT_EVERY == 0 and self.is_laid_out():
            tables = ", ".join(f"{quoted(self.address.schema)}.{table}" for table in TABLES)
            self.own.execute(f"VACUUM {tables}")  # type: ignore[arg-type]

    def is_laid_out(self) -> bool:
        """Tell whether there is a ledger."""
        return bool(self.own.execute("SELECT to_regnamespace(%s)", (self.address.schema,)).fetchone()[0])  # type: ignore[index]

    def forget(self) -> None:
        """Leave nothing of the ledger."""
        self.own.execute(f"DROP SCHEMA IF EXISTS {quoted(self.address.schema)} CASCADE")  # type: ignore[arg-type]

    def close(self) -> None:
        """End everything."""
        for session in (*self._idle, self.own):
            session.close()


KEPT: dict[tuple[int, str], Housekeeping] = {}
"""By process and server: a process that was forked has none of its parent's sessions."""


def housekeeping(dsn: str) -> Housekeeping:
    """Return what this process keeps of a server."""
    key = os.getpid(), dsn
    if key not in KEPT:
        KEPT[key] = Housekeeping(dsn)
        atexit.register(KEPT[key].close)
    return KEPT[key]


class Sessions:
    """The mutable state is which sessions each process has open."""

    def __init__(self, dsn: str, now: Callable[[], float], *, anew: bool = False) -> None:
        """Begin a life with an empty ledger, or (`anew`) with none; `now` is the simulation's time in seconds."""
        self._house = housekeeping(dsn)
        self._house.begin_life(anew=anew)
        self.now, self.hand_on = now, self._house.hand_on
        self.address = self._house.address
        self.mishap: Callable[[], Mishap | None] = lambda: None
        """Asked at every commit of a process."""
        self._open: defaultdict[Process | None, list[Session]] = defaultdict(list)

    def note(self) -> bytes:
        """Return what a batch's folder says of its ledger."""
        return json.dumps({"ledger": self.address.dsn, "batch": self.address.batch}).encode()

    def open(self, dsn: str, process: Process | None = None) -> Session:
        """Connect as a process."""
        if process is not None:
            process.check("connect to the database")
        session = Session(self._house.take(dsn), process, self)
        self._open[process].append(session)
        return session

    def observer(self) -> PostgresDatabase:
        """Return a connection of nobody's."""
        return PostgresDatabase(self.address, lambda dsn: self.open(dsn))  # type: ignore[arg-type,return-value]

    def is_laid_out(self) -> bool:
        """Tell whether there is a ledger."""
        return self._house.is_laid_out()

    def crash(self, process: Process | None) -> None:
        """End a process's sessions."""
        for session in self._open.pop(process, []):
            session.end()

    def close(self) -> None:
        """End everything; the next life clears up."""
        for process in list(self._open):
            self.crash(process)


class Session:
    """A psycopg connection that tells its process before and after each commit, and that a dead process cannot use.

    The mutable state is the connection beneath, until it is handed on.
    """

    def __init__(self, session: psycopg.Connection[Any], process: Process | None, sessions: Sessions) -> None:
        self._session: psycopg.Connection[Any] | None = session
        self._process = process
        self._sessions = sessions

    @property
    def closed(self) -> bool:
        return self._session is None

    broken = closed

    @property
    def info(self) -> Any:
        return GONE if self._session is None else self._session.info

    def __getattr__(self, name: str) -> Any:
        return getattr(self._alive(), name)

    def _alive(self) -> psycopg.Connection[Any]:
        if self._process is not None:
            self._process.check("use the database")
        if self._session is None:
            raise psycopg.OperationalError("the connection is closed")
        return self._session

    def execute(self, query: str, *values: Any) -> Any:
        session = self._alive()
        told = self._in_the_simulations_time(query)
        if self._process is None:
            return session.execute(told, *values)  # type: ignore[arg-type]
        verb = query.lstrip()[:12].upper()
        outside = session.info.transaction_status == TransactionStatus.IDLE
        if verb.startswith("COMMIT") or (outside and not verb.startswith(READS)):
            self._process.step("database: commit")
            mishap = self._sessions.mishap()
            if mishap is Mishap.NO_ROOM:
                session.execute("ROLLBACK")
                raise psycopg.errors.DiskFull("could not extend file: No space left on device")
            if mishap is Mishap.CUT_BEFORE:
                self.end()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            found = session.execute(told, *values)  # type: ignore[arg-type]
            self._process.step("database: committed")
            if mishap is Mishap.CUT_AFTER:
                self.end()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return found
        return session.execute(told, *values)  # type: ignore[arg-type]

    def _in_the_simulations_time(self, query: str) -> str:
        if not any(call in query for call in SERVERS_CLOCK):
            return query
        now, started = SERVERS_CLOCK
        return query.replace(now, f"to_timestamp({self._sessions.now():.6f})").replace(started, "to_timestamp(0)")

    def close(self) -> None:
        """Say goodbye; the dead have ended already."""
        if self._process is None or not self._process.is_dead:
            self.end()

    def end(self) -> None:
        """End it, whoever it belongs to."""
        session, self._session = self._session, None
        if session is not None:
            self._sessions.hand_on(session)
