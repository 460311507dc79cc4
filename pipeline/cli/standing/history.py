"""One item's whole history as text: what it is, how it stands, what it costs, and what happened to it.

Pure: the revisions of a job and their events come in, lines go out. All that a provider or a manifest said is escaped
and free of download addresses.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.columns import columns
from pipeline.cli.wording.console import count, duration, plain, usd
from pipeline.cli.wording.doubts import ways_out, window
from pipeline.cli.wording.sentences import COST_SAYS, EVENT_SAYS, STATE_SAYS
from pipeline.clips.acceptance import decoded_facts, judge
from pipeline.jobs.codec import job_to_json
from pipeline.jobs.job import CostIs
from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, ClipState, EventKind, State
from pipeline.jobs.trouble import what_to_do
from pipeline.ledger.results import result, shown
from pipeline.providers.answers import Billing
from pipeline.providers.redact import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pipeline.clips.acceptance import Acceptance
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Clip, Job

LABEL = 12


def history_json(root: Path, revisions: Sequence[Job], events: Sequence[Event], rules: Acceptance) -> dict[str, Any]:
    """Return the history as plain JSON."""
    latest = revisions[-1]
    return {
        "batch": str(root),
        "id": latest.item_id,
        "state": latest.state.value,
        "says": STATE_SAYS[latest.state],
        "revisions": [redact(job_to_json(job)) for job in revisions],
        "clips": result(latest, rules)["clips"],
        "events": [redact(event.to_json()) for event in events],
    }


def history_text(root: Path, revisions: Sequence[Job], events: Sequence[Event], rules: Acceptance) -> str:
    """Return the history as text, the latest revision first."""
    job = revisions[-1]
    parts = [list(_about(job)), list(_doubt(root, job, events)), list(_clips(job, rules)), list(_happened(events))]
    if len(revisions) > 1:
        parts.insert(1, [f"An earlier revision ({older.revision}) is {older.state}." for older in revisions[:-1]])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _about(job: Job) -> Iterator[str]:
    yield _labelled("item", job.item_id + (f" (revision {job.revision})" if job.revision > 1 else ""))
    yield _labelled("state", f"{job.state}: {STATE_SAYS[job.state]}")
    yield _labelled("model", f"{job.provider}/{job.request.model}" + (f" at {job.base_url}" if job.base_url else ""))
    yield _labelled("prompt", job.request.prompt)
    for name, value in (("parameters", shown(dict(job.request.parameters))), ("metadata", dict(job.metadata))):
        if value:
            yield _labelled(name, json.dumps(value, ensure_ascii=False))
    if job.request.options:
        yield _labelled("options", json.dumps(redact(dict(job.request.options)), ensure_ascii=False))
    if job.job_id:
        yield _labelled("job id", f"{redact_text(job.job_id)} (attempt {job.attempt})")
    yield _labelled("cost", money_of(job))
    if job.submitted_at and job.finished_at:
        yield _labelled("took", duration((job.finished_at - job.submitted_at).total_seconds()))
    if job.failure and job.state not in IN_DOUBT:
        yield _labelled("failure", f"{job.failure.kind}: {redact_text(job.failure.message)}")
        yield _labelled("what to do", what_to_do(job))
    for warning in job.warnings:
        yield _labelled("warning", redact_text(warning))


def money_of(job: Job) -> str:
    """Say what the item has cost or may cost, over all its attempts."""
    earlier = f"; {usd(job.settled_usd)} for earlier attempts" if job.settled_usd else ""
    return _of_attempt(job) + earlier


def _of_attempt(job: Job) -> str:
    billing = job.failure.billing if job.failure else None
    if job.cost_is is CostIs.REFUNDED or billing is Billing.REFUNDED:
        return "refunded"
    if job.state is State.PLANNED or (job.state in UNSUCCESSFUL and billing is Billing.UNBILLED):
        return "nothing" if job.state is not State.PLANNED else "nothing so far"
    if job.cost_is is CostIs.UNKNOWN and not job.reserved_usd:
        return "unknown: nobody told the price"
    told = f"{usd(job.reserved_usd)}, {COST_SAYS[job.cost_is]}"
    if job.state in IN_DOUBT:
        return f"{told}; in doubt, and counted as spent"
    return told if job.state is State.DONE else f"{told}; counted as spent"


def _doubt(root: Path, job: Job, events: Sequence[Event]) -> Iterator[str]:
    if job.state not in IN_DOUBT:
        return
    yield "In doubt"
    yield from doubt_lines(root, job, events)
    yield f"  The rest of the batch goes on with: {plain(shlex.join(['clipmill', 'resume', str(root)]))}"


def doubt_lines(root: Path, job: Job, events: Sequence[Event]) -> Iterator[str]:
    """Say all that helps to settle a doubt: what is known, what it may cost, when it arose, and the ways out."""
    start, end = window(job, events)
    call = "submit" if job.state is State.SUBMIT_IN_DOUBT else "call for the result"
    began = _moment(start) if start else "an unknown moment"
    noted = _moment(end) if end else "an unknown moment"
    if job.failure and job.failure.kind == "history_lost":
        yield f"  A {call} may have left between {began}, where this ledger ends, and {noted}, when that was noticed."
    else:
        yield f"  The {call} left after {began}, and its loss was noted at {noted}."
    if job.failure:
        yield f"  What is known: {plain(redact_text(job.failure.message))} ({plain(job.failure.kind)})"
        for name, value in sorted(redact(dict(job.failure.evidence)).items()):
            yield f"    {plain(name)}: {_short(value)}"
    price = "an unknown amount" if job.cost_is is CostIs.UNKNOWN else f"{usd(job.reserved_usd)}"
    yield f"  It may have cost {price}. Look for a charge from between these times in the provider's own account."
    yield "  It is held: no run submits it or asks for its result again, so it cannot be paid for twice."
    yield "  Settle it with one of:"
    for command, meaning in ways_out(root, job).values():
        yield f"    {plain(command)}"
        yield f"      {meaning}"


def _clips(job: Job, rules: Acceptance) -> Iterator[str]:
    if not job.clips or job.state in IN_DOUBT:
        return
    rows = [(str(clip.index), clip.state.value, _facts(clip), clip.file or clip.part) for clip in job.clips]
    yield columns(("clip", "state", "what it is", "file"), rows)
    for clip in job.clips:
        for warning in clip.warnings:
            yield f"  clip {clip.index}: {plain(redact_text(warning))}"
        if clip.state is ClipState.DONE:
            for reason in judge(rules, clip.facts, clip.size_bytes).reasons:
                yield f"  clip {clip.index} is left out of exports: {plain(reason)}"


def _facts(clip: Clip) -> str:
    if clip.state in {ClipState.WANTED, ClipState.LOST}:
        return ""
    facts: Mapping[str, Any] = clip.facts
    parts = [f"{clip.size_bytes:,} bytes"]
    if facts.get("duration_s") is not None:
        parts.append(f"{facts['duration_s']:g} s")
    if facts.get("width") and facts.get("height"):
        parts.append(f"{facts['width']}x{facts['height']}")
    if facts.get("fps"):
        parts.append(f"{facts['fps']:g} fps")
    if facts.get("has_audio") is not None:
        parts.append("with sound" if facts["has_audio"] else "silent")
    decoded = decoded_facts(facts)
    if decoded is not None:
        seen = {"black": decoded.is_black, "frozen": decoded.is_frozen, "nothing to hear": bool(decoded.silent)}
        parts += [word for word, holds in seen.items() if holds]
        parts.append("damaged" if decoded.problems(facts.get("frames") or 0) else "decodes to its last frame")
    return ", ".join(parts)


def _happened(events: Sequence[Event]) -> Iterator[str]:
    revised = any(event.revision > 1 for event in events)
    yield "What happened (UTC)"
    for event in events:
        where = f"revision {event.revision}: " if revised else ""
        learned = "; ".join(plain(part) for part in learned_from(event))
        yield f"  {_moment(event.at)}  {where}{EVENT_SAYS[event.kind]}{f': {learned}' if learned else ''}"


def learned_from(event: Event) -> list[str]:
    """Return what an event told, in short texts; not yet escaped."""
    data: Mapping[str, Any] = redact(dict(event.data))
    told: list[str] = []
    match event.kind:
        case EventKind.SUBMIT_STARTED | EventKind.HISTORY_LOST if "price_usd" in data:
            price = data.get("price_usd")
            told.append("price unknown" if price is None else f"{usd(price)} {COST_SAYS[CostIs(data['price_is'])]}")
        case EventKind.SUBMIT_ACCEPTED | EventKind.DOUBT_ADOPTED:
            told.append(f"job id {data['receipt']['job_id']}")
        case EventKind.CLAIM_RECEIVED:
            told.append(count(len(data["outputs"]), "clip"))
            if data.get("cost_usd") is not None:
                told.append(usd(data["cost_usd"]))
            if data.get("usage"):
                told.append(_short(data["usage"]))
        case EventKind.CLIP_STORED:
            told.append(f"clip {data['index']}, {data['size_bytes']:,} bytes, sha256 {data['sha256'][:12]}…")
        case EventKind.CLIP_PUBLISHED:
            told.append(f"clip {data['index']} is {data['file']}")
        case EventKind.CLIP_UPLOADED:
            remote = event.data["remote"]  # the user's own address, and shown whole
            told.append(f"clip {data['index']} is {remote['store']}/{remote['key']}")
        case EventKind.CLIP_DISCARDED | EventKind.CLIP_LOST | EventKind.CLIP_MISSING | EventKind.CLIP_COPY_LOST:
            told.append(f"clip {data['index']}")
        case EventKind.CLIP_DECODED:
            seen = data["decoded"]
            told.append(f"clip {data['index']}, {count(seen['frames'], 'frame')}, {seen['corrupt']} of them damaged")
        case _:
            pass
    if "why" in data:
        told.append(_short(data["why"]))
    failure = data.get("failure")
    if failure:
        told.append(f"{failure['kind']}: {_short(failure['message'])} (billing: {failure['billing']})")
    told += [f"warning: {_short(warning)}" for warning in data.get("warnings", ())]
    return told


def _labelled(label: str, text: str) -> str:
    return f"{label:<{LABEL}}{plain(text)}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain(text if len(text) <= 400 else text[:397] + "...")
