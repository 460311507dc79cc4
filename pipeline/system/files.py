"""The operating system's files: what is durable is so when a call returns."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


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
