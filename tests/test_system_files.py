"""The operating system's files, where it does less than it was asked to."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pipeline.system.files import PIECES_MOST, SystemFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the system write no file any longer than this: what goes beyond is cut, and what begins there refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_more_pieces_than_the_system_takes_at_once_are_written_in_their_order(tmp_path: Path) -> None:
    files = SystemFiles()
    pieces = [f"{number};".encode() for number in range(2 * PIECES_MOST + 1)] + [b""]
    descriptor = files.create(tmp_path / "x")
    files.write_pieces(descriptor, pieces)
    files.write_pieces(descriptor, [])
    files.close(descriptor)
    assert (tmp_path / "x").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("room", [0, 1, 10, 15, 20, 29])
def test_pieces_that_do_not_fit_are_refused_and_nothing_is_written_twice(tmp_path: Path, room: int) -> None:
    files = SystemFiles()
    descriptor = files.create(tmp_path / "x")
    with files_of_at_most(room), pytest.raises(OSError, match="File too large"):
        files.write_pieces(descriptor, [b"a" * 10, b"b" * 10, b"c" * 10])
    files.close(descriptor)
    assert (tmp_path / "x").read_bytes() == (b"a" * 10 + b"b" * 10 + b"c" * 10)[:room]
