"""The file system that forgets, held against the real one and against its own promises."""

from __future__ import annotations

import errno
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.durable import write_atomically
from pipeline.system.files import SystemFiles
from tests.support.memory_files import Crash, CrashAt, MemoryFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.effects import Files

FOLDER = Path("/work")
FILE = FOLDER / "file"


def write(files: Files, path: Path, data: bytes, *, sync: bool) -> None:
    descriptor = files.create(path)
    files.write(descriptor, data)
    if sync:
        files.fsync(descriptor)
    files.close(descriptor)


def empty() -> MemoryFiles:
    files = MemoryFiles()
    files.plant_folder(FOLDER)
    return files


def after_power_cuts(prepare: Callable[[MemoryFiles], None], path: Path = FILE) -> Counter[bytes | None]:
    """What a hundred power cuts leave at a path."""
    left: Counter[bytes | None] = Counter()
    for seed in range(100):
        files = empty()
        prepare(files)
        files.crash("power", random.Random(seed))
        left[files.bytes_at(path)] += 1
    return left


def test_a_kill_loses_nothing_but_descriptors() -> None:
    files = empty()
    descriptor = files.create(FILE)
    files.write(descriptor, b"abc")
    files.crash("kill", random.Random(0))
    assert files.bytes_at(FILE) == b"abc"
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.write(descriptor, b"d")


def test_what_a_kill_kept_a_later_power_cut_may_still_take() -> None:
    def prepare(files: MemoryFiles) -> None:
        write(files, FILE, b"abc", sync=False)
        files.crash("kill", random.Random(0))

    assert None in after_power_cuts(prepare)


def test_synced_bytes_under_a_synced_name_survive_every_power_cut() -> None:
    def prepare(files: MemoryFiles) -> None:
        write(files, FILE, b"abc", sync=True)
        files.fsync_folder(FOLDER)

    assert after_power_cuts(prepare) == {b"abc": 100}


def test_an_unsynced_name_is_lost_or_kept() -> None:
    left = after_power_cuts(lambda files: write(files, FILE, b"abc", sync=True))
    assert set(left) == {None, b"abc"}
    assert 30 < left[None] < 70


def test_unsynced_bytes_are_lost_torn_or_kept() -> None:
    data = random.Random(0).randbytes(5000)

    def prepare(files: MemoryFiles) -> None:
        write(files, FILE, data, sync=False)
        files.fsync_folder(FOLDER)

    left = after_power_cuts(prepare)
    assert left[b""] > 10
    assert left[data] > 10
    assert len(left) > 10, "no torn ones"


def test_bytes_appended_after_a_sync_never_cost_those_before() -> None:
    def prepare(files: MemoryFiles) -> None:
        descriptor = files.create(FILE)
        files.write(descriptor, b"a" * 700)
        files.fsync(descriptor)
        files.write(descriptor, b"b" * 700)
        files.fsync_folder(FOLDER)

    left = after_power_cuts(prepare)
    assert all(data is not None and data[:700] == b"a" * 700 for data in left)
    assert len(left) > 2


def test_a_removed_name_comes_back_unless_its_folder_was_synced() -> None:
    def prepare(files: MemoryFiles, *, sync: bool) -> None:
        files.plant(FILE, b"abc")
        files.unlink(FILE)
        if sync:
            files.fsync_folder(FOLDER)

    assert set(after_power_cuts(lambda files: prepare(files, sync=False))) == {None, b"abc"}
    assert after_power_cuts(lambda files: prepare(files, sync=True)) == {None: 100}


def test_syncing_one_folder_leaves_the_others_alone() -> None:
    deeper = FOLDER / "deeper"

    def prepare(files: MemoryFiles) -> None:
        files.plant_folder(deeper)
        write(files, deeper / "file", b"abc", sync=True)
        files.fsync_folder(FOLDER)

    assert set(after_power_cuts(prepare, deeper / "file")) == {None, b"abc"}


def test_what_lies_in_a_lost_folder_is_lost() -> None:
    deeper = FOLDER / "deeper"

    def prepare(files: MemoryFiles) -> None:
        files.make_folder(deeper)
        write(files, deeper / "file", b"abc", sync=True)
        files.fsync_folder(deeper)

    left = after_power_cuts(prepare, deeper / "file")
    assert set(left) == {None, b"abc"}


def test_two_names_of_one_file_share_its_bytes_through_a_power_cut() -> None:
    data = random.Random(0).randbytes(5000)
    for seed in range(50):
        files = empty()
        write(files, FILE, data, sync=False)
        files.link(FILE, FOLDER / "second")
        files.fsync_folder(FOLDER)
        files.crash("power", random.Random(seed))
        assert files.bytes_at(FILE) == files.bytes_at(FOLDER / "second")


def test_the_same_seed_forgets_the_same() -> None:
    def left(seed: int) -> dict[Path, bytes]:
        files = empty()
        for number in range(20):
            write(files, FOLDER / str(number), random.Random(number).randbytes(3000), sync=bool(number % 2))
        files.crash("power", random.Random(seed))
        return files.snapshot()

    assert left(1) == left(1)
    assert left(1) != left(2)


def test_a_dead_process_changes_nothing_until_the_restart() -> None:
    files = empty()
    files.on_call = CrashAt(2)
    descriptor = files.create(FILE)
    with pytest.raises(Crash, match="before step 2: write 3"):
        files.write(descriptor, b"abc")
    for attempt in (
        lambda: files.unlink(FILE),
        lambda: files.close(descriptor),
        lambda: files.fsync(descriptor),
        lambda: files.exists(FILE),
    ):
        with pytest.raises(Crash, match="dead"):
            attempt()
    files.crash("kill", random.Random(0))
    assert files.bytes_at(FILE) == b""


def test_a_crash_can_fall_into_the_middle_of_a_write() -> None:
    files = empty()
    files.on_call = CrashAt(3)
    with suppress(Crash):
        write(files, FILE, b"abcdef", sync=False)
    files.crash("kill", random.Random(0))
    assert files.bytes_at(FILE) == b"abc"


def test_a_full_disk_takes_what_fits() -> None:
    files = empty()
    files.capacity_bytes = 10
    write(files, FILE, b"abcdef", sync=False)
    descriptor = files.create(FOLDER / "second")
    with pytest.raises(OSError, match="No space left") as caught:
        files.write(descriptor, b"abcdef")
    assert caught.value.errno == errno.ENOSPC
    assert files.free_bytes(FOLDER) == 0
    files.unlink(FOLDER / "second")
    assert files.free_bytes(FOLDER) == 0, "a file held open keeps its room"
    files.close(descriptor)
    assert files.free_bytes(FOLDER) == 4


def test_a_second_sync_after_a_failed_one_is_caught() -> None:
    files = empty()
    descriptor = files.create(FILE)

    def refuse(operation: str, subject: Path | int) -> None:
        if operation == "fsync":
            raise OSError(errno.EIO, "the disk says no")

    files.on_call = refuse
    with pytest.raises(OSError, match="the disk says no"):
        files.fsync(descriptor)
    with pytest.raises(AssertionError, match="called again"):
        files.fsync(descriptor)


def test_an_atomic_write_leaves_the_old_or_the_new_after_any_crash() -> None:
    seen: set[bytes | None] = set()
    for step in range(1, 20):
        for seed in range(20):
            for kind in ("kill", "power"):
                files = empty()
                files.plant(FILE, b"old" * 300)
                files.on_call = hook = CrashAt(step)
                with suppress(Crash):
                    write_atomically(files, FILE, b"new" * 300)
                files.crash("kill" if kind == "kill" else "power", random.Random(seed))
                seen.add(files.bytes_at(FILE))
        if hook.calls < step:
            break
    assert seen == {b"old" * 300, b"new" * 300}


FILE_NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "none/a", "a/b"])
NAMES = st.one_of(FILE_NAMES, st.sampled_from(["d", "none"]))
STEPS = st.one_of(
    st.tuples(st.just("make_folder"), st.sampled_from(["d", "d/e"])),
    st.tuples(st.just("write"), NAMES, st.binary(max_size=9)),
    st.tuples(st.just("replace"), FILE_NAMES, NAMES),
    st.tuples(st.just("link"), NAMES, NAMES),
    st.tuples(st.sampled_from(["unlink", "size", "read", "exists", "names", "fsync_folder"]), NAMES),
)


def outcome(files: Files, root: Path, step: tuple[object, ...]) -> object:
    """Carry out a step, and return what came of it in words that do not depend on the file system."""
    operation, name, *rest = step
    path = root / str(name)
    try:
        if operation == "write":
            data = rest[0]
            assert isinstance(data, bytes)
            return write(files, path, data, sync=True)
        if operation in {"link", "replace"}:
            return getattr(files, str(operation))(path, root / str(rest[0]))
        if operation == "read":
            return files.read(path, 1, 3), files.read(path)
        return getattr(files, str(operation))(path)
    except OSError as error:
        return type(error)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_it_answers_as_the_real_file_system_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]
) -> None:
    real_root = tmp_path_factory.mktemp("real")
    memory = empty()
    for step in steps:
        assert outcome(memory, FOLDER, step) == outcome(SystemFiles(), real_root, step), step
    left = {path.relative_to(FOLDER): data for path, data in memory.snapshot().items()}
    assert left == {path.relative_to(real_root): path.read_bytes() for path in real_root.rglob("*") if path.is_file()}
