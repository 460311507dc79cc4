"""Folders whose names survive: whoever made them, and whenever that was cut short."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.durable import make_folder
from pipeline.errors import DiskRefused
from tests.support.memory_files import Crash, CrashAt, MemoryFiles

DEEP = Path("/home/batches/one/clips")


@pytest.mark.parametrize("step", range(1, 16))
@pytest.mark.parametrize("seed", range(8))
def test_a_folder_begun_by_a_killed_process_is_durable_once_another_has_made_it(step: int, seed: int) -> None:
    files = MemoryFiles(on_call=CrashAt(step))
    files.plant_folder(Path("/home"))
    with suppress(Crash):
        make_folder(files, DEEP)
    files.crash("kill", random.Random(seed))
    make_folder(files, DEEP)
    files.crash("power", random.Random(seed))
    assert files.holds(DEEP)


def test_a_file_in_the_way_of_a_folder_is_told() -> None:
    files = MemoryFiles()
    files.plant(Path("/home/batches"), b"mine")
    with pytest.raises(DiskRefused, match="create the folder /home/batches/one"):
        make_folder(files, Path("/home/batches/one"))
    with pytest.raises(DiskRefused, match="create the folder /home/batches"):
        make_folder(files, Path("/home/batches"))
    with pytest.raises(DiskRefused, match=r"Not a directory\. A file is where a folder is wanted: move it away"):
        make_folder(files, Path("/home/batches/one"))
    with pytest.raises(DiskRefused, match=r"File exists\. Something else bears that name: move it away"):
        make_folder(files, Path("/home/batches"))
    assert files.bytes_at(Path("/home/batches")) == b"mine"
