from __future__ import annotations

import json
import shutil
import struct
import subprocess
import time
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.clips.boxes import BOXES_MAX
from pipeline.clips.mp4 import ClipFacts, walk
from pipeline.errors import BrokenClip
from tests.support import mp4s

if TYPE_CHECKING:
    from pathlib import Path


def walk_bytes(data: bytes) -> ClipFacts:
    return walk(lambda offset, size: data[offset : offset + size], len(data))


def why_broken(data: bytes) -> str:
    with pytest.raises(BrokenClip) as caught:
        walk_bytes(data)
    return str(caught.value)


def verdict_of(data: bytes) -> ClipFacts | BrokenClip:
    try:
        return walk_bytes(data)
    except BrokenClip as error:
        return error


PLAIN = ClipFacts(
    duration_s=2.0, width=1280, height=720, fps=24.0, frames=48, codec="avc1", has_audio=False, fragmented=False
)
FRAGMENTED = ClipFacts(
    duration_s=2.0, width=1280, height=720, fps=24.0, frames=48, codec="avc1", has_audio=False, fragmented=True
)
SOUND = mp4s.track(track_id=2, handler="soun", codec="mp4a", samples=94, sample_ticks=1024, timescale=48000)
WHOLE = {
    "headers first": mp4s.minimal(),
    "headers last": mp4s.minimal(moov_first=False),
    "64-bit mdat": mp4s.minimal(large=True),
    "version-1 headers": mp4s.minimal(mp4s.track(wide=True)),
    "indexed fragments": mp4s.fragmented(index=True),
}
"""Of these no beginning is whole."""


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_tells_its_facts(kind: str) -> None:
    assert walk_bytes(WHOLE[kind]) == (FRAGMENTED if kind == "indexed fragments" else PLAIN)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_at_any_byte_is_broken(kind: str) -> None:
    for size in range(len(WHOLE[kind])):
        why_broken(WHOLE[kind][:size])


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_with_a_few_bytes_too_many_is_broken(kind: str) -> None:
    assert "are no box" in why_broken(WHOLE[kind] + b"\n")
    assert "are no box" in why_broken(WHOLE[kind] + bytes(512))


def test_a_last_box_of_open_size_reaches_to_the_end() -> None:
    assert walk_bytes(mp4s.minimal(open_end=True)) == PLAIN


def test_unknown_boxes_at_the_top_are_passed_over() -> None:
    data = mp4s.minimal()
    extra = mp4s.box("free", bytes(9)) + mp4s.box("uuid", bytes(40)) + mp4s.large_box("wide")
    assert walk_bytes(mp4s.FTYP + extra + data[len(mp4s.FTYP) :] + extra) == PLAIN


def test_sound_counts_only_with_something_in_it() -> None:
    silent = mp4s.track(track_id=2, handler="soun", codec="mp4a", samples=0)
    assert walk_bytes(mp4s.minimal(mp4s.track(), SOUND)).has_audio
    assert not walk_bytes(mp4s.minimal(mp4s.track(), silent)).has_audio


def test_the_picture_counts_even_where_sound_comes_first_and_lasts_longer() -> None:
    facts = walk_bytes(mp4s.minimal(SOUND, mp4s.track(codec="av01", sample_ticks=256)))
    assert (facts.codec, facts.duration_s, facts.fps, facts.has_audio) == ("av01", 1.0, 48.0, True)


def test_a_quarter_turn_in_the_header_swaps_width_and_height() -> None:
    facts = walk_bytes(mp4s.minimal(mp4s.track(matrix=mp4s.QUARTER_TURN)))
    assert (facts.width, facts.height) == (720, 1280)


def test_a_sample_entry_without_a_size_leaves_it_to_the_track_header() -> None:
    assert walk_bytes(mp4s.minimal(mp4s.track(entry_size=(0, 0)))) == PLAIN


@pytest.mark.parametrize(
    "fragments",
    [
        pytest.param((mp4s.fragment(1), mp4s.fragment(2)), id="durations from trex"),
        pytest.param((mp4s.fragment(1, sample_ticks=512), mp4s.fragment(2, sample_ticks=512)), id="from tfhd"),
        pytest.param((mp4s.fragment(1, row_ticks=512), mp4s.fragment(2, row_ticks=512)), id="from each row"),
        pytest.param((mp4s.fragment(1, start=0), mp4s.fragment(2, start=12288)), id="with decode times"),
        pytest.param((mp4s.fragment(1, start=90_000), mp4s.fragment(2, start=102_288)), id="cut out of a stream"),
    ],
)
def test_fragments_add_up(fragments: tuple[bytes, ...]) -> None:
    assert walk_bytes(mp4s.fragmented(*fragments)) == FRAGMENTED


def test_a_gap_between_fragments_counts_as_time() -> None:
    facts = walk_bytes(mp4s.fragmented(mp4s.fragment(1, start=0), mp4s.fragment(2, start=2 * 12288)))
    assert (facts.duration_s, facts.frames) == (3.0, 48)


def test_fragments_behind_samples_in_the_header_add_to_them() -> None:
    moov = mp4s.movie(mp4s.track(samples=24), extends=mp4s.TREX)
    facts = walk_bytes(mp4s.FTYP + moov + mp4s.box("mdat", bytes(100)) + mp4s.fragment(1))
    assert facts == FRAGMENTED


def test_fragments_of_other_tracks_do_not_lengthen_the_picture() -> None:
    moov = mp4s.movie(mp4s.track(samples=0), SOUND, extends=mp4s.TREX)
    facts = walk_bytes(mp4s.FTYP + moov + mp4s.fragment(1) + mp4s.fragment(2, track_id=2, samples=999, sample_ticks=9))
    assert (facts.duration_s, facts.frames, facts.has_audio) == (1.0, 24, True)


def test_fragments_that_state_no_duration_take_the_movies() -> None:
    moov = mp4s.movie(mp4s.track(samples=0), ticks=3000)
    assert walk_bytes(mp4s.FTYP + moov + mp4s.fragment(1)).duration_s == 3.0


def test_a_clip_of_unknown_duration_is_whole_and_says_zero() -> None:
    moov = mp4s.movie(mp4s.track(samples=0), ticks=0xFFFF_FFFF)
    facts = walk_bytes(mp4s.FTYP + moov + mp4s.fragment(1))
    assert (facts.duration_s, facts.fps, facts.frames) == (0.0, 0.0, 24)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html><body>Sign in", "it is an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "it is an XML document"),
        (b'{"error": "gone"}', 'it is a JSON document; it begins: {"error": "gone"}'),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "it is a PNG image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "it is a JPEG image"),
        (b"\x1aE\xdf\xa3\x01\x00\x00\x00webm", "it is a WebM or Matroska video"),
        (b"RIFF\x24\x00\x00\x00AVI LIST", "it is a RIFF file"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "it is gzip-compressed data"),
        (bytes(4096), "it is nothing but zero bytes"),
        (mp4s.minimal()[len(mp4s.FTYP) :], "a file whose first box is moov, not ftyp"),
        (b"\x8f\x01\x99\xabq\x17\xf0\x0d\x12", "it is of no kind that we know"),
        (mp4s.FTYP, "it has no moov"),
        (mp4s.FTYP + mp4s.movie(mp4s.track()), "it has no mdat"),
        (mp4s.minimal(data=b""), "it has no mdat with anything in it"),
        (mp4s.minimal(SOUND), "it has no video track"),
        (mp4s.minimal(mp4s.track(samples=0)), "its video track has no frames"),
        (mp4s.minimal(data=bytes(47)), "states 48 frames in 47 bytes"),
        (mp4s.minimal(mp4s.track(timescale=0)), "lacks a codec, a size or a time scale"),
        (mp4s.minimal(mp4s.track(width=0)), "lacks a codec, a size or a time scale"),
        (mp4s.minimal() + mp4s.movie(mp4s.track()), "it has a second moov"),
        (mp4s.FTYP + mp4s.fragment(1), "comes before moov"),
        (mp4s.FTYP + struct.pack(">I4s", 1, b"mdat"), "mdat at 32 is cut within its header"),
        (mp4s.FTYP + struct.pack(">I4sQ", 1, b"mdat", 15), "states 15 bytes, less than its own header"),
        (mp4s.FTYP + struct.pack(">I4s", 7, b"mdat"), "states 7 bytes, less than its own header"),
        (mp4s.FTYP + mp4s.box("moov", struct.pack(">I4s", 99, b"mvhd")), "mvhd ends at 139, moov ends at 48"),
        (mp4s.FTYP + mp4s.box("moov", mp4s.box("mvhd")), "mvhd at 40 is too short"),
        (mp4s.fragmented(mp4s.fragment(1)[:-264]), "the data of the fragment at"),
        (mp4s.fragmented(mp4s.fragment(1)[:-264], mp4s.fragment(2)), "the data of the fragment at"),
        (mp4s.fragmented(index=True)[: -len(mp4s.fragment(2))], "sidx promises bytes up to"),
    ],
)
def test_what_is_no_mp4_is_named(data: bytes, words: str) -> None:
    assert words in why_broken(data)


def test_a_cut_behind_the_headers_is_named_with_both_sizes() -> None:
    data = WHOLE["headers first"]
    assert (
        why_broken(data[:-100]) == f"Not a whole MP4: mdat ends at {len(data)}, the file has {len(data) - 100} bytes."
    )


def test_what_a_disguised_body_says_cannot_reach_the_terminal_raw() -> None:
    text = why_broken(b'{"a": "\x1b]0;owned\x07\r\n[INFO] done \xe2\x80\xae"}')
    assert text.isprintable()
    assert "\\x1b" in text
    assert "\\u202e" in text


def test_a_file_that_shrinks_while_it_is_read_is_broken() -> None:
    data = mp4s.minimal()
    with pytest.raises(BrokenClip, match="shorter than it was"):
        walk(lambda offset, size: data[offset : offset + size][:100], len(data))


@settings(max_examples=400, deadline=1000)
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=8),
)
def test_flipped_bytes_never_hang_or_raise_anything_else(kind: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE[kind])
    for place, mask in flips:
        data[place % len(data)] ^= mask
    verdict = verdict_of(bytes(data))
    if isinstance(verdict, BrokenClip):
        assert str(verdict).isprintable()
    else:
        assert ClipFacts.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict


@settings(max_examples=300, deadline=1000)
@given(st.binary(max_size=300))
@example(b"\0\0\0\0ftyp")
@example(b"\0\0\0\1ftyp\0\0\0\0\0\0\0\0")
def test_random_bytes_are_broken(data: bytes) -> None:
    why_broken(data)
    why_broken(mp4s.FTYP + data)


@settings(max_examples=300, deadline=1000)
@given(
    data=st.binary(max_size=200), parent=st.sampled_from(["moov", "moov trak", "moov trak mdia minf stbl", "moof traf"])
)
def test_random_bytes_inside_a_container_are_broken(data: bytes, parent: str) -> None:
    for kind in reversed(parent.split()):
        data = mp4s.box(kind, data)
    why_broken(mp4s.FTYP + data + mp4s.box("mdat", bytes(8)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.fractions(0, 1))
@example(Fraction(0))
def test_a_real_clip_cut_anywhere_is_broken(real_clip: Path, share: Fraction) -> None:
    data = real_clip.read_bytes()
    why_broken(data[: min(int(share * len(data)), len(data) - 1)])


def hostile(body: bytes) -> bytes:
    return mp4s.FTYP + body + mp4s.box("mdat", bytes(8))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(hostile(mp4s.box("free") * (BOXES_MAX + 1)), "more than", id="boxes without end"),
        pytest.param(hostile(mp4s.movie(mp4s.box("trak") * BOXES_MAX)), "more than", id="tracks without end"),
        pytest.param(
            hostile(mp4s.movie(mp4s.track()).replace(mp4s.integers(1, 48, 512), mp4s.integers(0xFFFF_FFFF, 48, 512))),
            "stts at 439 states 4294967295 rows, more than it holds",
            id="a table of four thousand million rows",
        ),
        pytest.param(
            hostile(mp4s.box("moov", *[mp4s.full_box("mvhd", bytes(96))] * 2) * 2), "second moov", id="headers twice"
        ),
        pytest.param(
            hostile(mp4s.movie(mp4s.track(samples=0)) + mp4s.fragment(1, samples=0xFFFF_FFFF)),
            "states 4294967295 frames in 264 bytes",
            id="frames out of nothing",
        ),
        pytest.param(
            hostile(
                mp4s.movie(mp4s.track(samples=0))
                + b"".join(mp4s.fragment(1, track_id=number, data=b"") for number in range(2, 40_000))
            ),
            "its video track has no frames",
            id="a track for every fragment",
        ),
    ],
)
def test_a_file_made_to_cost_time_or_memory_is_given_up_soon(data: bytes, words: str) -> None:
    began = time.process_time()
    assert words in why_broken(data)
    assert time.process_time() - began < 20


def test_reading_jumps_over_the_media_data() -> None:
    data = mp4s.minimal(data=bytes(20_000_000), moov_first=False)
    read_bytes = 0

    def read(offset: int, size: int) -> bytes:
        nonlocal read_bytes
        read_bytes += size
        return data[offset : offset + size]

    assert walk(read, len(data)) == PLAIN
    assert read_bytes < 200_000


def test_facts_survive_json() -> None:
    assert ClipFacts.from_json(json.loads(json.dumps(PLAIN.to_json()))) == PLAIN
    assert ClipFacts.from_json({**PLAIN.to_json(), "colour": "warm"}) == PLAIN


@pytest.mark.parametrize(
    ("codec", "movflags", "audio", "slack_s"),
    [
        ("libx264", "+faststart", True, 0.001),
        ("libx264", "", False, 0.001),
        ("libx264", "frag_keyframe+empty_moov", True, 0.001),
        ("libx264", "frag_keyframe", True, 0.001),
        ("libx264", "dash+global_sidx", False, 2 / 24),  # from an index, ffprobe adds the delay of the B-frames
        ("libvpx-vp9", "+faststart", True, 0.001),
    ],
)
def test_ffprobe_reads_the_same_facts(tmp_path: Path, codec: str, movflags: str, audio: bool, slack_s: float) -> None:
    pytest.importorskip("av", reason="real clips are encoded with PyAV")
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        pytest.skip("ffprobe, the independent reader, is not installed")
    path = mp4s.encode(tmp_path / "clip.mp4", codec=codec, movflags=movflags, audio=audio)
    said = json.loads(
        subprocess.run(
            [ffprobe, "-v", "error", "-count_frames", "-show_streams", "-of", "json", "--", str(path)],
            check=True,
            capture_output=True,
        ).stdout
    )
    video = next(stream for stream in said["streams"] if stream["codec_type"] == "video")
    facts = walk_bytes(path.read_bytes())
    assert facts.frames == int(video["nb_read_frames"])
    assert (facts.width, facts.height, facts.codec) == (video["width"], video["height"], video["codec_tag_string"])
    assert facts.fps == pytest.approx(float(Fraction(video["avg_frame_rate"])), rel=1e-6)
    assert facts.duration_s == pytest.approx(float(video["duration"]), abs=slack_s)
    assert facts.has_audio == any(stream["codec_type"] == "audio" for stream in said["streams"])
