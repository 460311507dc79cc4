"""A disk in memory that forgets: beside what processes see, it keeps what has been synced.

Every file has live and durable bytes, every folder live and durable names. A file's sync makes its bytes durable and a
folder's sync its names, nothing else does. A power cut decides with a seeded random, for every file and every name
apart, what becomes of the rest:

    a name      as it was at the folder's last sync, or as it was last seen
    a file      as at its last sync; as last seen; or torn: of every sector one or the other, and of the length too

That is harsher than any common file system and allowed by POSIX: a rename may leave neither of its names, a durable
file is gone with a name that was not. What it does not show: versions of a sector between the durable and the last.

Errors are `OSError`. Files and folders are compared by identity, as inodes are. One thread at a time.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

SECTOR_BYTES = 512
FATES = ("kept", "torn", "lost")
FATE_WEIGHTS = (1, 2, 2)


class Change(StrEnum):
    """Kinds of changes of a disk."""

    CREATE = "create"
    WRITE = "write"
    """Or truncate."""
    SYNC = "sync"
    NAME = "name"
    """Link, unlink, rename, remove a folder."""


@dataclass(eq=False, kw_only=True)
class File:
    """A regular file: its bytes, and those that would survive."""

    number: int
    mode: int
    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    names: int = 1
    """How many live names lead here; 0 for one that is only held open."""
    changed_ns: int = field(default_factory=time.time_ns)

    def write(self, data: bytes, offset: int) -> None:
        """Put `data` at `offset`; what lies between it and the end so far is zeros."""
        if offset > len(self.live):
            self.live.extend(bytes(offset - len(self.live)))
        self.live[offset : offset + len(data)] = data
        self.changed_ns = time.time_ns()

    def resize(self, length: int) -> None:
        """Cut the file off, or lengthen it with zeros."""
        del self.live[length:]
        self.live.extend(bytes(length - len(self.live)))
        self.changed_ns = time.time_ns()

    def sync(self) -> None:
        """Make the bytes durable."""
        self.durable = bytes(self.live)


@dataclass(eq=False, kw_only=True)
class Folder:
    """A folder: its names, and those that would survive."""

    number: int
    mode: int
    live: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)
    changed_ns: int = field(default_factory=time.time_ns)

    def sync(self) -> None:
        """Make the names durable."""
        self.durable = dict(self.live)


Node: TypeAlias = File | Folder


@dataclass(kw_only=True)
class Forgotten:
    """What a power cut did."""

    names: int = 0
    """Names that are not as they were last seen."""
    lost: int = 0
    """Files that are as at their last sync, and were not."""
    torn: int = 0
    kept: int = 0
    """Files that kept what was never synced, whole."""


class ForgetfulDisk:
    """The tree of names. The mutable state is all below `root`."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.root = Folder(number=next(self._numbers), mode=stat.S_IFDIR | 0o755)

    def find(self, path: str) -> Node:
        """Return what a path leads to."""
        node: Node = self.root
        for name in path.split("/"):
            if name:
                node = self._child(node, name)
        return node

    def folder(self, path: str) -> Folder:
        """Return the folder at a path."""
        node = self.find(path)
        if not isinstance(node, Folder):
            raise refusal(errno.ENOTDIR, path)
        return node

    def file(self, path: str) -> File:
        """Return the file at a path."""
        node = self.find(path)
        if not isinstance(node, File):
            raise refusal(errno.EISDIR, path)
        return node

    def create(self, path: str, mode: int) -> File:
        """Make an empty file under a name that is free."""
        folder, name = self._free_name(path)
        node = folder.live[name] = File(number=next(self._numbers), mode=stat.S_IFREG | stat.S_IMODE(mode))
        folder.changed_ns = time.time_ns()
        return node

    def make_folder(self, path: str, mode: int) -> None:
        """Make an empty folder under a name that is free."""
        folder, name = self._free_name(path)
        folder.live[name] = Folder(number=next(self._numbers), mode=stat.S_IFDIR | stat.S_IMODE(mode))
        folder.changed_ns = time.time_ns()

    def link(self, source: str, target: str) -> None:
        """Give a file one more name."""
        node = self.find(source)
        if isinstance(node, Folder):
            raise refusal(errno.EPERM, source)
        folder, name = self._free_name(target)
        folder.live[name] = node
        node.names += 1
        folder.changed_ns = time.time_ns()

    def unlink(self, path: str) -> None:
        """Take a name from a file; who holds it open keeps it."""
        file = self.file(path)
        folder, name = self._place(path)
        del folder.live[name]
        file.names -= 1
        folder.changed_ns = time.time_ns()

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        if self.folder(path).live:
            raise refusal(errno.ENOTEMPTY, path)
        folder, name = self._place(path)
        del folder.live[name]
        folder.changed_ns = time.time_ns()

    def rename(self, old: str, new: str) -> None:
        """Move a name, over a file or an empty folder that bears the new one."""
        node = self.find(old)
        from_folder, from_name = self._place(old)
        to_folder, to_name = self._place(new)
        replaced = to_folder.live.get(to_name)
        if replaced is node:
            return  # two names of one file: POSIX does nothing, and both stay
        if isinstance(node, Folder) and f"{new}/".startswith(f"{old}/"):
            raise refusal(errno.EINVAL, new)
        if isinstance(replaced, Folder):
            if not isinstance(node, Folder):
                raise refusal(errno.EISDIR, new)
            if replaced.live:
                raise refusal(errno.ENOTEMPTY, new)
        elif replaced is not None:
            if isinstance(node, Folder):
                raise refusal(errno.ENOTDIR, new)
            replaced.names -= 1
        del from_folder.live[from_name]
        to_folder.live[to_name] = node
        from_folder.changed_ns = to_folder.changed_ns = time.time_ns()

    def forget(self, rng: random.Random) -> Forgotten:
        """Cut the power: what was not synced is lost, torn or kept, and what is left is durable."""
        forgotten = Forgotten()
        met: set[Node] = {self.root}
        for folder in self._folders_from(self.root):
            names: dict[str, Node] = {}
            for name, node in _surviving_names(folder, rng, forgotten):
                if isinstance(node, Folder):
                    if node in met:
                        continue  # a folder that was moved has one name, or none
                else:
                    if node not in met:
                        _settle(node, rng, forgotten)
                        node.names = 0
                    node.names += 1
                met.add(node)
                names[name] = node
            folder.live = names
            folder.sync()
        return forgotten

    def _folders_from(self, folder: Folder) -> Iterator[Folder]:
        """Yield a folder before looking at the folders in it."""
        yield folder
        for node in folder.live.values():
            if isinstance(node, Folder):
                yield from self._folders_from(node)

    def _child(self, node: Node, name: str) -> Node:
        if not isinstance(node, Folder):
            raise refusal(errno.ENOTDIR, name)
        if name not in node.live:
            raise refusal(errno.ENOENT, name)
        return node.live[name]

    def _place(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        return self.folder(above), name

    def _free_name(self, path: str) -> tuple[Folder, str]:
        folder, name = self._place(path)
        if name in folder.live or not name:
            raise refusal(errno.EEXIST, path)
        return folder, name


def _surviving_names(folder: Folder, rng: random.Random, forgotten: Forgotten) -> Iterator[tuple[str, Node]]:
    for name in sorted({*folder.live, *folder.durable}):
        live, durable = folder.live.get(name), folder.durable.get(name)
        survivor = live
        if live is not durable and rng.random() < 0.5:
            survivor = durable
            forgotten.names += 1
        if survivor is not None:
            yield name, survivor


def _settle(file: File, rng: random.Random, forgotten: Forgotten) -> None:
    """Decide what is left of a file's bytes."""
    if file.live == file.durable:
        return
    (fate,) = rng.choices(FATES, FATE_WEIGHTS)
    setattr(forgotten, fate, getattr(forgotten, fate) + 1)
    if fate == "torn":
        file.live = _torn(file.durable, file.live, rng)
    elif fate == "lost":
        file.live = bytearray(file.durable)
    file.sync()


def _torn(durable: bytes, live: bytearray, rng: random.Random) -> bytearray:
    """Return a mixture, sector by sector; how many of the new ones arrived is drawn anew for every file."""
    length = rng.choice((len(durable), len(live)))
    torn = bytearray(durable[:length].ljust(length, b"\0"))
    share = rng.random()
    for start in range(0, min(length, len(live)), SECTOR_BYTES):
        if rng.random() < share:
            sector = live[start : min(start + SECTOR_BYTES, length)]
            torn[start : start + len(sector)] = sector
    return torn


def refusal(number: int, path: str) -> OSError:
    """Return the error that a call is refused with."""
    return OSError(number, os.strerror(number), path)
