"""The rows of a dataset: one for each finished clip that is wanted, in the manifest's order.

Jobs of the ledger come in, a `Selection` goes out. Pure: no file is looked at. Every row has every column, every column
has one type, and there are no nulls, so that a loader that guesses types from some of the rows guesses right.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pipeline.clips.acceptance import judge
from pipeline.dataset.columns import metadata_columns, without_gaps
from pipeline.dataset.split import SPLITS
from pipeline.jobs.state import ClipState
from pipeline.ledger.results import cost_usd, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pipeline.clips.acceptance import Acceptance
    from pipeline.dataset.split import Shares
    from pipeline.jobs.job import Clip, Job

MEANINGS: Final[Mapping[str, str]] = {
    "text": "the prompt",
    "duration": "seconds of picture",
    "fps": "frames a second",
    "width": "pixels, as shown",
    "height": "pixels, as shown",
    "num_frames": "frames that the file states",
    "has_audio": "whether there is a sound track",
    "codec": "code of the picture's sample entry: avc1, hvc1, av01, ...",
    "bytes": "size of the file",
    "sha256": "digest of the file, 64 hex digits",
    "provider": "who made it",
    "model": "the provider's model",
    "item_id": "the item of the manifest; its clips are always in one split",
    "revision": "counts requests under the same id: 1, or more where it was changed or bought again",
    "clip": "number of the clip among those of one job, from 0",
    "negative_prompt": "what was to be avoided, or empty",
    "parameters": "all that was asked for, as JSON",
    "provider_job_id": "the provider's id of the job",
    "cost_usd": "what the item has cost, over all attempts, shared out among its clips; 0 where `cost_is` is unknown",
    "cost_is": "where that comes from: reported, quoted, computed, refunded or unknown",
    "finished_at": "when the item was done, ISO 8601, UTC; empty where some of its clips are not here",
    "split": "train, validation or test",
}
"""Every column but `file_name` and those of the metadata, in order, with what it means."""
TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(("duration", "fps", "cost_usd"), float),
    **dict.fromkeys(("width", "height", "num_frames", "bytes", "revision", "clip"), int),
    "has_audio": bool,
}
"""The columns of `MEANINGS` that are no text."""

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One clip of a dataset."""

    key: str
    """The name of its file without `.mp4`: letters, digits, `-`, `_`; unique in the batch."""
    source: str
    """Where the clip lies, relative to the batch's folder."""
    sha256: str
    size_bytes: int
    cost_usd: float | None
    """What it has cost; None where nobody knows."""
    columns: Mapping[str, Any]
    """By name, in order; plain values. All rows have the same names."""

    @property
    def split(self) -> str:
        """Which split it is in."""
        return str(self.columns["split"])

    @property
    def text(self) -> str:
        """The caption."""
        return str(self.columns["text"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What is exported, and what is not."""

    rows: tuple[Row, ...]
    rejected: int = 0
    """Clips that `accept` turns down."""
    rejected_usd: float = 0.0
    undecided: int = 0
    """Clips that only a decoder could tell of, and none has seen."""
    passed_over: int = 0
    """Clips that the user's conditions leave out."""
    unfinished: int = 0
    """Items without a finished clip."""

    @property
    def splits(self) -> Mapping[str, Sequence[Row]]:
        """The rows of each split that has any."""
        found: dict[str, list[Row]] = {split: [] for split in SPLITS}
        for row in self.rows:
            found[row.split].append(row)
        return {split: rows for split, rows in found.items() if rows}


def select(
    jobs: Iterable[Job],
    rules: Acceptance,
    shares: Shares,
    where: Callable[[Sequence[Row]], Sequence[Row]],
    items: int,
) -> Selection:
    """Choose the clips of a dataset.

    Args:
        jobs: every job with finished clips that its item still stands for.
        rules: the manifest's `accept`.
        shares: how the items are shared out among the splits.
        where: returns those of the rows that meet the user's conditions.
        items: how many items the batch has.

    Raises:
        InputError: from `where`.
    """
    chosen: list[tuple[Job, Clip]] = []
    tally: Counter[bool | None] = Counter()
    rejected_usd = 0.0
    there: set[str] = set()
    for job in jobs:
        for clip in job.clips:
            if clip.state is not ClipState.DONE:
                continue
            there.add(job.item_id)
            accepted = judge(rules, clip.facts, clip.size_bytes).accepted
            tally[accepted] += 1
            if accepted:
                chosen.append((job, clip))
            elif accepted is False:
                rejected_usd += _share_usd(job) or 0.0
    metadata = metadata_columns([job.metadata for job, _ in chosen])
    rows = [_row(job, clip, shares, more) for (job, clip), more in zip(chosen, metadata, strict=True)]
    kept = where(rows)
    return Selection(
        rows=tuple(_without_gaps(kept)),
        rejected=tally[False],
        rejected_usd=round(rejected_usd, 6),
        undecided=tally[None],
        passed_over=len(rows) - len(kept),
        unfinished=items - len(there),
    )


def types_of(rows: Sequence[Row]) -> dict[str, type]:
    """Return the type of every column: bool, int, float or str."""
    return {name: TYPES.get(name, str) if name in MEANINGS else type(value) for name, value in rows[0].columns.items()}


def with_file_name(row: Row, name: str) -> dict[str, Any]:
    """Return a row as the loaders of folders want it: its file's name first."""
    return {"file_name": name, **row.columns}


def _row(job: Job, clip: Clip, shares: Shares, metadata: Mapping[str, Any]) -> Row:
    facts, parameters = clip.facts, dict(job.request.parameters)
    columns: dict[str, Any] = {
        "text": job.request.prompt,
        "duration": facts.get("duration_s"),
        "fps": facts.get("fps"),
        "width": facts.get("width"),
        "height": facts.get("height"),
        "num_frames": facts.get("frames"),
        "has_audio": facts.get("has_audio"),
        "codec": facts.get("codec"),
        "bytes": clip.size_bytes,
        "sha256": clip.sha256,
        "provider": job.provider,
        "model": job.request.model,
        "item_id": job.item_id,
        "revision": job.revision,
        "clip": clip.index,
        "negative_prompt": str(parameters.get("negative_prompt") or ""),
        "parameters": _encode(shown(parameters)),
        "provider_job_id": job.job_id,
        "cost_usd": _share_usd(job),
        "cost_is": job.cost_is.value,
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "split": shares.split_of(job.item_id),
    }
    assert columns.keys() == MEANINGS.keys()
    key = clip.file.rpartition("/")[2].removesuffix(".mp4")
    return Row(
        key=key,
        source=clip.file,
        sha256=clip.sha256,
        size_bytes=clip.size_bytes,
        cost_usd=columns["cost_usd"],
        columns={**columns, **metadata},
    )


def _without_gaps(rows: Sequence[Row]) -> list[Row]:
    """Return rows without a None: in columns of ours what is nothing of its type, in the metadata's empty text."""
    changed: dict[str, Sequence[Any]] = {}
    for name in rows[0].columns if rows else ():
        values = [row.columns[name] for row in rows]
        filled = _filled(name, values)
        if filled != values:
            changed[name] = filled
    if not changed:
        return list(rows)
    return [
        replace(row, columns={**row.columns, **{name: values[place] for name, values in changed.items()}})
        for place, row in enumerate(rows)
    ]


def _filled(name: str, values: Sequence[Any]) -> Sequence[Any]:
    if name not in MEANINGS:
        return without_gaps(values)
    if None not in values:
        return values
    nothing = TYPES.get(name, str)()
    return [nothing if value is None else value for value in values]


def _share_usd(job: Job) -> float | None:
    cost = cost_usd(job)
    return None if cost is None else round(cost / len(job.clips), 6)
