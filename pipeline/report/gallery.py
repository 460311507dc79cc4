"""What the page knows of every clip: one row a clip, and one for each item that has none.

Rows are lists, and what many of them share (models, parameters, metadata, words of failures) stands in a list of its
own that they point into: 10,000 rows are a few megabytes, which a browser reads in a tenth of a second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline.jobs.state import ClipState
from pipeline.ledger.results import result
from pipeline.providers.redact import redact_text
from pipeline.report.troubles import key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.jobs.job import Clip, Job

COLUMNS = (
    *("id", "state", "model", "prompt", "parameters", "metadata", "trouble", "message", "warnings"),
    *("cost_usd", "cost_is", "attempts", "job_id", "submitted_at", "took_s"),
    *("file", "thumbnail", "number", "of", "bytes", "duration_s", "width", "height", "fps", "has_audio", "codec"),
    *("sha256", "accepted", "why_not"),
)
CLIP_COLUMNS = len(COLUMNS) - COLUMNS.index("file")


@dataclass(kw_only=True)
class Gallery:
    """The rows, and the lists that they point into. It grows until all jobs are taken in."""

    rows: list[list[Any]] = field(default_factory=list)
    shared: dict[str, list[Any]] = field(default_factory=dict)
    """By the name of the column: the values that its numbers stand for."""
    _places: dict[str, dict[str, int]] = field(default_factory=dict)

    def take_in(self, job: Job, thumbnails: Mapping[str, str]) -> None:
        """Add an item's rows; `thumbnails` are addresses by the clip's final name."""
        told = result(job)
        about = [
            told["id"],
            told["state"],
            self._place("model", f"{told['provider']}/{told['model']}"),
            told["prompt"],
            self._place("parameters", told["parameters"]),
            self._place("metadata", told["metadata"]),
            self._place("trouble", key_of(job)),
            self._place("message", redact_text(told["error"]["message"]) if told["error"] else ""),
        ]
        costs = [
            told["cost_usd"],
            self._place("cost_is", told["cost_is"]),
            told["attempts"],
            redact_text(job.job_id),
            f"{job.submitted_at:%Y-%m-%d %H:%M:%S}" if job.submitted_at else "",
            _took_s(job),
        ]
        clips = list(_clip_rows(job, told["clips"], thumbnails))
        for warnings, clip in clips or [(list(job.warnings), [""] + [None] * (CLIP_COLUMNS - 1))]:
            self.rows.append([*about, self._place("warnings", [redact_text(text) for text in warnings]), *costs, *clip])

    def to_json(self) -> dict[str, Any]:
        """Return it all as plain JSON."""
        return {"columns": COLUMNS, "shared": self.shared, "rows": self.rows}

    def _place(self, column: str, value: Any) -> int:
        places = self._places.setdefault(column, {})
        values = self.shared.setdefault(column, [])
        key = json.dumps(value, sort_keys=True)
        if key not in places:
            places[key] = len(values)
            values.append(value)
        return places[key]


def gallery_of(jobs: Iterable[Job], thumbnails: Mapping[str, str]) -> Gallery:
    """Return the rows of all jobs, in their order."""
    gallery = Gallery()
    for job in jobs:
        gallery.take_in(job, thumbnails)
    return gallery


def address(file: str) -> str:
    """Return a file of the batch's folder as an address relative to the page, whatever its name."""
    return f"./{quote(file)}"


def _took_s(job: Job) -> float | None:
    if job.submitted_at is None or job.finished_at is None:
        return None
    return round(max(0.0, (job.finished_at - job.submitted_at).total_seconds()), 2)


def _clip_rows(
    job: Job, told: list[dict[str, Any]], thumbnails: Mapping[str, str]
) -> Iterator[tuple[list[str], list[Any]]]:
    """Yield each clip's warnings, and its row."""
    done: list[Clip] = [clip for clip in job.clips if clip.state is ClipState.DONE]
    for number, (clip, facts) in enumerate(zip(done, told, strict=True), start=1):
        row = [
            address(clip.file),
            thumbnails.get(clip.file, ""),
            number,
            len(done),
            clip.size_bytes,
            *(facts.get(name) for name in ("duration_s", "width", "height", "fps", "has_audio")),
            clip.facts.get("codec"),
            clip.sha256,
            facts.get("accepted"),
            "; ".join(facts.get("why_not") or ()),
        ]
        yield [*job.warnings, *clip.warnings], row
