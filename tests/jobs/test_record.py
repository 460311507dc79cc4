"""What each event makes of a job, and of its money."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import LedgerError
from pipeline.jobs.job import CleanUp, CostIs, Remote
from pipeline.jobs.record import IllegalMove, apply
from pipeline.jobs.state import MOVES, ClipState, CopyState, EventKind, State
from pipeline.providers.answers import Billing
from tests.jobs.histories import (
    BEGAN,
    HERE,
    decoded,
    event,
    outputs,
    planned,
    price,
    receipt,
    stored,
    tell,
    told,
    uploaded,
)

if TYPE_CHECKING:
    from pipeline.jobs.job import Job

E, S, C = EventKind, State, ClipState
Step = tuple[EventKind, dict[str, Any]]

PLANNED: Step = (E.ITEM_PLANNED, planned())
STARTED: Step = (E.SUBMIT_STARTED, HERE | price(3.2))
ACCEPTED: Step = (E.SUBMIT_ACCEPTED, {"receipt": receipt(), "warnings": ["a warning"]})
CLAIMING: Step = (E.CLAIM_STARTED, {})
CLAIM_LOST: Step = (E.CLAIM_LOST, {"failure": told()})
SUBMIT_LOST: Step = (E.SUBMIT_LOST, {"failure": told()})
RECEIVED: Step = (E.CLAIM_RECEIVED, {"outputs": outputs(1), "usage": {"video_seconds": 8}})
STORED: Step = (E.CLIP_STORED, stored())
PUBLISHED: Step = (E.CLIP_PUBLISHED, {"index": 0, "file": "clips/fox.mp4"})
TO_SUBMITTED = (PLANNED, STARTED, ACCEPTED)
TO_DONE = (*TO_SUBMITTED, CLAIMING, RECEIVED, STORED, PUBLISHED)


def a_clip(job: Job, *steps: tuple[EventKind, int]) -> Job:
    """Take clips of a job through events."""
    for kind, index in steps:
        more = stored(index) if kind is E.CLIP_STORED else {"index": index, "file": f"clips/fox__{index}.mp4"}
        job = tell((kind, more), job=job)
    return job


def states(job: Job) -> list[ClipState]:
    return [clip.state for clip in job.clips]


# Planning


def test_an_item_begins_planned_without_money_or_attempts() -> None:
    job = tell((E.ITEM_PLANNED, planned(2, split="wild")))

    assert (job.state, job.attempt, job.committed_usd, job.cost_is) == (S.PLANNED, 0, 0.0, CostIs.UNKNOWN)
    assert (job.item_id, job.revision, job.provider, job.fingerprint) == ("fox", 1, "modelmax", "f" * 64)
    assert job.request.sample_count == 2
    assert job.request.files["fox.png"].media_type == "image/png"
    assert job.metadata == {"split": "wild"}
    assert (job.job_id, job.clips) == ("", ())


def test_a_revision_before_the_submit_takes_the_new_request_and_keeps_the_money() -> None:
    job = tell(PLANNED, STARTED, SUBMIT_LOST, (E.DOUBT_RESUBMITTED, {}))
    job = tell((E.ITEM_REVISED, planned(prompt="A deer", provider="venice") | {"fingerprint": "e" * 64}), job=job)

    assert (job.request.prompt, job.provider, job.fingerprint) == ("A deer", "venice", "e" * 64)
    assert (job.state, job.attempt, job.committed_usd) == (S.PLANNED, 1, 3.2)


def test_metadata_can_change_at_the_end_and_nothing_else_does() -> None:
    done = tell(*TO_DONE)
    relabelled = tell((E.ITEM_RELABELLED, {"metadata": {"split": "test"}}), job=done)

    assert relabelled.metadata == {"split": "test"}
    assert (relabelled.state, relabelled.clips, relabelled.finished_at) == (S.DONE, done.clips, done.finished_at)


# Submitting


def test_an_intent_counts_the_attempt_reserves_its_price_and_freezes_where_it_goes() -> None:
    job = tell(PLANNED, STARTED)

    assert (job.state, job.attempt) == (S.SUBMITTING, 1)
    assert (job.reserved_usd, job.settled_usd, job.committed_usd) == (3.2, 0.0, 3.2)
    assert (job.base_url, job.account, job.cost_is) == (HERE["base_url"], HERE["account"], CostIs.COMPUTED)
    assert job.intent_at is not None
    assert job.intent_at > BEGAN


def test_an_unknown_price_reserves_nothing_and_says_so() -> None:
    job = tell(PLANNED, (E.SUBMIT_STARTED, HERE | price(None)))

    assert (job.committed_usd, job.cost_is) == (0.0, CostIs.UNKNOWN)


def test_a_deferred_submit_costs_nothing_and_was_no_attempt() -> None:
    job = tell(PLANNED, STARTED, (E.SUBMIT_DEFERRED, {"why": "not sent"}))

    assert (job.state, job.attempt, job.orphans) == (S.PLANNED, 0, 0)
    assert (job.committed_usd, job.cost_is) == (0.0, CostIs.UNKNOWN)


def test_an_orphaned_submit_costs_nothing_and_stays_an_attempt() -> None:
    job = tell(PLANNED, STARTED, (E.SUBMIT_ORPHANED, {"why": "lost"}))

    assert (job.state, job.attempt, job.orphans) == (S.PLANNED, 1, 1)
    assert (job.committed_usd, job.cost_is) == (0.0, CostIs.UNKNOWN)


def test_a_refused_submit_is_an_end_that_costs_nothing() -> None:
    job = tell(PLANNED, STARTED, (E.SUBMIT_REFUSED, {"failure": told("unbilled", "invalid_request")}))

    assert (job.state, job.committed_usd) == (S.REJECTED, 0.0)
    assert job.failure is not None
    assert (job.failure.kind, job.failure.billing) == ("invalid_request", Billing.UNBILLED)
    assert job.failure.evidence == {"status": 500}
    assert job.finished_at is not None


def test_a_lost_submit_is_held_and_stays_counted() -> None:
    job = tell(PLANNED, STARTED, SUBMIT_LOST)

    assert (job.state, job.committed_usd, job.finished_at) == (S.SUBMIT_IN_DOUBT, 3.2, None)
    assert job.failure is not None


def test_acceptance_keeps_the_receipt_whole_and_wants_every_clip_asked_for() -> None:
    job = tell((E.ITEM_PLANNED, planned(4)), STARTED, ACCEPTED)

    assert (job.state, job.job_id) == (S.SUBMITTED, "op-1")
    assert job.receipt is not None
    assert job.receipt.answer == receipt()["answer"]
    assert job.receipt.asked == {"seconds": 8}
    assert [clip.index for clip in job.clips] == [0, 1, 2, 3]
    assert states(job) == [C.WANTED] * 4
    assert job.warnings == ("a warning",)
    assert job.submitted_at is not None
    assert job.committed_usd == 3.2


# Failing


@pytest.mark.parametrize(
    ("billing", "usd", "cost_is"),
    [
        ("unbilled", 0.0, CostIs.COMPUTED),
        ("refunded", 0.0, CostIs.REFUNDED),
        ("billed", 3.2, CostIs.COMPUTED),
        ("unknown", 3.2, CostIs.COMPUTED),
    ],
)
@pytest.mark.parametrize("kind", [E.JOB_FAILED, E.JOB_LOST])
def test_a_job_without_a_clip_is_free_only_where_the_vendor_says_so(
    kind: EventKind, billing: str, usd: float, cost_is: CostIs
) -> None:
    job = tell(*TO_SUBMITTED, (kind, {"failure": told(billing)}))

    assert job.state is (S.FAILED if kind is E.JOB_FAILED else S.LOST)
    assert (job.committed_usd, job.cost_is) == (usd, cost_is)


def test_a_refund_of_this_attempt_leaves_the_doubt_of_an_earlier_one_counted() -> None:
    job = tell(PLANNED, STARTED, SUBMIT_LOST, (E.DOUBT_RESUBMITTED, {}), STARTED, ACCEPTED)
    assert (job.attempt, job.committed_usd) == (2, 6.4)

    job = tell((E.JOB_FAILED, {"failure": told("refunded")}), job=job)

    assert (job.reserved_usd, job.settled_usd, job.committed_usd) == (0.0, 3.2, 3.2)


def test_an_abandoned_doubt_stays_counted_unless_the_operator_knows_better() -> None:
    held = tell(PLANNED, STARTED, SUBMIT_LOST)

    assert tell((E.DOUBT_ABANDONED, {"failure": told("unknown")}), job=held).committed_usd == 3.2
    job = tell((E.DOUBT_ABANDONED, {"failure": told("unbilled")}), job=held)
    assert (job.state, job.committed_usd) == (S.ABANDONED, 0.0)


# Trying again


@pytest.mark.parametrize(
    "failed",
    [
        (*TO_SUBMITTED, (E.JOB_FAILED, {"failure": told("billed")})),
        (*TO_SUBMITTED, (E.JOB_LOST, {"failure": told("billed")})),
        (PLANNED, STARTED, SUBMIT_LOST, (E.DOUBT_ABANDONED, {"failure": told("unknown")})),
    ],
)
def test_a_retry_moves_what_was_spent_aside_and_counts_on(failed: tuple[Step, ...]) -> None:
    job = tell(*failed, (E.RETRIED, {}))

    assert (job.state, job.attempt, job.failure, job.finished_at) == (S.PLANNED, 1, None, None)
    assert (job.reserved_usd, job.settled_usd, job.cost_is) == (0.0, 3.2, CostIs.UNKNOWN)
    again = tell(STARTED, job=job)
    assert (again.attempt, again.committed_usd) == (2, 6.4)
    deferred = tell((E.SUBMIT_DEFERRED, {"why": ""}), job=again)
    assert (deferred.attempt, deferred.committed_usd) == (1, 3.2)


def test_a_retry_forgives_the_orphans() -> None:
    orphaned = (E.SUBMIT_ORPHANED, {"why": "lost"})
    job = tell(PLANNED, STARTED, orphaned, STARTED, orphaned, STARTED, (E.JOB_FAILED, {"failure": told("unbilled")}))
    assert (job.orphans, job.attempt) == (2, 3)

    assert tell((E.RETRIED, {}), job=job).orphans == 0


def test_a_new_attempt_forgets_the_receipt_the_clips_and_the_claims_of_the_one_before() -> None:
    job = tell(*TO_SUBMITTED, CLAIMING, CLAIM_LOST, (E.CLAIM_ALLOWED, {}), CLAIMING, CLAIM_LOST)
    assert (job.claims_made, job.claims_allowed) == (2, 2)

    job = tell((E.DOUBT_RESUBMITTED, {}), STARTED, job=job)

    assert (job.job_id, job.clips, job.outputs, job.usage) == ("", (), (), {})
    assert (job.claims_made, job.claims_allowed, job.submitted_at, job.failure) == (0, 1, None, None)
    assert job.committed_usd == pytest.approx(3 * 3.2)


def test_a_doubt_that_is_adopted_goes_on_under_the_id_at_the_same_price() -> None:
    job = tell(PLANNED, STARTED, SUBMIT_LOST, (E.DOUBT_ADOPTED, {"receipt": receipt("found")}))

    assert (job.state, job.job_id, job.attempt, job.committed_usd) == (S.SUBMITTED, "found", 1, 3.2)
    assert (job.failure, states(job)) == (None, [C.WANTED])


# Claiming


def test_a_claim_is_counted_before_it_leaves_and_reserves_nothing_more() -> None:
    before = tell(*TO_SUBMITTED)
    job = tell(CLAIMING, job=before)

    assert (job.state, job.claims_made, job.committed_usd) == (S.CLAIMING, 1, 3.2)


def test_a_deferred_claim_was_none() -> None:
    job = tell(*TO_SUBMITTED, CLAIMING, (E.CLAIM_DEFERRED, {"why": "not sent"}))

    assert (job.state, job.claims_made) == (S.SUBMITTED, 0)
    assert tell(CLAIMING, job=job).claims_made == 1


def test_a_claim_received_brings_its_outputs_and_what_it_really_cost() -> None:
    received = {"outputs": outputs(2), "usage": {"video_seconds": 16}, "cost_usd": 6.4, "warnings": ["more"]}
    job = tell(*TO_SUBMITTED, CLAIMING, (E.CLAIM_RECEIVED, received))

    assert (job.state, job.usage, job.committed_usd) == (S.CLAIMED, {"video_seconds": 16}, 6.4)
    assert [output.location for output in job.outputs] == [{"url": "/content/0"}, {"url": "/content/1"}]
    assert states(job) == [C.WANTED, C.WANTED]
    assert job.warnings == ("a warning", "more")


@pytest.mark.parametrize(("more", "usd"), [({}, 3.2), ({"cost_usd": None}, 3.2), ({"cost_usd": 0.0}, 0.0)])
def test_a_claim_without_a_cost_keeps_the_reserved_price_and_a_free_one_is_free(
    more: dict[str, Any], usd: float
) -> None:
    received = {"outputs": outputs(1), "usage": {}, **more}

    assert tell(*TO_SUBMITTED, CLAIMING, (E.CLAIM_RECEIVED, received)).committed_usd == usd


def test_a_lost_claim_is_held_and_a_second_is_not_allowed_by_itself() -> None:
    job = tell(*TO_SUBMITTED, CLAIMING, CLAIM_LOST)

    assert (job.state, job.committed_usd, job.claims_made) == (S.CLAIM_IN_DOUBT, 3.2, 1)
    with pytest.raises(IllegalMove):
        tell(CLAIMING, job=job)


def test_asking_once_more_allows_one_claim_and_counts_both() -> None:
    job = tell(*TO_SUBMITTED, CLAIMING, CLAIM_LOST, (E.CLAIM_ALLOWED, {}))
    assert (job.state, job.claims_allowed, job.failure) == (S.SUBMITTED, 2, None)
    assert (job.reserved_usd, job.settled_usd, job.committed_usd) == (3.2, 3.2, 6.4)

    job = tell(CLAIMING, (E.CLAIM_RECEIVED, {"outputs": outputs(1), "usage": {}, "cost_usd": 3.0}), job=job)

    assert job.committed_usd == pytest.approx(3.2 + 3.0)


def test_a_finished_job_that_was_claimed_is_not_claimed_again_when_its_clip_is_missing() -> None:
    job = tell(*TO_DONE, (E.CLIP_MISSING, {"index": 0}))

    assert (job.state, job.claims_made) == (S.CLAIMED, 1)
    with pytest.raises(IllegalMove):
        tell(CLAIMING, job=job)


def test_no_more_claims_begin_than_are_allowed_even_if_a_bug_forgot_the_outputs() -> None:
    forgetful = replace(tell(*TO_DONE), outputs=())
    job = tell((E.CLIP_MISSING, {"index": 0}), job=forgetful)
    assert job.state is S.SUBMITTED

    with pytest.raises(IllegalMove, match="every allowed claim of this attempt was already made"):
        tell(CLAIMING, job=job)


def test_a_submit_of_which_a_clip_is_here_is_not_in_doubt() -> None:
    submitted = tell((E.CLIP_MISSING, {"index": 0}), job=replace(tell(*TO_DONE), outputs=()))
    assert submitted.state is S.SUBMITTED
    assert tell((E.SUBMIT_LOST, {"failure": told()}), job=submitted).clips == ()
    stored_again = tell((E.CLIP_STORED, stored()), job=submitted)
    with pytest.raises(IllegalMove, match="a clip of it is here"):
        tell((E.SUBMIT_LOST, {"failure": told()}), job=stored_again)


# A restored ledger


def test_a_planned_item_whose_history_is_lost_may_have_been_bought() -> None:
    job = tell(PLANNED, (E.HISTORY_LOST, {"failure": told(), **price(3.2)}))

    assert (job.state, job.attempt, job.committed_usd, job.cost_is) == (S.SUBMIT_IN_DOUBT, 0, 3.2, CostIs.COMPUTED)


def test_a_lost_history_adds_to_what_earlier_attempts_may_have_cost_and_forgets_their_clips() -> None:
    partly = a_clip(
        tell((E.ITEM_PLANNED, planned(2)), STARTED, ACCEPTED),
        (E.CLIP_STORED, 0),
        (E.CLIP_PUBLISHED, 0),
        (E.CLIP_LOST, 1),
    )
    job = tell((E.RETRIED, {}), (E.HISTORY_LOST, {"failure": told(), **price(None)}), job=partly)

    assert (job.committed_usd, job.cost_is, job.clips, job.job_id) == (3.2, CostIs.UNKNOWN, (), "")


def test_a_submitted_job_whose_history_is_lost_may_have_been_claimed_and_gets_one_claim_more() -> None:
    job = tell(*TO_SUBMITTED, (E.HISTORY_LOST, {"failure": told(), **price(None)}))
    assert (job.state, job.job_id, job.committed_usd) == (S.CLAIM_IN_DOUBT, "op-1", 3.2)

    job = tell((E.CLAIM_ALLOWED, {}), job=job)

    assert (job.claims_allowed - job.claims_made, job.committed_usd) == (1, 6.4)


# Clips


def test_a_stored_clip_carries_what_the_file_says_of_itself() -> None:
    (clip,) = tell(*TO_SUBMITTED, STORED).clips

    assert clip.state is C.STORED
    assert (clip.part, clip.file) == (stored()["part"], stored()["file"])
    assert (clip.sha256, clip.size_bytes, clip.facts["width"]) == ("b" * 64, 1000, 1280)
    assert clip.warnings == ("it is shorter than asked",)


def test_a_published_clip_bears_the_name_it_was_given_and_ends_the_job() -> None:
    job = tell(*TO_DONE)

    assert (job.state, job.failure) == (S.DONE, None)
    assert job.finished_at is not None
    assert (job.clips[0].file, job.clips[0].part, job.clips[0].size_bytes) == ("clips/fox.mp4", "", 1000)


def test_a_discarded_clip_is_wanted_again_as_if_nothing_had_come() -> None:
    before = tell(*TO_SUBMITTED)

    assert tell(STORED, (E.CLIP_DISCARDED, {"index": 0}), job=before).clips == before.clips


def test_a_job_of_four_clips_is_done_with_the_last_of_them() -> None:
    job = tell(*TO_SUBMITTED, CLAIMING, (E.CLAIM_RECEIVED, {"outputs": outputs(4), "usage": {}}))
    for index in (2, 0, 3):
        job = a_clip(job, (E.CLIP_STORED, index), (E.CLIP_PUBLISHED, index))
        assert job.state is S.CLAIMED
    job = a_clip(job, (E.CLIP_STORED, 1))
    assert states(job) == [C.DONE, C.STORED, C.DONE, C.DONE]

    job = a_clip(job, (E.CLIP_PUBLISHED, 1))

    assert job.state is S.DONE


def test_a_job_that_lost_one_of_four_clips_goes_on_with_the_others_and_ends_lost() -> None:
    job = tell(*TO_SUBMITTED, CLAIMING, (E.CLAIM_RECEIVED, {"outputs": outputs(4), "usage": {}}))
    job = tell((E.CLIP_LOST, {"index": 1, "failure": told("billed", "clip_gone")}), job=job)
    assert job.state is S.CLAIMED
    assert job.failure is not None
    for index in (0, 2, 3):
        assert (job.state, job.finished_at) == (S.CLAIMED, None)
        job = a_clip(job, (E.CLIP_STORED, index), (E.CLIP_PUBLISHED, index))

    assert job.state is S.LOST
    assert states(job) == [C.DONE, C.LOST, C.DONE, C.DONE]
    assert job.failure is not None
    assert job.failure.kind == "clip_gone"
    assert job.finished_at is not None
    assert job.committed_usd == 3.2


def test_a_job_is_lost_at_once_when_its_last_clip_is() -> None:
    job = a_clip(tell(*TO_SUBMITTED), (E.CLIP_LOST, 0))
    assert (job.state, job.failure) == (S.LOST, None)

    job = tell(*TO_SUBMITTED, (E.CLIP_LOST, {"index": 0, "failure": told("billed")}))
    assert job.state is S.LOST
    assert job.failure is not None
    assert job.committed_usd == 3.2


@pytest.mark.parametrize(("claims", "back_to"), [(True, S.CLAIMED), (False, S.SUBMITTED)])
def test_missing_clips_of_a_finished_job_are_fetched_again_where_they_lie(claims: bool, back_to: State) -> None:
    claim = (CLAIMING, (E.CLAIM_RECEIVED, {"outputs": outputs(4), "usage": {}})) if claims else ()
    job = tell((E.ITEM_PLANNED, planned(4)), STARTED, ACCEPTED, *claim)
    for index in range(4):
        job = a_clip(job, (E.CLIP_STORED, index), (E.CLIP_PUBLISHED, index))
    assert job.state is S.DONE

    job = a_clip(job, (E.CLIP_MISSING, 3), (E.CLIP_MISSING, 1))

    assert (job.state, job.finished_at) == (back_to, None)
    assert states(job) == [C.DONE, C.WANTED, C.DONE, C.WANTED]
    assert job.clips[3].file == ""
    job = a_clip(job, (E.CLIP_STORED, 1), (E.CLIP_PUBLISHED, 1), (E.CLIP_STORED, 3), (E.CLIP_PUBLISHED, 3))
    assert job.state is S.DONE
    assert job.committed_usd == 3.2


@pytest.mark.parametrize("lost", [False, True])
def test_what_a_decoder_sees_joins_what_a_clip_says_of_itself_and_moves_nothing(lost: bool) -> None:
    job = a_clip(tell((E.ITEM_PLANNED, planned(2)), STARTED, ACCEPTED), (E.CLIP_STORED, 0), (E.CLIP_PUBLISHED, 0))
    job = a_clip(job, *([(E.CLIP_LOST, 1)] if lost else [(E.CLIP_STORED, 1), (E.CLIP_PUBLISHED, 1)]))
    assert job.state is (S.LOST if lost else S.DONE)

    seen = tell((E.CLIP_DECODED, {"index": 0, **decoded(7)}), job=job)

    facts = {**job.clips[0].facts, **decoded(7)}
    assert replace(seen, moves=job.moves) == replace(job, clips=(replace(job.clips[0], facts=facts), job.clips[1]))


@pytest.mark.parametrize("lost", [False, True])
def test_where_the_copy_of_a_clip_is_joins_it_and_moves_nothing_else(lost: bool) -> None:
    job = a_clip(tell((E.ITEM_PLANNED, planned(2)), STARTED, ACCEPTED), (E.CLIP_STORED, 0), (E.CLIP_PUBLISHED, 0))
    job = a_clip(job, *([(E.CLIP_LOST, 1)] if lost else [(E.CLIP_STORED, 1), (E.CLIP_PUBLISHED, 1)]))

    there = tell((E.CLIP_UPLOADED, {"index": 0, **uploaded()}), job=job)
    remote = Remote(store="s3://bucket/foxes", key="clips/fox.mp4", e_tag='"e"')
    copied = replace(job.clips[0], copy=CopyState.UPLOADED, remote=remote)
    assert replace(there, moves=job.moves) == replace(job, clips=(copied, job.clips[1]))
    assert remote.url == "s3://bucket/foxes/clips/fox.mp4"

    elsewhere = tell((E.CLIP_UPLOADED, {"index": 0, **uploaded(store="gs://bucket")}), job=there)
    assert elsewhere.clips[0].remote == replace(remote, store="gs://bucket")

    gone = tell((E.CLIP_COPY_LOST, {"index": 0}), job=there)
    assert replace(gone, moves=job.moves) == job
    with pytest.raises(IllegalMove, match="does not lead a copy from none to none"):
        tell((E.CLIP_COPY_LOST, {"index": 0}), job=gone)


def test_a_clip_that_is_fetched_again_is_uploaded_again() -> None:
    job = tell((E.CLIP_UPLOADED, {"index": 0, **uploaded()}), (E.CLIP_MISSING, {"index": 0}), job=tell(*TO_DONE))

    assert a_clip(job, (E.CLIP_STORED, 0)).clips[0].copy is CopyState.NONE


@pytest.mark.parametrize("steps", [(), ((E.CLIP_STORED, 0),)])
def test_what_is_not_finished_is_not_uploaded(steps: tuple[tuple[EventKind, int], ...]) -> None:
    job = a_clip(tell(*TO_SUBMITTED), *steps)
    with pytest.raises(IllegalMove):
        tell((E.CLIP_UPLOADED, {"index": 0, **uploaded()}), job=job)


def test_a_clip_that_is_fetched_again_is_decoded_again() -> None:
    job = tell((E.CLIP_DECODED, {"index": 0, **decoded()}), (E.CLIP_MISSING, {"index": 0}), job=tell(*TO_DONE))

    assert dict(a_clip(job, (E.CLIP_STORED, 0)).clips[0].facts) == stored()["facts"]


def test_a_clip_that_the_job_does_not_have_is_refused() -> None:
    with pytest.raises(IllegalMove, match="it has no clip 4"):
        a_clip(tell(*TO_SUBMITTED), (E.CLIP_LOST, 4))


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        ((), E.CLIP_PUBLISHED),
        ((), E.CLIP_DISCARDED),
        ((), E.CLIP_MISSING),
        (((E.CLIP_STORED, 0),), E.CLIP_STORED),
        (((E.CLIP_STORED, 0),), E.CLIP_LOST),
        (((E.CLIP_STORED, 0), (E.CLIP_PUBLISHED, 0)), E.CLIP_DISCARDED),
        (((E.CLIP_STORED, 0), (E.CLIP_PUBLISHED, 0)), E.CLIP_LOST),
    ],
)
def test_a_clip_moves_only_as_its_table_allows(before: tuple[tuple[EventKind, int], ...], kind: EventKind) -> None:
    job = a_clip(tell((E.ITEM_PLANNED, planned(2)), STARTED, ACCEPTED), *before)

    with pytest.raises(IllegalMove, match="does not lead a clip"):
        a_clip(job, (kind, 0))


# What is never legal


def test_the_first_event_of_an_item_plans_it() -> None:
    with pytest.raises(IllegalMove, match="came before the item was planned"):
        apply(None, event(E.SUBMIT_STARTED, **HERE, **price(1)))


@pytest.mark.parametrize("kind", [E.ITEM_PLANNED, E.ITEM_WITHDRAWN])
def test_an_item_that_exists_is_not_planned_again_and_a_withdrawal_is_no_move(kind: EventKind) -> None:
    with pytest.raises(IllegalMove, match="not an event of a job that exists"):
        tell((kind, planned()), job=tell(PLANNED))


@pytest.mark.parametrize(("item_id", "revision"), [("deer", 1), ("fox", 2)])
def test_an_event_of_another_item_or_revision_is_refused(item_id: str, revision: int) -> None:
    with pytest.raises(IllegalMove, match="was applied to fox"):
        apply(tell(PLANNED), event(E.ITEM_RELABELLED, item_id, revision, metadata={}))


def test_an_illegal_move_is_a_bug_of_ours_and_not_of_the_user() -> None:
    assert issubclass(IllegalMove, LedgerError)
    assert IllegalMove.exit_code == 1


EXAMPLES: dict[State, tuple[Step, ...]] = {
    S.PLANNED: (PLANNED,),
    S.SUBMITTING: (PLANNED, STARTED),
    S.SUBMITTED: TO_SUBMITTED,
    S.CLAIMING: (*TO_SUBMITTED, CLAIMING),
    S.CLAIMED: (*TO_SUBMITTED, CLAIMING, RECEIVED),
    S.DONE: TO_DONE,
    S.SUBMIT_IN_DOUBT: (PLANNED, STARTED, SUBMIT_LOST),
    S.CLAIM_IN_DOUBT: (*TO_SUBMITTED, CLAIMING, CLAIM_LOST),
    S.REJECTED: (PLANNED, STARTED, (E.SUBMIT_REFUSED, {"failure": told("unbilled")})),
    S.FAILED: (*TO_SUBMITTED, (E.JOB_FAILED, {"failure": told("unknown")})),
    S.LOST: (*TO_SUBMITTED, (E.JOB_LOST, {"failure": told("unknown")})),
    S.ABANDONED: (PLANNED, STARTED, SUBMIT_LOST, (E.DOUBT_ABANDONED, {"failure": told("unknown")})),
}
ANYTHING = {
    **planned(),
    **HERE,
    **price(1.0),
    **stored(),
    "receipt": receipt("another"),
    "failure": told(),
    "outputs": outputs(1),
    "usage": {},
    **decoded(),
    **uploaded(),
}
"""Data with which every kind of event can be applied."""


@pytest.mark.parametrize("state", sorted(EXAMPLES))
def test_every_event_that_the_table_does_not_allow_is_refused_whatever_it_carries(state: State) -> None:
    job = tell(*EXAMPLES[state])
    assert job.state is state
    allowed = {kind for before, kind, _ in MOVES if before is state}

    for kind in set(EventKind) - allowed:
        with pytest.raises(IllegalMove):
            apply(job, event(kind, **ANYTHING))


@pytest.mark.parametrize("state", sorted(EXAMPLES))
def test_no_event_changes_the_job_it_is_applied_to(state: State) -> None:
    job, same = tell(*EXAMPLES[state]), tell(*EXAMPLES[state])

    for kind in {kind for before, kind, _ in MOVES if before is state and not kind.startswith("clip_")}:
        apply(job, event(kind, **ANYTHING))

    assert job == same


def test_a_clean_up_is_remembered_and_forgotten_with_a_clip_that_is_missing() -> None:
    done = tell(
        (E.ITEM_PLANNED, planned()),
        (E.SUBMIT_STARTED, HERE | price(1.0)),
        (E.SUBMIT_ACCEPTED, {"receipt": receipt()}),
        (E.CLIP_STORED, stored()),
        (E.CLIP_PUBLISHED, {"index": 0, "file": "clips/fox.mp4"}),
    )
    cleaned, refused = tell((E.CLEANED_UP, {}), job=done), tell((E.CLEANUP_REFUSED, {"why": "no"}), job=done)
    assert (cleaned.state, cleaned.cleanup, refused.cleanup) == (State.DONE, CleanUp.DONE, CleanUp.REFUSED)
    missing = tell((E.CLIP_MISSING, {"index": 0}), job=cleaned)
    assert (missing.state, missing.cleanup) == (State.SUBMITTED, CleanUp.NONE)


@pytest.mark.parametrize("kind", [EventKind.CLEANED_UP, EventKind.CLEANUP_REFUSED])
def test_nothing_but_a_done_job_is_cleaned_up(kind: EventKind) -> None:
    job = tell(
        (E.ITEM_PLANNED, planned()),
        (E.SUBMIT_STARTED, HERE | price(1.0)),
        (E.SUBMIT_ACCEPTED, {"receipt": receipt()}),
        (E.CLIP_STORED, stored()),
    )
    with pytest.raises(IllegalMove):
        tell((kind, {}), job=job)
