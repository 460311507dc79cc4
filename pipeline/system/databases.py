"""Connections to what a ledger is kept in: a SQLite file, or a PostgreSQL server."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipeline.effects import PRIVATE

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg


def open_database(path: Path) -> sqlite3.Connection:
    """Open a SQLite file in autocommit mode, usable from whichever thread holds the lane.

    A new one is for its owner's eyes alone: prompts and receipts are in it. SQLite gives its journal the same rights.

    Raises:
        OSError: it is a symbolic link, or another user's, who could have written anything into it.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        # Only one that is not there is opened here: to close it again would let go of SQLite's locks on it.
        with suppress(OSError):  # SQLite says what is wrong
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE))
    else:
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, "It is a symbolic link, which could lead anywhere", str(path))
        if os.geteuid() not in {0, status.st_uid}:
            raise PermissionError(errno.EPERM, f"It belongs to another user ({status.st_uid})", str(path))
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)


PATIENT_FOR_S = 10
POSTGRES_SETTINGS = {
    "connect_timeout": PATIENT_FOR_S,
    "keepalives_idle": PATIENT_FOR_S,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
    "application_name": "clipmill",
}
"""So that a server that is gone without a word is found out in seconds; what the user's own string says goes first."""


def connect_postgres(dsn: str, password: str | None = None) -> psycopg.Connection[Any]:
    """Connect to a PostgreSQL server; what the string leaves open comes from libpq's variables, .pgpass among them.

    Raises:
        ImportError: psycopg is not installed. psycopg.Error: the string is none of libpq's, or the server said no.
    """
    import psycopg  # a batch with a ledger of its own needs none of it
    from psycopg.conninfo import conninfo_to_dict

    settings = {**POSTGRES_SETTINGS, **conninfo_to_dict(dsn), **({} if password is None else {"password": password})}
    return psycopg.connect(autocommit=True, **settings)  # type: ignore[arg-type]
