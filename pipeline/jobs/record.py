"""`apply(job, event) -> job`: pure, and the only place where a job changes.

The live run and the replay of a ledger call this same function, so a job is always the fold of its events.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import LedgerError
from pipeline.jobs.codec import failure_from_json, receipt_from_json, remote_from_json, request_from_json
from pipeline.jobs.job import CleanUp, Clip, CostIs, Job
from pipeline.jobs.state import CLIP_MOVES, COPY_MOVES, MOVES, ClipState, CopyState, EventKind, State
from pipeline.providers.answers import Billing, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.jobs.event import Event


OF_COPIES = frozenset({EventKind.CLIP_UPLOADED, EventKind.CLIP_COPY_LOST})
"""Events about a clip's second copy alone."""


class IllegalMove(LedgerError):
    """An event that the table of legal moves does not allow. Always a bug of ours."""


def apply(job: Job | None, event: Event) -> Job:
    """Return the job as it is after the event.

    Raises:
        IllegalMove: the table of legal moves does not allow it.
    """
    before = job.state if job else None
    if job is not None and (job.item_id, job.revision) != (event.item_id, event.revision):
        raise IllegalMove(f"Event {event.kind} of {event.item_id} was applied to {job.item_id}.")
    after = _planned(event) if job is None else _EFFECTS.get(event.kind, _refuse)(job, event)
    if (before, event.kind, after.state) not in MOVES:
        raise IllegalMove(f"{event.item_id}: {event.kind} does not lead from {before} to {after.state}.")
    return replace(after, moves=job.moves + 1) if job else after


def _refuse(job: Job, event: Event) -> Job:
    raise IllegalMove(f"{job.item_id}: {event.kind} is not an event of a job that exists.")


def _planned(event: Event) -> Job:
    if event.kind is not EventKind.ITEM_PLANNED:
        raise IllegalMove(f"{event.item_id}: {event.kind} came before the item was planned.")
    return Job(
        item_id=event.item_id,
        revision=event.revision,
        fingerprint=event.data["fingerprint"],
        provider=event.data["provider"],
        request=request_from_json(event.data["request"]),
        metadata=event.data["metadata"],
        moves=1,
    )


def _item_revised(job: Job, event: Event) -> Job:
    return replace(
        job,
        fingerprint=event.data["fingerprint"],
        provider=event.data["provider"],
        request=request_from_json(event.data["request"]),
        metadata=event.data["metadata"],
    )


def _item_relabelled(job: Job, event: Event) -> Job:
    return replace(job, metadata=event.data["metadata"])


def _submit_started(job: Job, event: Event) -> Job:
    return replace(
        job,
        state=State.SUBMITTING,
        attempt=job.attempt + 1,
        base_url=event.data["base_url"],
        account=event.data["account"],
        reserved_usd=event.data["price_usd"] or 0.0,
        cost_is=CostIs(event.data["price_is"]),
        expected_usd=event.data["price_usd"],
        expected_is=CostIs(event.data["price_is"]),
        intent_at=event.at,
        failure=None,
        receipt=None,
        outputs=(),
        usage={},
        clips=(),
        claims_made=0,
        claims_allowed=1,
        submitted_at=None,
        finished_at=None,
    )


def _submit_deferred(job: Job, _event: Event) -> Job:
    return replace(job, state=State.PLANNED, attempt=job.attempt - 1, reserved_usd=0.0, cost_is=CostIs.UNKNOWN)


def _submit_orphaned(job: Job, event: Event) -> Job:
    lost = 0 if event.data.get("interrupted") else 1  # our own death says nothing against the vendor
    return replace(job, state=State.PLANNED, orphans=job.orphans + lost, reserved_usd=0.0, cost_is=CostIs.UNKNOWN)


def _submit_accepted(job: Job, event: Event) -> Job:
    return replace(
        job,
        state=State.SUBMITTED,
        receipt=receipt_from_json(event.data["receipt"]),
        clips=tuple(Clip(index=i) for i in range(job.request.sample_count)),
        warnings=(*job.warnings, *event.data.get("warnings", ())),
        submitted_at=event.at,
    )


def _ended(state: State) -> Callable[[Job, Event], Job]:
    def end(job: Job, event: Event) -> Job:
        failure = failure_from_json(event.data["failure"])
        assert failure is not None
        free = failure.billing in {Billing.UNBILLED, Billing.REFUNDED}
        cost_is = CostIs.REFUNDED if failure.billing is Billing.REFUNDED else job.cost_is
        return replace(
            job,
            state=state,
            failure=failure,
            reserved_usd=0.0 if free else job.reserved_usd,
            cost_is=cost_is,
            finished_at=event.at,
        )

    return end


def _claim_lost(job: Job, event: Event) -> Job:
    return replace(job, state=State.CLAIM_IN_DOUBT, failure=failure_from_json(event.data["failure"]))


def _submit_lost(job: Job, event: Event) -> Job:
    if any(clip.state is not ClipState.WANTED for clip in job.clips):
        raise IllegalMove(f"{job.item_id}: a clip of it is here, so its submit is not in doubt.")
    return replace(job, state=State.SUBMIT_IN_DOUBT, clips=(), failure=failure_from_json(event.data["failure"]))


def _history_lost(job: Job, event: Event) -> Job:
    failure = failure_from_json(event.data["failure"])
    if job.state is State.SUBMITTED:
        # The claims may all have been made: only one that the operator adds is certainly left.
        return replace(job, state=State.CLAIM_IN_DOUBT, claims_made=job.claims_allowed, failure=failure)
    return replace(
        job,
        state=State.SUBMIT_IN_DOUBT,
        reserved_usd=event.data["price_usd"] or 0.0,
        cost_is=CostIs(event.data["price_is"]),
        failure=failure,
        receipt=None,
        outputs=(),
        usage={},
        clips=(),
    )


def _claim_started(job: Job, event: Event) -> Job:
    if job.claims_made >= job.claims_allowed:
        raise IllegalMove(f"{job.item_id}: every allowed claim of this attempt was already made.")
    return replace(job, state=State.CLAIMING, claims_made=job.claims_made + 1, intent_at=event.at)


def _claim_deferred(job: Job, _event: Event) -> Job:
    return replace(job, state=State.SUBMITTED, claims_made=job.claims_made - 1)


def _claim_received(job: Job, event: Event) -> Job:
    outputs = tuple(Output(**o) for o in event.data["outputs"])
    cost_usd = event.data.get("cost_usd")
    return replace(
        job,
        state=State.CLAIMED,
        outputs=outputs,
        usage=event.data["usage"],
        clips=tuple(Clip(index=o.index) for o in outputs),
        reserved_usd=job.reserved_usd if cost_usd is None else cost_usd,
        cost_is=job.cost_is if cost_usd is None else CostIs.COMPUTED,
        warnings=(*job.warnings, *event.data.get("warnings", ())),
    )


def _clip_event(job: Job, event: Event) -> Job:
    index = event.data["index"]
    clip = next((c for c in job.clips if c.index == index), None)
    if clip is None:
        raise IllegalMove(f"{job.item_id}: it has no clip {index}.")
    moved = _move_clip(clip, event)
    if (clip.state, event.kind, moved.state) not in CLIP_MOVES:
        raise IllegalMove(f"{job.item_id}: {event.kind} does not lead a clip from {clip.state} to {moved.state}.")
    told_of_copy = event.kind in OF_COPIES or clip.copy is not moved.copy
    if told_of_copy and (clip.copy, event.kind, moved.copy) not in COPY_MOVES:
        raise IllegalMove(f"{job.item_id}: {event.kind} does not lead a copy from {clip.copy} to {moved.copy}.")
    clips = tuple(moved if c.index == index else c for c in job.clips)
    return _with_clips(replace(job, clips=clips), event)


def _move_clip(clip: Clip, event: Event) -> Clip:
    data = event.data
    match event.kind:
        case EventKind.CLIP_STORED:
            return replace(
                clip,
                state=ClipState.STORED,
                part=data["part"],
                file=data["file"],
                sha256=data["sha256"],
                size_bytes=data["size_bytes"],
                facts=data["facts"],
                warnings=tuple(data["warnings"]),
            )
        case EventKind.CLIP_PUBLISHED:
            return replace(clip, state=ClipState.DONE, part="", file=data["file"])
        case EventKind.CLIP_LOST:
            return replace(clip, state=ClipState.LOST)
        case EventKind.CLIP_DECODED:
            return replace(clip, facts={**clip.facts, "decoded": data["decoded"]})
        case EventKind.CLIP_UPLOADED:
            return replace(clip, copy=CopyState.UPLOADED, remote=remote_from_json(data["remote"]))
        case EventKind.CLIP_COPY_LOST:
            return replace(clip, copy=CopyState.NONE, remote=None)
        case _:
            return Clip(index=clip.index)


def _with_clips(job: Job, event: Event) -> Job:
    states = {clip.state for clip in job.clips}
    if event.kind is EventKind.CLIP_DECODED or event.kind in OF_COPIES:
        return job
    if event.kind is EventKind.CLIP_MISSING:
        state = State.CLAIMED if job.outputs else State.SUBMITTED
        return replace(job, state=state, cleanup=CleanUp.NONE, finished_at=None)
    if states == {ClipState.DONE}:
        return replace(job, state=State.DONE, finished_at=event.at, failure=None)
    if states <= {ClipState.DONE, ClipState.LOST}:
        failure = failure_from_json(event.data["failure"]) if "failure" in event.data else job.failure
        return replace(job, state=State.LOST, finished_at=event.at, failure=failure)
    if "failure" in event.data:
        return replace(job, failure=failure_from_json(event.data["failure"]))
    return job


def _cleaned_up(result: CleanUp) -> Callable[[Job, Event], Job]:
    def clean(job: Job, _event: Event) -> Job:
        return replace(job, cleanup=result)

    return clean


def _doubt_resubmitted(job: Job, _event: Event) -> Job:
    return replace(_reopened(job), state=State.PLANNED)


def _retried(job: Job, _event: Event) -> Job:
    return replace(_reopened(job), state=State.PLANNED, orphans=0)


def _reopened(job: Job) -> Job:
    return replace(
        job, settled_usd=job.committed_usd, reserved_usd=0.0, cost_is=CostIs.UNKNOWN, failure=None, finished_at=None
    )


def _doubt_adopted(job: Job, event: Event) -> Job:
    adopted = replace(
        job,
        failure=None,
        base_url=event.data.get("base_url", job.base_url),
        account=event.data.get("account", job.account),
    )
    return _submit_accepted(adopted, event)


def _claim_allowed(job: Job, _event: Event) -> Job:
    return replace(
        job,
        state=State.SUBMITTED,
        claims_allowed=job.claims_allowed + 1,
        settled_usd=job.committed_usd,
        failure=None,
    )


_EFFECTS: dict[EventKind, Callable[[Job, Event], Job]] = {
    EventKind.ITEM_REVISED: _item_revised,
    EventKind.ITEM_RELABELLED: _item_relabelled,
    EventKind.ITEM_ABANDONED: _ended(State.ABANDONED),
    EventKind.SUBMIT_STARTED: _submit_started,
    EventKind.SUBMIT_DEFERRED: _submit_deferred,
    EventKind.SUBMIT_ORPHANED: _submit_orphaned,
    EventKind.SUBMIT_REFUSED: _ended(State.REJECTED),
    EventKind.SUBMIT_LOST: _submit_lost,
    EventKind.SUBMIT_ACCEPTED: _submit_accepted,
    EventKind.CLAIM_STARTED: _claim_started,
    EventKind.CLAIM_DEFERRED: _claim_deferred,
    EventKind.CLAIM_LOST: _claim_lost,
    EventKind.CLAIM_RECEIVED: _claim_received,
    EventKind.JOB_FAILED: _ended(State.FAILED),
    EventKind.JOB_LOST: _ended(State.LOST),
    EventKind.CLIP_STORED: _clip_event,
    EventKind.CLIP_DISCARDED: _clip_event,
    EventKind.CLIP_LOST: _clip_event,
    EventKind.CLIP_PUBLISHED: _clip_event,
    EventKind.CLIP_MISSING: _clip_event,
    EventKind.CLIP_DECODED: _clip_event,
    EventKind.CLIP_UPLOADED: _clip_event,
    EventKind.CLIP_COPY_LOST: _clip_event,
    EventKind.CLEANED_UP: _cleaned_up(CleanUp.DONE),
    EventKind.CLEANUP_REFUSED: _cleaned_up(CleanUp.REFUSED),
    EventKind.HISTORY_LOST: _history_lost,
    EventKind.DOUBT_RESUBMITTED: _doubt_resubmitted,
    EventKind.DOUBT_ADOPTED: _doubt_adopted,
    EventKind.DOUBT_ABANDONED: _ended(State.ABANDONED),
    EventKind.CLAIM_ALLOWED: _claim_allowed,
    EventKind.RETRIED: _retried,
}
