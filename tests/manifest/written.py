"""What several test files of this room write and read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pipeline.manifest.feed import Feed, Refused
from pipeline.manifest.load import PartReader
from pipeline.manifest.validate import read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.manifest.model import Place

HEAD = "version: 1\nname: reef\nprovider: modelmax\nmodel: veo-3\n"


def clip(*lines: str) -> str:
    """A manifest of one entry, with further lines in it; the first of them is line 8."""
    return HEAD + "clips:\n  - id: turtle\n    prompt: A turtle\n" + "".join(f"    {line}\n" for line in lines)


def told(folder: Path, text: str | bytes) -> list[str]:
    """Every problem of a manifest, without the name of the folder."""
    path = folder / "m.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    _, problems = read_manifest(path)
    return [str(problem).replace(f"{folder}/", "") for problem in problems]


def read(text: str | bytes, *, pure: bool = False) -> tuple[dict[str, Any], list[tuple[Place | None, str]]]:
    """The values of a text, entries under `clips`, and what was wrong, by the reader alone."""
    values: dict[str, Any] = {}
    wrong: list[tuple[Place | None, str]] = []
    feed = Feed(io.BytesIO(text.encode() if isinstance(text, str) else text))
    try:
        for part in PartReader(feed, lambda place, message: wrong.append((place, message)), pure=pure).parts():
            if len(part.pointer) == 1:
                values[str(part.pointer[0])] = part.value
            else:
                values.setdefault("clips", []).append(part.value)
    except Refused as refused:
        wrong.append((refused.place, refused.message))
    return values, wrong
