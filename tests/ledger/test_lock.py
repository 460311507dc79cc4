"""One process a batch: a lock of the operating system, and the sentence that names who holds it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import BatchLocked, DiskRefused, Exit
from pipeline.ledger.lock import only_process
from pipeline.paths import BatchFolder
from pipeline.system.effects import system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDS = """
import sys
from pathlib import Path
from pipeline.system.effects import system
from pipeline.ledger.lock import only_process
from pipeline.paths import BatchFolder
with only_process(BatchFolder(Path(sys.argv[1])), system()):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(folder: BatchFolder) -> Iterator[subprocess.Popen[bytes]]:
    """Hold the lock in a process of its own, which ends when its stdin does."""
    command = [sys.executable, "-c", HOLDS, str(folder.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    return BatchFolder(tmp_path)


def test_a_second_process_is_refused_with_the_name_of_the_first(folder: BatchFolder) -> None:
    with another_process(folder) as other:
        with pytest.raises(BatchLocked) as refused, only_process(folder, system()):
            pytest.fail("two processes hold it")

        said = str(refused.value)
        assert f"{folder.root} is being run by process {other.pid} on {os.uname().nodename}, since 20" in said
        assert said.endswith(f"watch it with: clipmill status {folder.root} --watch")
        assert refused.value.exit_code is Exit.LOCKED


def test_a_second_holder_within_one_process_is_refused_too(folder: BatchFolder) -> None:
    refused = pytest.raises(BatchLocked, match=f"process {os.getpid()} on")
    with only_process(folder, system()), refused, only_process(folder, system()):
        pytest.fail("it is held twice")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_that_dies_is_free(folder: BatchFolder, how: signal.Signals) -> None:
    with another_process(folder) as other:
        other.send_signal(how)
        other.wait()

        with only_process(folder, system()):
            assert folder.lock.exists()


def test_the_lock_of_a_process_that_ends_is_free(folder: BatchFolder) -> None:
    with another_process(folder):
        pass

    with only_process(folder, system()):
        pass


def test_the_lock_is_let_go_when_the_work_under_it_fails(folder: BatchFolder) -> None:
    with pytest.raises(ZeroDivisionError), only_process(folder, system()):
        raise ZeroDivisionError

    with only_process(folder, system()):
        pass


def test_the_file_is_never_deleted_for_a_waiter_could_hold_the_deleted_one(folder: BatchFolder) -> None:
    with only_process(folder, system()):
        inode = folder.lock.stat().st_ino
    assert folder.lock.stat().st_ino == inode

    with another_process(folder):
        assert folder.lock.stat().st_ino == inode
    assert folder.lock.stat().st_ino == inode


def test_the_holder_who_was_named_before_is_not_named_again(folder: BatchFolder) -> None:
    folder.lock.write_text("x" * 5000)

    refused = pytest.raises(BatchLocked, match=f"process {os.getpid()} on")
    with only_process(folder, system()), refused, only_process(folder, system()):
        pytest.fail("it is held twice")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1}', "\x00" * 100])
def test_a_holder_who_left_no_name_is_another_process(folder: BatchFolder, text: str) -> None:
    folder.lock.write_text(text)
    with folder.lock.open("r") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        with pytest.raises(BatchLocked, match="is being run by another process"), only_process(folder, system()):
            pytest.fail("two hold it")


def test_a_symbolic_link_in_its_place_is_refused_and_its_target_left_alone(folder: BatchFolder, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    folder.lock.symlink_to(target)

    with pytest.raises(DiskRefused, match=r"Could not take the lock .*ledger\.lock"), only_process(folder, system()):
        pytest.fail("a link was followed")

    assert target.read_text() == "precious"


def test_a_folder_that_is_not_there_is_told_in_a_sentence(folder: BatchFolder) -> None:
    absent = BatchFolder(folder.root / "absent")

    with pytest.raises(DiskRefused, match="Could not take the lock"), only_process(absent, system()):
        pytest.fail("nothing can be held there")


def test_only_the_user_can_read_who_holds_it(folder: BatchFolder) -> None:
    with only_process(folder, system()):
        assert folder.lock.stat().st_mode & 0o777 == 0o600
