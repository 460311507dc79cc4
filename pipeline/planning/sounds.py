"""How long a WAV or an MP3 lasts, from its bytes (RIFF WAVE; ISO/IEC 11172-3 and 13818-3, layer III)."""

from __future__ import annotations

import struct

RATES_KBPS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Of layer III by whether the frame is MPEG-1, for the rate indices 1 to 14."""
SAMPLES_PER_S = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the two bits that say which MPEG: 1, 2, 2.5."""

SEARCHED_BYTES = 1 << 16
"""How far into a file its first frame is looked for; behind a tag that states its size it is the next thing."""


def wav_s(data: bytes) -> float | None:
    """Return the seconds of a WAV; None where its chunks do not tell."""
    at, bytes_per_s = 12, 0
    while at + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        body = at + 8
        if kind == b"fmt ":
            (bytes_per_s,) = struct.unpack("<I", data[body + 8 : body + 12])
        elif kind == b"data":
            there = min(size, len(data) - body)  # a recorder that was cut off leaves the size open
            return there / bytes_per_s if bytes_per_s else None
        at = body + size + size % 2
    return None


def mp3_s(data: bytes) -> float | None:
    """Return the seconds of an MP3, its frames counted one by one; None where there is no frame."""
    at, seconds = _after_tag(data), 0.0
    while at + 4 <= len(data):
        frame = _frame(data[at : at + 4])
        if frame is None:
            if seconds or at > SEARCHED_BYTES:
                break  # tags at the end, or no sound at all
            at += 1
            continue
        size_bytes, frame_s = frame
        at += size_bytes
        seconds += frame_s
    return seconds or None


def _after_tag(data: bytes) -> int:
    """Return where the sound begins, behind an ID3v2 tag, whose size is written in 7 bits a byte."""
    if not data.startswith(b"ID3") or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if data[5] & 0x10 else 0)


def _frame(head: bytes) -> tuple[int, float] | None:
    """Return a frame's size in bytes and its length in seconds; None where these four bytes begin none."""
    version, layer, rate, frequency = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or version == 1 or layer != 1 or rate in {0, 15} or frequency == 3:
        return None
    samples = 1152 if version == 3 else 576
    samples_per_s = SAMPLES_PER_S[version][frequency]
    padding = head[2] >> 1 & 1
    size_bytes = samples // 8 * RATES_KBPS[version == 3][rate - 1] * 1000 // samples_per_s + padding
    return size_bytes, samples / samples_per_s
