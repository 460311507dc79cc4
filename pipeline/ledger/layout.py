"""The layout of a ledger: how a new one is made, and how an older one becomes what this program works with.

A numbered step leads from each version to the next. All that lie between a ledger and this program are taken in one
transaction, after a whole copy of the old ledger was put beside it: a crash in the middle leaves the old one as it was.

What may be done to a row (the moves and the triggers) is no part of the version. Whoever opens a ledger for writing
makes both this program's own, wherever they differ.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, contextmanager
from functools import cache
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.durable import publish, told_as_disk_refused
from pipeline.errors import LedgerError
from pipeline.jobs.state import CLIP_MOVES, COPY_MOVES, MOVES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from random import Random

    from pipeline.effects import Effects, Files
    from pipeline.ledger.interface import Database

Step = Callable[[sqlite3.Connection], None]
"""Changes tables within a transaction that is open, while there are no triggers and foreign keys are not held."""


def _clips_have_copies(database: sqlite3.Connection) -> None:
    """From version 1 to 2: a clip may have a second copy in an object store."""
    database.execute("ALTER TABLE clip ADD COLUMN copy TEXT NOT NULL DEFAULT 'none'")
    database.execute("ALTER TABLE clip ADD COLUMN remote TEXT NOT NULL DEFAULT '{}'")
    database.execute(
        "CREATE TABLE copy_move (from_state TEXT NOT NULL, event TEXT NOT NULL, to_state TEXT NOT NULL, "
        "PRIMARY KEY (from_state, event, to_state)) STRICT, WITHOUT ROWID"
    )


STEPS: tuple[Step, ...] = (_clips_have_copies,)
"""The first leads from version 1 to 2; schema.sql is where all of them lead. Once released, a step is never changed."""
APPLICATION_ID = 0x636C6D6C
"""Marks the file as a clipmill ledger ("clml")."""
CHUNK_BYTES = 1 << 20
OUR_MISTAKES = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
"""What SQLite answers to a step that does not fit the ledger; all else is the disk's or a stranger's doing."""


def version_after(steps: Sequence[Step]) -> int:
    """Return the version that a ledger has after these steps."""
    return 1 + len(steps)


VERSION = version_after(STEPS)
"""This program's; `user_version` in the file."""


def create(database: sqlite3.Connection, random: Random, version: int = VERSION) -> None:
    """Make a new ledger: all of it, or nothing."""
    identity = str(UUID(int=random.getrandbits(128), version=4))
    with _transaction(database):
        _lay_out(database)
        database.execute("INSERT INTO money VALUES (1, 0)")
        database.execute("INSERT INTO meta VALUES ('uuid', ?)", (json.dumps(identity),))
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {version}")


def migrate(database: sqlite3.Connection, path: Path, effects: Effects, found: int, steps: Sequence[Step]) -> Path:
    """Bring an older ledger to this program's version; return where a copy of the old one lies.

    Args:
        database: open for writing, its settings made; the caller holds the batch's lock.
        path: the ledger's.
        effects: what the copy is made with.
        found: the ledger's version.
        steps: all there are, from version 1 on.

    Raises:
        LedgerError: a step does not fit this ledger. DiskRefused: there is no room for the copy.
        sqlite3.Error: the disk said no. In each case the ledger is as it was.
    """
    database.execute("PRAGMA foreign_keys = 0")  # as SQLite wants it where a step makes a table anew
    try:
        with _transaction(database):
            copy = _put_copy_beside(path, found, effects)
            _step_up(database, path, found, steps)
    finally:
        database.execute("PRAGMA foreign_keys = 1")
    return copy


def as_if_migrated(database: sqlite3.Connection, path: Path, found: int, steps: Sequence[Step]) -> sqlite3.Connection:
    """Return a copy in memory of an older ledger, in this program's layout; the file is left alone.

    Raises:
        LedgerError: a step does not fit this ledger.
    """
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        database.backup(copy)
        with _transaction(copy):
            _step_up(copy, path, found, steps)
    except BaseException:
        copy.close()
        raise
    return copy


def refresh_rules(database: sqlite3.Connection) -> None:
    """Make the moves and the triggers this program's own, where they are not."""
    if _rules(database) == _own_rules():
        return
    with _transaction(database):
        _drop_triggers(database)
        _make_rules(database)


def fill_moves(database: Database) -> None:
    """Give the database the code's table of legal moves."""
    database.execute("DELETE FROM move")
    database.execute("DELETE FROM clip_move")
    database.execute("DELETE FROM copy_move")
    moves = [(a.value, e.value, b.value) for a, e, b in MOVES if a is not None]
    database.executemany("INSERT INTO move VALUES (?, ?, ?)", moves)
    database.executemany(
        "INSERT INTO clip_move VALUES (?, ?, ?)", [(a.value, e.value, b.value) for a, e, b in CLIP_MOVES]
    )
    database.executemany(
        "INSERT INTO copy_move VALUES (?, ?, ?)", [(a.value, e.value, b.value) for a, e, b in COPY_MOVES]
    )


def _lay_out(database: sqlite3.Connection) -> None:
    for statement in _schema():
        database.execute(statement)
    fill_moves(database)


def _step_up(database: sqlite3.Connection, path: Path, found: int, steps: Sequence[Step]) -> None:
    wanted = version_after(steps)
    try:
        _drop_triggers(database)
        for step in steps[found - 1 :]:
            step(database)
        _make_rules(database)
        broken = database.execute("PRAGMA foreign_key_check").fetchall()
        database.execute(f"PRAGMA user_version = {wanted}")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in OUR_MISTAKES:
            raise
        raise LedgerError(_does_not_fit(path, found, wanted, str(error))) from error
    if broken:
        raise LedgerError(_does_not_fit(path, found, wanted, f"rows of {broken[0][0]} would belong to nothing"))


def _does_not_fit(path: Path, found: int, wanted: int, why: str) -> str:
    return (
        f"{path} could not be brought from version {found} to {wanted}: {why}. It is as it was: go on with the "
        "clipmill that wrote it, and report this."
    )


def _put_copy_beside(path: Path, version: int, effects: Effects) -> Path:
    """Copy the ledger under a name that is free. Nobody can write meanwhile: the caller's transaction has begun.

    SQLite itself copies. To open and close the file in any other way would let go of the locks that hold it.
    """
    part = path.with_name(f".{path.stem}-v{version}{path.suffix}.part")
    with told_as_disk_refused(f"remove {part}"):
        if effects.files.exists(part):
            effects.files.unlink(part)
    with closing(effects.open_database(path)) as source, closing(effects.open_database(part)) as target:
        target.execute("PRAGMA journal_mode = OFF").fetchall()
        target.execute("PRAGMA synchronous = FULL")
        target.execute("PRAGMA fullfsync = 1")
        source.backup(target)
    return _name(effects.files, part, path, version)


def _name(files: Files, part: Path, path: Path, version: int) -> Path:
    for number in count(1):
        again = f"-{number}" if number > 1 else ""
        copy = path.with_name(f"{path.stem}-v{version}{again}{path.suffix}")
        try:
            publish(files, part, copy)
        except FileExistsError:
            with told_as_disk_refused(f"compare {copy} with {part}"):
                if not _are_alike(files, part, copy):
                    continue
                files.unlink(part)  # a migration that did not come to its end has left a copy already
        return copy
    raise AssertionError("numbers do not end")


def _are_alike(files: Files, one: Path, other: Path) -> bool:
    size = files.size(one)
    return size == files.size(other) and all(
        files.read(one, offset, CHUNK_BYTES) == files.read(other, offset, CHUNK_BYTES)
        for offset in range(0, size, CHUNK_BYTES)
    )


def _rules(database: sqlite3.Connection) -> list[object]:
    queries = (
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name",
        "SELECT * FROM move ORDER BY 1, 2, 3",
        "SELECT * FROM clip_move ORDER BY 1, 2, 3",
        "SELECT * FROM copy_move ORDER BY 1, 2, 3",
    )
    return [database.execute(query).fetchall() for query in queries]


@cache
def _own_rules() -> list[object]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as own:
        _lay_out(own)
        return _rules(own)


@cache
def own_names() -> dict[str, str]:
    """Return the tables and indexes of this program's layout, each with its kind; SQLite's own are left out."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as own:
        _lay_out(own)
        found = own.execute("SELECT name, type FROM sqlite_schema WHERE type <> 'trigger'").fetchall()
    return {name: kind for name, kind in found if not name.startswith("sqlite_")}


def _drop_triggers(database: sqlite3.Connection) -> None:
    for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        database.execute(f'DROP TRIGGER "{name}"')


def _make_rules(database: sqlite3.Connection) -> None:
    fill_moves(database)
    for statement in _schema():
        if "CREATE TRIGGER" in statement:
            database.execute(statement)


@cache
def _schema() -> Sequence[str]:
    """Return the statements of schema.sql one by one; `executescript` would commit in between."""
    statement, statements = "", []
    for line in files("pipeline.ledger").joinpath("schema.sql").read_text(encoding="utf-8").splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
