"""The states of a job and of its clips, and the one table of legal moves.

A state exists only where resume or an operator acts differently in it; what a vendor calls progress is no state. The
ledger's database is given this same table and refuses whatever is not in it, so a bug aborts instead of committing.

A second submission always passes one of four named doors back to `planned`: `submit_deferred` (it certainly was not
accepted), `submit_orphaned` (it was lost where a submit costs nothing), `doubt_resubmitted` and `retried` (an operator
said so). "Where could we pay twice?" is a search for those four words.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job is."""

    PLANNED = "planned"
    """Nothing has been sent for the next attempt."""
    SUBMITTING = "submitting"
    """The intent is on disk; the submit may have left. Found at start: in doubt where it bills, else sent again."""
    SUBMITTED = "submitted"
    """The receipt is on disk. Looked at until the vendor says that it ended."""
    CLAIMING = "claiming"
    """The intent is on disk; the call that bills may have left. Found at start: in doubt."""
    CLAIMED = "claimed"
    """Billed, and where its clips are is on disk. Only fetching is left."""
    DONE = "done"
    """Every clip bears its final name."""
    SUBMIT_IN_DOUBT = "submit_in_doubt"
    """A submit that bills was sent and its outcome is not known. Held until the operator settles it."""
    CLAIM_IN_DOUBT = "claim_in_doubt"
    """A claim was sent and its outcome is not known. Held until the operator settles it."""
    REJECTED = "rejected"
    """The vendor refused the submit."""
    FAILED = "failed"
    """The vendor accepted the job and made no clip."""
    LOST = "lost"
    """Paid for, and no longer to be had."""
    ABANDONED = "abandoned"
    """The operator gave it up."""


IN_DOUBT = frozenset({State.SUBMIT_IN_DOUBT, State.CLAIM_IN_DOUBT})
UNSUCCESSFUL = frozenset({State.REJECTED, State.FAILED, State.LOST, State.ABANDONED})
"""Ends without a clip: what `failed` counts in summaries."""
ENDED = UNSUCCESSFUL | {State.DONE}
LIVE = frozenset({State.SUBMITTING, State.SUBMITTED, State.CLAIMING, State.CLAIMED})
"""Something of it is at the vendor, and the next run must go on with it."""


class ClipState(StrEnum):
    """Where one clip of a job is."""

    WANTED = "wanted"
    """No bytes of it are to be trusted."""
    STORED = "stored"
    """Whole, verified and durable under a part name; not yet under its final name."""
    DONE = "done"
    """Under its final name."""
    LOST = "lost"
    """The vendor no longer has it."""


class CopyState(StrEnum):
    """Where the second copy of a finished clip is, in an object store that the user named. It moves by itself."""

    NONE = "none"
    """There is none that is known of. The next run uploads the clip, where it has a store."""
    UPLOADED = "uploaded"
    """Whole, verified and under a name of its own in the store. It is not uploaded again."""


class EventKind(StrEnum):
    """What happened, in the past tense."""

    ITEM_PLANNED = "item_planned"
    ITEM_REVISED = "item_revised"
    ITEM_RELABELLED = "item_relabelled"
    ITEM_WITHDRAWN = "item_withdrawn"
    """It is no longer in the manifest and never cost anything: only its events stay in the ledger."""
    ITEM_ABANDONED = "item_abandoned"
    """It is no longer in the manifest, and earlier attempts may have cost something."""
    SUBMIT_STARTED = "submit_started"
    SUBMIT_DEFERRED = "submit_deferred"
    SUBMIT_ORPHANED = "submit_orphaned"
    SUBMIT_REFUSED = "submit_refused"
    SUBMIT_LOST = "submit_lost"
    SUBMIT_ACCEPTED = "submit_accepted"
    CLAIM_STARTED = "claim_started"
    CLAIM_DEFERRED = "claim_deferred"
    CLAIM_LOST = "claim_lost"
    CLAIM_RECEIVED = "claim_received"
    JOB_FAILED = "job_failed"
    JOB_LOST = "job_lost"
    CLIP_STORED = "clip_stored"
    CLIP_DISCARDED = "clip_discarded"
    CLIP_LOST = "clip_lost"
    CLIP_PUBLISHED = "clip_published"
    CLIP_MISSING = "clip_missing"
    CLIP_DECODED = "clip_decoded"
    """A decoder has seen every frame of a finished clip. It says what the clip is like, and moves nothing."""
    CLIP_UPLOADED = "clip_uploaded"
    """A finished clip is in the store too, and what is there was held against what is here."""
    CLIP_COPY_LOST = "clip_copy_lost"
    """The store no longer has it, or has something else under its name. The next run uploads it again."""
    CLEANED_UP = "cleaned_up"
    """The vendor's own copies of its clips are deleted: they are all here."""
    CLEANUP_REFUSED = "cleanup_refused"
    """The vendor would not delete them; it is not asked again."""
    HISTORY_LOST = "history_lost"
    """The ledger was restored from a copy: what happened to the item since is not known."""
    DOUBT_RESUBMITTED = "doubt_resubmitted"
    DOUBT_ADOPTED = "doubt_adopted"
    DOUBT_ABANDONED = "doubt_abandoned"
    CLAIM_ALLOWED = "claim_allowed"
    RETRIED = "retried"


def _moves() -> frozenset[tuple[State | None, EventKind, State]]:
    s, e = State, EventKind
    fetching = (s.SUBMITTED, s.CLAIMED)
    table: set[tuple[State | None, EventKind, State]] = {
        (None, e.ITEM_PLANNED, s.PLANNED),
        (s.PLANNED, e.ITEM_REVISED, s.PLANNED),
        (s.PLANNED, e.ITEM_ABANDONED, s.ABANDONED),
        (s.PLANNED, e.SUBMIT_STARTED, s.SUBMITTING),
        (s.SUBMITTING, e.SUBMIT_DEFERRED, s.PLANNED),
        (s.SUBMITTING, e.SUBMIT_ORPHANED, s.PLANNED),
        (s.SUBMITTING, e.SUBMIT_REFUSED, s.REJECTED),
        (s.SUBMITTING, e.SUBMIT_LOST, s.SUBMIT_IN_DOUBT),
        (s.SUBMITTING, e.SUBMIT_ACCEPTED, s.SUBMITTED),
        (s.SUBMITTING, e.JOB_FAILED, s.FAILED),
        (s.SUBMITTED, e.SUBMIT_LOST, s.SUBMIT_IN_DOUBT),  # its id was given to another item as well
        (s.SUBMITTED, e.JOB_FAILED, s.FAILED),
        (s.SUBMITTED, e.JOB_LOST, s.LOST),
        (s.SUBMITTED, e.CLAIM_STARTED, s.CLAIMING),
        (s.CLAIMING, e.CLAIM_DEFERRED, s.SUBMITTED),
        (s.CLAIMING, e.CLAIM_LOST, s.CLAIM_IN_DOUBT),
        (s.CLAIMING, e.CLAIM_RECEIVED, s.CLAIMED),
        (s.CLAIMING, e.JOB_FAILED, s.FAILED),
        (s.CLAIMED, e.JOB_LOST, s.LOST),
        (s.PLANNED, e.HISTORY_LOST, s.SUBMIT_IN_DOUBT),
        (s.SUBMITTED, e.HISTORY_LOST, s.CLAIM_IN_DOUBT),
        (s.DONE, e.CLEANED_UP, s.DONE),
        (s.DONE, e.CLEANUP_REFUSED, s.DONE),
        (s.DONE, e.CLIP_MISSING, s.SUBMITTED),
        (s.DONE, e.CLIP_MISSING, s.CLAIMED),
        (s.SUBMIT_IN_DOUBT, e.DOUBT_RESUBMITTED, s.PLANNED),
        (s.SUBMIT_IN_DOUBT, e.DOUBT_ADOPTED, s.SUBMITTED),
        (s.SUBMIT_IN_DOUBT, e.DOUBT_ABANDONED, s.ABANDONED),
        (s.CLAIM_IN_DOUBT, e.DOUBT_RESUBMITTED, s.PLANNED),
        (s.CLAIM_IN_DOUBT, e.CLAIM_ALLOWED, s.SUBMITTED),
        (s.CLAIM_IN_DOUBT, e.DOUBT_ABANDONED, s.ABANDONED),
    }
    for state in fetching:
        for kind in (e.CLIP_STORED, e.CLIP_DISCARDED, e.CLIP_LOST, e.CLIP_PUBLISHED):
            table.add((state, kind, state))
        table.add((state, e.CLIP_MISSING, state))  # a second clip of a job that has already left `done`
        table.add((state, e.CLIP_PUBLISHED, s.DONE))
        table.add((state, e.CLIP_PUBLISHED, s.LOST))
        table.add((state, e.CLIP_LOST, s.LOST))
    for state in (s.DONE, s.LOST):  # while it is at the vendor, its lane alone writes about it
        for kind in (e.CLIP_DECODED, e.CLIP_UPLOADED, e.CLIP_COPY_LOST):
            table.add((state, kind, state))
    for state in UNSUCCESSFUL:
        table.add((state, e.RETRIED, s.PLANNED))
    for state in State:
        table.add((state, e.ITEM_RELABELLED, state))
    return frozenset(table)


MOVES = _moves()
"""Every legal (from, event, to). `None` is a job that does not exist yet."""

CLIP_MOVES = frozenset(
    {
        (ClipState.WANTED, EventKind.CLIP_STORED, ClipState.STORED),
        (ClipState.STORED, EventKind.CLIP_DISCARDED, ClipState.WANTED),
        (ClipState.STORED, EventKind.CLIP_PUBLISHED, ClipState.DONE),
        (ClipState.WANTED, EventKind.CLIP_LOST, ClipState.LOST),
        (ClipState.DONE, EventKind.CLIP_MISSING, ClipState.WANTED),
        (ClipState.DONE, EventKind.CLIP_DECODED, ClipState.DONE),
        (ClipState.DONE, EventKind.CLIP_UPLOADED, ClipState.DONE),
        (ClipState.DONE, EventKind.CLIP_COPY_LOST, ClipState.DONE),
    }
)
"""Every legal move of one clip."""

COPY_MOVES = frozenset(
    {
        (CopyState.NONE, EventKind.CLIP_UPLOADED, CopyState.UPLOADED),
        (CopyState.UPLOADED, EventKind.CLIP_UPLOADED, CopyState.UPLOADED),  # to another store
        (CopyState.UPLOADED, EventKind.CLIP_COPY_LOST, CopyState.NONE),
        (CopyState.UPLOADED, EventKind.CLIP_MISSING, CopyState.NONE),  # what is fetched anew may be other bytes
    }
)
"""Every legal move of a clip's second copy; what is not named here leaves it where it is."""
