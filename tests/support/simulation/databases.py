"""SQLite databases that outlive the processes of a simulation: a crash rolls back what was not committed.

The files lie in a folder of the simulation's own, in memory where the machine has `/dev/shm`, so that every pragma,
lock and second connection behaves as on a disk. What a power cut does to SQLite's files is not shown here.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.simulation.process import Process

READS = ("SELECT", "PRAGMA", "EXPLAIN", "WITH", "VALUES")
OPENS = ("BEGIN", "SAVEPOINT", "ROLLBACK", "RELEASE", "ATTACH", "DETACH")


class MemoryDatabases:
    """The databases of a simulated machine, by path. The mutable state is which connections each process has open."""

    def __init__(self, *, on_create: Callable[[Path], None] = lambda path: None) -> None:
        """Make an empty machine.

        Args:
            on_create: told the path when a database is opened that did not exist, so that simulated files can show it.
        """
        memory = Path("/dev/shm")
        self._folder = Path(tempfile.mkdtemp(prefix="simulated-", dir=memory if memory.is_dir() else None))
        self._on_create = on_create
        self._open: defaultdict[Process | None, list[GuardedConnection]] = defaultdict(list)
        self._paths: set[Path] = set()

    def open(self, path: Path, process: Process | None = None) -> sqlite3.Connection:
        """Open or create the database that stands for `path`, as `pipeline.effects.open_database` does.

        Nobody waits for a lock in real time: a locked database says so at once, unless the caller sets a busy time-out.
        """
        file = self._file(path)
        if process is not None:
            process.step(f"database: open {path}")
        if not file.exists():
            self._on_create(path)
        self._paths.add(path)
        connection = sqlite3.connect(
            file,
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
        file = self._file(path)
        return file.read_bytes() if file.exists() else b""

    def crash(self, process: Process | None = None) -> None:
        """End a process's connections as its death does: what it had not committed is rolled back."""
        for connection in self._open.pop(process, []):
            for cursor in list(connection.cursors):
                with suppress(sqlite3.ProgrammingError):  # closed by its process before
                    sqlite3.Cursor.close(cursor)  # a statement in the middle would keep its locks
            sqlite3.Connection.close(connection)

    def lose(self, is_there: Callable[[Path], bool]) -> None:
        """Remove the databases whose names a power cut has taken; nobody may have them open."""
        for path in [path for path in self._paths if not is_there(path)]:
            self._paths.remove(path)
            self._file(path).unlink(missing_ok=True)

    def close(self) -> None:
        """End everything and remove the files."""
        for process in list(self._open):
            self.crash(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, path: Path) -> Path:
        return self._folder / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}-{path.name}"


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
