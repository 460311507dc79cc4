"""Shards: within their limits, without gaps, the same bytes each time, and readable by anybody's tar."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.build import Build, ClipChanged, Options
from pipeline.dataset.rows import Row, Selection
from pipeline.dataset.webdataset import RECORD, SYNC_BYTES, _around, _header, _pour, sample_bytes, shards, work
from pipeline.system.files import SystemFiles
from tests.dataset.made import a_row, bytes_of, everything_below

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZES = st.lists(st.integers(1, 5000), max_size=40)


@given(sizes=SIZES, clips=st.integers(1, 7), limit=st.integers(1, 40_000))
def test_shards_hold_every_row_once_in_order_within_their_limits(sizes: list[int], clips: int, limit: int) -> None:
    rows = [a_row(f"i{number}", size) for number, size in enumerate(sizes)]
    made = list(shards(rows, Options(shard_clips=clips, shard_bytes=limit)))
    assert [row for shard in made for row in shard] == rows
    for shard in made:
        assert 1 <= len(shard) <= clips
        assert len(shard) == 1 or RECORD + sum(map(sample_bytes, shard)) <= limit


def on_disk(batch: Path, keys: Sequence[str], size: int = 900) -> list[Row]:
    (batch / "clips").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, key in enumerate(keys):
        row = a_row(key, text=f"Prompt of {key}: fünf, 雪\n\u2028", split="train" if number % 3 else "test")
        data = bytes_of(row.source, size)
        (batch / row.source).write_bytes(data)
        rows.append(replace(row, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))
    return rows


def built(batch: Path, part: Path, rows: Sequence[Row], options: Options) -> Build:
    build = Build(SystemFiles(), batch, part, Random())
    build.begin("plan")
    for piece in work(build, Selection(rows=tuple(rows)), options):
        piece(build)
    return build


LONG = "l" * 98 + "__r12__3"
KEYS = ["fox", "deer", "a-b_c", LONG, *(f"item-{number}" for number in range(20))]


def test_a_shard_is_a_tar_with_three_members_a_clip(tmp_path: Path) -> None:
    rows = on_disk(tmp_path, KEYS)
    build = built(tmp_path, tmp_path / "part", rows, Options(shard_clips=6))
    found: dict[str, bytes] = {}
    for name, written in build.written.items():
        data = (tmp_path / "part" / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (written.size_bytes, written.sha256)
        assert len(data) % RECORD == 0
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert written.more["clips"] * 3 == len(tar.getmembers())
            for member in tar.getmembers():
                read = tar.extractfile(member)
                assert read is not None
                found[member.name] = read.read()
                assert (member.mtime, member.uid, member.uname) == (0, 0, "")
    for row in rows:
        assert found[f"{row.key}.mp4"] == (tmp_path / row.source).read_bytes()
        assert found[f"{row.key}.txt"].decode() == row.text
        assert json.loads(found[f"{row.key}.json"]) == dict(row.columns)
    assert len(found) == 3 * len(rows)
    assert sorted(build.written) == [
        "test/clips-000000.tar",
        "test/clips-000001.tar",
        "train/clips-000000.tar",
        "train/clips-000001.tar",
        "train/clips-000002.tar",
    ]


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_the_systems_own_tar_reads_a_shard(tmp_path: Path) -> None:
    rows = on_disk(tmp_path, KEYS)
    build = built(tmp_path, tmp_path / "part", rows, Options())
    listed = [
        line
        for name in build.written
        for line in subprocess.run(
            ["tar", "tf", str(tmp_path / "part" / name)], capture_output=True, text=True, check=True
        ).stdout.split()
    ]
    assert sorted(listed) == sorted(f"{key}.{end}" for key in KEYS for end in ("json", "mp4", "txt"))


@given(name=st.integers(1, 108), size=st.integers(0, 3000) | st.just((8 << 30) + 5), text=st.text(max_size=600))
def test_the_room_that_a_row_takes_is_told_without_making_it(name: int, size: int, text: str) -> None:
    row = a_row("k" * name, size, text=text)
    before, after = _around(row)
    assert sample_bytes(row) == len(before) + size + len(after)


@given(name=st.integers(1, 100), size=st.integers(0, (8 << 30) - 1))
def test_a_header_is_what_pythons_own_tar_writes(name: int, size: int) -> None:
    member = tarfile.TarInfo("k" * name)
    member.size = size
    assert _header(member.name, size) == member.tobuf(tarfile.USTAR_FORMAT)


@dataclass
class Disk(SystemFiles):
    """A disk that keeps nothing and fails at one sync. The mutable state is what it was asked to do."""

    fails_at: int = 0
    size_bytes: int = 0
    syncs: int = 0
    unsynced: bool = False

    def write(self, descriptor: int, data: bytes) -> None:
        self.size_bytes += len(data)
        self.unsynced = True

    def fsync(self, descriptor: int) -> None:
        self.unsynced = False
        self.syncs += 1
        if self.syncs == self.fails_at:
            raise OSError(errno.EIO, "It is broken")


def test_a_long_shard_is_synced_while_it_is_written_and_once_more_at_its_end() -> None:
    disk, content = Disk(), [b"x" * (SYNC_BYTES // 2)] * 5 + [b"end"]
    size_bytes, sha256 = _pour(disk, 0, content)
    assert (size_bytes, sha256) == (disk.size_bytes, hashlib.sha256(b"".join(content)).hexdigest())
    assert 2 <= disk.syncs <= 3
    assert not disk.unsynced


def test_a_sync_that_fails_on_the_way_is_told_and_none_comes_after_it() -> None:
    disk = Disk(fails_at=1)
    with pytest.raises(OSError, match="It is broken"):
        _pour(disk, 0, [b"x" * (SYNC_BYTES // 2)] * 5)
    assert disk.syncs == 1


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    rows = on_disk(tmp_path, KEYS)
    options = Options(shard_bytes=40_000)
    built(tmp_path, tmp_path / "one", rows, options)
    for path in (tmp_path / "clips").iterdir():
        path.touch()
    built(tmp_path, tmp_path / "two", rows, options)
    assert everything_below(tmp_path / "one") == everything_below(tmp_path / "two")


def test_a_shard_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    rows = on_disk(tmp_path, KEYS)
    build = built(tmp_path, tmp_path / "part", rows, Options(shard_clips=6))
    before = {name: (tmp_path / "part" / name).stat().st_mtime_ns for name in build.written}
    again = built(tmp_path, tmp_path / "part", rows, Options(shard_clips=6))
    assert again.written == build.written
    assert before == {name: (tmp_path / "part" / name).stat().st_mtime_ns for name in again.written}


@pytest.mark.parametrize("size", [900, (1 << 20) + 7, 3 << 20])
@pytest.mark.parametrize("harm", ["other bytes", "shorter", "longer", "gone"])
def test_a_clip_that_is_not_what_was_published_is_in_no_shard(tmp_path: Path, size: int, harm: str) -> None:
    rows = on_disk(tmp_path, ["fox"], size)
    path = tmp_path / rows[0].source
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes({"other bytes": data[::-1], "shorter": data[:-1], "longer": data + b"x"}[harm])
    with pytest.raises(ClipChanged, match=r"clips/fox\.mp4 is missing, or not what was published"):
        built(tmp_path, tmp_path / "part", rows, Options())
    assert not (tmp_path / "part" / "test" / "clips-000000.tar").exists()


def test_a_large_clip_is_read_piece_by_piece_and_comes_out_whole(tmp_path: Path) -> None:
    rows = on_disk(tmp_path, ["fox", "deer"], (2 << 20) + 123)
    build = built(tmp_path, tmp_path / "part", rows, Options())
    for name in build.written:
        with tarfile.open(tmp_path / "part" / name) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".mp4"):
                    read = tar.extractfile(member)
                    assert read is not None
                    assert read.read() == (tmp_path / "clips" / member.name).read_bytes()
