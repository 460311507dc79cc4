"""What the program does to the world, as things passed in: clock, randomness, network, files, threads.

The runner, the providers and the ledger never reach for any of these; they are handed an `Effects`. The command hands
them `system()`. A simulation hands them a clock whose time jumps, a connector that speaks over memory, files that can
crash, and threads that run inline, and the *same* code runs in virtual time with the same trace for the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    import aiohttp
    import psycopg

T = TypeVar("T")

PRIVATE = 0o600
"""The rights of a file that holds prompts, receipts and addresses: its owner's alone, whatever the umask says."""


class Clock(Protocol):
    """Time. Waits and intervals use `monotonic`; `now` is only ever stored or shown."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never jump and stand still while the machine is suspended."""

    def boottime(self) -> float:
        """Return seconds that never jump and go on while the machine is suspended."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of monotonic time."""


class Files(Protocol):
    """The file system calls whose order and durability matter. Errors are `OSError`, untranslated."""

    def create(self, path: Path, mode: int = 0o666) -> int:
        """Create `path` for writing and return its descriptor; fail if it exists or is a link.

        `mode` is who may read it, before the user's umask.
        """

    def write(self, descriptor: int, data: bytes) -> None:
        """Append all of `data`."""

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes]) -> None:
        """Append all of the pieces, one after the other, without joining them first."""

    def fsync(self, descriptor: int) -> None:
        """Make the file's bytes durable. Never call it again on a descriptor for which it failed."""

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""

    def fsync_file(self, path: Path) -> None:
        """Make the bytes durable of a file that an earlier process left."""

    def link(self, source: Path, target: Path) -> None:
        """Give the file a second name; fail with FileExistsError where the name is taken."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename over whatever bears the target's name."""

    def unlink(self, path: Path) -> None:
        """Remove a name."""

    def fsync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""

    def make_folder(self, path: Path) -> None:
        """Create a folder and its parents; a folder that exists is fine."""

    def exists(self, path: Path) -> bool:
        """Tell whether the name exists, a dangling link included."""

    def size(self, path: Path) -> int:
        """Return the size of a regular file in bytes."""

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        """Return `size` bytes from `offset`; fewer at the end of the file; all the rest for -1."""

    def names(self, path: Path) -> list[str]:
        """Return the names in a folder, sorted."""

    def free_bytes(self, path: Path) -> int:
        """Return how many bytes the user may still write on the file system that holds `path`."""


class Threads(Protocol):
    """Where blocking work goes, so that it does not hold up the event loop."""

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(*args)` in a small pool and return its result."""

    async def run_busy(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work(*args)`, which keeps a processor busy, where not many more of its kind run than processors."""

    async def run_alone(self, lane: str, work: Callable[..., T], *args: Any) -> T:
        """Run `work(*args)` in the one thread of a named lane, in the order of the calls."""

    def close(self) -> None:
        """Wait for what is running and let the threads go."""


class LockHeld(Exception):
    """Somebody else holds the lock; the text is what the holder wrote into it."""


class Locks(Protocol):
    """Locks between processes, which the operating system lets go when their holder dies."""

    def acquire(self, path: Path, holder: str) -> Callable[[], None]:
        """Take the lock, write `holder` into its file, and return what lets it go. Raises LockHeld."""

    def is_seen(self, path: Path) -> bool:
        """Tell whether a second process is refused the lock that this one holds, as it must be."""


class Shelf(Protocol):
    """Small records that all processes of one user on one machine share."""

    def update(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Replace a record by what `change` makes of it, with nobody in between; a missing one is empty.

        One that is kept elsewhere may be out of reach; then `change` is not called.
        """


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Everything that reaches outside the process, in one record."""

    clock: Clock
    random: random.Random
    """For jitter only: nothing that decides about money depends on it."""
    files: Files
    threads: Threads
    connector: Callable[[bool], aiohttp.BaseConnector]
    """Called with `fresh`: True for a connector that opens a new connection for every call, which billing calls use so
    that a stale kept-alive connection can never make an outcome unknown."""
    open_database: Callable[[Path], sqlite3.Connection]
    """Opens (or creates) a SQLite file; the ledger sets its own pragmas."""
    locks: Locks
    mounts: Callable[[], str]
    """Returns what is mounted, as lines of Linux's /proc/mounts; nothing where the system does not say."""
    open_postgres: Callable[[str], psycopg.Connection[Any]]
    """Connects to a PostgreSQL server; the string names it without a password."""
    shelf: Shelf | None = None
    """Where the budgets of calls are shared with other batches of this user; None to share them with nobody."""
