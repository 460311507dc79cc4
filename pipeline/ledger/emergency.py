"""A full disk must not cost the receipt of something paid for: a reserve of space, and a journal of last resort.

The reserve is a megabyte that the batch keeps. When a commit fails for want of space it is let go, and the answers that
have arrived are committed into the room it leaves. Where even that fails they go, line by line, to a journal of their
own, which the next run reads before anything else. Nothing that begins a call is ever written this way.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.durable import sync_folder, told_as_disk_refused, write_atomically
from pipeline.effects import PRIVATE
from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pipeline.effects import Files
    from pipeline.paths import BatchFolder

RESERVE_BYTES = 1 << 20
BEGINNINGS = frozenset(
    {
        EventKind.ITEM_PLANNED,
        EventKind.ITEM_REVISED,
        EventKind.ITEM_RELABELLED,
        EventKind.SUBMIT_STARTED,
        EventKind.CLAIM_STARTED,
        EventKind.CLIP_STORED,
        EventKind.HISTORY_LOST,
        EventKind.DOUBT_RESUBMITTED,
        EventKind.RETRIED,
        EventKind.CLAIM_ALLOWED,
        EventKind.CLIP_MISSING,
        EventKind.CLIP_DECODED,
        EventKind.CLIP_UPLOADED,
        EventKind.CLIP_COPY_LOST,
    }
)
"""Events after which something new is begun, and those that can be had again for nothing. On a failing disk they are
refused; only outcomes are saved."""


class Emergency:
    """The reserve and the journal of one batch. The mutable state is on the disk alone."""

    def __init__(self, folder: BatchFolder, files: Files, path: Path | None = None) -> None:
        """`path` is another journal's than the batch's own; it has no reserve, for it is not the disk that fails it."""
        self._folder = folder
        self._files = files
        self._has_reserve = path is None
        self.path = path or folder.emergency
        """Where the journal lies."""

    def keep_reserve(self) -> None:
        """Make the reserve, where there is none.

        Raises:
            DiskRefused: there is no room for it.
        """
        path = self._folder.reserve
        if not self._has_reserve or self._files.exists(path):
            return
        with told_as_disk_refused(f"keep {RESERVE_BYTES >> 20} MiB in reserve beside the ledger"):
            descriptor = self._files.create(path)
            try:
                self._files.write(descriptor, bytes(range(256)) * (RESERVE_BYTES // 256))
                self._files.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    self._files.unlink(path)  # a short one would be taken for the whole by the next run
                raise
            finally:
                self._files.close(descriptor)
        sync_folder(self._files, path.parent)

    def let_go(self) -> None:
        """Give the reserve's space back to the disk."""
        if not self._has_reserve:
            return
        with suppress(OSError):
            self._files.unlink(self._folder.reserve)

    def save(self, events: Iterable[Event]) -> None:
        """Write events into the journal, durable on return, beside what is in it already.

        Raises:
            DiskRefused: even this failed.
        """
        lines = "".join(json.dumps(event.to_json()) + "\n" for event in events)
        path = self.path
        with told_as_disk_refused(f"read {path}"):
            old = self._files.read(path) if self._files.exists(path) else b""
        write_atomically(self._files, path, old + lines.encode(), PRIVATE)

    def keep_only(self, events: Iterable[Event]) -> None:
        """Make the journal hold these events and no others, durable on return.

        Raises:
            DiskRefused: it is as it was.
        """
        events = list(events)
        if events != self.saved():
            lines = "".join(json.dumps(event.to_json()) + "\n" for event in events)
            write_atomically(self._files, self.path, lines.encode(), PRIVATE)

    def saved(self) -> list[Event]:
        """Return what an earlier run saved; a torn last line is passed over, for it was never acted on."""
        if not self._files.exists(self.path):
            return []
        with told_as_disk_refused(f"read {self.path}"):
            text = self._files.read(self.path).decode("utf-8", "replace")
        events = []
        for line in text.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                events.append(Event.from_json(json.loads(line)))
        return events

    def clear(self) -> None:
        """Forget the journal, once all of it is in the ledger."""
        with told_as_disk_refused(f"remove {self.path}"), suppress(FileNotFoundError):
            self._files.unlink(self.path)
        sync_folder(self._files, self._folder.root)
