"""What the program does to the world, as things passed in: clock, randomness, network, files, threads.

The runner, the providers and the ledger never reach for any of these; they are handed an `Effects`. The command hands
them `system()`. A simulation hands them a clock whose time jumps, a connector that speaks over memory, files that can
crash, and threads that run inline, and the *same* code runs in virtual time with the same trace for the same seed.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import random
import sqlite3
import ssl
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
    locks: Locks = field(default_factory=lambda: SystemLocks())
    mounts: Callable[[], str] = field(default_factory=lambda: system_mounts)
    """Returns what is mounted, as lines of Linux's /proc/mounts; nothing where the system does not say."""
    shelf: Shelf | None = None
    """Where the budgets of calls are shared with other batches of this user; None to share them with nobody."""
    open_postgres: Callable[[str], psycopg.Connection[Any]] = field(default_factory=lambda: connect_postgres)
    """Connects to a PostgreSQL server; the string names it without a password."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:  # noqa: D102
        return datetime.now(UTC)  # noqa: TID251

    def monotonic(self) -> float:  # noqa: D102
        return time.monotonic()

    def boottime(self) -> float:  # noqa: D102
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()  # macOS: its monotonic clock is the best there is

    async def sleep(self, seconds: float) -> None:  # noqa: D102
        await asyncio.sleep(seconds)  # noqa: TID251


class SharedSync:
    """Syncs of one folder, shared by threads that want one at the same time.

    A sync covers every name that was there when it began. Who comes while one is under way waits for it, and then
    either begins the next or finds that another thread's has begun and ended since. The mutable state is how many have
    begun and the number of the last that ended well; it changes under the lock.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._lock = threading.Lock()
        self._begun = 0
        self._ended = 0

    def run(self) -> None:
        """Return when a sync that began after this call has ended. Raises OSError for one that failed here."""
        begun_before = self._begun
        with self._lock:
            if self._ended > begun_before:
                return
            self._begun += 1
            self._sync()
            self._ended = self._begun


def _fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)  # noqa: TID251
    finally:
        os.close(descriptor)


PIECES_MOST = 256
"""Handed to the system at once; POSIX allows from 16 (Linux and macOS 1,024)."""


class SystemFiles:
    """The operating system's files. The mutable state is `_folder_syncs`, one for each folder ever synced."""

    def __init__(self) -> None:
        self._folder_syncs: dict[Path, SharedSync] = {}

    def create(self, path: Path, mode: int = 0o666) -> int:  # noqa: D102
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, mode)

    def write(self, descriptor: int, data: bytes) -> None:  # noqa: D102
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes]) -> None:  # noqa: D102
        for begin in range(0, len(pieces), PIECES_MOST):
            some = pieces[begin : begin + PIECES_MOST]
            written = os.writev(descriptor, some)
            for piece in some:  # all of it, but for a disk that is full or a signal
                if written < len(piece):
                    self.write(descriptor, piece[written:])
                written = max(0, written - len(piece))

    def fsync(self, descriptor: int) -> None:  # noqa: D102
        full_sync = getattr(fcntl, "F_FULLFSYNC", None)
        if full_sync is not None:  # macOS: fsync alone leaves the bytes in the drive's cache
            fcntl.fcntl(descriptor, full_sync)
        else:
            os.fsync(descriptor)  # noqa: TID251

    def close(self, descriptor: int) -> None:  # noqa: D102
        os.close(descriptor)

    def fsync_file(self, path: Path) -> None:  # noqa: D102
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.fsync(descriptor)
        finally:
            os.close(descriptor)

    def link(self, source: Path, target: Path) -> None:  # noqa: D102
        os.link(source, target, follow_symlinks=False)

    def replace(self, source: Path, target: Path) -> None:  # noqa: D102
        source.replace(target)

    def unlink(self, path: Path) -> None:  # noqa: D102
        path.unlink()

    def fsync_folder(self, path: Path) -> None:  # noqa: D102
        # Atomic: two threads that come first get the same one.
        self._folder_syncs.setdefault(path, SharedSync(partial(_fsync_folder, path))).run()

    def make_folder(self, path: Path) -> None:  # noqa: D102
        path.mkdir(parents=True, exist_ok=True)

    def exists(self, path: Path) -> bool:  # noqa: D102
        return os.path.lexists(path)

    def size(self, path: Path) -> int:  # noqa: D102
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{path} is not a regular file")
        return status.st_size

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:  # noqa: D102
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def names(self, path: Path) -> list[str]:  # noqa: D102
        return sorted(os.listdir(path))  # noqa: PTH208

    def free_bytes(self, path: Path) -> int:  # noqa: D102
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


@dataclass
class SystemThreads:
    """A small pool, and one thread for each lane.

    The mutable state is `_lanes`; it grows on the first use of a lane and is emptied by `close`.
    """

    workers: int = 12
    _lanes: dict[str, ThreadPoolExecutor] = field(default_factory=dict)

    async def run(self, work: Callable[..., T], *args: Any) -> T:  # noqa: D102
        return await self._submit("pool", self.workers, work, *args)

    async def run_busy(self, work: Callable[..., T], *args: Any) -> T:  # noqa: D102
        return await self._submit("busy", (os.cpu_count() or 1) + 1, work, *args)

    async def run_alone(self, lane: str, work: Callable[..., T], *args: Any) -> T:  # noqa: D102
        return await self._submit(f"lane-{lane}", 1, work, *args)

    async def _submit(self, lane: str, workers: int, work: Callable[..., T], *args: Any) -> T:
        if lane not in self._lanes:
            self._lanes[lane] = ThreadPoolExecutor(workers, thread_name_prefix=lane)
        return await asyncio.get_running_loop().run_in_executor(self._lanes[lane], work, *args)

    def close(self) -> None:  # noqa: D102
        while self._lanes:
            self._lanes.popitem()[1].shutdown(wait=True)


def without_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a child process is given of the environment: everything but the keys, which it does not need."""
    return {name: value for name, value in environ.items() if not name.endswith(("_KEY", "_TOKEN"))}


LOCK_REFUSED = 75
LOCK_TRIED_S = 10.0
TRIES_A_LOCK = f"""
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit({LOCK_REFUSED})
"""


class SystemLocks:
    """`flock` on a file that is never deleted, and that children do not inherit."""

    def acquire(self, path: Path, holder: str) -> Callable[[], None]:  # noqa: D102
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, holder.encode())
        except BlockingIOError:
            text = os.read(descriptor, 4096).decode(errors="replace")
            os.close(descriptor)
            raise LockHeld(text) from None
        except OSError:
            os.close(descriptor)
            raise
        return lambda: os.close(descriptor)

    def is_seen(self, path: Path) -> bool:  # noqa: D102
        command = [sys.executable, "-I", "-S", "-c", TRIES_A_LOCK, str(path)]
        environ = without_keys(os.environ)
        try:
            tried = subprocess.run(  # noqa: S603 - this interpreter, and a program of ours
                command, stdin=subprocess.DEVNULL, env=environ, check=False, timeout=LOCK_TRIED_S
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return tried.returncode == LOCK_REFUSED


class SystemShelf:
    """One small file a record, under a lock while it is changed. What cannot be read or written is not shared."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def update(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:  # noqa: D102
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._folder / name, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            change({})
            return
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                found = json.loads(file.read() or b"{}")
            except ValueError:
                found = {}
            text = json.dumps(change(found if isinstance(found, dict) else {}))
            file.seek(0)
            file.truncate()
            file.write(text.encode())


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


def system_mounts() -> str:
    """Return what Linux says is mounted; nothing elsewhere."""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


CONNECTIONS = 64
"""Of one connector at once: what a provider's looks and downloads share."""


def system_connector(fresh: bool) -> aiohttp.BaseConnector:
    """Return a connector over real sockets: system trust store, TLS 1.2 or newer, at most `CONNECTIONS`."""
    import aiohttp  # a command that sends nothing does not pay for its import

    return aiohttp.TCPConnector(limit=CONNECTIONS, force_close=fresh, ssl=_tls())


@cache
def _tls() -> ssl.SSLContext:
    """Return the one context of the process: to read the system's trust store takes 30 ms."""
    return tls_context()


def tls_context() -> ssl.SSLContext:
    """Return a context with the system's trust store, TLS 1.2 or newer, that checks names and certificates.

    Not `create_default_context`: that one writes every session's secrets to where SSLKEYLOGFILE says.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.load_default_certs(ssl.Purpose.SERVER_AUTH)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    return tls


def system() -> Effects:
    """Return the real effects."""
    return Effects(
        clock=SystemClock(),
        random=random.Random(),  # noqa: S311
        files=SystemFiles(),
        threads=SystemThreads(),
        connector=system_connector,
        open_database=open_database,
    )
