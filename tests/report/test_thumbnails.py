"""Thumbnails: of the right picture, of the right size, made once, and never half."""

from __future__ import annotations

import asyncio
import hashlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import DiskRefused
from pipeline.paths import BatchFolder
from pipeline.report.thumbnails import LIMIT_S, WIDTH, make_thumbnails, picture_of, thumbnail_name
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles
from pipeline.system.threads import SystemThreads
from tests.report.reports import clip
from tests.support import mp4s

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.job import Clip

pytest.importorskip("av", reason="thumbnails are made with PyAV")
Image = pytest.importorskip("PIL.Image", reason="thumbnails are made with Pillow")


@pytest.fixture
def effects() -> Iterator[Effects]:
    made = replace(system(), threads=SystemThreads(2))
    yield made
    made.threads.close()


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    batch = BatchFolder(tmp_path)
    batch.clips.mkdir()
    batch.thumbnails.mkdir()
    return batch


def stored(folder: BatchFolder, name: str, data: bytes) -> Clip:
    """Put a clip's bytes where they belong."""
    (folder.clips / f"{name}.mp4").write_bytes(data)
    return clip(name, sha256=hashlib.sha256(data).hexdigest())


def make(folder: BatchFolder, effects: Effects, *clips: Clip) -> dict[str, str]:
    return asyncio.run(make_thumbnails(clips, folder, effects, lambda: None))


def opened(data: bytes) -> Any:
    return Image.open(io.BytesIO(data))


def test_a_thumbnail_is_a_small_picture_of_the_clip(folder: BatchFolder, effects: Effects, real_clip: Path) -> None:
    fox = stored(folder, "fox", real_clip.read_bytes())
    made = make(folder, effects, fox)
    assert made == {"clips/fox.mp4": f"./{thumbnail_name(fox)}"}
    picture = opened((folder.root / thumbnail_name(fox)).read_bytes())
    assert (picture.format, picture.size) == ("WEBP", (320, 180))


def test_a_large_clip_is_made_small_and_keeps_its_shape(tmp_path: Path) -> None:
    path = mp4s.encode(tmp_path / "tall.mp4", width=720, height=1280)
    picture = opened(picture_of(SystemFiles(), path, lambda: 0.0))
    assert max(picture.size) == WIDTH
    assert picture.width / picture.height == pytest.approx(9 / 16, abs=0.01)


def test_the_picture_is_not_the_first_one(real_clip: Path) -> None:
    later = opened(picture_of(SystemFiles(), real_clip, lambda: 0.0)).convert("RGB").tobytes()
    ticks = iter([0.0])
    first = opened(picture_of(SystemFiles(), real_clip, lambda: next(ticks, LIMIT_S + 1))).convert("RGB").tobytes()
    assert later != first


def test_what_takes_too_long_ends_with_the_picture_it_has(real_clip: Path) -> None:
    ticks = iter([0.0])
    assert picture_of(SystemFiles(), real_clip, lambda: next(ticks, LIMIT_S + 1))


def test_a_thumbnail_is_not_made_twice(folder: BatchFolder, effects: Effects, real_clip: Path) -> None:
    fox = stored(folder, "fox", real_clip.read_bytes())
    make(folder, effects, fox)
    path = folder.root / thumbnail_name(fox)
    before = path.stat()
    (folder.clips / "fox.mp4").unlink()
    assert make(folder, effects, fox) == {"clips/fox.mp4": f"./{thumbnail_name(fox)}"}
    assert path.stat() == before


def test_other_bytes_under_the_same_name_get_a_thumbnail_of_their_own(
    folder: BatchFolder, effects: Effects, real_clip: Path
) -> None:
    before = stored(folder, "fox", real_clip.read_bytes())
    after = stored(folder, "fox", real_clip.read_bytes() + b"\0\0\0\x08free")
    assert thumbnail_name(before) != thumbnail_name(after)
    assert make(folder, effects, after) == {"clips/fox.mp4": f"./{thumbnail_name(after)}"}


@pytest.mark.parametrize("harm", ["gone", "cut", "zeros", "html", "empty"])
def test_a_clip_that_cannot_be_decoded_has_none_and_holds_up_no_other(
    folder: BatchFolder, effects: Effects, real_clip: Path, harm: str
) -> None:
    data = real_clip.read_bytes()
    begin = data.index(b"mdat") + 4
    harmed = {
        "gone": b"",
        "cut": data[: begin + 8],
        "zeros": data[:begin] + bytes(len(data) - begin),
        "html": b"<html>" * 100,
        "empty": b"",
    }[harm]
    broken, whole = stored(folder, "broken", harmed), stored(folder, "whole", data)
    if harm == "gone":
        (folder.clips / "broken.mp4").unlink()
    assert list(make(folder, effects, broken, whole)) == ["clips/whole.mp4"]
    assert [path.name for path in folder.thumbnails.iterdir()] == [thumbnail_name(whole).partition("/")[2]]


def test_a_disk_that_refuses_leaves_no_half_thumbnail(folder: BatchFolder, effects: Effects, real_clip: Path) -> None:
    class Full(SystemFiles):
        def write(self, descriptor: int, data: bytes) -> None:
            super().write(descriptor, data[:10])
            raise OSError(28, "No space left on device")

    fox = stored(folder, "fox", real_clip.read_bytes())
    with pytest.raises(DiskRefused, match="Free space"):
        make(folder, replace(effects, files=Full()), fox)
    assert not (folder.root / thumbnail_name(fox)).exists()
    assert make(folder, effects, fox)
    assert opened((folder.root / thumbnail_name(fox)).read_bytes()).size == (320, 180)
