"""A file of the `Files` effect as PyAV wants one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.effects import Files


class Readable(io.RawIOBase):
    """A file that is read from wherever its position stands. The mutable state is the position."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self._path = path
        self._size = files.size(path)
        self._position = 0

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def read(self, size: int = -1) -> bytes:  # noqa: D102
        data = self._files.read(self._path, self._position, size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:  # noqa: D102
        return self._position
