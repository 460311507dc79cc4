"""The high-water mark: what it refuses, and what it must never stop."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.ledger.mark import refuse_restored, write_mark
from pipeline.system.files import SystemFiles
from tests.support.memory_files import Crash, CrashAt, CrashKind, MemoryFiles

MARKS = Path("/state/marks")
ROOT = Path("/batch")
MINE, ANOTHER = "11111111-aaaa", "22222222-bbbb"


@pytest.fixture
def files() -> MemoryFiles:
    return MemoryFiles()


@pytest.mark.parametrize("last_event", [7, 8, 700])
def test_a_ledger_that_is_as_far_as_its_mark_or_farther_goes_on(files: MemoryFiles, last_event: int) -> None:
    write_mark(MARKS, MINE, 7, files)

    refuse_restored(MARKS, MINE, last_event, ROOT, files)


@pytest.mark.parametrize("last_event", [0, 6])
def test_a_ledger_that_ends_before_its_mark_is_refused_with_the_way_on(files: MemoryFiles, last_event: int) -> None:
    write_mark(MARKS, MINE, 7, files)

    with pytest.raises(InputError) as refused:
        refuse_restored(MARKS, MINE, last_event, ROOT, files)

    says = str(refused.value)
    assert f"ends at event {last_event}," in says
    assert "to event 7." in says
    assert "clipmill check /batch --repair" in says


def test_the_newest_mark_counts_though_it_be_lower(files: MemoryFiles) -> None:
    """`check --repair` accepts a restored ledger by moving the mark back to it."""
    write_mark(MARKS, MINE, 9, files)
    write_mark(MARKS, MINE, 4, files)

    refuse_restored(MARKS, MINE, 4, ROOT, files)
    with pytest.raises(InputError):
        refuse_restored(MARKS, MINE, 3, ROOT, files)


def test_where_no_mark_was_ever_written_any_ledger_goes_on(files: MemoryFiles) -> None:
    refuse_restored(MARKS, MINE, 0, ROOT, files)

    write_mark(MARKS, ANOTHER, 700, files)
    refuse_restored(MARKS, MINE, 0, ROOT, files)


@pytest.mark.parametrize("torn", [b"", b"7x", b"\xff\xfe", b"\0" * 512])
def test_a_mark_that_cannot_be_read_stops_nobody_and_is_written_anew(files: MemoryFiles, torn: bytes) -> None:
    files.plant(MARKS / MINE, torn)

    refuse_restored(MARKS, MINE, 0, ROOT, files)

    write_mark(MARKS, MINE, 7, files)
    with pytest.raises(InputError):
        refuse_restored(MARKS, MINE, 6, ROOT, files)


def steps_of_a_second_mark() -> int:
    hook = CrashAt()
    files = MemoryFiles()
    write_mark(MARKS, MINE, 7, files)
    files.on_call = hook
    write_mark(MARKS, MINE, 9, files)
    return hook.calls


@pytest.mark.parametrize("kind", ["kill", "power"])
@pytest.mark.parametrize("step", range(1, steps_of_a_second_mark() + 1))
def test_a_crash_while_it_moves_leaves_the_old_mark_or_the_new_one(kind: CrashKind, step: int) -> None:
    files = MemoryFiles()
    write_mark(MARKS, MINE, 7, files)
    files.on_call = CrashAt(step)
    with pytest.raises(Crash):
        write_mark(MARKS, MINE, 9, files)
    files.on_call = None
    files.crash(kind, random.Random(step))

    refuse_restored(MARKS, MINE, 9, ROOT, files)
    with pytest.raises(InputError, match=r"to event [79]\."):
        refuse_restored(MARKS, MINE, 6, ROOT, files)
    write_mark(MARKS, MINE, 10, files)
    with pytest.raises(InputError, match=r"to event 10\."):
        refuse_restored(MARKS, MINE, 9, ROOT, files)


def test_a_mark_that_cannot_be_written_is_no_reason_to_stop() -> None:
    def full(operation: str, subject: Path | int) -> None:
        if operation in {"create", "write", "make_folder"}:
            raise OSError(28, "No space left on device")

    files = MemoryFiles(on_call=full)

    write_mark(MARKS, MINE, 7, files)

    refuse_restored(MARKS, MINE, 0, ROOT, files)


def test_marks_lie_on_a_real_disk_under_the_ledgers_own_id(tmp_path: Path) -> None:
    marks = tmp_path / "state" / "clipmill" / "marks"
    write_mark(marks, MINE, 7, SystemFiles())

    assert [(path.name, path.read_text()) for path in marks.iterdir()] == [(MINE, "7")]
