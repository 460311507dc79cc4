"""Long lists of records: beyond a bound they lie in a temporary file, page by page, and take next to no memory.

A `Pages` is filled from front to back and then read as often as one likes, at any place and by several readers at once.
Its file has no name from the moment it exists, so that a process that dies leaves nothing behind.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar, overload

from pipeline.errors import DiskRefused

T = TypeVar("T")

HELD_MOST: Final = 5_000
"""So many records are held in memory, and have no file at all: nearly every manifest is as short as that."""
PAGE: Final = 500
"""Records written, and read, together."""
SQUEEZE: Final = 1
"""zlib's level: records are much alike, and where the temporary folder lies in memory they take a fifth of it."""


def as_it_is(record: Any) -> Any:
    """Return what is kept of a record that pickles well."""
    return record


class Pages(Sequence[T], Generic[T]):
    """A list that can be as long as a disk.

    The mutable state is the records that are in no page yet, where each page begins in the file, and the page that was
    read last; `append` adds to it. What is the same object twice within a page is so again when the page is read.
    """

    def __init__(
        self,
        pack: Callable[[T], Any] = as_it_is,
        unpack: Callable[[Any], T] = as_it_is,
        *,
        held_most: int = HELD_MOST,
    ) -> None:
        """Make an empty one.

        Args:
            pack: makes of a record what is kept of it in the file: something small that pickles fast.
            unpack: makes a record of that.
            held_most: how many records may be held in memory before there is a file.
        """
        self._pack = pack
        self._unpack = unpack
        self._held_most = held_most
        self._tail: list[T] = []
        self._begins = array("Q", [0])
        self._file = -1
        self._read: tuple[int, list[T]] = (-1, [])

    @property
    def _paged(self) -> int:
        return (len(self._begins) - 1) * PAGE

    def append(self, record: T) -> None:
        """Add a record.

        Raises:
            DiskRefused: the temporary folder takes no more.
        """
        self._tail.append(record)
        if len(self._tail) >= PAGE and (self._file >= 0 or len(self._tail) > self._held_most):
            self._write()

    def sealed(self) -> Sequence[T]:
        """Return the whole for readers: a tuple where it was never too long for one."""
        return tuple(self._tail) if self._file < 0 else self

    def _write(self) -> None:
        with _told():
            if self._file < 0:
                file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it is closed with this list
                self._file = file.fileno()
                weakref.finalize(self, file.close)
            whole = len(self._tail) - len(self._tail) % PAGE
            for first in range(0, whole, PAGE):
                page = [self._pack(record) for record in self._tail[first : first + PAGE]]
                data = zlib.compress(pickle.dumps(page, pickle.HIGHEST_PROTOCOL), SQUEEZE)
                begin = self._begins[-1]
                _write_at(self._file, data, begin)
                self._begins.append(begin + len(data))
        del self._tail[:whole]

    def _page(self, number: int) -> list[T]:
        last, page = self._read
        if last != number:
            begin, end = self._begins[number], self._begins[number + 1]
            with _told():
                data = os.pread(self._file, end - begin, begin)
            kept = pickle.loads(zlib.decompress(data))  # noqa: S301 - our own, from a file that nobody else can open
            page = [self._unpack(each) for each in kept]
            self._read = number, page
        return page

    def __len__(self) -> int:
        """How many records there are."""
        return self._paged + len(self._tail)

    @overload
    def __getitem__(self, at: int) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...

    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        """Return a record, or a list of some."""
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            raise IndexError(f"there is no record {at} among {len(self)}")
        if place >= self._paged:
            return self._tail[place - self._paged]
        return self._page(place // PAGE)[place % PAGE]

    def __iter__(self) -> Iterator[T]:
        """Yield the records in their order; those that are added meanwhile are yielded too."""
        at = 0
        while at < self._paged:
            yield from self._page(at // PAGE)
            at += PAGE
        while at < len(self):
            yield self[at]
            at += 1


def _write_at(file: int, data: bytes, begin: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, begin)
        view, begin = view[written:], begin + written


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskRefused(
            f"So long a manifest is worked on in a temporary file, and that could not be kept: "
            f"{error.strerror or error}. Free space there, or set TMPDIR to a folder that has room. Nothing was sent."
        ) from error
