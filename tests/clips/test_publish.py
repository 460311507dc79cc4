from __future__ import annotations

import errno
import hashlib
import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.clips.publish import Settled, digest, publish_clip, settle_stored, sweep_parts, verify_file
from pipeline.errors import DiskRefused
from pipeline.paths import BatchFolder
from pipeline.system.files import SystemFiles
from tests.support.memory_files import Crash, CrashAt, MemoryFiles

if TYPE_CHECKING:
    from pipeline.effects import Files

BATCH = BatchFolder(Path("/batch"))
FINAL = BATCH.root / BATCH.clip_name("turtle", 0, 1)
PART = BATCH.root / BATCH.part_name("turtle", 0, 1)
CLIP = bytes(range(256)) * 20
SHA256 = hashlib.sha256(CLIP).hexdigest()


def publish(files: Files, part: Path = PART, final: Path = FINAL) -> Settled:
    return publish_clip(files, part, final, SHA256, len(CLIP))


def settle(files: Files, part: Path = PART, final: Path = FINAL) -> Settled:
    return settle_stored(files, part, final, SHA256, len(CLIP))


def files_with(*, part: bytes | None = None, final: bytes | None = None, hard_links: bool = True) -> MemoryFiles:
    files = MemoryFiles(hard_links=hard_links)
    files.plant_folder(BATCH.clips)
    if part is not None:
        files.plant(PART, part)
    if final is not None:
        files.plant(FINAL, final)
    return files


OTHER = b"somebody's own film"
TORN = CLIP[:-1] + b"\0"


@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("call", [publish, settle])
def test_a_part_gets_its_final_name_and_loses_its_own(call: object, hard_links: bool) -> None:
    files = files_with(part=CLIP, hard_links=hard_links)
    assert (publish if call is publish else settle)(files) is Settled.PUBLISHED
    assert files.snapshot() == {FINAL: CLIP}


@pytest.mark.parametrize("hard_links", [True, False])
def test_the_same_bytes_under_the_final_name_are_adopted(hard_links: bool) -> None:
    files = files_with(part=CLIP, final=CLIP, hard_links=hard_links)
    assert publish(files) is Settled.ADOPTED
    assert files.snapshot() == {FINAL: CLIP}


@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("other", [OTHER, TORN, b""])
@pytest.mark.parametrize("call", [publish, settle])
def test_a_name_taken_by_other_bytes_is_left_alone_and_the_part_kept(
    call: object, other: bytes, hard_links: bool
) -> None:
    files = files_with(part=CLIP, final=other, hard_links=hard_links)
    assert (publish if call is publish else settle)(files) is Settled.TAKEN
    assert files.snapshot() == {PART: CLIP, FINAL: other}


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_link_or_a_folder_under_the_final_name_is_left_alone(hard_links: bool) -> None:
    for plant in (MemoryFiles.plant_link, MemoryFiles.plant_folder):
        files = files_with(part=CLIP, hard_links=hard_links)
        plant(files, FINAL)
        assert publish(files) is Settled.TAKEN
        assert files.names(BATCH.clips) == [PART.name, FINAL.name]


@pytest.mark.parametrize(
    ("part", "final", "settled", "left"),
    [
        (CLIP, None, Settled.PUBLISHED, {FINAL: CLIP}),
        (None, CLIP, Settled.ADOPTED, {FINAL: CLIP}),
        (CLIP, CLIP, Settled.ADOPTED, {FINAL: CLIP}),
        (TORN, CLIP, Settled.ADOPTED, {FINAL: CLIP}),
        (None, None, Settled.MISSING, {}),
        (TORN, None, Settled.MISSING, {}),
        (b"", None, Settled.MISSING, {}),
        (TORN, OTHER, Settled.MISSING, {FINAL: OTHER}),
        (None, OTHER, Settled.MISSING, {FINAL: OTHER}),
        (CLIP, OTHER, Settled.TAKEN, {PART: CLIP, FINAL: OTHER}),
    ],
)
def test_what_a_start_finds_is_settled(
    part: bytes | None, final: bytes | None, settled: Settled, left: dict[Path, bytes]
) -> None:
    files = files_with(part=part, final=final)
    assert settle(files) is settled
    assert files.snapshot() == left
    assert settle(files) is (Settled.ADOPTED if settled is Settled.PUBLISHED else settled), "not the same twice"
    assert files.snapshot() == left


def test_a_link_in_place_of_the_part_is_never_published() -> None:
    files = files_with()
    files.plant_link(PART)
    assert settle(files) is Settled.MISSING
    assert files.names(BATCH.clips) == []


@pytest.mark.parametrize("call", [publish, settle])
@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("part_and_final", [(CLIP, None), (CLIP, CLIP), (CLIP, OTHER), (None, CLIP)])
def test_a_kill_at_any_step_loses_nothing_and_can_be_gone_on_from(
    call: object, hard_links: bool, part_and_final: tuple[bytes | None, bytes | None]
) -> None:
    part, final = part_and_final
    wanted = {PART: CLIP, FINAL: OTHER} if final == OTHER else {FINAL: CLIP}
    for step in range(1, 30):
        files = files_with(part=part, final=final, hard_links=hard_links)
        files.on_call = hook = CrashAt(step)
        with suppress(Crash):
            (publish if call is publish else settle)(files)
        if hook.calls < step:
            break
        files.crash("kill", random.Random(step))
        assert files.snapshot().get(FINAL, CLIP) in (CLIP, OTHER)
        settle(files)
        assert files.snapshot() == wanted
    assert hook.calls >= 3


@pytest.mark.parametrize("second_kind", ["kill", "power"])
@pytest.mark.parametrize("final", [None, CLIP])
def test_a_power_cut_at_any_step_never_loses_the_clip(final: bytes | None, second_kind: str) -> None:
    """With both crashes at every step: the clip is under one of its names, whole, whatever was forgotten."""
    verdicts: Counter[Settled] = Counter()
    for step in range(1, 12):
        for again in range(1, 12):
            for seed in range(8):
                rng = random.Random(seed)
                files = files_with(part=CLIP, final=final)
                for kind, at in (("power", step), (second_kind, again)):
                    files.on_call = CrashAt(at)
                    with suppress(Crash):
                        settle(files)
                    files.crash("kill" if kind == "kill" else "power", rng)
                    assert set(files.snapshot().values()) == {CLIP}
                verdicts[settle(files)] += 1
                assert files.snapshot() == {FINAL: CLIP}
    assert set(verdicts) <= {Settled.PUBLISHED, Settled.ADOPTED}
    assert verdicts[Settled.ADOPTED]


@pytest.mark.parametrize("part_and_final", [(CLIP, None), (CLIP, CLIP), (None, CLIP)])
def test_what_is_called_published_or_adopted_survives_a_power_cut(
    part_and_final: tuple[bytes | None, bytes | None],
) -> None:
    for seed in range(50):
        files = files_with(part=part_and_final[0])
        if part_and_final[1] is not None:  # linked by a run that was killed before it made the name durable
            files.plant(BATCH.clips / "other", CLIP)
            files.link(BATCH.clips / "other", FINAL)
        settle(files)
        files.crash("power", random.Random(seed))
        assert files.bytes_at(FINAL) == CLIP


@pytest.mark.parametrize("operation", ["exists", "link", "fsync_folder", "unlink", "size", "read"])
@pytest.mark.parametrize("final", [None, CLIP])
def test_a_disk_that_says_no_once_loses_nothing(operation: str, final: bytes | None) -> None:
    refusals = 0

    def refuse_once(called: str, subject: Path | int) -> None:
        nonlocal refusals
        if called == operation and not refusals:
            refusals += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    files = files_with(part=CLIP, final=final)
    files.on_call = refuse_once
    with pytest.raises(DiskRefused):
        settle(files)
    assert set(files.snapshot().values()) == {CLIP}
    assert settle(files) in {Settled.PUBLISHED, Settled.ADOPTED}
    assert files.snapshot() == {FINAL: CLIP}


def test_a_file_system_that_cannot_sync_folders_still_publishes() -> None:
    files = MemoryFiles(folder_sync=False)
    files.plant(PART, CLIP)
    assert publish(files) is Settled.PUBLISHED


def test_a_file_is_verified_by_size_and_digest() -> None:
    files = files_with(final=CLIP)
    files.plant_link(BATCH.clips / "link")
    assert verify_file(files, FINAL, SHA256, len(CLIP))
    assert not verify_file(files, FINAL, SHA256, len(CLIP) + 1)
    assert not verify_file(files, FINAL, "0" * 64, len(CLIP))
    assert not verify_file(files, PART, SHA256, len(CLIP))
    assert not verify_file(files, BATCH.clips, SHA256, 0)
    assert not verify_file(files, BATCH.clips / "link", SHA256, 0)


def test_a_large_file_is_digested_a_mebibyte_at_a_time() -> None:
    data = random.Random(1).randbytes(2_500_000)
    files = files_with(final=data)
    reads: list[str] = []
    files.on_call = lambda operation, subject: reads.append(operation)
    assert digest(files, FINAL) == hashlib.sha256(data).hexdigest()
    assert reads == ["read"] * 4


def test_digesting_a_missing_file_is_an_error_of_the_disk() -> None:
    with pytest.raises(DiskRefused, match="No such file"):
        digest(files_with(), FINAL)


def test_only_our_own_parts_of_other_runs_are_swept() -> None:
    ours = [BATCH.part_name(item, index, epoch) for item, index, epoch in (("a", 0, 1), ("A_b-c", 3, 12), ("0", 0, 9))]
    stored = Path(BATCH.part_name("kept", 0, 2)).name
    spared = [
        stored,
        Path(BATCH.part_name("a", 0, 3)).name,  # this run's
        "turtle.mp4",
        ".turtle.mp4.part",
        ".a.0.part",
        ".a.0.1.part.bak",
        "a.0.1.part",
        ".a.0.01.part",
        ".a.0.\N{ARABIC-INDIC DIGIT ONE}.part",
        ".-a.0.1.part",
        ".a b.0.1.part",
        ".a.0.1.part\n",
        f".{'a' * 101}.0.1.part",
    ]
    files = MemoryFiles()
    for name in [*ours, *(f"clips/{name}" for name in spared)]:
        files.plant(BATCH.root / name, b"x")
    files.plant_link(BATCH.clips / ".link.0.1.part")
    files.plant_folder(BATCH.clips / ".folder.0.1.part")
    swept = sweep_parts(files, BATCH.clips, {3}, keep={stored})
    assert sorted(swept) == sorted(Path(name).name for name in ours)
    assert files.names(BATCH.clips) == sorted([*spared, ".link.0.1.part", ".folder.0.1.part"])


def test_sweeping_a_folder_that_does_not_exist_yet_is_nothing() -> None:
    assert sweep_parts(MemoryFiles(), BATCH.clips, {1}, keep=()) == ()


def test_a_sweep_that_the_disk_refuses_is_told() -> None:
    def refuse(called: str, subject: Path | int) -> None:
        if called == "unlink":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    files = files_with(part=CLIP)
    files.on_call = refuse
    with pytest.raises(DiskRefused, match="sweep old part files"):
        sweep_parts(files, BATCH.clips, {2}, keep=())


def test_real_files_settle_as_those_in_memory_do(tmp_path: Path) -> None:
    files = SystemFiles()
    part, final = tmp_path / ".turtle.0.1.part", tmp_path / "turtle.mp4"
    target = tmp_path / "elsewhere.mp4"
    target.write_bytes(CLIP)
    assert settle(files, part, final) is Settled.MISSING
    part.write_bytes(CLIP)
    assert settle(files, part, final) is Settled.PUBLISHED
    assert settle(files, part, final) is Settled.ADOPTED
    part.write_bytes(CLIP)
    final.write_bytes(OTHER)
    assert settle(files, part, final) is Settled.TAKEN
    final.unlink()
    final.symlink_to(target)  # the right bytes, through a link that somebody planted
    assert settle(files, part, final) is Settled.TAKEN
    assert final.is_symlink()
    part.unlink()
    part.symlink_to(target)
    final.unlink()
    assert settle(files, part, final) is Settled.MISSING
    assert target.read_bytes() == CLIP
    assert sorted(os.listdir(tmp_path)) == ["elsewhere.mp4"]
