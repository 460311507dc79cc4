"""The process behind a forgetful file system: FUSE's calls, answered from a `ForgetfulDisk`.

    python -m tests.torture.forgetful_server FOLDER --seed 1

Commands come as lines on standard input (`fail_at KIND N`, `fail_never`, `power_off`, `power_on`), and each is answered
with a line of JSON when it is done; `{"failing": true}` comes unasked. When the input ends, the folder is unmounted.
`forgetful_fs` is the other side of this.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.torture.forgetful_disk import Change, File, Folder, ForgetfulDisk, Node, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPACITY_BLOCKS = 1 << 20
BLOCK_BYTES = 4096


class Calls:
    """The calls of FUSE, answered from a disk.

    The mutable state is the disk, the open handles, and the power. The loop of FUSE is one thread and the commands are
    read by another: every call and every command holds `turn`.
    """

    use_ns = True
    flag_nopath = flag_nullpath_ok = True  # what is open is found by its handle, for its name may be gone

    def __init__(self, rng: random.Random) -> None:
        self._disk = ForgetfulDisk()
        self._rng = rng
        self._handles: dict[int, Node] = {}
        self._next_handle = count(1)
        self.turn = threading.Condition()
        self._powered = True
        self._failing = False
        self._fails_in: dict[Change | None, int] = {}

    def obey(self, command: list[str]) -> dict[str, int]:
        """Carry out a command; return what is answered."""
        with self.turn:
            match command:
                case ["fail_at", kind, number]:
                    self._fails_in = {Change(kind): int(number)}
                case ["fail_never"]:
                    self._fails_in = {}
                case ["power_off"]:
                    self.power_off()
                case ["power_on"]:
                    self._handles.clear()
                    self._powered = True
                    return asdict(self._disk.forget(self._rng))
        return {}

    def power_off(self) -> None:
        """Let every call fail, those that wait included."""
        with self.turn:
            self._powered = False
            self._failing = False
            self._fails_in = {}
            self.turn.notify_all()

    @contextmanager
    def _call(self, change: Change | None = None) -> Iterator[None]:
        """Hold the turn for one call, while there is power."""
        with self.turn:
            if change in self._fails_in:
                self._fails_in[change] -= 1
                if not self._fails_in[change]:
                    self._failing = True
                    say({"failing": True})
            self.turn.wait_for(lambda: not self._failing)
            if not self._powered:
                raise refusal(errno.EIO, "")
            yield

    def _node(self, handle: int | None) -> Node:
        if handle not in self._handles:
            raise refusal(errno.EIO, "")  # opened before the power was cut
        return self._handles[handle]

    def _file(self, handle: int | None) -> File:
        node = self._node(handle)
        assert isinstance(node, File)
        return node

    def _opened(self, node: Node) -> int:
        handle = next(self._next_handle)
        self._handles[handle] = node
        return handle

    # Calls that change nothing.

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        with self._call():
            node = self._disk.find(path) if path is not None else self._node(fh)
            times = dict.fromkeys(("st_mtime", "st_ctime", "st_atime"), node.changed_ns)
            status = {
                "st_ino": node.number,
                "st_mode": node.mode,
                **times,
                "st_uid": os.getuid(),
                "st_gid": os.getgid(),
            }
            if isinstance(node, Folder):
                return {**status, "st_nlink": 2 + sum(isinstance(below, Folder) for below in node.live.values())}
            return {**status, "st_nlink": node.names, "st_size": len(node.live), "st_blocks": -(-len(node.live) // 512)}

    def open(self, path: str, flags: int) -> int:
        with self._call(Change.WRITE if flags & os.O_TRUNC else None):
            file = self._disk.file(path)
            if flags & os.O_TRUNC:
                file.resize(0)
            return self._opened(file)

    def opendir(self, path: str) -> int:
        with self._call():
            return self._opened(self._disk.folder(path))

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        with self._call():
            return bytes(self._file(fh).live[offset : offset + size])

    def readdir(self, path: str | None, fh: int) -> list[tuple[str, dict[str, int], int]]:
        with self._call():
            folder = self._node(fh)
            assert isinstance(folder, Folder)
            nodes = {".": folder, "..": folder, **folder.live}
            return [(name, {"st_ino": node.number, "st_mode": node.mode}, 0) for name, node in nodes.items()]

    def release(self, path: str | None, fh: int) -> int:
        self._handles.pop(fh, None)
        return 0

    releasedir = release

    def flush(self, path: str | None, fh: int) -> int:
        return 0  # closing makes nothing durable

    def statfs(self, path: str) -> dict[str, int]:
        free = CAPACITY_BLOCKS // 2
        return {
            "f_bsize": BLOCK_BYTES,
            "f_frsize": BLOCK_BYTES,
            "f_blocks": CAPACITY_BLOCKS,
            "f_bfree": free,
            "f_bavail": free,
            "f_namemax": 255,
        }

    # Calls that change something.

    def create(self, path: str, mode: int, flags: int) -> int:
        with self._call(Change.CREATE):
            return self._opened(self._disk.create(path, mode))

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        with self._call(Change.WRITE):
            self._file(fh).write(data, offset)
            return len(data)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        with self._call(Change.WRITE):
            file = self._disk.file(path) if path is not None else self._file(fh)
            file.resize(length)
            return 0

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        with self._call(Change.SYNC):
            self._node(fh).sync()
            return 0

    fsyncdir = fsync

    def mkdir(self, path: str, mode: int) -> int:
        with self._call(Change.CREATE):
            self._disk.make_folder(path, mode)
            return 0

    def rmdir(self, path: str) -> int:
        with self._call(Change.NAME):
            self._disk.remove_folder(path)
            return 0

    def link(self, target: str, source: str) -> int:
        with self._call(Change.NAME):
            self._disk.link(source, target)
            return 0

    def unlink(self, path: str) -> int:
        with self._call(Change.NAME):
            self._disk.unlink(path)
            return 0

    def rename(self, old: str, new: str) -> int:
        with self._call(Change.NAME):
            self._disk.rename(old, new)
            return 0

    # Owners, modes and times are taken and not kept: nothing here depends on them.

    def chmod(self, path: str | None, mode: int) -> int:
        return 0

    def chown(self, path: str | None, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str | None, times: Any = None) -> int:
        return 0


def serve(folder: Path, seed: int) -> None:
    """Mount and serve until standard input ends."""
    import mfusepy  # type: ignore[import-untyped]  # it has no marker; and it looks for libfuse when imported

    class Fuse(mfusepy.FUSE):  # type: ignore[misc]  # see above
        """The binding drops the handle of a truncation by descriptor under libfuse 3, the only way to an open file."""

        def truncate_fuse_3(self, path: bytes | None, length: int, fip: Any) -> int:
            handle = fip.contents.fh if fip else None
            calls.truncate(None if path is None else os.fsdecode(path), length, handle)
            return 0

    calls = Calls(random.Random(seed))
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def obey() -> None:
        for line in sys.stdin:
            with calls.turn:  # what is answered comes before anything that follows from it
                say(calls.obey(line.split()))
        calls.power_off()  # whoever waits is let go
        signal.pthread_kill(main_thread, signal.SIGTERM)  # libfuse's own handler unmounts

    def init(path: str) -> None:
        say({"mounted": str(folder)})
        threading.Thread(target=obey, daemon=True).start()

    calls.init = init  # type: ignore[attr-defined]  # libfuse calls it when the mount is there
    kept_by_kernel = {"direct_io": True, "entry_timeout": 0, "attr_timeout": 0, "negative_timeout": 0}
    with suppress(RuntimeError):  # the end by a signal is the usual one; of any other libfuse itself says why
        Fuse(
            calls,
            str(folder),
            foreground=True,
            nothreads=True,
            fsname="forgetful",
            hard_remove=True,
            use_ino=True,
            **kept_by_kernel,
        )


def say(value: Any) -> None:
    """Tell the harness something, in one write."""
    os.write(1, json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    serve(options.folder, options.seed)
