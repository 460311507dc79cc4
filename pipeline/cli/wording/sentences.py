"""What the ledger's words mean, in sentences for people. A test holds that no word is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.jobs.job import CostIs
from pipeline.jobs.state import EventKind, State

if TYPE_CHECKING:
    from collections.abc import Mapping

STATE_SAYS: Mapping[State, str] = {
    State.PLANNED: "It waits to be submitted.",
    State.SUBMITTING: "Its submit is on its way, or was cut short; a run that goes on settles which.",
    State.SUBMITTED: "The provider accepted it; its clips are waited for.",
    State.CLAIMING: "The call for its result, which bills, is on its way or was cut short; a run that goes on settles "
    "which.",
    State.CLAIMED: "It is paid for, and only its download is left.",
    State.DONE: "Every clip is whole, verified and under its final name.",
    State.SUBMIT_IN_DOUBT: "A submit that bills may have been carried out; nobody knows. It is held.",
    State.CLAIM_IN_DOUBT: "The call for its result, which bills, may have been carried out; nobody knows. It is held.",
    State.REJECTED: "The provider refused the submit; nothing was made.",
    State.FAILED: "The provider accepted it and made no clip.",
    State.LOST: "The provider accepted it, and a clip of it is no longer to be had.",
    State.ABANDONED: "It was given up.",
}

EVENT_SAYS: Mapping[EventKind, str] = {
    EventKind.ITEM_PLANNED: "planned",
    EventKind.ITEM_REVISED: "its request changed before it was submitted",
    EventKind.ITEM_RELABELLED: "its metadata changed",
    EventKind.ITEM_WITHDRAWN: "taken out of the manifest before it was submitted",
    EventKind.ITEM_ABANDONED: "taken out of the manifest, after an attempt that may have cost something",
    EventKind.SUBMIT_STARTED: "the submit is about to leave",
    EventKind.SUBMIT_DEFERRED: "not accepted for now; to be submitted again",
    EventKind.SUBMIT_ORPHANED: "the submit's answer was lost, at no cost; to be submitted again",
    EventKind.SUBMIT_REFUSED: "the provider refused it",
    EventKind.SUBMIT_LOST: "the submit's answer was lost; held in doubt",
    EventKind.SUBMIT_ACCEPTED: "the provider accepted it",
    EventKind.CLAIM_STARTED: "the call for the result, which bills, is about to leave",
    EventKind.CLAIM_DEFERRED: "no result and no bill yet; to be asked for again",
    EventKind.CLAIM_LOST: "the result's answer was lost; held in doubt",
    EventKind.CLAIM_RECEIVED: "the result came, and is billed",
    EventKind.JOB_FAILED: "it ended without a clip",
    EventKind.JOB_LOST: "its clips are no longer to be had",
    EventKind.CLIP_STORED: "a clip is whole and on disk",
    EventKind.CLIP_DISCARDED: "a stored clip's bytes are gone; to be fetched again",
    EventKind.CLIP_LOST: "a clip is no longer to be had",
    EventKind.CLIP_PUBLISHED: "a clip has its final name",
    EventKind.CLIP_MISSING: "a finished clip is missing from disk; to be fetched again",
    EventKind.CLIP_DECODED: "a clip was decoded, frame by frame",
    EventKind.CLIP_UPLOADED: "a clip is in the store too, verified there",
    EventKind.CLIP_COPY_LOST: "the store no longer has a clip as it was uploaded; to be uploaded again",
    EventKind.CLEANED_UP: "the provider's copies were deleted, since every clip is here",
    EventKind.CLEANUP_REFUSED: "the provider would not delete its copies; it is not asked again",
    EventKind.HISTORY_LOST: "the ledger was restored from a copy, and what happened since is not known; held in doubt",
    EventKind.DOUBT_RESUBMITTED: "the doubt was settled: submit it again",
    EventKind.DOUBT_ADOPTED: "the doubt was settled: the provider has it under this id",
    EventKind.DOUBT_ABANDONED: "the doubt was settled: give it up",
    EventKind.CLAIM_ALLOWED: "the doubt was settled: ask for the result once more",
    EventKind.RETRIED: "a new attempt was asked for",
}

COST_SAYS: Mapping[CostIs, str] = {
    CostIs.REPORTED: "as the provider reported",
    CostIs.QUOTED: "as the provider quoted",
    CostIs.COMPUTED: "by the manifest's prices",
    CostIs.REFUNDED: "refunded",
    CostIs.UNKNOWN: "nobody told the price",
}
