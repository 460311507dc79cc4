"""A file system that forgets what was not synced when its power is cut: a `ForgetfulDisk`, mounted through FUSE.

    with mounted(Path("/tmp/disk"), seed=1) as disk:
        child = subprocess.Popen([...])      # works in /tmp/disk like on any other file system
        disk.fail_at(Change.SYNC, 12)        # the 12th sync from now does not return any more
        ...                                  # when disk.failing(timeout_s=...) says so, or at any other moment:
        child.kill()
        disk.power_off()                     # every call fails now
        child.wait()
        disk.power_on()                      # says what was forgotten; descriptors from before are dead

The file system runs in a process of its own and obeys lines on its standard input; at their end it unmounts itself.
The kernel caches nothing of it, and does `flock` and POSIX locks by itself. It needs /dev/fuse, libfuse 2.9 or 3 and
the package mfusepy; `missing_part()` says what is not there. Three things it cannot do: symbolic links are refused,
the binding drops the flags of renameat2, and libfuse has no `fstat` of an open file without a name.
"""

from __future__ import annotations

import importlib.util
import json
import select
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.torture.forgetful_disk import Change, Forgotten

if TYPE_CHECKING:
    from collections.abc import Iterator

FUSE_DEVICE = Path("/dev/fuse")
START_TIMEOUT_S = 15.0
FAILING = {"failing": True}
"""What the server says unasked, once the chosen change has come."""


class NotMounted(Exception):
    """The file system could not be mounted here; the text says why."""


class Mount:
    """A mounted forgetful file system, as the harness holds it."""

    def __init__(self, folder: Path, server: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self._server = server

    def fail_at(self, kind: Change, number: int) -> None:
        """Have the n-th change of a kind from now on, and all calls after it, wait for the power to go off."""
        self._order(f"fail_at {kind} {number}")

    def fail_never(self) -> None:
        """Take that back."""
        self._order("fail_never")

    def failing(self, timeout_s: float) -> bool:
        """Tell whether that change has come, waiting for it a while."""
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], timeout_s)[0]:
            return False
        assert self._hear() == FAILING
        return True

    def power_off(self) -> None:
        """Let every call fail from now on, those that wait included."""
        self._order("power_off")

    def power_on(self) -> Forgotten:
        """Forget what was not synced, and serve again."""
        return Forgotten(**self._order("power_on"))

    def _order(self, command: str) -> Any:
        """Give a command and wait until it is done; return what is answered."""
        assert self._server.stdin is not None
        self._server.stdin.write(command.encode() + b"\n")
        while (answer := self._hear()) == FAILING:
            pass  # it had begun to fail a moment before
        return answer

    def _hear(self) -> Any:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise NotMounted(f"The file system at {self.folder} has ended.")
        return json.loads(line)


@contextmanager
def mounted(folder: Path, *, seed: int) -> Iterator[Mount]:
    """Mount an empty forgetful file system on an empty folder.

    Raises:
        NotMounted: it cannot be done here.
    """
    command = [sys.executable, "-m", "tests.torture.forgetful_server", str(folder), "--seed", str(seed)]
    with tempfile.TemporaryFile() as errors:
        # A session of its own: Ctrl-C is for the harness, which then unmounts in order. Unbuffered, or `select` and
        # `readline` would not agree on what is still to be read.
        server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            bufsize=0,
            cwd=Path(__file__).parents[2],
        )
        assert server.stdout is not None
        try:
            started = select.select([server.stdout], [], [], START_TIMEOUT_S)[0] and server.stdout.readline()
            if not started:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().splitlines()
                raise NotMounted(said[-1] if said else "it did not start")
            yield Mount(folder, server)
        finally:
            _unmount(folder, server)


def _unmount(folder: Path, server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    assert server.stdout is not None
    with suppress(BrokenPipeError):
        server.stdin.close()
    try:
        server.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
    server.stdout.close()


@cache
def missing_part() -> str | None:
    """Return what keeps a forgetful file system from being mounted here, by trying; None for nothing."""
    if not FUSE_DEVICE.exists():
        return f"there is no {FUSE_DEVICE}"
    if importlib.util.find_spec("mfusepy") is None:
        return "the package mfusepy is not installed"
    with tempfile.TemporaryDirectory(prefix="clipmill-mount-") as folder:
        try:
            with mounted(Path(folder), seed=0):
                return None
        except NotMounted as reason:
            return f"FUSE cannot be mounted here: {reason}"
