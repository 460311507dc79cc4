"""Items and pages by hand, and a reader of pages that sees them as a browser does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from pipeline.clips.acceptance import Acceptance
from pipeline.jobs.job import Clip, CostIs, Failure, Job
from pipeline.jobs.state import ClipState, State
from pipeline.ledger.results import result
from pipeline.providers.answers import Billing, Receipt
from pipeline.providers.base import GenerationRequest
from pipeline.report.gallery import gallery_of
from pipeline.report.money import money_of
from pipeline.report.page import Report
from pipeline.report.timing import timing_of
from pipeline.report.troubles import troubles_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.report.troubles import Told

BEGAN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOSTILE = (
    "<script>document.title='pwned'</script>",
    "</script><script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "<!--<script>",
    "' onmouseover='document.title=1' style='display:none",
    "javascript:document.title='pwned'",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066 \u2028\u2029 \x00\x1b[31m \ud800 &lt;b&gt;",
    "https://example.com/track.gif",
    "漢字 e\u0301 🦊",
)
FACTS = {"duration_s": 4.0, "width": 1280, "height": 720, "fps": 24.0, "has_audio": False, "codec": "avc1"}


def clip(item_id: str = "fox", index: int = 0, **changes: Any) -> Clip:
    """Return a finished clip."""
    name = f"clips/{item_id}__{index}.mp4" if index else f"clips/{item_id}.mp4"
    made = Clip(index=index, state=ClipState.DONE, file=name, sha256="ab" * 32, size_bytes=300_000, facts=dict(FACTS))
    return replace(made, **changes)


def job(item_id: str = "fox", state: State = State.DONE, **changes: Any) -> Job:
    """Return an item in a state: done in ten seconds for 40 cents, unless told otherwise."""
    request = GenerationRequest(
        model=changes.pop("model", "veo-3"),
        prompt=changes.pop("prompt", "A fox in the snow"),
        parameters=changes.pop("parameters", {"duration_seconds": 4}),
    )
    done = state is State.DONE
    took_s = changes.pop("took_s", 10.0)
    submitted_at = changes.pop("submitted_at", BEGAN)
    made = Job(
        item_id=item_id,
        revision=1,
        fingerprint="f" * 64,
        provider=changes.pop("provider", "modelmax"),
        request=request,
        state=state,
        attempt=0 if state is State.PLANNED else 1,
        receipt=Receipt(job_id=f"op-{item_id}", model="veo-3", answer={}),
        clips=(clip(item_id),) if done else (),
        reserved_usd=0.0 if state in {State.PLANNED, State.REJECTED, State.FAILED} else 0.4,
        cost_is=CostIs.COMPUTED,
        submitted_at=None if state is State.PLANNED else submitted_at,
        finished_at=submitted_at + timedelta(seconds=took_s) if done else None,
    )
    return replace(made, **changes)


def failure(kind: str, message: str = "It says so.", billing: Billing = Billing.UNBILLED) -> Failure:
    """Return why something ended."""
    return Failure(kind=kind, message=message, billing=billing)


def told(jobs: Sequence[Job]) -> list[Told]:
    """Return items with their lines of the results."""
    return [(each, result(each, Acceptance())) for each in jobs]


def report(*jobs: Job, name: str = "reefs", thumbnails: Mapping[str, str] | None = None, **changes: Any) -> Report:
    """Return the page's record of some items."""
    states: dict[State, int] = {}
    committed: dict[State, float] = {}
    for each in jobs:
        states[each.state] = states.get(each.state, 0) + 1
        committed[each.state] = committed.get(each.state, 0.0) + each.committed_usd
    clips = [each for one in jobs for each in one.clips]
    made = Report(
        name=name,
        made_at=BEGAN + timedelta(hours=1),
        is_rehearsal=False,
        next_command="",
        states=states,
        clips=len(clips),
        clip_seconds=sum(each.facts["duration_s"] for each in clips),
        clip_bytes=sum(each.size_bytes for each in clips),
        money=money_of(jobs, committed, 25.0, 0),
        timing=timing_of(jobs, {"lag_s": 1.5, "looks_a_clip": 3.2}),
        troubles=troubles_of(told(jobs), "output/reefs"),
        gallery=gallery_of(told(jobs), thumbnails or {}),
    )
    return replace(made, **changes)


@dataclass
class Seen(HTMLParser):
    """A page's elements, their attributes, its text outside of scripts and styles, and what stands in those."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""
    raw: dict[str, list[str]] = field(default_factory=lambda: {"script": [], "style": []})
    _within: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.text += " "  # what stands in two elements is not one word
        if tag in self.raw:
            self._within = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within:
            self.raw[self._within][-1] += data
        else:
            self.text += data

    def meta(self, name: str) -> str:
        """Return what a meta element says, by its name or its http-equiv."""
        for tag, attributes in self.tags:
            if tag == "meta" and name in (attributes.get("name"), attributes.get("http-equiv")):
                return attributes["content"]
        raise KeyError(name)

    @property
    def data(self) -> Any:
        """What the script reads."""
        return json.loads(self.raw["script"][0])

    def rows(self) -> list[dict[str, Any]]:
        """Return the gallery's rows by the names of their columns."""
        data = self.data
        rows = [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]
        return [
            {name: data["shared"][name][value] if name in data["shared"] else value for name, value in row.items()}
            for row in rows
        ]


def seen(page: bytes) -> Seen:
    """Read a page."""
    reader = Seen()
    reader.feed(page.decode("utf-8"))
    reader.close()
    return reader
