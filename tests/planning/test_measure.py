"""Pictures, sounds and clips measured by their headers; real encoders write the files where they are installed."""

from __future__ import annotations

import io
import struct
import wave
from typing import TYPE_CHECKING

import pytest

from pipeline.planning.measure import UNKNOWN, Measures, measure
from tests.planning.fakes import png

if TYPE_CHECKING:
    from pathlib import Path


def measured(data: bytes, media_type: str) -> Measures:
    return measure(io.BytesIO(data), media_type, len(data))


def wav(seconds: float, *, extra: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0" * int(seconds * 8000) * 4)
    data = buffer.getvalue()
    return data[:36] + extra + data[36:]


def mp3(frames: int, *, tag: bytes = b"", tail: bytes = b"") -> bytes:
    """Frames of MPEG-1 layer III, 128 kbit/s at 44.1 kHz: 417 bytes and 1152 samples each."""
    return tag + (b"\xff\xfb\x90\x64" + b"\0" * 413) * frames + tail


ID3 = b"ID3\x04\0\0" + bytes((0, 0, 1, 2)) + b"\xff\xfb\x90\x64" + b"\0" * 126
EXIF = b"\xff\xe1" + struct.pack(">H", 12) + b"Exif\0\0\xff\xd8\xff\xc0"
JPEG = b"\xff\xd8" + EXIF + b"\xff\xff\xc2" + struct.pack(">HBHH", 17, 8, 480, 640) + b"\0" * 10
WEBP = b"RIFF\0\0\0\0WEBP"
LOSSY = WEBP + b"VP8 " + b"\0" * 7 + b"\x9d\x01\x2a" + struct.pack("<HH", 640 | 0x4000, 480)
LOSSLESS = WEBP + b"VP8L" + b"\0" * 4 + b"\x2f" + struct.pack("<I", 639 | 479 << 14)
EXTENDED = WEBP + b"VP8X" + b"\0" * 8 + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
EBML = b"\x1a\x45\xdf\xa3\x84webm"
INFO = b"\x15\x49\xa9\x66\x92" + b"\x2a\xd7\xb1\x83\x0f\x42\x40" + b"\x44\x89\x88" + struct.pack(">d", 2500.0)
WEBM = EBML + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + b"\xec\x81\0" + INFO + b"\x1f\x43\xb6\x75\xff"


@pytest.mark.parametrize(
    ("data", "media_type", "size"),
    [
        (png(), "image/png", (1, 1)),
        (JPEG, "image/jpeg", (640, 480)),
        (LOSSY, "image/webp", (640, 480)),
        (LOSSLESS, "image/webp", (640, 480)),
        (EXTENDED, "image/webp", (640, 480)),
    ],
)
def test_a_picture_has_its_size(data: bytes, media_type: str, size: tuple[int, int]) -> None:
    found = measured(data, media_type)
    assert (found.width, found.height) == size


@pytest.mark.parametrize(
    ("data", "media_type", "seconds"),
    [
        (wav(1.5), "audio/wav", 1.5),
        (wav(1.5, extra=b"LIST\x03\0\0\0abc\0"), "audio/wav", 1.5),
        (mp3(100), "audio/mpeg", 100 * 1152 / 44_100),
        (mp3(100, tag=ID3), "audio/mpeg", 100 * 1152 / 44_100),
        (mp3(100, tail=b"TAG" + b"\0" * 125), "audio/mpeg", 100 * 1152 / 44_100),
        (mp3(1) + (b"\xff\xf3\x90\x64" + b"\0" * 257) * 2, "audio/mpeg", 1152 / 44_100 + 2 * 576 / 22_050),
        (WEBM, "video/webm", 2.5),
    ],
)
def test_a_sound_or_a_clip_has_its_length(data: bytes, media_type: str, seconds: float) -> None:
    assert measured(data, media_type).duration_s == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (png()[:20], "image/png"),
        (JPEG[:20], "image/jpeg"),
        (b"\xff\xd8\xff\xe0\0\x04ab" + b"cd", "image/jpeg"),
        (WEBP + b"VP8 ", "image/webp"),
        (WEBP + b"ABCD" + b"\0" * 20, "image/webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "audio/wav"),
        (b"RIFF\x10\0\0\0WAVEdata\x04\0\0\0abcd", "audio/wav"),
        (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg"),
        (b"\0" * 100_000, "audio/mpeg"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "video/mp4"),
        (b"\0\0\0\x08ftyp", "video/mp4"),
        (EBML, "video/webm"),
        (WEBM[:30], "video/webm"),
        (b"", "video/webm"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_what_is_not_understood_is_unknown_and_no_error(data: bytes, media_type: str) -> None:
    assert measured(data, media_type) == UNKNOWN


@pytest.mark.parametrize(("suffix", "media_type"), [("png", "png"), ("jpg", "jpeg"), ("webp", "webp")])
def test_a_picture_of_a_real_encoder_is_measured(tmp_path: Path, suffix: str, media_type: str) -> None:
    image = pytest.importorskip("PIL.Image", reason="pictures are written with Pillow")
    path = tmp_path / f"a.{suffix}"
    image.new("RGB", (321, 123), "teal").save(path)
    assert measured(path.read_bytes(), f"image/{media_type}") == Measures(width=321, height=123)


@pytest.mark.parametrize(
    ("name", "codec", "media_type"),
    [("a.mp4", "libx264", "video/mp4"), ("a.mov", "libx264", "video/quicktime"), ("a.webm", "libvpx", "video/webm")],
)
def test_a_clip_of_a_real_encoder_is_measured(tmp_path: Path, name: str, codec: str, media_type: str) -> None:
    av = pytest.importorskip("av", reason="clips are written with PyAV")
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(25):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    found = measured(path.read_bytes(), media_type)
    assert found.duration_s == pytest.approx(2.5, abs=0.11)
    assert media_type == "video/webm" or (found.width, found.height) == (64, 48)


def test_a_sound_of_a_real_encoder_is_measured(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="sounds are written with PyAV")
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44_100, layout="mono")
        frame = av.AudioFrame(format="s16p", layout="mono", samples=44_100)
        frame.sample_rate = 44_100
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for _ in range(3):
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert measured(path.read_bytes(), "audio/mpeg").duration_s == pytest.approx(3.0, abs=0.1)
