"""How large a picture is and how long a sound or a clip lasts, as far as the file's own headers say.

A file that is not understood is measured as unknown and let through: the vendor judges it. Sources: PNG 1.2 (IHDR),
ITU-T T.81 (JPEG frame headers), the WebP container, RIFF WAVE, ISO/IEC 11172-3 (MPEG audio frames), ISO/IEC 14496-12
(MP4), the Matroska element tables (WebM).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from pipeline.clips.boxes import Reader
from pipeline.clips.tracks import VIDEO, read_movie
from pipeline.errors import BrokenClip
from pipeline.planning.sounds import mp3_s, wav_s

if TYPE_CHECKING:
    from collections.abc import Iterator

MATROSKA_HEAD_BYTES = 1 << 16
"""Where a WebM's `Info` is looked for; writers put it first."""
SEGMENT, INFO, SCALE, DURATION = 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489
NANOSECONDS = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """What a file's headers say; None for what they do not."""

    width: int | None = None
    height: int | None = None
    duration_s: float | None = None


UNKNOWN = Measures()


def measure(stream: BinaryIO, media_type: str, size_bytes: int) -> Measures:
    """Return the measures of a file of a known media type, unknown where it is broken. The stream is left anywhere."""
    try:
        match media_type:
            case "image/png" | "image/jpeg" | "image/webp":
                stream.seek(0)
                width, height = {"image/png": _png, "image/jpeg": _jpeg, "image/webp": _webp}[media_type](stream)
                return Measures(width=width, height=height)
            case "audio/wav" | "audio/mpeg":
                stream.seek(0)
                return Measures(duration_s=(wav_s if media_type == "audio/wav" else mp3_s)(stream.read()))
            case "video/mp4" | "video/quicktime":
                return _movie(stream, size_bytes)
            case "video/webm":
                stream.seek(0)
                return Measures(duration_s=_webm_s(stream.read(MATROSKA_HEAD_BYTES)))
    except (BrokenClip, struct.error, ValueError, IndexError, EOFError, ZeroDivisionError):
        pass  # a broken file is measured as unknown
    return UNKNOWN


def _png(stream: BinaryIO) -> tuple[int, int]:
    width, height = struct.unpack(">II", stream.read(24)[16:])
    return width, height


def _jpeg(stream: BinaryIO) -> tuple[int, int]:
    stream.seek(2)
    while True:
        marker = stream.read(1)
        while marker == b"\xff":  # fill bytes may stand before a marker
            marker = stream.read(1)
        if not marker:
            raise EOFError
        code = marker[0]
        if code in {0x01, *range(0xD0, 0xD9)}:  # without a length
            stream.read(1)
            continue
        (length,) = struct.unpack(">H", stream.read(2))
        if 0xC0 <= code <= 0xCF and code not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">xHH", stream.read(5))
            return width, height
        stream.seek(length - 2, 1)
        if stream.read(1) != b"\xff":
            raise ValueError("no marker where one must be")


def _webp(stream: BinaryIO) -> tuple[int, int]:
    head = stream.read(30)
    match head[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack("<HH", head[26:30])
            return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no WebP of a known kind")


def _movie(stream: BinaryIO, size_bytes: int) -> Measures:
    def read(offset: int, size: int) -> bytes:
        stream.seek(offset)
        return stream.read(size)

    reader = Reader(read, size_bytes)
    moov = next((box for box in reader.boxes(0, size_bytes) if box.kind == "moov"), None)
    if moov is None:
        return UNKNOWN
    movie = read_movie(reader, moov)
    track = movie.first(VIDEO)
    return Measures(
        width=track.width or None if track else None,
        height=track.height or None if track else None,
        duration_s=movie.duration_s or None,
    )


def _webm_s(head: bytes) -> float | None:
    segment = next((body for code, body in _elements(head) if code == SEGMENT), b"")
    info = next((body for code, body in _elements(segment) if code == INFO), b"")
    found = dict(_elements(info))
    if DURATION not in found:
        return None
    (ticks,) = struct.unpack(">d" if len(found[DURATION]) == 8 else ">f", found[DURATION])
    return float(ticks) * int.from_bytes(found.get(SCALE, b"\x0f\x42\x40"), "big") / NANOSECONDS


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of one level, each its code and as much of its body as there is."""
    at = 0
    while at < len(data):
        code_bytes = 9 - data[at].bit_length()
        code = int.from_bytes(data[at : at + code_bytes], "big")
        at += code_bytes
        size_bytes = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + size_bytes], "big") & (1 << 7 * size_bytes) - 1
        at += size_bytes
        if size == (1 << 7 * size_bytes) - 1:  # all ones: to the end of what is around it
            size = len(data) - at
        yield code, data[at : at + size]
        at += size
