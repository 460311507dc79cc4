"""Jobs, and the parts that events carry, as plain JSON and back. The round trip loses nothing."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.jobs.job import CleanUp, Clip, CostIs, Failure, Job, Remote
from pipeline.jobs.state import ClipState, CopyState, State
from pipeline.providers.answers import Billing, Output, Receipt
from pipeline.providers.base import GenerationRequest, InputFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def job_to_json(job: Job) -> dict[str, Any]:
    """Return the whole record as plain JSON."""
    return {
        **record_to_json(job),
        "request": request_to_json(job.request),
        "clips": [clip_to_json(c) for c in job.clips],
    }


def record_to_json(job: Job) -> dict[str, Any]:
    """Return the record but its request and its clips, which a ledger keeps apart, as plain JSON."""
    return {
        "item_id": job.item_id,
        "revision": job.revision,
        "fingerprint": job.fingerprint,
        "provider": job.provider,
        "metadata": dict(job.metadata),
        "state": job.state.value,
        "attempt": job.attempt,
        "moves": job.moves,
        "orphans": job.orphans,
        "claims_allowed": job.claims_allowed,
        "claims_made": job.claims_made,
        "base_url": job.base_url,
        "account": job.account,
        "receipt": receipt_to_json(job.receipt) if job.receipt else None,
        "outputs": [{"index": o.index, "location": dict(o.location)} for o in job.outputs],
        "usage": dict(job.usage),
        "reserved_usd": job.reserved_usd,
        "settled_usd": job.settled_usd,
        "cost_is": job.cost_is.value,
        "expected_usd": job.expected_usd,
        "expected_is": job.expected_is.value,
        "cleanup": job.cleanup.value,
        "failure": failure_to_json(job.failure) if job.failure else None,
        "warnings": list(job.warnings),
        "intent_at": _time_to_json(job.intent_at),
        "submitted_at": _time_to_json(job.submitted_at),
        "finished_at": _time_to_json(job.finished_at),
    }


def job_from_json(value: Mapping[str, Any], clips: Sequence[Clip] | None = None) -> Job:
    """Read what `job_to_json` wrote; `clips` stand in for the record's own where they are kept elsewhere."""
    fields = dict(value)
    fields["request"] = request_from_json(value["request"])
    fields["state"] = State(value["state"])
    fields["receipt"] = receipt_from_json(value["receipt"])
    fields["outputs"] = tuple(Output(**o) for o in value["outputs"])
    fields["clips"] = tuple(clip_from_json(c) for c in value["clips"]) if clips is None else tuple(clips)
    fields["cost_is"] = CostIs(value["cost_is"])
    fields["expected_is"] = CostIs(value.get("expected_is", "unknown"))
    fields["cleanup"] = CleanUp(value.get("cleanup", "none"))
    fields["failure"] = failure_from_json(value["failure"])
    fields["warnings"] = tuple(value["warnings"])
    for name in ("intent_at", "submitted_at", "finished_at"):
        fields[name] = datetime.fromisoformat(value[name]) if value[name] else None
    return Job(**fields)


def request_to_json(request: GenerationRequest) -> dict[str, Any]:
    """Return a request as plain JSON; local files are named by digest, their bytes are not kept."""
    return {
        "model": request.model,
        "prompt": request.prompt,
        "parameters": dict(request.parameters),
        "options": dict(request.options),
        "files": {name: file_to_json(file) for name, file in request.files.items()},
    }


def file_to_json(file: InputFile) -> dict[str, Any]:
    """Return the record of an input file as plain JSON; what is not known of it is left out."""
    return {name: value for name, value in asdict(file).items() if value is not None}


def request_from_json(value: Mapping[str, Any]) -> GenerationRequest:
    """Read what `request_to_json` wrote."""
    files = {name: InputFile(**f) for name, f in value["files"].items()}
    return GenerationRequest(**{**value, "files": files})


def receipt_to_json(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as plain JSON."""
    return {
        "job_id": receipt.job_id,
        "model": receipt.model,
        "answer": dict(receipt.answer),
        "asked": dict(receipt.asked),
    }


def failure_to_json(failure: Failure) -> dict[str, Any]:
    """Return a failure as plain JSON."""
    return {
        "kind": failure.kind,
        "message": failure.message,
        "billing": failure.billing.value,
        "evidence": dict(failure.evidence),
    }


def receipt_from_json(value: Mapping[str, Any] | None) -> Receipt | None:
    """Read what `receipt_to_json` wrote."""
    return Receipt(**value) if value else None


def failure_from_json(value: Mapping[str, Any] | None) -> Failure | None:
    """Read what `failure_to_json` wrote."""
    return Failure(**{**value, "billing": Billing(value["billing"])}) if value else None


def clip_to_json(clip: Clip) -> dict[str, Any]:
    """Return a clip as plain JSON."""
    return {
        "index": clip.index,
        "state": clip.state.value,
        "part": clip.part,
        "file": clip.file,
        "sha256": clip.sha256,
        "size_bytes": clip.size_bytes,
        "facts": dict(clip.facts),
        "warnings": list(clip.warnings),
        "copy": clip.copy.value,
        "remote": remote_to_json(clip.remote),
    }


def clip_from_json(value: Mapping[str, Any]) -> Clip:
    """Read what `clip_to_json` wrote."""
    return Clip(
        **{
            **value,
            "state": ClipState(value["state"]),
            "warnings": tuple(value["warnings"]),
            "copy": CopyState(value.get("copy", "none")),
            "remote": remote_from_json(value.get("remote")),
        }
    )


def remote_to_json(remote: Remote | None) -> dict[str, Any]:
    """Return where a copy is as plain JSON; nothing for none."""
    return asdict(remote) if remote else {}


def remote_from_json(value: Mapping[str, Any] | None) -> Remote | None:
    """Read what `remote_to_json` wrote."""
    return Remote(**value) if value else None


def _time_to_json(value: datetime | None) -> str | None:
    return value.isoformat() if value else None
