"""What a body is that is no MP4, judged by its first bytes.

Portals, gateways and vendors answer with pages, JSON and pictures under `video/mp4`; naming what came is half the cure.
The first bytes come in, a few words for people come out. Text from outside is escaped before it can reach a terminal.
"""

from __future__ import annotations

from pipeline.clips.boxes import broken

EXCERPT_BYTES = 200
"""How much of a disguised body is shown, and so how much is waited for."""

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1aE\xdf\xa3": "a WebM or Matroska video",
    b"RIFF": "a RIFF file (AVI, WAV or WebP)",
    b"\x1f\x8b": "gzip-compressed data",
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF-": "a PDF document",
}


def refuse_disguise(first: bytes) -> None:
    """Raise `BrokenClip` unless the file begins with a `ftyp` box, naming what it is instead.

    `first` is the beginning of the file, up to `EXCERPT_BYTES`; shorter only where the file is.
    """
    if first[4:8] == b"ftyp":
        return
    if not first:
        raise broken("it is empty")
    raise broken(f"it is {_name(first)}; it begins: {excerpt(first)}")


def excerpt(data: bytes) -> str:
    """Return the first bytes as text on one line, control and direction characters escaped."""
    text = data[:EXCERPT_BYTES].decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def _name(first: bytes) -> str:
    for signature, name in SIGNATURES.items():
        if first.startswith(signature):
            return name
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page"
    if text.startswith((b"<?xml", b"<")):
        return "an XML document"
    if text.startswith((b"{", b"[")):
        return "a JSON document"
    if not first.strip(b"\0"):
        return "nothing but zero bytes"
    kind = first[4:8]
    if len(kind) == 4 and kind.isalnum() and int.from_bytes(first[:4], "big") >= 8:
        return f"a file whose first box is {kind.decode('ascii')}, not ftyp"
    return "of no kind that we know"
