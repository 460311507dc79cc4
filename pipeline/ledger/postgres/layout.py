"""How a batch's schema is made, and what of a server a ledger cannot do without.

A promise that is durable must survive the server's power cut: `fsync` and `full_page_writes` are asked for, and
`synchronous_commit` is set by each session for itself.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.errors import InputError
from pipeline.jobs.state import CLIP_MOVES, COPY_MOVES, MOVES
from pipeline.ledger.layout import fill_moves
from pipeline.ledger.postgres.connection import PostgresDatabase, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.effects import Effects
    from pipeline.ledger.postgres.address import Address

VERSION = 1
OLDEST_SERVER = 140_000
LOCK_WAIT_S, IDLE_S = 30, 15
WRITER_SETTINGS = (
    "SET synchronous_commit = on",
    f"SET lock_timeout = '{LOCK_WAIT_S}s'",
    # A worker that is cut off in the middle of a commit holds the others up for so long, and no longer.
    f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'",
)
READER_SETTINGS = ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",)
MUST_BE_ON = {
    "fsync": "without it a power cut can take the ledger back to before something was bought",
    "full_page_writes": "without it a power cut can leave pages of the ledger torn",
    "synchronous_commit": "without it a commit is promised before it is durable",
}
LAYING_OUT = "clipmill lays out a ledger"


def open_writer(address: Address, effects: Effects) -> PostgresDatabase:
    """Connect to a ledger for writing; lay it out where there is none, and make its rules this program's own.

    Raises:
        InputError: the server is too old or forgets what it promised, or the schema is none of ours.
        ConnectionLost: it cannot be reached.
    """
    database = PostgresDatabase(address, effects.open_postgres, WRITER_SETTINGS)
    with _closed_on_failure(database):
        _refuse_forgetful(database)
        database.execute("BEGIN")
        database.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (f"{LAYING_OUT}: {address.schema}",))
        if not _is_there(database):
            _create(database, effects)
        _refuse_strange(database)
        _refresh_rules(database)
        database.execute("COMMIT")
    return database


def open_reader(address: Address, effects: Effects) -> PostgresDatabase:
    """Connect to a ledger for short reads beside those who write.

    Raises:
        InputError: there is no ledger there, or none of ours. ConnectionLost: it cannot be reached.
    """
    database = PostgresDatabase(address, effects.open_postgres, READER_SETTINGS)
    with _closed_on_failure(database):
        if not _is_there(database):
            raise InputError(f"There is no ledger at {address}: nothing was ever planned there.")
        _refuse_strange(database)
    return database


def _is_there(database: PostgresDatabase) -> bool:
    query = "SELECT to_regnamespace(?) IS NOT NULL"
    return bool(database.execute(query, (quoted(database.address.schema),)).fetchone()[0])  # type: ignore[index]


def _create(database: PostgresDatabase, effects: Effects) -> None:
    database.script(f"CREATE SCHEMA {quoted(database.address.schema)}")
    database.script(_text("schema.sql"))
    identity = str(UUID(int=effects.random.getrandbits(128), version=4))
    database.execute("INSERT INTO money VALUES (1, 0)")
    database.execute("INSERT INTO meta VALUES ('uuid', ?), ('layout', ?)", (json.dumps(identity), str(VERSION)))


def _refresh_rules(database: PostgresDatabase) -> None:
    own = json.dumps(rules_digest())
    found = database.execute("SELECT value FROM meta WHERE key = 'rules'").fetchone()
    if found is not None and found[0] == own:
        return
    database.script(_text("rules.sql"))
    fill_moves(database)
    database.execute(
        "INSERT INTO meta VALUES ('rules', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (own,)
    )


@cache
def rules_digest() -> str:
    """Return what tells this program's rules from another's: the moves, and the text of the triggers."""
    moves = sorted(str(move) for move in (*MOVES, *CLIP_MOVES, *COPY_MOVES))
    return sha256("\n".join([*moves, _text("rules.sql")]).encode()).hexdigest()


def _refuse_strange(database: PostgresDatabase) -> None:
    schema = database.address.schema
    names = "SELECT count(*) FROM pg_tables WHERE schemaname = ? AND tablename IN ('meta', 'run', 'item', 'event')"
    if database.execute(names, (schema,)).fetchone()[0] != 4:  # type: ignore[index]
        raise InputError(f"The schema {schema} of {database.address.dsn} is not a ledger of ours; it is left as it is.")
    row = database.execute("SELECT value FROM meta WHERE key = 'layout'").fetchone()
    version = int(row[0]) if row else 0
    if version > VERSION:
        raise InputError(
            f"{database.address} was written by a newer clipmill (ledger version {version}, and this one knows "
            f"{VERSION}). Upgrade clipmill; the ledger is left untouched."
        )


def _refuse_forgetful(database: PostgresDatabase) -> None:
    number = int(database.execute("SHOW server_version_num").fetchone()[0])  # type: ignore[index]
    if number < OLDEST_SERVER:
        raise InputError(f"The server of {database.address} is PostgreSQL {number // 10_000}; 14 or newer is needed.")
    for name, why in MUST_BE_ON.items():
        (found,) = database.execute(f"SHOW {name}").fetchone()  # type: ignore[misc]
        if found != "on":
            raise InputError(
                f"The server of {database.address} has {name} = {found}: {why}. Set it to on; nothing was sent."
            )


@contextmanager
def _closed_on_failure(database: PostgresDatabase) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


@cache
def _text(name: str) -> str:
    return files("pipeline.ledger.postgres").joinpath(name).read_text(encoding="utf-8")
