"""The batch's folder is tried before anything is sent: what cannot keep a clip or a lock is told in a sentence."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DiskRefused, Exit, InputError
from pipeline.ledger.lock import only_process
from pipeline.ledger.trial import file_system_of, told_before_anything_is_sent, try_folder
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from pipeline.system.locks import SystemLocks
from tests.support.memory_files import Crash, CrashAt, MemoryFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.effects import Effects, Files

FOLDER = BatchFolder(Path("/batch"))
STEPS = ("create", "write", "fsync", "close", "link", "read", "unlink", "fsync_folder")
"""All that is tried; each of them can be what a file system cannot do."""


@dataclass
class Locks:
    """A lock that a second process sees, or does not. The mutable state is how often it was asked."""

    seen: bool = True
    asked: int = 0

    def acquire(self, path: Path, holder: str) -> Callable[[], None]:
        raise AssertionError

    def is_seen(self, path: Path) -> bool:
        assert path == FOLDER.lock
        self.asked += 1
        return self.seen


def effects(files: Files, kind: str = "ext4", locks: Locks | None = None) -> Effects:
    return replace(system(), files=files, mounts=lambda: f"disk / {kind} rw 0 0\n", locks=locks or Locks())


def memory(**more: object) -> MemoryFiles:
    files = MemoryFiles(**more)  # type: ignore[arg-type]
    files.plant_folder(FOLDER.root)
    return files


def refusing(operation: str, number: int) -> MemoryFiles:
    def refuse(asked: str, subject: Path | int) -> None:
        if asked == operation:
            raise OSError(number, os.strerror(number))

    return memory(on_call=refuse)


def test_a_sound_folder_is_as_it_was_and_nothing_is_said() -> None:
    files = memory()

    assert try_folder(FOLDER, effects(files)) == []

    assert files.names(FOLDER.root) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("operation", STEPS)
def test_whatever_a_folder_cannot_do_is_found_and_told(operation: str, number: int) -> None:
    with pytest.raises(DiskRefused, match=os.strerror(number)) as refused:
        try_folder(FOLDER, effects(refusing(operation, number)))

    assert str(FOLDER.root) in str(refused.value)


@pytest.mark.parametrize(
    ("number", "way_out", "code"),
    [
        (errno.EACCES, "Give yourself the right to write there, or use another folder. Nothing was sent.", 2),
        (errno.EROFS, "Mount the disk for writing, or use another folder. Nothing was sent.", 2),
        (errno.ENOSPC, "Free space, then run the same command.", 5),
        (errno.EDQUOT, "Your quota is used up: free space, then run the same command.", 5),
        (errno.EIO, "The disk is failing: mend or replace it, then run the same command.", 5),
        (errno.ENODEV, "The disk is gone: bring it back, then run the same command.", 5),
        (errno.ESTALE, "The server's folder is gone: mount it anew, then run the same command.", 5),
        (errno.EMFILE, "Free space or mend the disk, then run the same command.", 5),
    ],
)
def test_each_failure_has_its_way_out_and_what_is_not_ours_to_write_is_bad_input(
    number: int, way_out: str, code: int
) -> None:
    with pytest.raises((DiskRefused, InputError)) as refused, told_before_anything_is_sent():
        try_folder(FOLDER, effects(refusing("create", number)))

    assert str(refused.value).endswith(way_out)
    assert refused.value.exit_code == code


def test_a_file_system_without_hard_links_will_do() -> None:
    files = memory(hard_links=False)

    assert try_folder(FOLDER, effects(files)) == []
    assert files.names(FOLDER.root) == []


def test_a_folder_whose_names_cannot_be_synced_is_told_of_and_used() -> None:
    (sentence,) = try_folder(FOLDER, effects(memory(folder_sync=False)))

    assert sentence.startswith("Names in /batch cannot be made durable")


def test_bytes_that_come_back_changed_are_found() -> None:
    class Lying(MemoryFiles):
        def read(self, path: Path, offset: int = 0, size: int = -1) -> bytes:
            return super().read(path, offset, size).swapcase()

    files = Lying()
    files.plant_folder(FOLDER.root)

    with pytest.raises(DiskRefused, match="does not hold what was written"):
        try_folder(FOLDER, effects(files))


def test_what_a_crash_left_of_a_trial_is_removed_by_the_next_one() -> None:
    hook = CrashAt()
    try_folder(FOLDER, effects(memory(on_call=hook)))
    for step in range(1, hook.calls + 1):
        files = memory(on_call=CrashAt(step))
        with suppress(Crash):
            try_folder(FOLDER, effects(files))
        files.on_call = None
        files.crash("kill", system().random)

        assert try_folder(FOLDER, effects(files)) == []
        assert files.names(FOLDER.root) == []


def test_a_real_folder_can_be_tried_again_and_again(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path)
    with only_process(folder, system()):
        for _ in range(2):
            try_folder(folder, system())
    assert os.listdir(tmp_path) == ["ledger.lock"]


# Locks and networks


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_file_system_whose_lock_holds_is_told_of_and_used(kind: str) -> None:
    locks = Locks()

    (sentence,) = try_folder(FOLDER, effects(memory(), kind, locks))

    assert f"({kind}): run this batch from one machine only" in sentence
    assert locks.asked == 1


@pytest.mark.parametrize("kind", ["nfs", "fuse.sshfs", "somethingnew", ""])
def test_a_folder_whose_lock_keeps_nobody_out_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match=r"does not keep a second process out .*local disk with -o DIR") as refused:
        try_folder(FOLDER, effects(memory(), kind, Locks(seen=False)))

    assert refused.value.exit_code is Exit.BAD_INPUT


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay", "fuseblk"])
def test_on_a_local_disk_nobody_is_asked_about_the_lock(kind: str) -> None:
    locks = Locks(seen=False)

    assert try_folder(FOLDER, effects(memory(), kind, locks)) == []
    assert locks.asked == 0


def test_a_second_process_really_is_asked(tmp_path: Path) -> None:
    folder, locks = BatchFolder(tmp_path), SystemLocks()
    with only_process(folder, system()):
        assert locks.is_seen(folder.lock)
    assert not locks.is_seen(folder.lock), "nobody holds it"
    assert not locks.is_seen(tmp_path / "absent")


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = "\n".join(
        [
            "disk / ext4 rw 0 0",
            "server:/export /mnt/with\\040space nfs4 rw,nolock 0 0",
            "user@host: /mnt/with\\040space/inner fuse.sshfs rw 0 0",
            "disk /mnt/with xfs rw 0 0",
            "over /mnt/hidden nfs rw 0 0",
            "over /mnt/hidden tmpfs rw 0 0",
            "torn",
        ]
    )
    kinds = {
        "/mnt": "ext4",
        "/mnt/withspace/x": "ext4",
        "/mnt/with space/x": "nfs4",
        "/mnt/with space/inner/x/y": "fuse.sshfs",
        "/mnt/with/x": "xfs",
        "/mnt/hidden/x": "tmpfs",
    }
    assert {path: file_system_of(Path(path), mounts) for path in kinds} == kinds
    assert file_system_of(Path("/mnt"), "") == ""
    link = tmp_path / "link"
    link.symlink_to("/mnt/hidden")
    assert file_system_of(link, mounts) == "tmpfs", "where it leads to counts"


def test_the_machine_that_runs_this_says_what_is_mounted(tmp_path: Path) -> None:
    mounts = system().mounts()
    assert not mounts or file_system_of(tmp_path, mounts)
