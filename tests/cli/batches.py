"""Ledgers with items in every state, written by the real ledger, at times that never change."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind
from pipeline.ledger.store import Ledger
from pipeline.paths import BatchFolder
from pipeline.system.effects import system

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.jobs.job import Job

BEGAN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
E = EventKind
LINK = "https://user:pw@cdn.venice.ai/clip.mp4?signature=canary-signature"
"""A download address, which is as good as the clip."""
HOSTILE = "\x1b]0;pwned\x07 a cat\u202e gnp.exe\r\n[INFO] DONE \x9b31m"
"""Text that a terminal would obey, and that would forge a line."""


def failure(kind: str, message: str, billing: str, **evidence: Any) -> dict[str, Any]:
    """Return a failure as an event carries it."""
    return {"kind": kind, "message": message, "billing": billing, "evidence": evidence}


def planned(prompt: str = "A sea turtle", provider: str = "modelmax", **more: Any) -> dict[str, Any]:
    """Return the data of an item that is planned."""
    model = more.pop("model", "veo-3")
    parameters = more.pop("parameters", {"duration_seconds": 8})
    return {
        "fingerprint": more.pop("fingerprint", "0" * 64),
        "provider": provider,
        "request": {"model": model, "prompt": prompt, "parameters": parameters, "options": {}, "files": {}},
        "metadata": more.pop("metadata", {}),
    }


def started(price_usd: float | None = 3.2, price_is: str = "computed") -> dict[str, Any]:
    """Return the data of a submit that is about to leave."""
    return {
        "base_url": "https://api.modelmax.io",
        "account": "0123456789ab",
        "price_usd": price_usd,
        "price_is": price_is if price_usd is not None else "unknown",
    }


def accepted(job_id: str = "job-1") -> dict[str, Any]:
    """Return the data of a submit that was accepted, with a download address in its receipt."""
    answer = {"queue_id": job_id, "download_url": LINK, "note": f"see {LINK} for more"}
    return {"receipt": {"job_id": job_id, "model": "veo-3", "answer": answer}, "warnings": []}


STORED = {
    "index": 0,
    "part": "clips/.turtle.0.1.part",
    "file": "clips/turtle.mp4",
    "sha256": "ab" * 32,
    "size_bytes": 309_724,
    "facts": {"duration_s": 8.0, "width": 1280, "height": 720, "fps": 24.0, "has_audio": False},
    "warnings": ["It has no sound, and sound was asked for."],
}
CLAIMED = {
    "outputs": [{"index": 0, "location": {"path": "/content/0", "url": LINK}}],
    "usage": {"video_seconds": 8},
    "answer": {"data": [{"url": LINK}]},
    "cost_usd": 3.2,
    "warnings": [],
}
DONE: Sequence[tuple[EventKind, Mapping[str, Any]]] = (
    (E.SUBMIT_STARTED, started()),
    (E.SUBMIT_ACCEPTED, accepted()),
    (E.CLAIM_STARTED, {}),
    (E.CLAIM_RECEIVED, CLAIMED),
    (E.CLIP_STORED, STORED),
    (E.CLIP_PUBLISHED, {"index": 0, "file": "clips/turtle.mp4"}),
)
IN_DOUBT: Sequence[tuple[EventKind, Mapping[str, Any]]] = (
    (E.SUBMIT_STARTED, started(0.44, "quoted")),
    (E.SUBMIT_LOST, {"failure": failure("submit_unanswered", "The connection closed.", "unknown", body=LINK)}),
)
REJECTED: Sequence[tuple[EventKind, Mapping[str, Any]]] = (
    (E.SUBMIT_STARTED, started()),
    (E.SUBMIT_REFUSED, {"failure": failure("invalid_request", "The prompt is refused.", "unbilled")}),
)
AT_PROVIDER: Sequence[tuple[EventKind, Mapping[str, Any]]] = (
    (E.SUBMIT_STARTED, started()),
    (E.SUBMIT_ACCEPTED, accepted("job-2")),
)


@dataclass(kw_only=True)
class Item:
    """One item to be written into a ledger: how it was planned, and what happened to it, ten seconds apart."""

    id: str
    plan: Mapping[str, Any] = field(default_factory=planned)
    events: Sequence[tuple[EventKind, Mapping[str, Any]]] = ()
    revision: int = 1


def make_batch(
    root: Path,
    *items: Item,
    name: str = "reefs",
    about: Mapping[str, Any] | None = None,
    outcome: str | None = "finished",
    cap_usd: float | None = None,
) -> Path:
    """Write a batch's ledger and return its folder; without an outcome the run never said goodbye."""
    root.mkdir(parents=True, exist_ok=True)

    async def write() -> None:
        effects = system()
        ledger = await Ledger.open(BatchFolder(root).ledger, effects, about or {"pid": 1, "host": "elsewhere"})
        await ledger.write_meta({"name": name, "max_cost_usd": cap_usd})
        for item in items:
            await _write_item(ledger, item)
        await ledger.place((item.id, position) for position, item in enumerate(items))
        await ledger.close(outcome or "")
        effects.threads.close()

    asyncio.run(write())
    if outcome is None:
        with closing(sqlite3.connect(BatchFolder(root).ledger)) as database:
            database.execute("UPDATE run SET ended_at = NULL, outcome = NULL")
            database.commit()
    return root


async def _write_item(ledger: Ledger, item: Item) -> None:
    job: Job | None = None
    history = [(E.ITEM_PLANNED, item.plan), *item.events]
    for step, (kind, data) in enumerate(history):
        at = BEGAN + timedelta(seconds=10 * step)
        event = Event(kind=kind, item_id=item.id, revision=item.revision, at=at, data=data)
        job = await ledger.record(job, event)


def one_of_each() -> list[Item]:
    """Return items that are done, in doubt, rejected, at the provider, and planned."""
    rejected = replace(Item(id="wave", events=REJECTED), plan=planned("A wave"))
    return [
        Item(id="turtle", plan=planned("A sea turtle", metadata={"split": "train"}), events=DONE),
        Item(id="fox", plan=planned("A fox", provider="venice", model="wan-2.6"), events=IN_DOUBT),
        rejected,
        Item(id="deer", plan=planned("A deer"), events=AT_PROVIDER),
        Item(id="zoom", plan=planned("A leaf")),
    ]
