"""Batches with finished clips to be exported: a real ledger, and files whose bytes are what it says."""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING, Any

from pipeline.dataset.rows import MEANINGS, Row
from pipeline.jobs.state import EventKind
from tests.cli.batches import Item, accepted, make_batch, planned, started

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

E = EventKind
SEEN = {"frames": 192, "corrupt": 0, "stopped_because": "", "sound_damage": "", "black": 0.0, "frozen": 0.0}


def bytes_of(name: str, size: int = 900) -> bytes:
    """Return a clip's bytes; nobody here looks into them."""
    return Random(name).randbytes(size + len(name))


def finished(
    item_id: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    prompt: str = "",
    facts: Mapping[str, Any] | None = None,
    price_usd: float | None = 0.4,
    revision: int = 1,
    clips: int = 1,
    seen: Mapping[str, Any] | None = None,
    fingerprint: str = "f" * 64,
    size: int = 900,
) -> Item:
    """Return an item whose clips are done and decoded."""
    parameters = {"duration_seconds": 8} | ({"sample_count": clips} if clips > 1 else {})
    events: list[tuple[EventKind, Mapping[str, Any]]] = [
        (E.SUBMIT_STARTED, started(price_usd)),
        (E.SUBMIT_ACCEPTED, accepted(f"job-{item_id}-{revision}")),
    ]
    whole = {"duration_s": 8.0, "width": 1280, "height": 720, "fps": 24.0, "has_audio": True, "codec": "avc1"}
    for index in range(clips):
        file = file_of(item_id, index, revision)
        data = bytes_of(file, size)
        stored = {
            "index": index,
            "part": f"clips/.{item_id}.{index}.1.part",
            "file": file,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
            "facts": {**whole, "frames": 192, "fragmented": False, **(facts or {})},
            "warnings": [],
        }
        events += [(E.CLIP_STORED, stored), (E.CLIP_PUBLISHED, {"index": index, "file": file})]
    decoded = {**SEEN, "silent": False, **(seen or {})}
    events += [(E.CLIP_DECODED, {"index": index, "decoded": decoded}) for index in range(clips)]
    plan = planned(
        prompt or f"A picture of {item_id}",
        metadata=dict(metadata or {}),
        parameters=parameters,
        fingerprint=fingerprint,
    )
    return Item(id=item_id, plan=plan, events=events, revision=revision)


def file_of(item_id: str, index: int = 0, revision: int = 1) -> str:
    """Return a clip's name."""
    return f"clips/{item_id}{f'__r{revision}' if revision > 1 else ''}{f'__{index}' if index else ''}.mp4"


def a_batch(root: Path, *items: Item, name: str = "reefs") -> Path:
    """Write a batch with its clips, and return its folder."""
    make_batch(root, *items, name=name)
    (root / "clips").mkdir()
    for item in items:
        for kind, data in item.events:
            if kind is E.CLIP_STORED:
                size = data["size_bytes"] - len(data["file"])
                (root / data["file"]).write_bytes(bytes_of(data["file"], size))
    return root


def a_row(key: str, size_bytes: int = 1000, text: str = "A fox", split: str = "train", **columns: Any) -> Row:
    """Return a row whose clip is nowhere."""
    told = dict.fromkeys(MEANINGS, "") | {"text": text, "split": split, "item_id": key, **columns}
    return Row(key=key, source=f"clips/{key}.mp4", sha256="0" * 64, size_bytes=size_bytes, cost_usd=0.4, columns=told)


def everything_below(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by its name relative to it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
