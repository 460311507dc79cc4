"""Events by hand, and random histories that the table of moves allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.jobs.event import Event
from pipeline.jobs.record import apply
from pipeline.jobs.state import CLIP_MOVES, MOVES, ClipState, CopyState, EventKind, State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from pipeline.jobs.job import Clip, Job

E, S = EventKind, State
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
HERE = {"base_url": "https://api.example.com", "account": "0123456789ab"}
WORDS = ("", "fox", "öl", "雪", "\u2028", "\x00", '"', "\U0001f98a")


def event(kind: EventKind, item_id: str = "fox", revision: int = 1, at: datetime = BEGAN, **data: Any) -> Event:
    """Return an event."""
    return Event(kind=kind, item_id=item_id, revision=revision, at=at, data=data)


def planned(samples: int = 1, provider: str = "modelmax", prompt: str = "A fox", **metadata: Any) -> dict[str, Any]:
    """Return what an item is planned, or revised, with."""
    parameters = {"duration_seconds": 8, "image": "fox.png"} | ({"sample_count": samples} if samples != 1 else {})
    file = {"path": "fox.png", "sha256": "a" * 64, "size_bytes": 3, "media_type": "image/png"}
    request = {"model": "veo-3", "prompt": prompt, "parameters": parameters, "options": {}, "files": {"fox.png": file}}
    return {"fingerprint": "f" * 64, "provider": provider, "request": request, "metadata": metadata}


def price(usd: float | None, price_is: str = "computed") -> dict[str, Any]:
    """Return what an attempt is expected to cost."""
    return {"price_usd": usd, "price_is": price_is if usd is not None else "unknown"}


def receipt(job_id: str = "op-1") -> dict[str, Any]:
    """Return an acceptance."""
    return {"job_id": job_id, "model": "veo-3", "answer": {"id": job_id, "n": [1, None]}, "asked": {"seconds": 8}}


def told(billing: str = "unknown", kind: str = "kind") -> dict[str, Any]:
    """Return a failure."""
    return {"kind": kind, "message": "It says so.", "billing": billing, "evidence": {"status": 500}}


def outputs(count: int) -> list[dict[str, Any]]:
    """Return finished clips at the vendor."""
    return [{"index": index, "location": {"url": f"/content/{index}"}} for index in range(count)]


def stored(index: int = 0, item_id: str = "fox", revision: int = 1) -> dict[str, Any]:
    """Return what is known of a clip that came home."""
    name = f"{item_id}__r{revision}__{index}"
    facts = {"duration_s": 8.0, "width": 1280, "height": 720, "fps": 24.0, "has_audio": True, "codec": "avc1"}
    return {
        "index": index,
        "part": f"clips/.{name}.part",
        "file": f"clips/{name}.mp4",
        "sha256": "b" * 64,
        "size_bytes": 1000 + index,
        "facts": facts,
        "warnings": ["it is shorter than asked"],
    }


def decoded(frames: int = 192, **more: Any) -> dict[str, Any]:
    """Return what a decoder made of a clip."""
    seen = {"frames": frames, "corrupt": 0, "stopped_because": "", "sound_damage": ""}
    return {"decoded": seen | {"black": 0.0, "frozen": 0.0, "silent": False} | more}


def uploaded(key: str = "clips/fox.mp4", store: str = "s3://bucket/foxes") -> dict[str, Any]:
    """Return where a clip's copy is."""
    return {"remote": {"store": store, "key": key, "e_tag": '"e"'}}


def tell(*steps: tuple[EventKind, dict[str, Any]], job: Job | None = None, item_id: str = "fox") -> Job:
    """Apply steps, one second apart, and return the job they lead to."""
    at = BEGAN
    for kind, data in steps:
        at += timedelta(seconds=1)
        job = apply(job, event(kind, item_id, job.revision if job else 1, at, **data))
    assert job is not None
    return job


def fold(events: Iterable[Event]) -> dict[tuple[str, int], Job]:
    """Replay a ledger's history."""
    jobs: dict[tuple[str, int], Job] = {}
    for each in events:
        key = (each.item_id, each.revision)
        if each.kind is EventKind.ITEM_WITHDRAWN:
            del jobs[key]
        else:
            jobs[key] = apply(jobs.get(key), each)
    return jobs


class Walk:
    """A random history of one item. The mutable state is the job, the number of steps and the receipts given out."""

    def __init__(self, random: Random, item_id: str = "fox") -> None:
        self.random = random
        self.item_id = item_id
        self.job: Job | None = None
        self.steps = 0
        self.receipts = 0

    def next_event(self) -> Event:
        """Draw an event that the present job allows. The caller applies it and sets `job`."""
        self.steps += 1
        at = BEGAN + timedelta(seconds=self.steps, microseconds=self.random.randrange(1_000_000))
        kind, data = self._draw()
        return event(kind, self.item_id, 1, at, **data)

    def step(self) -> Event:
        """Draw an event and apply it."""
        drawn = self.next_event()
        self.job = apply(self.job, drawn)
        return drawn

    def _draw(self) -> tuple[EventKind, dict[str, Any]]:
        job = self.job
        if job is None:
            return E.ITEM_PLANNED, self._planned()
        allowed = sorted({kind for before, kind, _ in MOVES if before is job.state})
        clips = {kind: [c.index for c in job.clips if self._clip_may(c, kind)] for kind in allowed}
        kinds = [kind for kind in allowed if clips[kind] or not kind.startswith("clip_")]
        if job.claims_made >= job.claims_allowed:
            kinds = [kind for kind in kinds if kind is not E.CLAIM_STARTED]
        if any(clip.state is not ClipState.WANTED for clip in job.clips):
            kinds = [kind for kind in kinds if kind is not E.SUBMIT_LOST]
        kind = self.random.choice(kinds)
        if clips[kind]:
            return kind, self._clip(kind, self.random.choice(clips[kind]))
        return kind, self._data(kind)

    @staticmethod
    def _clip_may(clip: Clip, kind: EventKind) -> bool:
        if kind is E.CLIP_COPY_LOST and clip.copy is CopyState.NONE:
            return False
        return any((before, moved) == (clip.state, kind) for before, moved, _ in CLIP_MOVES)

    def _word(self) -> str:
        return self.random.choice(WORDS)

    def _money(self) -> float:
        return self.random.randrange(20_000_000) / 1_000_000

    def _planned(self) -> dict[str, Any]:
        data = planned(self.random.randint(1, 4), prompt=self._word(), split=self._word())
        return data | {"fingerprint": f"{self.random.randrange(1 << 32):064x}"}

    def _price(self) -> dict[str, Any]:
        return price(self.random.choice([None, self._money()]), self.random.choice(["quoted", "computed"]))

    def _failure(self) -> dict[str, Any]:
        return told(self.random.choice(["unbilled", "billed", "refunded", "unknown"]), self._word())

    def _clip(self, kind: EventKind, index: int) -> dict[str, Any]:
        data = stored(index, self.item_id)
        match kind:
            case E.CLIP_STORED:
                return data
            case E.CLIP_PUBLISHED:
                return {"index": index, "file": data["file"]}
            case E.CLIP_LOST if self.random.random() < 0.5:
                return {"index": index, "failure": self._failure()}
            case E.CLIP_DECODED:
                return {"index": index, **decoded(self.random.randrange(200))}
            case E.CLIP_UPLOADED:
                return {"index": index, **uploaded(f"clips/{self._word()}.mp4")}
            case _:
                return {"index": index}

    def _data(self, kind: EventKind) -> dict[str, Any]:
        match kind:
            case E.ITEM_REVISED:
                return self._planned()
            case E.ITEM_RELABELLED:
                return {"metadata": {"split": self._word()}}
            case E.SUBMIT_STARTED:
                return HERE | self._price()
            case E.HISTORY_LOST:
                return self._price() | {"failure": self._failure()}
            case E.SUBMIT_ACCEPTED | E.DOUBT_ADOPTED:
                self.receipts += 1
                warnings = self.random.choice([{}, {"warnings": [self._word()]}])
                return {"receipt": receipt(f"{self.item_id}-{self.receipts}"), **warnings}
            case E.CLAIM_RECEIVED:
                found = outputs(self.random.randint(0, 4))
                return {"outputs": found, "usage": {"video_seconds": 8}, **self.random.choice([{}, self._charged()])}
            case _:
                return {"failure": self._failure(), "why": self._word()}

    def _charged(self) -> dict[str, Any]:
        return {"cost_usd": self._money(), "warnings": [self._word()]}
