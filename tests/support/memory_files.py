"""A file system in memory that forgets: the `Files` effect with live and durable bytes and names.

Every file has the bytes that a process sees and the bytes that would survive a power cut; so has every folder its
names. `fsync` and `fsync_folder` copy the first to the second. A *kill* loses nothing but open descriptors. A *power*
cut decides, file by file and name by name, whether what was not synced is lost, torn or kept. That is harsher than any
common file system and allowed by POSIX; what survives it survives them all. Nothing is random but the `rng` handed in.

    def on_call(operation, subject): ...     # called before each operation; it may raise OSError or Crash
    files = MemoryFiles(on_call=CrashAt(7))
    with suppress(Crash): work(files)        # every further call of the dead process raises Crash and changes nothing
    files.crash("power", random.Random(1))   # the machine is up again
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import random

CrashKind = Literal["kill", "power"]
OnCall = Callable[[str, Path | int], None]

SECTOR_BYTES = 512


class Crash(SystemExit):
    """The process is gone. A `SystemExit`, so that asyncio and thread pools do not keep it to themselves."""


@lru_cache(4096)
def folder_of(path: Path) -> Path:
    """Return the folder of a path; a simulation asks for it a hundred times a millisecond."""
    return path.parent


@dataclass
class CrashAt:
    """A hook that crashes before the n-th operation, counted from 1; 0 never crashes and only counts."""

    step: int = 0
    calls: int = 0

    def __call__(self, operation: str, subject: Path | int) -> None:
        self.calls += 1
        if self.calls == self.step:
            raise Crash(f"before step {self.step}: {operation} {subject}")


@dataclass(eq=False)
class _Entry:
    """What a name leads to. Compared by identity, as inodes are."""

    is_folder: bool = False
    is_link: bool = False
    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


@dataclass(eq=False)
class _Open:
    entry: _Entry
    sync_failed: bool = False


class MemoryFiles:
    """The whole `Files` protocol over two maps of names.

    The mutable state is the live names, the durable names, the open descriptors, and whether the process is dead. Only
    the protocol's operations, `plant…` and `crash` change it.
    """

    def __init__(
        self,
        *,
        on_call: OnCall | None = None,
        capacity_bytes: int | None = None,
        hard_links: bool = True,
        folder_sync: bool = True,
    ) -> None:
        self.on_call = on_call
        self.capacity_bytes = capacity_bytes
        self.hard_links = hard_links
        self.folder_sync = folder_sync
        self._names = {Path(top): _Entry(is_folder=True) for top in ("/", ".")}
        self._durable_names = dict(self._names)
        self._open: dict[int, _Open] = {}
        self._next_descriptor = 3
        self._dead = False

    # What a test sets up, sees and breaks.

    def plant(self, path: Path, data: bytes) -> None:
        """Put a durable file there, and durable folders above it, as somebody else might have before."""
        self._plant(path, _Entry(live=bytearray(data), durable=data))

    def plant_link(self, path: Path) -> None:
        """Put a symbolic link there that leads to nowhere."""
        self._plant(path, _Entry(is_link=True))

    def plant_folder(self, path: Path) -> None:
        """Put a durable folder there."""
        for folder in reversed([path, *path.parents]):
            if folder not in self._names:
                self._names[folder] = self._durable_names[folder] = _Entry(is_folder=True)

    def bytes_at(self, path: Path) -> bytes | None:
        """Return a file's live bytes without calling the hook; None where there is no regular file."""
        entry = self._names.get(path)
        return None if entry is None or entry.is_folder or entry.is_link else bytes(entry.live)

    def snapshot(self) -> dict[Path, bytes]:
        """Return all regular files and their live bytes."""
        return {path: data for path in sorted(self._names) if (data := self.bytes_at(path)) is not None}

    def holds(self, path: Path) -> bool:
        """Tell whether there is such a name, without calling the hook."""
        return path in self._names

    def sizes(self, folder: Path) -> dict[Path, int]:
        """Return the regular files in a folder and their live sizes, without calling the hook."""
        return {
            path: len(entry.live)
            for path, entry in self._names.items()
            if folder_of(path) == folder and not entry.is_folder and not entry.is_link
        }

    @property
    def open_descriptors(self) -> int:
        """How many descriptors are open."""
        return len(self._open)

    def crash(self, kind: CrashKind, rng: random.Random) -> None:
        """Let the process die, and the machine too for a power cut, and start again. The hook is taken off."""
        self._open.clear()
        self._dead = False
        self.on_call = None
        if kind == "power":
            self._forget_names(rng)
            self._forget_bytes(rng)

    def _forget_names(self, rng: random.Random) -> None:
        after = dict(self._durable_names)
        for path in sorted({*self._names, *self._durable_names}):
            live = self._names.get(path)
            if live is not self._durable_names.get(path) and rng.random() < 0.5:
                if live is None:
                    del after[path]
                else:
                    after[path] = live
        for path in sorted(after):  # parents first: what lay in a lost folder is lost with it
            if path != path.parent and path.parent not in after:
                del after[path]
        self._names, self._durable_names = after, dict(after)

    def _forget_bytes(self, rng: random.Random) -> None:
        seen: set[int] = set()
        for path in sorted(self._names):
            entry = self._names[path]
            if id(entry) in seen or bytes(entry.live) == entry.durable:
                continue
            seen.add(id(entry))
            entry.durable = rng.choice((entry.durable, _torn(entry, rng), bytes(entry.live)))
            entry.live = bytearray(entry.durable)

    # The protocol.

    def create(self, path: Path, mode: int = 0o666) -> int:
        self._call("create", path)
        self._need_parent(path)
        if path in self._names:
            raise _refusal(errno.EEXIST, path)
        entry = _Entry()
        self._names[path] = entry
        descriptor, self._next_descriptor = self._next_descriptor, self._next_descriptor + 1
        self._open[descriptor] = _Open(entry)
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        """Write in two halves, the hook being called before each, so that a crash can fall into the middle."""
        half = len(data) // 2
        self._call("write", descriptor)
        self._append(descriptor, data[:half])
        self._call("write the rest", descriptor)
        self._append(descriptor, data[half:])

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self.write(descriptor, piece)

    def fsync(self, descriptor: int) -> None:
        file = self._file(descriptor)
        assert not file.sync_failed, "fsync was called again on a descriptor for which it failed"
        try:
            self._call("fsync", descriptor)
        except OSError:
            file.sync_failed = True
            raise
        file.entry.durable = bytes(file.entry.live)

    def fsync_file(self, path: Path) -> None:
        self._call("fsync_file", path)
        entry = self._entry(path)
        entry.durable = bytes(entry.live)

    def close(self, descriptor: int) -> None:
        try:
            self._call("close", descriptor)
        except OSError:  # a close that fails has closed all the same
            self._open.pop(descriptor, None)
            raise
        self._file(descriptor)
        del self._open[descriptor]

    def link(self, source: Path, target: Path) -> None:
        self._call("link", target)
        entry = self._entry(source)
        self._need_parent(target)
        if target in self._names:
            raise _refusal(errno.EEXIST, target)
        if entry.is_folder or not self.hard_links:
            raise _refusal(errno.EPERM, source)
        self._names[target] = entry

    def replace(self, source: Path, target: Path) -> None:
        self._call("replace", target)
        self._need_parent(source)
        self._need_parent(target)
        entry = self._entry(source)
        if entry.is_folder:
            raise NotImplementedError("nothing renames folders")
        if target in self._names and self._names[target].is_folder:
            raise _refusal(errno.ENOTEMPTY if target in source.parents else errno.EISDIR, target)
        if self._names.get(target) is entry:
            return  # two names of one file: POSIX does nothing, and both stay
        self._names[target] = self._names.pop(source)

    def unlink(self, path: Path) -> None:
        self._call("unlink", path)
        if self._entry(path).is_folder:
            raise _refusal(errno.EISDIR, path)
        del self._names[path]

    def fsync_folder(self, path: Path) -> None:
        self._call("fsync_folder", path)
        self._need_folder(path)
        if not self.folder_sync:
            raise _refusal(errno.EINVAL, path)
        for name in {*self._names, *self._durable_names}:
            if folder_of(name) == path and name != path:
                if name in self._names:
                    self._durable_names[name] = self._names[name]
                else:
                    del self._durable_names[name]

    def make_folder(self, path: Path) -> None:
        self._call("make_folder", path)
        for folder in reversed([path, *path.parents]):
            if not self._names.setdefault(folder, _Entry(is_folder=True)).is_folder:
                raise _refusal(errno.EEXIST if folder == path else errno.ENOTDIR, folder)

    def exists(self, path: Path) -> bool:
        self._call("exists", path)
        return path in self._names

    def size(self, path: Path) -> int:
        self._call("size", path)
        entry = self._entry(path)
        if entry.is_folder or entry.is_link:
            raise _refusal(errno.ENOENT, path)
        return len(entry.live)

    def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
        self._call("read", path)
        entry = self._entry(path)
        if entry.is_folder:
            raise _refusal(errno.EISDIR, path)
        if entry.is_link:
            raise _refusal(errno.ENOENT, path)
        return bytes(entry.live[offset:] if size < 0 else entry.live[offset : offset + size])

    def names(self, path: Path) -> list[str]:
        self._call("names", path)
        self._need_folder(path)
        return sorted(name.name for name in self._names if folder_of(name) == path and name != path)

    def free_bytes(self, path: Path) -> int:
        self._call("free_bytes", path)
        return 1 << 40 if self.capacity_bytes is None else max(0, self.capacity_bytes - self._used_bytes())

    # Inside.

    def _call(self, operation: str, subject: Path | int) -> None:
        if self._dead:
            raise Crash("the process is dead")
        if self.on_call is None:
            return
        try:
            self.on_call(operation, subject)
        except Crash:
            self._dead = True
            raise

    def _plant(self, path: Path, entry: _Entry) -> None:
        self.plant_folder(path.parent)
        self._names[path] = self._durable_names[path] = entry

    def _append(self, descriptor: int, data: bytes) -> None:
        file = self._file(descriptor)
        if self.capacity_bytes is not None:
            free = max(0, self.capacity_bytes - self._used_bytes())
            if len(data) > free:
                file.entry.live += data[:free]
                raise _refusal(errno.ENOSPC)
        file.entry.live += data

    def _used_bytes(self) -> int:
        entries = {id(entry): entry for entry in self._names.values()}
        entries |= {id(file.entry): file.entry for file in self._open.values()}  # unlinked, yet still held open
        return sum(len(entry.live) for entry in entries.values())

    def _file(self, descriptor: int) -> _Open:
        if descriptor not in self._open:
            raise _refusal(errno.EBADF)
        return self._open[descriptor]

    def _entry(self, path: Path) -> _Entry:
        if path not in self._names:
            above = next(folder for folder in path.parents if folder in self._names)
            raise _refusal(errno.ENOENT if self._names[above].is_folder else errno.ENOTDIR, path)
        return self._names[path]

    def _need_folder(self, path: Path) -> None:
        if not self._entry(path).is_folder:
            raise _refusal(errno.ENOTDIR, path)

    def _need_parent(self, path: Path) -> None:
        self._need_folder(folder_of(path))


def _torn(entry: _Entry, rng: random.Random) -> bytes:
    """Return what a power cut in the middle of writing back leaves: some sectors new, some old, some never written."""
    torn = bytearray(entry.durable.ljust(len(entry.live), b"\0"))
    for start in range(0, len(entry.live), SECTOR_BYTES):
        if rng.random() < 0.5:
            torn[start : start + SECTOR_BYTES] = entry.live[start : start + SECTOR_BYTES]
    return bytes(torn[: rng.randint(len(entry.durable), len(torn))])


def _refusal(code: int, path: Path | None = None) -> OSError:
    """Return the `OSError` that the system raises; its constructor picks the subclass."""
    return OSError(code, os.strerror(code), *([str(path)] if path else []))
