"""The boxes of an ISO base media file (ISO/IEC 14496-12), read through one small window.

A function that reads comes in, boxes and rows of tables come out, and anything that does not fit is a `BrokenClip`. The
file is taken to be hostile: no count or size that it states is believed before it is known to fit, nothing is descended
into but by name, and the work is bounded, so that no file can hang the walk or fill the memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import BrokenClip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOW_BYTES = 1 << 16
"""How much is read at once. A clip's headers lie close together; its media data is jumped over."""

BOXES_MAX = 500_000
"""Twice what ten minutes at 60 fps need with a fragment for every frame."""

ROWS_MAX = 8_000_000
"""Rows of all tables together."""

HEADER_BYTES = 8


def broken(what: str) -> BrokenClip:
    """Return the error that says what is wrong with the bytes."""
    return BrokenClip(f"Not a whole MP4: {what}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One box: where its body begins and where it ends, in bytes from the start of the file."""

    kind: str
    start: int
    body: int
    end: int


class Reader:
    """Reads a file of a known size and counts the work.

    The mutable state is the window and the two counters. The window moves only in `at`; the counters only grow.
    """

    def __init__(self, read: Callable[[int, int], bytes], size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._read = read
        self._window = b""
        self._window_start = 0
        self._boxes = 0
        self._rows = 0

    def at(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes, at most a window, from `offset`."""
        begin = offset - self._window_start
        if begin < 0 or begin + size > len(self._window):
            if offset + size > self.size_bytes:
                raise broken(f"it ends at {self.size_bytes}, in the middle of what should be at {offset}")
            self._window = self._read(offset, min(WINDOW_BYTES, self.size_bytes - offset))
            self._window_start, begin = offset, 0
            if len(self._window) < size:
                raise broken(f"{size} bytes at {offset} could not be read; the file is shorter than it was")
        return self._window[begin : begin + size]

    def boxes(self, start: int, end: int, parent: str = "") -> Iterator[Box]:
        """Yield the boxes between two offsets; without a parent, those of the file itself.

        In the file, every byte must belong to a box. Within a parent, a tail too short for a box is padding.
        """
        at = start
        while end - at >= HEADER_BYTES:
            box = self._box(at, end, parent)
            yield box
            at = box.end
        if at < end and not parent:
            raise broken(f"the {end - at} bytes after the last box, at {at}, are no box")

    def _box(self, at: int, end: int, parent: str) -> Box:
        self._boxes += 1
        if self._boxes > BOXES_MAX:
            raise broken(f"it has more than {BOXES_MAX} boxes")
        size, code = struct.unpack(">I4s", self.at(at, HEADER_BYTES))
        kind = code.decode("latin-1")
        if not kind.isprintable():
            raise broken(f"the bytes at {at} are no box")
        body = at + HEADER_BYTES
        if size == 1:
            body += 8
            if body > end:
                raise broken(f"{kind} at {at} is cut within its header")
            size = int.from_bytes(self.at(at + HEADER_BYTES, 8), "big")
        elif size == 0 and not parent:
            size = end - at  # the last box may leave its size open
        if size < body - at:
            raise broken(f"{kind} at {at} states {size} bytes, less than its own header")
        if at + size > end:
            outer = f"{parent} ends at {end}" if parent else f"the file has {end} bytes"
            raise broken(f"{kind} ends at {at + size}, {outer}")
        return Box(kind=kind, start=at, body=body, end=at + size)

    def fields(self, box: Box, layout: str, offset: int = 0) -> tuple[int, ...]:
        """Unpack big-endian integers from `offset` in a box's body."""
        size = struct.calcsize(">" + layout)
        at = box.body + offset
        if at + size > box.end:
            raise broken(f"{box.kind} at {box.start} is too short")
        return struct.unpack(">" + layout, self.at(at, size))

    def rows(self, box: Box, layout: str, offset: int, count: int) -> Iterator[tuple[int, ...]]:
        """Yield `count` rows of a table that begins at `offset` in a box's body."""
        row = struct.Struct(">" + layout)
        at = box.body + offset
        if at + count * row.size > box.end:
            raise broken(f"{box.kind} at {box.start} states {count} rows, more than it holds")
        self._rows += count
        if self._rows > ROWS_MAX:
            raise broken(f"its tables have more than {ROWS_MAX} rows")
        at_once = WINDOW_BYTES // row.size
        while count > 0:
            now = min(count, at_once)
            yield from row.iter_unpack(self.at(at, now * row.size))
            at += now * row.size
            count -= now
