"""What the page knows of every clip: one row a clip, and one for each item that has none.

Rows are lists, and what many of them share (models, parameters, metadata, words of failures) stands in a list of its
own that they point into: 10,000 rows are a few megabytes, which a browser reads in a tenth of a second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline.providers.redact import redact_text
from pipeline.report.troubles import NOT_ACCEPTED, key_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.jobs.job import Job
    from pipeline.report.troubles import Told

COLUMNS = (
    *("id", "state", "model", "prompt", "parameters", "metadata", "trouble", "message", "warnings"),
    *("cost_usd", "cost_is", "attempts", "job_id", "submitted_at", "took_s"),
    *("file", "thumbnail", "number", "of", "bytes", "duration_s", "width", "height", "fps", "has_audio", "codec"),
    *("sha256", "accepted", "rejected_because"),
)
CLIP_COLUMNS = COLUMNS[COLUMNS.index("file") :]
FROM_CLIP = CLIP_COLUMNS[CLIP_COLUMNS.index("bytes") : -1]
"""Taken over from a result's clip by their names."""


@dataclass(kw_only=True)
class Gallery:
    """The rows, and the lists that they point into. It grows until all jobs are taken in."""

    rows: list[list[Any]] = field(default_factory=list)
    shared: dict[str, list[Any]] = field(default_factory=dict)
    """By the name of the column: the values that its numbers stand for."""
    _places: dict[str, dict[str, int]] = field(default_factory=dict)

    def take_in(self, job: Job, told: Mapping[str, Any], thumbnails: Mapping[str, str]) -> None:
        """Add an item's rows.

        Args:
            job: the item.
            told: its line of the results.
            thumbnails: their addresses, by the clip's final name.
        """
        clips: list[Mapping[str, Any]] = told["clips"]
        for number, clip in enumerate(clips, start=1):
            row = [
                address(clip["file"]),
                thumbnails.get(clip["file"], ""),
                number,
                len(clips),
                *(clip.get(name) for name in FROM_CLIP),
                " ".join(clip.get("rejected_because", ())),
            ]
            warnings = [*job.warnings, *clip.get("warnings", ())]
            trouble = NOT_ACCEPTED if clip.get("accepted") is False else key_of(job)
            self.rows.append([*self._of_item(job, told, trouble, warnings), *row])
        if not clips:
            empty = ["", *(None for _ in CLIP_COLUMNS[1:])]
            self.rows.append([*self._of_item(job, told, key_of(job), job.warnings), *empty])

    def _of_item(self, job: Job, told: Mapping[str, Any], trouble: str, warnings: Sequence[str]) -> list[Any]:
        return [
            told["id"],
            told["state"],
            self._place("model", f"{told['provider']}/{told['model']}"),
            told["prompt"],
            self._place("parameters", told["parameters"]),
            self._place("metadata", told["metadata"]),
            self._place("trouble", trouble),
            self._place("message", redact_text(told["error"]["message"]) if told["error"] else ""),
            self._place("warnings", [redact_text(text) for text in warnings]),
            told["cost_usd"],
            self._place("cost_is", told["cost_is"]),
            told["attempts"],
            redact_text(told["provider_job_id"] or ""),
            f"{job.submitted_at:%Y-%m-%d %H:%M:%S}" if job.submitted_at else "",
            _took_s(job),
        ]

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


def gallery_of(told: Iterable[Told], thumbnails: Mapping[str, str]) -> Gallery:
    """Return the rows of all items, in their order."""
    gallery = Gallery()
    for job, line in told:
        gallery.take_in(job, line, thumbnails)
    return gallery


def address(file: str) -> str:
    """Return a file of the batch's folder as an address relative to the page, whatever its name."""
    return f"./{quote(file)}"


def _took_s(job: Job) -> float | None:
    if job.submitted_at is None or job.finished_at is None:
        return None
    return round(max(0.0, (job.finished_at - job.submitted_at).total_seconds()), 2)
