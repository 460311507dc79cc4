"""The budgets of calls that all workers share: a row for each endpoint and key, in the database of their ledgers.

It is the shelf of `runner.limits`, held by a server. Each worker counts time from a moment of its own, so the times in
a record are the server's, and are turned into a worker's and back while the row is locked. A call leaves when it is
counted, and a pause that a vendor told one worker stops them all.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipeline.errors import DiskRefused
from pipeline.ledger.postgres.address import Address
from pipeline.ledger.postgres.connection import PostgresDatabase

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from pipeline.effects import Clock

SCHEMA = "clipmill"
LAID_OUT = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    f"CREATE TABLE IF NOT EXISTS {SCHEMA}.budget (name text PRIMARY KEY, record text NOT NULL)",
)
WAIT_S = 2
"""How long the server may take: nothing else of this worker goes on meanwhile."""
AWAY_S = 1.0
"""How long a server that could not be reached is left alone."""
SETTINGS = (f"SET statement_timeout = '{WAIT_S}s'", f"SET idle_in_transaction_session_timeout = '{WAIT_S}s'")


class SharedBudgets:
    """The shelf of all workers whose ledgers are in one database.

    The mutable state is the connection, made when it is first needed, and since when there is none to be had.
    """

    def __init__(self, dsn: str, connect: Callable[[str], psycopg.Connection[Any]], clock: Clock) -> None:
        """`dsn` is the database's address without a password, `connect` what connects to it."""
        quickly = f"{dsn}{'&' if '?' in dsn else '?'}connect_timeout={WAIT_S}"
        self._address = Address(dsn if "connect_timeout" in dsn else quickly, "")
        self._connect = connect
        self._clock = clock
        self._database: PostgresDatabase | None = None
        self._away_since = float("-inf")

    def update(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Replace a record by what `change` makes of it, with nobody in between; a missing one is empty.

        Where the server cannot be reached, `change` is not called: what is not counted for all must not leave.
        """
        if self._clock.monotonic() - self._away_since < AWAY_S:
            return
        try:
            self._update(self._reached(), name, change)
        except DiskRefused:
            self._away_since = self._clock.monotonic()
            self.close()

    def _update(
        self, database: PostgresDatabase, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        database.execute("BEGIN")
        database.execute(
            f"INSERT INTO {SCHEMA}.budget VALUES (?, '{{}}') ON CONFLICT (name) DO NOTHING",  # noqa: S608
            (name,),
        )
        query = f"SELECT record FROM {SCHEMA}.budget WHERE name = ? FOR UPDATE"  # noqa: S608
        (text,) = database.execute(query, (name,)).fetchone()  # type: ignore[misc]
        (server_s,) = database.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()  # type: ignore[misc]
        ahead_s = float(server_s) - self._clock.monotonic()
        record = moved(change(moved(json.loads(text), -ahead_s)), ahead_s)
        database.execute(f"UPDATE {SCHEMA}.budget SET record = ? WHERE name = ?", (json.dumps(record), name))  # noqa: S608
        database.execute("COMMIT")

    def _reached(self) -> PostgresDatabase:
        if self._database is None:
            database = PostgresDatabase(self._address, self._connect, SETTINGS)
            database.execute("BEGIN")
            database.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (f"{SCHEMA}.budget",))
            for statement in LAID_OUT:
                database.execute(statement)
            database.execute("COMMIT")
            self._database = database
        return self._database

    def close(self) -> None:
        """Let the connection go."""
        if self._database is not None:
            with suppress(DiskRefused):
                self._database.close()
        self._database = None


def moved(record: dict[str, Any], by_s: float) -> dict[str, Any]:
    """Return a record of `runner.limits.Endpoint` with its times counted from another moment."""
    sent = [at + by_s for at in record.get("sent", ())]
    paused = {"paused_until": record["paused_until"] + by_s} if "paused_until" in record else {}
    return {**record, **({"sent": sent} if "sent" in record else {}), **paused}
