"""Fifteen kinds of file that are no good clip, and three that are odd: what the walk says, what only decoding sees."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pipeline.clips.acceptance import Acceptance, judge
from pipeline.clips.mp4 import walk
from pipeline.clips.probe import decode
from pipeline.errors import BrokenClip
from pipeline.system.files import SystemFiles
from tests.support import mp4s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

pytest.importorskip("av", reason="the full decode is PyAV's")

STRICT = Acceptance(not_black=True, not_frozen=True, audio=True)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Real clips to be broken."""
    folder = tmp_path_factory.mktemp("whole")
    first = mp4s.encode(folder / "first.mp4", tone=True).read_bytes()
    return {
        "headers first": first,
        "one flipped": one_flipped(first, folder),
        "headers last": mp4s.encode(folder / "last.mp4", movflags="", tone=True).read_bytes(),
        "no sound": mp4s.encode(folder / "mute.mp4", audio=False).read_bytes(),
        "silent": mp4s.encode(folder / "silent.mp4").read_bytes(),
        "black": mp4s.encode(folder / "black.mp4", look="black", tone=True).read_bytes(),
        "still": mp4s.encode(folder / "still.mp4", look="still", tone=True).read_bytes(),
    }


def verdict(path: Path) -> str:
    """Return what a clip's file is turned down for, and by whom; empty for a good one."""
    data = path.read_bytes()
    try:
        facts = walk(lambda offset, size: data[offset : offset + size], len(data))
    except BrokenClip as broken:
        return f"walk: {broken}"
    seen = decode(SystemFiles(), path, lambda: 0.0)
    judged = judge(STRICT, {**facts.to_json(), "decoded": seen.to_json()}, len(data))
    return "" if judged.accepted else f"decoding: {' '.join(judged.reasons)}"


def media(data: bytes) -> int:
    return data.index(b"mdat") + 4


def share(data: bytes, percent: int) -> bytes:
    return data[: len(data) * percent // 100]


def zeros_at_the_end(data: bytes) -> bytes:
    middle = (media(data) + len(data)) // 2
    return data[:middle] + bytes(len(data) - middle)


def flipped(data: bytes, places: int) -> bytes:
    rng = random.Random(7)
    first, broken = media(data), bytearray(data)
    for _ in range(places):
        broken[rng.randrange(first, len(data))] ^= 0xFF
    return bytes(broken)


def one_flipped(data: bytes, folder: Path) -> bytes:
    """Flip the first byte of the picture, of a few, that leaves no legal stream; one that does looks like a picture."""
    path = folder / "flipped.mp4"
    for place in range(media(data) + 2000, len(data), len(data) // 20):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        if decode(SystemFiles(), path, lambda: 0.0).corrupt:
            return path.read_bytes()
    raise AssertionError("no decoder sees any of them")


PNG = b"\x89PNG\r\n\x1a\n" + bytes(4000)
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm" + bytes(4000)
KINDS: dict[str, tuple[Callable[[Mapping[str, bytes]], bytes], str]] = {
    "zero bytes long": (lambda _: b"", "walk: Not a whole MP4: it is empty"),
    "an HTML page": (lambda _: b"<!DOCTYPE html><title>502</title>", "walk: Not a whole MP4: it is an HTML page"),
    "a JSON answer": (lambda _: b'{"error": "not found"}', "walk: Not a whole MP4: it is a JSON document"),
    "garbage": (lambda _: random.Random(1).randbytes(5000), "walk: Not a whole MP4: it is of no kind that we know"),
    "half, headers last": (lambda c: share(c["headers last"], 50), "walk: Not a whole MP4: mdat ends at"),
    "half, headers first": (lambda c: share(c["headers first"], 50), "walk: Not a whole MP4: mdat ends at"),
    "95 %, headers first": (lambda c: share(c["headers first"], 95), "walk: Not a whole MP4: mdat ends at"),
    "ten bytes short": (lambda c: c["headers first"][:-10], "walk: Not a whole MP4: mdat ends at"),
    "a PNG": (lambda _: PNG, "walk: Not a whole MP4: it is a PNG image"),
    "a WebM": (lambda _: WEBM, "walk: Not a whole MP4: it is a WebM or Matroska video"),
    "sound alone": (
        lambda _: mp4s.minimal(mp4s.track(handler="soun", codec="mp4a")),
        "walk: Not a whole MP4: it has no video track",
    ),
    "zeros at the end": (lambda c: zeros_at_the_end(c["headers first"]), "decoding: "),
    "300 flipped bytes": (lambda c: flipped(c["headers first"], 300), "decoding: "),
    "one flipped byte": (lambda c: c["one flipped"], "decoding: 1 of 48 frames are damaged."),
    "all black": (lambda c: c["black"], "decoding: Its picture is black."),
    "standing still": (lambda c: c["still"], "decoding: Its picture stands still."),
    "silent": (lambda c: c["silent"], "decoding: Its sound track is silent; sound is wanted."),
    "without a sound track": (lambda c: c["no sound"], "decoding: It has no sound track; sound is wanted."),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_broken_file_gets_its_verdict(kind: str, clips: Mapping[str, bytes], tmp_path: Path) -> None:
    make, words = KINDS[kind]
    path = tmp_path / "clip.mp4"
    path.write_bytes(make(clips))
    assert verdict(path).startswith(words), verdict(path)


@pytest.mark.parametrize("kind", ["headers first", "headers last"])
def test_a_good_clip_is_turned_down_for_nothing(kind: str, clips: Mapping[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips[kind])
    assert verdict(path) == ""


def test_black_stands_still_too_and_neither_is_a_damage(clips: Mapping[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips["black"])
    seen = decode(SystemFiles(), path, lambda: 0.0)
    assert (seen.is_black, seen.is_frozen, seen.silent) == (True, True, False)
    assert seen.problems(48) == ()
