from __future__ import annotations

import random
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.clips.mp4 import walk
from pipeline.clips.probe import DecodeFacts, can_decode, decode
from pipeline.errors import BrokenClip
from pipeline.system.files import SystemFiles
from tests.support import mp4s
from tests.support.memory_files import MemoryFiles

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("av", reason="the full decode is PyAV's")

CLIP = Path("/clips/x.mp4")


def decode_bytes(data: bytes, monotonic: Callable[[], float] = lambda: 0.0, limit_s: float = 300.0) -> DecodeFacts:
    files = MemoryFiles()
    files.plant(CLIP, data)
    return decode(files, CLIP, monotonic, limit_s)


def problems(data: bytes) -> tuple[str, ...]:
    return decode_bytes(data).problems(walk(lambda offset, size: data[offset : offset + size], len(data)).frames)


def media_data(data: bytes) -> int:
    """Where the bytes of `mdat` begin."""
    return data.index(b"mdat") + 4


def test_a_sound_clip_decodes_to_its_last_frame(real_clip: Path) -> None:
    assert can_decode()
    assert decode(SystemFiles(), real_clip, lambda: 0.0) == DecodeFacts(frames=48, corrupt=0, silent=True)
    assert problems(real_clip.read_bytes()) == ()


def test_a_tail_of_zeros_that_the_walk_lets_pass_is_seen(real_clip: Path) -> None:
    data = real_clip.read_bytes()
    start = media_data(data)
    middle = (start + len(data)) // 2
    assert problems(data[:middle] + bytes(len(data) - middle))


def test_flipped_bytes_that_the_walk_lets_pass_are_seen(real_clip: Path) -> None:
    data = bytearray(real_clip.read_bytes())
    rng = random.Random(7)
    for _ in range(300):
        data[rng.randrange(media_data(bytes(data)), len(data))] ^= 0xFF
    assert problems(bytes(data))


def test_a_cut_clip_yields_fewer_frames_than_it_states(real_clip: Path) -> None:
    data = real_clip.read_bytes()
    facts = walk(lambda offset, size: data[offset : offset + size], len(data))
    cut = data[: len(data) * 3 // 4]
    with pytest.raises(BrokenClip):
        walk(lambda offset, size: cut[offset : offset + size], len(cut))
    assert decode_bytes(cut).problems(facts.frames)


def test_a_file_without_pictures_says_so() -> None:
    decoded = decode_bytes(mp4s.minimal(mp4s.track(handler="soun", codec="mp4a")))
    assert decoded == DecodeFacts(frames=0, corrupt=0, stopped_because="it has no video track")


def test_most_single_flipped_bytes_damage_a_picture_without_stopping_the_decoder(real_clip: Path) -> None:
    whole = real_clip.read_bytes()
    verdicts: list[DecodeFacts] = []
    for place in range(media_data(whole) + 2_000, len(whole), len(whole) // 20):
        data = bytearray(whole)
        data[place] ^= 0xFF
        verdicts.append(decode_bytes(bytes(data)))
    damaged = [verdict for verdict in verdicts if (verdict.frames, verdict.corrupt) == (48, 1)]
    assert len(damaged) > len(verdicts) / 2


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"YUV4MPEG2 W16 H16 F24:1 Ip A1:1 C420\nFRAME\n" + bytes(384), id="raw video"),
        pytest.param(b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/hostname\n", id="a playlist"),
    ],
)
def test_no_format_but_mp4_is_ever_tried(data: bytes) -> None:
    decoded = decode_bytes(data)
    assert decoded.frames == 0
    assert decoded.stopped_because


def test_a_decode_that_takes_too_long_stops_between_frames(real_clip: Path) -> None:
    ticks = count()
    decoded = decode_bytes(real_clip.read_bytes(), monotonic=lambda: float(next(ticks)), limit_s=10)
    assert (decoded.frames, decoded.stopped_because) == (11, "it took over 10 s")


def test_problems_are_told_in_sentences() -> None:
    facts = walk(lambda offset, size: mp4s.minimal()[offset : offset + size], len(mp4s.minimal()))
    assert DecodeFacts(frames=48, corrupt=0).problems(facts.frames) == ()
    assert DecodeFacts(frames=40, corrupt=2).problems(facts.frames) == (
        "Only 40 of 48 frames could be decoded.",
        "2 of 40 frames are damaged.",
    )
    assert DecodeFacts(frames=9, corrupt=0, stopped_because="Invalid data").problems(facts.frames) == (
        "Decoding stopped after 9 of 48 frames: Invalid data.",
    )


def test_a_file_that_cannot_be_read_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(SystemFiles(), tmp_path / "none.mp4", lambda: 0.0)


def test_importing_the_room_does_not_import_the_decoder() -> None:
    code = "import sys, pipeline.clips.probe, pipeline.clips.download; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
