"""Opening a ledger's SQLite file: pragmas, and the refusal of files that are not ours or newer than we are.

`synchronous=EXTRA` with the rollback journal is the one setting of SQLite's default journal under which a commit that
returned survives a power cut: with FULL the removal of the journal is not made durable, and the commit can roll back.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import DiskRefused, InputError
from pipeline.ledger.layout import (
    APPLICATION_ID,
    STEPS,
    VERSION,
    as_if_migrated,
    create,
    migrate,
    own_names,
    refresh_rules,
    version_after,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.ledger.layout import Step

BUSY_TIMEOUT_S = 3
"""How long a writer waits for a stranger who holds the file before it says so; then it waits on."""
READER_TIMEOUT_S = 30
WRITER_PRAGMAS = (
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = EXTRA",
    "PRAGMA fullfsync = 1",
    "PRAGMA foreign_keys = 1",
    "PRAGMA trusted_schema = 0",
    "PRAGMA cell_size_check = 1",
    "PRAGMA secure_delete = 1",
)


def unheard(sentence: str) -> None:
    """Take a sentence that nobody is there to be told."""


class LedgerHeld(DiskRefused):
    """Another program holds the file, and has for as long as anybody waited."""


@contextmanager
def told_as_our_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into sentences; integrity errors pass, since the caller knows what they mean."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EPERM}:
            raise
        raise InputError(
            f"The ledger {path} is not opened: {error.strerror}. Use another -o DIR, or a copy of your own."
        ) from error
    except sqlite3.IntegrityError:
        raise
    except sqlite3.OperationalError as error:
        if "database is locked" in str(error):
            raise LedgerHeld(
                f"Another program holds {path} open. Close it, then run the same command; nothing was lost."
            ) from error
        raise DiskRefused(
            f"The ledger {path} cannot be written: {error}. Free space or mend the disk, then run the same command."
        ) from error
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path} is not a sound ledger ({error}). Restore it from a copy, or use another -o DIR."
        ) from error


def open_writer(
    path: Path, effects: Effects, tell: Callable[[str], None] = unheard, steps: Sequence[Step] = STEPS
) -> sqlite3.Connection:
    """Open the ledger for writing, creating it where there is none and migrating it where it is older.

    Args:
        path: the ledger's; the caller holds the batch's lock.
        effects: what it is opened with.
        tell: given a sentence where an older ledger was migrated.
        steps: that lead from version 1 to this program's.

    Raises:
        InputError: the file is not a clipmill ledger, or was written by a newer version.
        LedgerError: it is older, and could not be migrated; it is as it was.
        LedgerHeld: a stranger holds the file. DiskRefused: the disk said no.
    """
    wanted = version_after(steps)
    with told_as_our_errors(path):
        database = effects.open_database(path)
        with _closed_on_failure(database):
            database.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
            # Asked first: to set the journal's mode would change a stranger's file.
            found = _version(database, path, wanted)
            for pragma in WRITER_PRAGMAS:
                database.execute(pragma).fetchall()
            if not found:
                create(database, effects.random, wanted)
                return database
            _refuse_damaged(database)
            if found < wanted:
                copy = migrate(database, path, effects, found, steps)
                tell(f"{path} was brought from version {found} to {wanted}; as it was, it is kept as {copy.name}.")
            else:
                refresh_rules(database)
    return database


def open_reader(path: Path, effects: Effects, steps: Sequence[Step] = STEPS) -> sqlite3.Connection:
    """Open an existing ledger for short reads, beside a process that may be writing.

    An older ledger is not changed: what is read then is a copy in memory, in this program's layout.

    Raises:
        InputError: there is no ledger there, it is not ours, or it was written by a newer version.
        LedgerError: it is older, and cannot be read as if it were not.
    """
    wanted = version_after(steps)
    if not effects.files.exists(path):
        raise InputError(f"There is no ledger at {path}. Name a batch folder, such as output/quickstart.")
    with told_as_our_errors(path):
        # Not mode=ro: after a crash a reader must be able to roll the journal back. query_only keeps it from writing.
        database = effects.open_database(path)
        with _closed_on_failure(database):
            database.execute("PRAGMA query_only = 1")
            database.execute("PRAGMA trusted_schema = 0")
            database.execute(f"PRAGMA busy_timeout = {READER_TIMEOUT_S * 1000}")
            found = _version(database, path, wanted)
            if not found:
                raise InputError(f"{path} is an empty ledger: nothing was ever planned there.")
            if found == wanted:
                return database
            copy = as_if_migrated(database, path, found, steps)
        database.close()
        copy.execute("PRAGMA query_only = 1")
        return copy


@contextmanager
def _closed_on_failure(database: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


def _version(database: sqlite3.Connection, path: Path, wanted: int) -> int:
    """Return a ledger's version, 0 for a new file; refuse anything else."""
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (objects,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not objects and not application_id:
        return 0
    if application_id != APPLICATION_ID:
        raise InputError(f"{path} is a database of another program; it is left untouched. Use another -o DIR.")
    if version > wanted:
        raise InputError(
            f"{path} was written by a newer clipmill (ledger version {version}, and this one knows {wanted}). "
            "Upgrade clipmill; the ledger is left untouched."
        )
    if version < 1:
        raise sqlite3.DatabaseError(f"its version is {version}")
    _refuse_strange(database, is_current=version == wanted == VERSION)
    return int(version)


def _refuse_strange(database: sqlite3.Connection, *, is_current: bool) -> None:
    """Refuse what no program of ours makes: a view in a table's place would run whatever it says.

    Triggers may differ: a reader sets none off, and a writer makes them this program's own.
    """
    found: dict[str, str] = dict(database.execute("SELECT name, type FROM sqlite_schema"))
    ours = own_names()
    for name, kind in found.items():
        strange = is_current and kind != "trigger" and not name.startswith("sqlite_") and ours.get(name) != kind
        if kind == "view" or strange:
            raise sqlite3.DatabaseError(f"it holds the {kind} {name!r}, which no ledger has")
    missing = sorted(name for name, kind in ours.items() if kind == "table" and name not in found)
    if is_current and missing:
        raise sqlite3.DatabaseError(f"it lacks the table {missing[0]}")


def _refuse_damaged(database: sqlite3.Connection) -> None:
    """Walk every page (1 ms a megabyte): writing to a damaged file could lose what is still sound in it."""
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(" ".join(verdict.split()))
