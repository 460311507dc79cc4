"""Locks between processes, and the small records that those of one user share."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from pipeline.effects import LockHeld

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def without_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a child process is given of the environment: everything but keys and passwords."""
    return {name: value for name, value in environ.items() if not name.endswith(("_KEY", "_TOKEN", "PASSWORD"))}


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
