"""Lists as long as a disk: what is read is what was put in, wherever it lies, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DiskRefused
from pipeline.pages import PAGE, Pages

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = 3 * PAGE + 7


def filled(count: int, **settings: int) -> Pages[tuple[int, str]]:
    pages: Pages[tuple[int, str]] = Pages(**settings)
    for number in range(count):
        pages.append((number, f"record {number}"))
    return pages


def open_files() -> int:
    return len(os.listdir("/proc/self/fd" if Path("/proc/self/fd").is_dir() else "/dev/fd"))


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, LONG])
@pytest.mark.parametrize("held_most", [0, PAGE, 10 * PAGE])
def test_it_is_a_list_whatever_lies_in_the_file(count: int, held_most: int) -> None:
    pages = filled(count, held_most=held_most)
    wanted = [(number, f"record {number}") for number in range(count)]
    assert len(pages) == count
    assert list(pages) == wanted
    assert list(pages) == wanted
    assert [pages[at] for at in range(count)] == wanted
    assert pages[:3] == wanted[:3]
    assert pages[-2:] == wanted[-2:]
    assert pages[:: max(1, count // 3)] == wanted[:: max(1, count // 3)]
    assert list(pages.sealed()) == wanted
    for outside in (count, -count - 1):
        with pytest.raises(IndexError):
            pages[outside]


def test_what_is_short_is_a_tuple_and_has_no_file() -> None:
    before = open_files()
    assert filled(PAGE).sealed() == tuple((number, f"record {number}") for number in range(PAGE))
    assert open_files() == before


def test_two_readers_do_not_disturb_each_other() -> None:
    pages = filled(LONG, held_most=0)
    assert [(one[0], other[0]) for one, other in zip(pages, reversed(pages), strict=True)] == [
        (number, LONG - 1 - number) for number in range(LONG)
    ]


def test_records_are_packed_and_unpacked_only_on_their_way_through_the_file() -> None:
    pages: Pages[int] = Pages(str, int, held_most=0)
    for number in range(LONG):
        pages.append(number)
    assert list(pages) == list(range(LONG))


def test_what_was_one_object_in_a_page_is_one_again() -> None:
    shared = {"duration_seconds": 8}
    pages: Pages[tuple[int, dict[str, int]]] = Pages(held_most=0)
    for number in range(PAGE):
        pages.append((number, shared))
    assert len({id(parameters) for _, parameters in list(pages)}) == 1


def test_the_file_has_no_name_and_goes_with_the_list(tmp_path: Path, temporary: Path) -> None:
    before = open_files()
    pages = filled(LONG, held_most=0)
    assert open_files() == before + 1
    assert list(temporary.iterdir()) == []
    del pages
    gc.collect()
    assert open_files() == before


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    before = tempfile.tempdir
    tempfile.tempdir = str(tmp_path)
    yield tmp_path
    tempfile.tempdir = before


def test_a_temporary_folder_that_takes_no_more_is_told_with_the_way_out(temporary: Path) -> None:
    pages = filled(PAGE - 1, held_most=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(DiskRefused, match="TMPDIR"):
            pages.append((PAGE - 1, "record"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    temporary.chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process took without what its parent had")
def test_a_hundred_thousand_records_take_the_memory_of_a_page() -> None:
    program = (
        "import sys\n"
        "from pipeline.pages import Pages\n"
        "pages = Pages()\n"
        "for number in range(int(sys.argv[1])):\n"
        "    pages.append((number, f'a prompt that is as long as prompts are, which is number {number}', {}))\n"
        "assert sum(1 for _ in pages) == int(sys.argv[1])\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    peaks = [int(subprocess.check_output([sys.executable, "-c", program, str(count)])) for count in (10_000, 100_000)]
    assert peaks[1] < 1.3 * peaks[0]
