"""The disk that forgets: what is synced survives every power cut, and anything less may be gone."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING

import pytest

from tests.torture.forgetful_disk import SECTOR_BYTES, ForgetfulDisk, Forgotten

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = range(200)


def disk_with(*durable: str) -> ForgetfulDisk:
    """Return a disk with durable, empty files."""
    disk = ForgetfulDisk()
    for name in durable:
        disk.create(name, 0o644)
    disk.root.sync()
    return disk


def outcomes(make: Callable[[], ForgetfulDisk], see: Callable[[ForgetfulDisk], object]) -> set[object]:
    """Return everything that may be seen after a power cut."""
    seen = set()
    for seed in SEEDS:
        disk = make()
        disk.forget(random.Random(seed))
        seen.add(see(disk))
    return seen


def names(disk: ForgetfulDisk) -> tuple[str, ...]:
    return tuple(sorted(disk.root.live))


def write(disk: ForgetfulDisk, path: str, data: bytes, *, sync: bool = False) -> None:
    file = disk.file(path)
    file.write(data, 0)
    if sync:
        file.sync()


def test_synced_bytes_under_a_synced_name_survive_every_cut() -> None:
    def make() -> ForgetfulDisk:
        disk = disk_with("/a")
        write(disk, "/a", b"whole", sync=True)
        return disk

    assert outcomes(make, lambda disk: bytes(disk.file("/a").live)) == {b"whole"}


def test_bytes_that_were_not_synced_may_be_lost_torn_or_kept() -> None:
    old, new = b"o" * 2 * SECTOR_BYTES, b"n" * 2 * SECTOR_BYTES

    def make() -> ForgetfulDisk:
        disk = disk_with("/a")
        write(disk, "/a", old, sync=True)
        write(disk, "/a", new)
        return disk

    seen = outcomes(make, lambda disk: bytes(disk.file("/a").live))

    o, n = b"o" * SECTOR_BYTES, b"n" * SECTOR_BYTES
    assert seen == {o + o, n + n, o + n, n + o}


def test_a_file_that_grew_may_have_its_new_length_and_none_of_its_bytes() -> None:
    def make() -> ForgetfulDisk:
        disk = disk_with("/a")
        write(disk, "/a", b"x" * 10)
        return disk

    assert outcomes(make, lambda disk: bytes(disk.file("/a").live)) == {b"", b"x" * 10, bytes(10)}


def test_a_file_that_shrank_may_have_its_old_length_again() -> None:
    def make() -> ForgetfulDisk:
        disk = disk_with("/a")
        write(disk, "/a", b"x" * 10, sync=True)
        disk.file("/a").resize(4)
        return disk

    assert outcomes(make, lambda disk: bytes(disk.file("/a").live)) == {b"x" * 10, b"x" * 4}


def test_syncing_a_file_does_not_sync_its_name() -> None:
    def make() -> ForgetfulDisk:
        disk = disk_with()
        disk.create("/a", 0o644)
        write(disk, "/a", b"whole", sync=True)
        return disk

    assert outcomes(make, names) == {(), ("a",)}


def test_syncing_a_name_does_not_sync_the_file() -> None:
    def make() -> ForgetfulDisk:
        disk = disk_with()
        disk.create("/a", 0o644)
        write(disk, "/a", b"x")
        disk.root.sync()
        return disk

    assert b"" in outcomes(make, lambda disk: bytes(disk.file("/a").live))


def test_a_removed_name_may_be_there_again_until_its_folder_is_synced() -> None:
    def unlinked() -> ForgetfulDisk:
        disk = disk_with("/a")
        disk.unlink("/a")
        return disk

    def synced() -> ForgetfulDisk:
        disk = unlinked()
        disk.root.sync()
        return disk

    assert outcomes(unlinked, names) == {(), ("a",)}
    assert outcomes(synced, names) == {()}


def test_a_rename_over_a_file_leaves_one_of_the_two() -> None:
    def make() -> ForgetfulDisk:
        disk = disk_with("/a", "/b")
        write(disk, "/a", b"new", sync=True)
        write(disk, "/b", b"old", sync=True)
        disk.rename("/a", "/b")
        return disk

    assert outcomes(make, lambda disk: bytes(disk.file("/b").live)) == {b"old", b"new"}


def test_a_rename_to_a_free_name_may_leave_none_or_both() -> None:
    def make() -> ForgetfulDisk:
        disk = disk_with("/a")
        disk.rename("/a", "/b")
        return disk

    assert outcomes(make, names) == {(), ("a",), ("b",), ("a", "b")}


def test_what_lies_in_a_folder_is_lost_with_the_folders_name() -> None:
    def make() -> ForgetfulDisk:
        disk = ForgetfulDisk()
        disk.make_folder("/clips", 0o755)
        disk.create("/clips/a", 0o644)
        disk.folder("/clips").sync()
        return disk

    assert outcomes(make, names) == {(), ("clips",)}


def test_a_folder_never_has_two_names() -> None:
    def make() -> ForgetfulDisk:
        disk = ForgetfulDisk()
        disk.make_folder("/a", 0o755)
        disk.create("/a/file", 0o644)
        disk.folder("/a").sync()
        disk.root.sync()
        disk.rename("/a", "/b")
        return disk

    assert outcomes(make, names) == {(), ("a",), ("b",)}


def test_two_names_of_a_file_have_one_fate_and_are_counted_again() -> None:
    def make() -> ForgetfulDisk:
        disk = disk_with("/part")
        write(disk, "/part", b"x" * 2 * SECTOR_BYTES)
        disk.link("/part", "/final")
        return disk

    for seed in SEEDS:
        disk = make()
        disk.forget(random.Random(seed))
        part, final = disk.root.live["part"], disk.root.live.get("final")
        assert final in {part, None}
        assert disk.file("/part").names == 1 + (final is not None)


def test_after_a_cut_all_that_is_left_is_durable() -> None:
    for seed in SEEDS:
        disk = disk_with("/a")
        write(disk, "/a", b"x" * 3 * SECTOR_BYTES)
        disk.create("/b", 0o644)
        rng = random.Random(seed)
        disk.forget(rng)
        seen = names(disk), bytes(disk.file("/a").live)
        assert disk.forget(rng) == Forgotten()
        assert (names(disk), bytes(disk.file("/a").live)) == seen


def test_the_same_seed_forgets_the_same() -> None:
    def fate(seed: int) -> tuple[object, ...]:
        disk = disk_with(*(f"/{n}" for n in range(20)))
        for n in range(20):
            write(disk, f"/{n}", bytes([n + 1]) * 4 * SECTOR_BYTES)
            if n % 2:
                disk.rename(f"/{n}", f"/new{n}")
        forgotten = disk.forget(random.Random(seed))
        return forgotten.torn, names(disk), tuple(bytes(disk.file(name).live) for name in names(disk))

    assert fate(7) == fate(7)
    assert fate(7) != fate(8)


def test_a_write_beyond_the_end_leaves_zeros() -> None:
    disk = disk_with("/a")
    disk.file("/a").write(b"x", 3)
    assert bytes(disk.file("/a").live) == b"\0\0\0x"


@pytest.mark.parametrize(
    ("call", "number"),
    [
        (lambda disk: disk.find("/none"), errno.ENOENT),
        (lambda disk: disk.find("/file/below"), errno.ENOTDIR),
        (lambda disk: disk.folder("/file"), errno.ENOTDIR),
        (lambda disk: disk.file("/folder"), errno.EISDIR),
        (lambda disk: disk.create("/file", 0o644), errno.EEXIST),
        (lambda disk: disk.create("/none/file", 0o644), errno.ENOENT),
        (lambda disk: disk.make_folder("/folder", 0o755), errno.EEXIST),
        (lambda disk: disk.link("/file", "/folder"), errno.EEXIST),
        (lambda disk: disk.link("/folder", "/other"), errno.EPERM),
        (lambda disk: disk.unlink("/folder"), errno.EISDIR),
        (lambda disk: disk.unlink("/none"), errno.ENOENT),
        (lambda disk: disk.remove_folder("/folder"), errno.ENOTEMPTY),
        (lambda disk: disk.remove_folder("/file"), errno.ENOTDIR),
        (lambda disk: disk.rename("/none", "/other"), errno.ENOENT),
        (lambda disk: disk.rename("/file", "/folder"), errno.EISDIR),
        (lambda disk: disk.rename("/folder", "/file"), errno.ENOTDIR),
        (lambda disk: disk.rename("/empty", "/folder"), errno.ENOTEMPTY),
        (lambda disk: disk.rename("/folder", "/folder/below"), errno.EINVAL),
    ],
)
def test_calls_are_refused_as_posix_says(call: Callable[[ForgetfulDisk], object], number: int) -> None:
    disk = ForgetfulDisk()
    disk.create("/file", 0o644)
    disk.make_folder("/empty", 0o755)
    disk.make_folder("/folder", 0o755)
    disk.create("/folder/inside", 0o644)
    with pytest.raises(OSError, match=r".") as refused:
        call(disk)
    assert refused.value.errno == number


def test_a_rename_between_two_names_of_one_file_does_nothing() -> None:
    disk = disk_with("/a")
    disk.link("/a", "/b")
    disk.rename("/a", "/b")
    assert names(disk) == ("a", "b")
    assert disk.file("/a").names == 2


def test_a_rename_over_a_file_takes_a_name_from_it() -> None:
    disk = disk_with("/a", "/b")
    disk.link("/b", "/c")
    disk.rename("/a", "/b")
    assert disk.file("/c").names == 1
