"""Jobs and events as rows of the ledger, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.jobs.codec import clip_from_json, clip_to_json, job_from_json, record_to_json, request_to_json
from pipeline.jobs.event import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipeline.jobs.job import Clip, Job
    from pipeline.ledger.interface import Database

MICRO = 1_000_000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
JOB_COLUMNS = "id, revision, request, record"
CLIP_COLUMNS = "item_id, revision, idx, state, part, file, sha256, size_bytes, facts, warnings, copy, remote"
TOGETHER = 500
"""Jobs whose clips are read with one statement."""
UNCLEANED = "state = 'done' AND coalesce(json_extract(record, '$.cleanup'), 'none') = 'none'"
"""Done, and the vendor was not asked to delete its copies."""
INSERT_ITEM = """
INSERT INTO item (id, revision, position, state, event, attempt, moves, epoch, provider, model, job_id,
                  committed_micro_usd, request, record)
VALUES (:id, :revision, 0, :state, :event, :attempt, :moves, :epoch, :provider, :model, :job_id,
        :committed_micro_usd, :request, :record)"""
UPDATE_ITEM = """
UPDATE item SET state = :state, event = :event, attempt = :attempt, moves = :moves, epoch = :epoch,
                provider = :provider, model = :model, job_id = :job_id, committed_micro_usd = :committed_micro_usd,
                record = :record, request = coalesce(:request, request)
WHERE id = :id AND revision = :revision AND state = :state_before AND moves = :moves_before AND epoch <= :epoch"""
INSERT_CLIP = """
INSERT INTO clip (item_id, revision, idx, state, event, part, file, sha256, size_bytes, facts, warnings, copy, remote)
VALUES (:item_id, :revision, :idx, :state, :event, :part, :file, :sha256, :size_bytes, :facts, :warnings, :copy,
        :remote)"""
UPDATE_CLIP = """
UPDATE clip SET state = :state, event = :event, part = :part, file = :file, sha256 = :sha256,
                size_bytes = :size_bytes, facts = :facts, warnings = :warnings, copy = :copy, remote = :remote
WHERE item_id = :item_id AND revision = :revision AND idx = :idx AND state = :state_before"""


def compact(value: Any) -> str:
    """Return canonical, compact JSON text."""
    return _encode(value)


def committed_micro_usd(job: Job) -> int:
    """Return what the budget counts for a job, in millionths of a dollar."""
    return round(job.committed_usd * MICRO)


def item_row(job: Job, event: Event, epoch: int, *, with_request: bool) -> dict[str, Any]:
    """Return the values of the item's row. The request is left as it is in the table unless asked for."""
    return {
        "id": job.item_id,
        "revision": job.revision,
        "state": job.state.value,
        "event": event.kind.value,
        "attempt": job.attempt,
        "moves": job.moves,
        "epoch": epoch,
        "provider": job.provider,
        "model": job.request.model,
        "job_id": job.job_id or None,
        "committed_micro_usd": committed_micro_usd(job),
        "request": compact(request_to_json(job.request)) if with_request else None,
        "record": compact(record_to_json(job)),
    }


def clip_row(job: Job, clip: Clip, event: Event) -> dict[str, Any]:
    """Return the values of a clip's row."""
    row = clip_to_json(clip)
    return {
        **row,
        "item_id": job.item_id,
        "revision": job.revision,
        "idx": row.pop("index"),
        "event": event.kind.value,
        "facts": compact(row["facts"]),
        "warnings": compact(row["warnings"]),
        "remote": compact(row["remote"]),
    }


def read_jobs(database: Database, where: str, values: Sequence[Any] = ()) -> Iterator[Job]:
    """Yield the jobs that a WHERE clause (of ours, never of the user's) selects, with their clips."""
    items = database.execute(f"SELECT {JOB_COLUMNS} FROM item {where}", values).fetchall()  # noqa: S608 - as said
    for first in range(0, len(items), TOGETHER):
        some = items[first : first + TOGETHER]
        clips = _clips_of(database, [(item_id, revision) for item_id, revision, *_ in some])
        for item_id, revision, request, record in some:
            job = {**json.loads(record), "request": json.loads(request)}
            yield job_from_json(job, clips.get((item_id, revision), ()))


def _clips_of(database: Database, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], list[Clip]]:
    """Return the clips of jobs by id and revision, which stay theirs whatever is written meanwhile."""
    these = ", ".join(["(?, ?)"] * len(keys))
    query = f"SELECT {CLIP_COLUMNS} FROM clip WHERE (item_id, revision) IN (VALUES {these}) ORDER BY idx"  # noqa: S608
    clips: dict[tuple[str, int], list[Clip]] = {}
    for item_id, revision, *clip in database.execute(query, [value for key in keys for value in key]):
        clips.setdefault((item_id, revision), []).append(_read_clip(*clip))
    return clips


def _read_clip(
    index: int,
    state: str,
    part: str,
    file: str,
    sha256: str,
    size_bytes: int,
    facts: str,
    warnings: str,
    copy: str,
    remote: str,
) -> Clip:
    return clip_from_json(
        {
            "index": index,
            "state": state,
            "part": part,
            "file": file,
            "sha256": sha256,
            "size_bytes": size_bytes,
            "facts": json.loads(facts),
            "warnings": json.loads(warnings),
            "copy": copy,
            "remote": json.loads(remote),
        }
    )


def undecoded(database: Database) -> list[tuple[str, int]]:
    """Return the id and revision of finished jobs with a clip that no decoder has seen, in the manifest's order."""
    return _finished_with_a_clip(database, "json_extract(clip.facts, '$.decoded') IS NULL")


def not_uploaded(database: Database, store: str) -> list[tuple[str, int]]:
    """Return the id and revision of finished jobs with a clip of which a store has no copy, in the manifest's order."""
    is_missing = "(clip.copy <> 'uploaded' OR json_extract(clip.remote, '$.store') <> ?)"
    return _finished_with_a_clip(database, is_missing, (store,))


def _finished_with_a_clip(database: Database, condition: str, values: Sequence[Any] = ()) -> list[tuple[str, int]]:
    query = (
        "SELECT item.id, item.revision FROM item JOIN clip ON clip.item_id = item.id AND clip.revision = item.revision "  # noqa: S608 - literals of this module
        f"WHERE item.state IN ('done', 'lost') AND clip.state = 'done' AND {condition} "
        "GROUP BY item.id, item.revision ORDER BY item.position"
    )
    return database.execute(query, values).fetchall()


def read_events(rows: Iterable[tuple[Any, ...]]) -> Iterator[Event]:
    """Yield events from rows of (kind, item_id, revision, at, data)."""
    for kind, item_id, revision, at, data in rows:
        yield Event.from_json(
            {"kind": kind, "item_id": item_id, "revision": revision, "at": at, "data": json.loads(data)}
        )
