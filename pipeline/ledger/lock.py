"""One process a batch: the lock beside the ledger, and the sentence that names who holds it."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.durable import told_as_disk_refused
from pipeline.effects import LockHeld
from pipeline.errors import BatchLocked
from pipeline.ledger.reader import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.effects import Effects
    from pipeline.paths import BatchFolder


@contextmanager
def only_process(folder: BatchFolder, effects: Effects) -> Iterator[None]:
    """Hold the batch's lock; a ledger that workers share has none, and is left to them while they are at work.

    Raises:
        BatchLocked: another process holds it, or workers are at work; the text says which, where and since when.
    """
    if effects.files.exists(folder.shared):
        with reading(folder.ledger, effects) as reader:
            workers = reader.workers()
        if workers:
            raise BatchLocked(_sentence(folder, workers[-1]))
        yield
        return
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": effects.clock.now().isoformat()}
    try:
        with told_as_disk_refused(f"take the lock {folder.lock}"):
            release = effects.locks.acquire(folder.lock, json.dumps(holder))
    except LockHeld as held:
        raise BatchLocked(_sentence(folder, str(held))) from None
    try:
        yield
    finally:
        release()


def _sentence(folder: BatchFolder, text: str) -> str:
    try:
        holder = json.loads(text)
        who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return (
        f"{folder.root} is being run by {who}. "
        f"Wait for it to end, or watch it with: clipmill status {folder.root} --watch"
    )
