"""The forgetful file system, mounted: what the command and SQLite ask of it, and what a power cut does to them."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pipeline.durable import make_folder, publish, write_atomically
from pipeline.system.files import SystemFiles
from tests.torture.forgetful_disk import Change
from tests.torture.forgetful_fs import Mount, missing_part, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

reason = missing_part()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"no forgetful file system: {reason}")

HOLD = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); {take}; print('held', flush=True); sys.stdin.read()"
FLOCK = "fcntl.flock(f, fcntl.LOCK_EX)"
POSIX_LOCK = "fcntl.lockf(f, fcntl.LOCK_EX)"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, seed=1) as made:
        yield made


def cut(mount: Mount) -> None:
    mount.power_off()
    mount.power_on()


def test_files_behave_like_files(mount: Mount) -> None:
    path = mount.folder / "a"
    path.write_bytes(b"0123456789")
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"xx")
        file.truncate(8)
        file.seek(0)
        assert file.read() == b"0123xx67"
    path.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    with path.open("ab") as file:
        file.write(b"er")
    assert path.read_bytes() == b"newer"
    os.truncate(path, 2)
    assert path.read_bytes() == b"ne"
    assert path.stat().st_size == 2


def test_large_files_come_back_as_they_were_written(mount: Mount) -> None:
    data = os.urandom(3 << 20)
    (mount.folder / "a").write_bytes(data)
    assert (mount.folder / "a").read_bytes() == data


def test_hard_links_are_one_file(mount: Mount) -> None:
    part, final = mount.folder / "part", mount.folder / "final"
    part.write_bytes(b"x")
    os.link(part, final)
    assert part.stat().st_ino == final.stat().st_ino
    assert final.stat().st_nlink == 2
    with part.open("ab") as file:
        file.write(b"y")
    part.unlink()
    assert final.read_bytes() == b"xy"
    assert final.stat().st_nlink == 1
    with pytest.raises(FileExistsError):
        os.link(final, final)


def test_a_file_without_a_name_lives_as_long_as_it_is_open(mount: Mount) -> None:
    path = mount.folder / "a"
    path.write_bytes(b"whole")
    with path.open("r+b") as file:
        path.unlink()
        assert os.listdir(mount.folder) == []
        file.truncate(3)
        assert file.read() == b"who"


def test_a_file_that_was_replaced_is_still_read_by_who_has_it_open(mount: Mount) -> None:
    old, new = mount.folder / "old", mount.folder / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    with old.open("rb") as file:
        new.replace(old)
        assert file.read() == b"old"
    assert old.read_bytes() == b"new"


def test_folders_behave_like_folders(mount: Mount) -> None:
    below = mount.folder / "a" / "b"
    below.mkdir(parents=True)
    (below / "file").touch()
    with pytest.raises(OSError, match="not empty"):
        below.rmdir()
    (below / "file").unlink()
    below.rmdir()
    assert os.listdir(mount.folder / "a") == []


@pytest.mark.parametrize("take", [FLOCK, POSIX_LOCK])
def test_a_lock_is_held_against_another_process_and_goes_when_that_dies(mount: Mount, take: str) -> None:
    path = mount.folder / "lock"
    path.touch()
    command = [sys.executable, "-c", HOLD.format(take=take), str(path)]
    lock = fcntl.flock if take == FLOCK else fcntl.lockf
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder, path.open("r+b") as file:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.kill()
        holder.wait()
        lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_the_product_publishes_survives_a_cut(mount: Mount) -> None:
    files = SystemFiles()
    folder = mount.folder / "output" / "clips"
    make_folder(files, folder)
    part = folder / ".a.part"
    descriptor = files.create(part)
    files.write(descriptor, b"clip" * 1000)
    files.fsync(descriptor)
    files.close(descriptor)
    publish(files, part, folder / "a.mp4")
    write_atomically(files, folder.parent / "results.jsonl", b"{}\n")

    cut(mount)

    assert (folder / "a.mp4").read_bytes() == b"clip" * 1000
    assert (folder.parent / "results.jsonl").read_bytes() == b"{}\n"


def test_a_commit_of_sqlite_with_synchronous_extra_survives_every_cut(mount: Mount) -> None:
    ledger = mount.folder / "ledger.sqlite"
    for number in range(1, 21):
        with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = EXTRA")
            database.execute("CREATE TABLE IF NOT EXISTS fact (number INTEGER)")
            database.execute("INSERT INTO fact VALUES (?)", (number,))
            mount.power_off()
        mount.power_on()
        with closing(sqlite3.connect(ledger)) as database:
            assert database.execute("SELECT count(*) FROM fact").fetchone() == (number,)
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_commit_of_sqlite_with_synchronous_full_is_lost_by_some_cuts(mount: Mount) -> None:
    ledger = mount.folder / "ledger.sqlite"
    lost = 0
    with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = EXTRA")
        database.execute("CREATE TABLE fact (number INTEGER)")
    for number in range(40):
        with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("INSERT INTO fact VALUES (?)", (number,))
            mount.power_off()
        mount.power_on()
        with closing(sqlite3.connect(ledger)) as database:
            lost += not database.execute("SELECT count(*) FROM fact WHERE number = ?", (number,)).fetchone()[0]
    assert 5 <= lost <= 35


def test_descriptors_from_before_a_cut_are_dead(mount: Mount) -> None:
    path = mount.folder / "a"
    files = SystemFiles()
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    cut(mount)
    for call in (
        lambda: os.write(descriptor, b"x"),
        lambda: os.pread(descriptor, 1, 0),
        lambda: files.fsync(descriptor),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            call()
    os.close(descriptor)
    path.write_bytes(b"a new boot")
    assert path.read_bytes() == b"a new boot"


def test_without_power_every_call_fails(mount: Mount) -> None:
    path = mount.folder / "a"
    path.touch()
    mount.power_off()
    for call in (path.read_bytes, path.unlink, lambda: os.listdir(mount.folder), path.stat, path.touch):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            call()
    mount.power_on()
    path.touch()


def test_the_chosen_change_does_not_return_and_changes_nothing(mount: Mount) -> None:
    path = mount.folder / "a"
    files = SystemFiles()
    path.touch()
    files.fsync_folder(mount.folder)
    error: list[OSError] = []

    def write_three_times() -> None:
        try:
            with path.open("wb", buffering=0) as file:
                for byte in (b"1", b"2", b"3"):
                    file.write(byte)
                    files.fsync(file.fileno())
        except OSError as raised:
            error.append(raised)

    assert not mount.failing(0)
    mount.fail_at(Change.SYNC, 2)
    writer = threading.Thread(target=write_three_times)
    writer.start()
    assert mount.failing(10)
    writer.join(0.05)
    assert writer.is_alive()
    mount.power_off()
    writer.join(10)
    assert error[0].errno == errno.EIO
    mount.power_on()
    assert path.read_bytes() in {b"1", b"12", b"1\0"}  # not "123", which would have come after it


def test_a_chosen_change_can_be_taken_back(mount: Mount) -> None:
    mount.fail_at(Change.CREATE, 1)
    mount.fail_never()
    (mount.folder / "a").touch()
    assert not mount.failing(0)


def test_nothing_stays_mounted(tmp_path: Path) -> None:
    with mounted(tmp_path, seed=1):
        assert tmp_path.is_mount()
        (tmp_path / "a").touch()
    assert not tmp_path.is_mount()
    assert os.listdir(tmp_path) == []
