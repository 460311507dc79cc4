"""Opening a ledger's SQLite file: pragmas, schema, and the refusal of files that are not ours.

`synchronous=EXTRA` with the rollback journal is the one setting of SQLite's default journal under which a commit that
returned survives a power cut: with FULL the removal of the journal is not made durable, and the commit can roll back.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.errors import DiskRefused, InputError
from pipeline.jobs.state import CLIP_MOVES, MOVES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from pipeline.effects import Effects

APPLICATION_ID = 0x636C6D6C
"""Marks the file as a clipmill ledger ("clml")."""
VERSION = 1
"""Raised with every change of the schema; `user_version` in the file."""
BUSY_TIMEOUT_S = 30
WRITER_PRAGMAS = (
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = EXTRA",
    "PRAGMA fullfsync = 1",
    "PRAGMA foreign_keys = 1",
    "PRAGMA trusted_schema = 0",
    "PRAGMA cell_size_check = 1",
    "PRAGMA secure_delete = 1",
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}",
)


@contextmanager
def told_as_our_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into sentences; integrity errors pass, since the caller knows what they mean."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise DiskRefused(
                f"Another program holds {path} open. Close it, then run the same command; nothing was lost."
            ) from error
        raise DiskRefused(
            f"The ledger {path} cannot be written: {error}. Free space or mend the disk, then run the same command."
        ) from error
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path} is not a sound ledger ({error}). Restore it from a copy, or use another -o DIR."
        ) from error


def open_writer(path: Path, effects: Effects) -> sqlite3.Connection:
    """Open the ledger for writing, creating it where there is none.

    Raises:
        InputError: the file is not a clipmill ledger, or was written by a newer version.
        DiskRefused: the disk said no, or a stranger holds the file.
    """
    with told_as_our_errors(path):
        database = effects.open_database(path)
        with _closed_on_failure(database):
            # Asked first: to set the journal's mode would change a stranger's file.
            exists = _is_ours(database, path)
            for pragma in WRITER_PRAGMAS:
                database.execute(pragma).fetchall()
            if exists:
                _refuse_damaged(database)
            else:
                _create(database, effects.random)
    return database


def open_reader(path: Path, effects: Effects) -> sqlite3.Connection:
    """Open an existing ledger for short reads, beside a process that may be writing.

    Raises:
        InputError: there is no ledger there, or it is not ours.
    """
    if not effects.files.exists(path):
        raise InputError(f"There is no ledger at {path}. Name a batch folder, such as output/quickstart.")
    with told_as_our_errors(path):
        # Not mode=ro: after a crash a reader must be able to roll the journal back. query_only keeps it from writing.
        database = effects.open_database(path)
        with _closed_on_failure(database):
            database.execute("PRAGMA query_only = 1")
            database.execute("PRAGMA trusted_schema = 0")
            database.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
            if not _is_ours(database, path):
                raise InputError(f"{path} is an empty ledger: nothing was ever planned there.")
    return database


@contextmanager
def _closed_on_failure(database: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


def _is_ours(database: sqlite3.Connection, path: Path) -> bool:
    """Tell a ledger (True) from a new file (False); refuse anything else."""
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (objects,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not objects and not application_id:
        return False
    if application_id != APPLICATION_ID:
        raise InputError(f"{path} is a database of another program; it is left untouched. Use another -o DIR.")
    if version > VERSION:
        raise InputError(f"{path} was written by a newer clipmill (ledger version {version}). Upgrade clipmill.")
    return True


def _refuse_damaged(database: sqlite3.Connection) -> None:
    """Walk every page (1 ms a megabyte): writing to a damaged file could lose what is still sound in it."""
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(" ".join(verdict.split()))


def _create(database: sqlite3.Connection, random: Random) -> None:
    schema = files("pipeline.ledger").joinpath("schema.sql").read_text(encoding="utf-8")
    identity = str(UUID(int=random.getrandbits(128), version=4))
    database.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(schema):
            database.execute(statement)
        fill_moves(database)
        database.execute("INSERT INTO money VALUES (1, 0)")
        database.execute("INSERT INTO meta VALUES ('uuid', ?)", (json.dumps(identity),))
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def fill_moves(database: sqlite3.Connection) -> None:
    """Give the database the code's table of legal moves."""
    database.execute("DELETE FROM move")
    database.execute("DELETE FROM clip_move")
    moves = [(a.value, e.value, b.value) for a, e, b in MOVES if a is not None]
    database.executemany("INSERT INTO move VALUES (?, ?, ?)", moves)
    database.executemany(
        "INSERT INTO clip_move VALUES (?, ?, ?)", [(a.value, e.value, b.value) for a, e, b in CLIP_MOVES]
    )


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements; `executescript` would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
