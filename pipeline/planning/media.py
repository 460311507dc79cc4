"""What a file is, told from its first bytes and never from its name.

Accepted are the kinds that the providers take: PNG, JPEG and WebP images; WAV and MP3 audio; MP4, MOV and WebM video;
PDF documents (Venice OpenAPI, /video/queue). What is recognised beyond them is recognised for the refusal to name it.
"""

from __future__ import annotations

HEAD_BYTES = 64
"""How many first bytes are enough."""

ACCEPTED = {
    "image": ("image/png", "image/jpeg", "image/webp"),
    "audio": ("audio/wav", "audio/mpeg"),
    "video": ("video/mp4", "video/quicktime", "video/webm"),
    "document": ("application/pdf",),
}
"""Media types by kind."""

WANTED = {
    "image": "a PNG, JPEG or WebP image",
    "audio": "a WAV or MP3 file",
    "video": "an MP4, MOV or WebM video",
    "document": "a PDF document",
}
"""The kinds in words."""

SAME = {
    "image/jpg": "image/jpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
}
"""Other spellings of a media type in data URLs."""

_STILL_BRANDS = {b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"}
_OLD_QUICKTIME = {b"moov", b"mdat", b"wide", b"pnot"}


def media_type(head: bytes) -> str | None:
    """Return the media type that the first bytes show; None for none that is known."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF"):
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _of_brand(head[8:12])
    if head[4:8] in _OLD_QUICKTIME:
        return "video/quicktime"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:HEAD_BYTES] else "video/x-matroska"
    if head.startswith(b"ID3") or _is_mp3_frame(head):
        return "audio/mpeg"
    return None


def _of_brand(brand: bytes) -> str:
    if brand in _STILL_BRANDS:
        return "image/heic"
    if brand.startswith(b"M4A"):
        return "audio/mp4"
    return "video/quicktime" if brand == b"qt  " else "video/mp4"


def _is_mp3_frame(head: bytes) -> bool:
    """An MPEG audio frame: 11 bits of sync, layer III, a bit rate and a sample rate that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer, rate, frequency = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer == 1 and rate not in {0, 15} and frequency != 3
