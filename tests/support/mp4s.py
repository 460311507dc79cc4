"""MP4s for tests: minimal ones built box by box, whose every byte is known, and real ones encoded by PyAV."""

from __future__ import annotations

import struct
from fractions import Fraction
from math import sin
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def box(kind: str, *payload: bytes) -> bytes:
    """Return one box with a 32-bit size."""
    body = b"".join(payload)
    return struct.pack(">I4s", 8 + len(body), kind.encode("latin-1")) + body


def large_box(kind: str, *payload: bytes) -> bytes:
    """Return one box with a 64-bit size."""
    body = b"".join(payload)
    return struct.pack(">I4sQ", 1, kind.encode("latin-1"), 16 + len(body)) + body


def open_box(kind: str, *payload: bytes) -> bytes:
    """Return a last box that leaves its size open."""
    return struct.pack(">I4s", 0, kind.encode("latin-1")) + b"".join(payload)


def full_box(kind: str, *payload: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return one box with version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *payload)


def integers(*values: int) -> bytes:
    """Return 32-bit big-endian integers."""
    return struct.pack(f">{len(values)}I", *values)


FTYP = box("ftyp", b"isom", integers(512), b"isomiso2avc1mp41")
UPRIGHT = integers(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
QUARTER_TURN = integers(0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000)


def track(
    *,
    track_id: int = 1,
    handler: str = "vide",
    codec: str = "avc1",
    samples: int = 48,
    sample_ticks: int = 512,
    timescale: int = 12288,
    width: int = 1280,
    height: int = 720,
    matrix: bytes = UPRIGHT,
    entry_size: tuple[int, int] | None = None,
    wide: bool = False,
) -> bytes:
    """Return a `trak`. `wide` uses the version-1 headers; `entry_size` overrides the size in the sample entry."""
    ticks = samples * sample_ticks
    entry_width, entry_height = entry_size or (width, height)
    visual = bytes(24) + struct.pack(">HH", entry_width, entry_height) + bytes(50)
    entry = box(codec, visual if handler == "vide" else bytes(28))
    if wide:
        tkhd_times = struct.pack(">QQIIQ", 0, 0, track_id, 0, ticks)
        mdhd_times = struct.pack(">QQIQ", 0, 0, timescale, ticks)
    else:
        tkhd_times = integers(0, 0, track_id, 0, ticks)
        mdhd_times = integers(0, 0, timescale, ticks)
    version = 1 if wide else 0
    table = box(
        "stbl",
        full_box("stsd", integers(1), entry),
        full_box("stts", integers(1, samples, sample_ticks) if samples else integers(0)),
        full_box("stsz", integers(0, samples), integers(*[4] * samples)),
    )
    return box(
        "trak",
        full_box("tkhd", tkhd_times, bytes(16), matrix, integers(width << 16, height << 16), version=version, flags=3),
        box(
            "mdia",
            full_box("mdhd", mdhd_times, bytes(4), version=version),
            full_box("hdlr", integers(0), handler.encode(), bytes(13)),
            box("minf", table),
        ),
    )


def movie(*tracks: bytes, timescale: int = 1000, ticks: int = 2000, extends: bytes = b"") -> bytes:
    """Return a `moov`."""
    return box("moov", full_box("mvhd", integers(0, 0, timescale, ticks), bytes(80)), *tracks, extends)


def minimal(
    *tracks: bytes,
    data: bytes = bytes(range(256)) * 4,
    moov_first: bool = True,
    large: bool = False,
    open_end: bool = False,
) -> bytes:
    """Return a whole MP4 of 2 s, 1280x720, 24 fps, no sound; `tracks` replace its one track."""
    moov = movie(*(tracks or (track(),)))
    mdat = (large_box if large else open_box if open_end else box)("mdat", data)
    return FTYP + (moov + mdat if moov_first else mdat + moov)


def fragment(
    number: int,
    *,
    track_id: int = 1,
    samples: int = 24,
    sample_ticks: int | None = None,
    row_ticks: int | None = None,
    start: int | None = None,
    data: bytes = bytes(256),
) -> bytes:
    """Return a `moof` and its `mdat`; durations from `trex`, from `tfhd` (`sample_ticks`) or from each row.

    `start` puts the decode time into a `tfdt`.
    """
    tfdt = b"" if start is None else full_box("tfdt", struct.pack(">Q", start), version=1)
    tfhd = (
        full_box("tfhd", integers(track_id), flags=0x020000)
        if sample_ticks is None
        else full_box("tfhd", integers(track_id, 1, sample_ticks), flags=0x02000A)
    )
    if row_ticks is None:
        trun = full_box("trun", integers(samples, 0), flags=0x1)
    else:
        rows = b"".join(integers(row_ticks, 4) for _ in range(samples))
        trun = full_box("trun", integers(samples, 0), rows, flags=0x301)
    moof = box("moof", full_box("mfhd", integers(number)), box("traf", tfhd, tfdt, trun))
    return moof + box("mdat", data)


TREX = box("mvex", full_box("trex", integers(1, 1, 512, 0, 0)))
"""Says that the movie goes on in fragments, and how long a sample lasts there."""


def fragmented(*fragments: bytes, index: bool = False) -> bytes:
    """Return a fragmented MP4, by default two fragments of 1 s each; `index` puts a `sidx` before them."""
    parts = fragments or (fragment(1), fragment(2))
    moov = movie(track(samples=0), ticks=0, extends=TREX)
    rows = b"".join(integers(len(part), 12288, 0) for part in parts)
    sidx = full_box("sidx", integers(1, 12288, 0, 0), struct.pack(">HH", 0, len(parts)), rows) if index else b""
    return FTYP + moov + sidx + b"".join(parts)


def encode(
    path: Path,
    *,
    seconds: int = 2,
    width: int = 320,
    height: int = 180,
    fps: int = 24,
    audio: bool = True,
    codec: str = "libx264",
    movflags: str = "+faststart",
    look: str = "moving",
    tone: bool = False,
) -> Path:
    """Encode a real clip with PyAV: a picture that moves in every frame, and a silent AAC track.

    `look` may be "black" or "still" instead; with `tone` there is something to hear.
    """
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": movflags} if movflags else {}) as container:
        video = container.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="mono") if audio else None
        for count in range(seconds * fps):
            number = count if look == "moving" else 40
            picture = av.VideoFrame(width, height, "yuv420p")
            for place, plane in enumerate(picture.planes if look == "black" else ()):
                plane.update(bytes([128 if place else 16]) * plane.buffer_size)
            for plane in picture.planes if look != "black" else ():
                ramp = bytes((number * 3 + place) % 256 for place in range(plane.line_size + plane.height))
                square = range(number, number + plane.height // 3)
                plane.update(
                    b"".join(
                        ramp[row : row + number] + bytes(40) + ramp[row + number + 40 : row + plane.line_size]
                        if row in square
                        else ramp[row : row + plane.line_size]
                        for row in range(plane.height)
                    )
                )
            picture.pts, picture.time_base = count, Fraction(1, fps)
            container.mux(video.encode(picture))
        container.mux(video.encode())
        if sound is not None:
            for number in range(seconds * 48000 // 1024):
                samples = av.AudioFrame(format="fltp", layout="mono", samples=1024)
                heard = struct.pack("<1024f", *(0.2 * sin(place / 8) for place in range(1024))) if tone else bytes(4096)
                samples.planes[0].update(heard)
                samples.pts, samples.rate = number * 1024, 48000
                container.mux(sound.encode(samples))
            container.mux(sound.encode())
    return path
