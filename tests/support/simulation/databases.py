"""SQLite databases that outlive the processes of a simulation: a crash rolls back what was not committed.

They lie in SQLite's own file system in memory (the `memdb` VFS, SQLite 3.36 and newer), which locks, refuses and rolls
back as files do, and saves a fifth of a simulation's time; a journal's file is the one thing it does not have. What
kills and power cuts do to real files is for the real ones (`tests.torture.sigkill`, `tests.torture.powercut`).
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.simulation.process import Process

READS = ("SELECT", "PRAGMA", "EXPLAIN", "WITH", "VALUES")
OPENS = ("BEGIN", "SAVEPOINT", "ROLLBACK", "RELEASE", "ATTACH", "DETACH")
NUMBERS = itertools.count()
"""A database in memory belongs to the whole test process: each gets a name of its own."""


class MemoryDatabases:
    """The databases of a simulated machine, by path. The mutable state is which connections each process has open, and
    a connection of nobody's to each database, which keeps it in memory."""

    def __init__(self, *, on_create: Callable[[Path], None] = lambda path: None) -> None:
        """Make an empty machine.

        Args:
            on_create: told the path when a database is opened that did not exist, so that simulated files can show it.
        """
        self._on_create = on_create
        self._open: defaultdict[Process | None, list[GuardedConnection]] = defaultdict(list)
        self._kept: dict[Path, tuple[str, sqlite3.Connection]] = {}

    def open(self, path: Path, process: Process | None = None) -> sqlite3.Connection:
        """Open or create the database that stands for `path`, as `pipeline.system.databases.open_database` does.

        Nobody waits for a lock in real time: a locked database says so at once, unless the caller sets a busy time-out.
        """
        if process is not None:
            process.step(f"database: open {path}")
        if path not in self._kept:
            address = f"file:/simulated-{next(NUMBERS)}?vfs=memdb"
            self._kept[path] = address, sqlite3.connect(address, uri=True)
            self._on_create(path)
        connection = sqlite3.connect(
            self._kept[path][0],
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
            factory=GuardedConnection,
        )
        assert isinstance(connection, GuardedConnection)
        connection.process = process
        self._open[process].append(connection)
        return connection

    def bytes_of(self, path: Path) -> bytes:
        """Return what lies in the database's file at this moment; empty where there is none."""
        if path not in self._kept:
            return b""
        try:
            return self._kept[path][1].serialize()
        except sqlite3.OperationalError:  # nothing was ever written to it
            return b""

    def crash(self, process: Process | None = None) -> None:
        """End a process's connections as its death does: what it had not committed is rolled back."""
        for connection in self._open.pop(process, []):
            for cursor in list(connection.cursors):
                with suppress(sqlite3.ProgrammingError):  # closed by its process before
                    sqlite3.Cursor.close(cursor)  # a statement in the middle would keep its locks
            sqlite3.Connection.close(connection)

    def lose(self, is_there: Callable[[Path], bool]) -> None:
        """Remove the databases whose names a power cut has taken; nobody may have them open."""
        for path in [path for path in self._kept if not is_there(path)]:
            self._kept.pop(path)[1].close()

    def close(self) -> None:
        """End everything."""
        for process in list(self._open):
            self.crash(process)
        self.lose(lambda path: False)


class GuardedConnection(sqlite3.Connection):
    """A connection that tells its process before and after each commit, and that a dead process cannot use."""

    process: Process | None = None

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.cursors: WeakSet[GuardedCursor] = WeakSet()

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(GuardedCursor)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return GuardedCursor(self).execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        return GuardedCursor(self).executemany(sql, parameters)

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        return GuardedCursor(self).executescript(script)

    def commit(self) -> None:
        self.execute("COMMIT") if self.in_transaction else None

    def rollback(self) -> None:
        self.execute("ROLLBACK") if self.in_transaction else None

    def __exit__(self, kind: Any, *_: object) -> Any:
        (self.commit if kind is None else self.rollback)()
        return False

    def close(self) -> None:
        if self.process is None or not self.process.is_dead:
            super().close()


class GuardedCursor(sqlite3.Cursor):
    """A cursor whose commits are steps."""

    def __init__(self, connection: GuardedConnection) -> None:
        super().__init__(connection)
        connection.cursors.add(self)

    def execute(self, sql: str, parameters: Any = ()) -> GuardedCursor:
        return self._guarded(sql, super().execute, sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> GuardedCursor:
        return self._guarded(sql, super().executemany, sql, parameters)

    def executescript(self, script: str) -> GuardedCursor:
        return self._guarded("COMMIT", super().executescript, script)

    def _guarded(self, sql: str, run: Callable[..., Any], *arguments: Any) -> GuardedCursor:
        connection: GuardedConnection = self.connection  # type: ignore[assignment]
        process = connection.process
        if process is not None:
            process.check("use the database")
            verb = sql.lstrip()[:12].upper()
            if verb.startswith(("COMMIT", "END")) or not (connection.in_transaction or verb.startswith(READS + OPENS)):
                process.step("database: commit")
                run(*arguments)
                process.step("database: committed")
                return self
        run(*arguments)
        return self
