"""The clips are real: walked box by box here, and looked at by ffprobe where it is installed."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import InputError
from pipeline.sandbox.catalogue import Picture
from pipeline.sandbox.render import STAMP, Renderer, can_encode, stamp
from pipeline.sandbox.settings import Render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

needs_encoder = pytest.mark.skipif(not can_encode(), reason="needs PyAV and Pillow (the media extra)")
needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")
WIDE = Picture(width=640, height=360, duration_s=5.0, has_audio=True)
TALL = Picture(width=360, height=640, duration_s=2.0, has_audio=False)
SQUARE = Picture(width=360, height=360, duration_s=5.0, has_audio=True)


class CountingThreads:
    """Runs work at once and counts it."""

    def __init__(self) -> None:
        self.runs = 0

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    run_busy = run

    async def run_alone(self, lane: str, work: Callable[..., Any], *args: Any) -> Any:
        self.runs += 1
        return work(*args)

    def close(self) -> None:
        pass


def template() -> Renderer:
    return Renderer(Render.TEMPLATE, CountingThreads(), has_encoder=False)


def full() -> Renderer:
    return Renderer(Render.FULL, CountingThreads(), has_encoder=True)


def boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Each box with its payload; fails where one does not end exactly where the next begins."""
    at = 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        assert 8 <= size <= len(data) - at, f"{name!r} at {at} says {size} bytes of {len(data) - at}"
        yield name.decode(), data[at + 8 : at + size]
        at += size


def inside(data: bytes, *path: str) -> list[bytes]:
    """The payloads of all boxes at a path."""
    found = [payload for name, payload in boxes(data) if name == path[0]]
    return found if len(path) == 1 else [deep for payload in found for deep in inside(payload, *path[1:])]


def handlers(data: bytes) -> set[str]:
    return {payload[8:12].decode() for payload in inside(data, "moov", "trak", "mdia", "hdlr")}


def sides(data: bytes) -> set[tuple[int, int]]:
    found = {struct.unpack(">II", payload[-8:]) for payload in inside(data, "moov", "trak", "tkhd")}
    return {(width >> 16, height >> 16) for width, height in found if width}


def length_s(data: bytes) -> float:
    (header,) = inside(data, "moov", "mvhd")
    scale, length = struct.unpack_from(">II", header, 12)
    return length / scale


def stamped(data: bytes) -> dict[str, Any]:
    (payload,) = [payload[16:] for name, payload in boxes(data) if name == "uuid" and payload[:16] == STAMP.bytes]
    return json.loads(payload)


def probe(path: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


@pytest.mark.parametrize(("picture", "shape"), [(WIDE, (480, 270)), (TALL, (270, 480)), (SQUARE, (360, 360))])
async def test_a_template_has_the_shape_asked_for_and_the_jobs_stamp(picture: Picture, shape: tuple[int, int]) -> None:
    threads = CountingThreads()
    clip = await Renderer(Render.TEMPLATE, threads, has_encoder=False).clip(picture, "job-1", 2, "Ein Fuchs läuft 🦊")
    names = [name for name, _ in boxes(clip.data)]
    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")
    assert handlers(clip.data) == {"vide", "soun"}
    assert sides(clip.data) == {shape}
    assert stamped(clip.data) == {"job": "job-1", "index": 2, "prompt": "Ein Fuchs läuft 🦊"}
    assert len(clip.data) > 100_000
    assert threads.runs == 0


async def test_every_clip_has_bytes_and_a_tag_of_its_own_and_the_same_ones_each_time() -> None:
    renderer = template()
    clips = [await renderer.clip(WIDE, job, index, "x") for job in ("a", "b") for index in (0, 1)]
    assert len({clip.data for clip in clips}) == len({clip.etag for clip in clips}) == 4
    assert await template().clip(WIDE, "a", 0, "x") == clips[0]


def test_a_stamp_is_one_box() -> None:
    assert [name for name, _ in boxes(stamp("job", 0, "x" * 20_000))] == ["uuid"]


@needs_encoder
@pytest.mark.parametrize("picture", [WIDE, TALL, Picture(width=854, height=480, duration_s=3.0, has_audio=True)])
async def test_a_full_clip_is_what_was_asked_for(picture: Picture) -> None:
    clip = await full().clip(picture, "job-1", 0, "A turtle\n" * 30)
    names = [name for name, _ in boxes(clip.data)]
    assert names.index("moov") < names.index("mdat")
    assert handlers(clip.data) == ({"vide", "soun"} if picture.has_audio else {"vide"})
    assert sides(clip.data) == {(picture.width, picture.height)}
    assert length_s(clip.data) == pytest.approx(picture.duration_s, abs=0.03)
    assert stamped(clip.data)["job"] == "job-1"


@needs_encoder
async def test_a_prompt_is_encoded_once_and_the_same_way_each_time() -> None:
    threads = CountingThreads()
    renderer = Renderer(Render.FULL, threads, has_encoder=True)
    one, two = [await renderer.clip(TALL, job, 0, "A turtle") for job in ("a", "b")]
    assert threads.runs == 1
    assert one.data != two.data
    again = await full().clip(TALL, "a", 0, "A turtle")
    assert again == one
    other = await renderer.clip(TALL, "a", 0, "A whale")
    assert other.data != one.data


@needs_encoder
async def test_the_encoder_is_chosen_where_it_is_installed() -> None:
    threads = CountingThreads()
    await Renderer(Render.AUTO, threads, has_encoder=True).clip(TALL, "a", 0, "A turtle")
    assert threads.runs == 1


async def test_the_template_is_chosen_where_there_is_no_encoder() -> None:
    threads = CountingThreads()
    clip = await Renderer(Render.AUTO, threads, has_encoder=False).clip(TALL, "a", 0, "A turtle")
    assert clip == await template().clip(TALL, "a", 0, "A turtle")
    assert threads.runs == 0


@needs_encoder
async def test_the_cache_lets_old_clips_go() -> None:
    threads = CountingThreads()
    renderer = Renderer(Render.FULL, threads, has_encoder=True, cache_bytes=1)
    for prompt in ("one", "two", "two", "one"):
        await renderer.clip(TALL, "a", 0, prompt)
    assert threads.runs == 3


def test_full_rendering_without_an_encoder_is_refused_with_what_to_install() -> None:
    with pytest.raises(InputError, match=r"clipmill\[media\]"):
        Renderer(Render.FULL, CountingThreads(), has_encoder=False)


@needs_ffprobe
@pytest.mark.parametrize("render", [Render.TEMPLATE, pytest.param(Render.FULL, marks=needs_encoder)])
@pytest.mark.parametrize("picture", [WIDE, TALL, SQUARE])
async def test_ffmpeg_reads_and_decodes_every_clip_without_complaint(
    tmp_path: Path, render: Render, picture: Picture
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(
        (await Renderer(render, CountingThreads(), has_encoder=can_encode()).clip(picture, "job", 0, "A turtle")).data
    )
    seen = probe(path)
    streams = {stream["codec_type"]: stream for stream in seen["streams"]}
    assert streams["video"]["codec_name"] == "h264"
    if render is Render.FULL:
        assert (streams["video"]["width"], streams["video"]["height"]) == (picture.width, picture.height)
        assert int(streams["video"]["nb_frames"]) == picture.duration_s * 24
        assert ("audio" in streams) is picture.has_audio
    if "audio" in streams:
        assert streams["audio"]["codec_name"] == "aac"
    if shutil.which("ffmpeg"):
        command = ["ffmpeg", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"]
        done = subprocess.run(command, check=False, capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
