"""What a long torture has seen so far, one JSON line a piece of work: the next call goes on where this one stopped."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Kept:
    """Records, each found by some of its fields. The mutable state is the file and what was read of it."""

    def __init__(self, path: Path, *key: str) -> None:
        """Read what an earlier call has seen; a torn last line counts for nothing.

        Args:
            path: the file, which need not exist.
            key: the names of the fields by which a record is found again.
        """
        self._path = path
        self._key = key
        self._records: dict[tuple[Any, ...], dict[str, Any]] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        self._is_torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            with suppress(ValueError):
                self._take(json.loads(line))

    def get(self, *key: Any) -> dict[str, Any] | None:
        """Return a record without its key; None where this is still to be done."""
        return self._records.get(key)

    def add(self, record: dict[str, Any]) -> None:
        """Remember one more, at once."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if self._is_torn else "") + json.dumps(record) + "\n")
        self._is_torn = False
        self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        key = tuple(record[name] for name in self._key)
        self._records[key] = {name: value for name, value in record.items() if name not in self._key}
