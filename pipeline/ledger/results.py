"""`results.jsonl`: one line an item, a view of the ledger that people and programs read."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.clips.acceptance import judge
from pipeline.durable import write_atomically
from pipeline.jobs.job import CostIs
from pipeline.jobs.state import ClipState, State
from pipeline.jobs.trouble import trouble_of, what_to_do
from pipeline.ledger.reader import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.clips.acceptance import Acceptance
    from pipeline.effects import Effects, Files
    from pipeline.jobs.job import Clip, Job
    from pipeline.paths import BatchFolder

LINES = 500
"""Lines written at once."""
CLIP_FACTS = ("duration_s", "width", "height", "fps", "has_audio", "codec", "frames", "fragmented", "decoded")


def result(job: Job, rules: Acceptance) -> dict[str, Any]:
    """Return the line of one item; its clips are held against the rules of the manifest's `accept`."""
    return {
        "id": job.item_id,
        "state": job.state.value,
        "provider": job.provider,
        "model": job.request.model,
        "prompt": job.request.prompt,
        "parameters": shown(dict(job.request.parameters)),
        "metadata": dict(job.metadata),
        "clips": [_clip(clip, rules) for clip in job.clips if clip.state is ClipState.DONE],
        "cost_usd": cost_usd(job),
        "cost_is": job.cost_is.value,
        "expected_usd": job.expected_usd,
        "expected_is": job.expected_is.value,
        "usage": dict(job.usage) or None,
        "warnings": list(job.warnings),
        "provider_job_id": job.job_id or None,
        "attempts": job.attempt,
        "submitted_at": job.submitted_at.isoformat() if job.submitted_at else None,
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "error": _error(job),
    }


def write_results(jobs: Iterable[Job], rules: Acceptance, folder: BatchFolder, files: Files) -> int:
    """Rewrite `results.jsonl` atomically and return the number of lines.

    Raises:
        DiskRefused: the old file is left as it was.
    """
    count = 0

    def pieces() -> Iterator[bytes]:
        nonlocal count
        lines = (json.dumps(result(job, rules), ensure_ascii=False) + "\n" for job in jobs)
        while some := list(islice(lines, LINES)):
            count += len(some)
            yield "".join(some).encode()

    write_atomically(files, folder.results, pieces())
    return count


def rewrite_results(folder: BatchFolder, effects: Effects) -> None:
    """Make `results.jsonl` say what the ledger says; the caller holds the batch's lock. Raises as `write_results`."""
    with reading(folder.ledger, effects) as reader:
        write_results(reader.jobs(), reader.acceptance(), folder, effects.files)


def _error(job: Job) -> dict[str, Any] | None:
    if job.failure is None:
        return None
    told = {"kind": job.failure.kind, "message": job.failure.message}
    return told | {"class": trouble_of(job), "what_to_do": what_to_do(job)}


def _clip(clip: Clip, rules: Acceptance) -> dict[str, Any]:
    verdict = judge(rules, clip.facts, clip.size_bytes)
    return {
        "file": clip.file,
        "url": clip.remote.url if clip.remote else None,
        "sha256": clip.sha256,
        "bytes": clip.size_bytes,
        **{name: clip.facts.get(name) for name in CLIP_FACTS},
        "differs": list(clip.warnings),
        "accepted": verdict.accepted,
        "rejected_because": list(verdict.reasons),
    }


def cost_usd(job: Job) -> float | None:
    """Return what an item has cost or may cost, over all its attempts; None where nobody knows."""
    if job.state is State.REJECTED:
        return round(job.settled_usd, 6)
    if job.cost_is is CostIs.UNKNOWN and job.state is not State.PLANNED and not job.committed_usd:
        return None
    return round(job.committed_usd, 6)


def shown(value: Any) -> Any:
    """Return a value with data URLs shortened, which can be megabytes and are not what a result is read for."""
    if isinstance(value, str) and value.startswith("data:") and len(value) > 200:
        return f"{value[:64]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {key: shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner) for inner in value]
    return value
