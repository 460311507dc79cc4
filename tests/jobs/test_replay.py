"""Any legal history, drawn by walking the table of moves, folds to the job that lived through it."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.jobs.codec import (
    clip_from_json,
    clip_to_json,
    failure_from_json,
    job_from_json,
    job_to_json,
    receipt_from_json,
    request_from_json,
    request_to_json,
)
from pipeline.jobs.event import Event
from pipeline.jobs.job import CleanUp, CostIs
from pipeline.jobs.state import CLIP_MOVES, COPY_MOVES, ENDED, IN_DOUBT, MOVES, ClipState, EventKind, State
from tests.jobs.histories import Walk, fold

if TYPE_CHECKING:
    from pipeline.jobs.job import Job

RANDOMS = st.randoms(use_true_random=False)
LENGTHS = st.integers(1, 40)


def lived(random: Random, length: int) -> tuple[list[Event], list[Job]]:
    """Return a random history and the job after each of its events."""
    walk = Walk(random)
    events, jobs = [], []
    for _ in range(length):
        events.append(walk.step())
        assert walk.job is not None
        jobs.append(walk.job)
    return events, jobs


def through_text(value: object) -> object:
    return json.loads(json.dumps(value, allow_nan=False))


def test_random_histories_walk_every_move_of_jobs_and_of_clips() -> None:
    """Otherwise the properties below would say less than they seem to."""
    missing, missing_of_clips, missing_of_copies = set(MOVES), set(CLIP_MOVES), set(COPY_MOVES)
    for seed in range(400):
        walk = Walk(Random(seed))
        for _ in range(100):
            before = walk.job
            event = walk.step()
            after = walk.job
            assert after is not None
            missing.discard((before.state if before else None, event.kind, after.state))
            if before and event.kind.startswith("clip_"):
                index = event.data["index"]
                moved = tuple(next(c.state for c in job.clips if c.index == index) for job in (before, after))
                missing_of_clips.discard((moved[0], event.kind, moved[1]))
                copies = tuple(next(c.copy for c in job.clips if c.index == index) for job in (before, after))
                missing_of_copies.discard((copies[0], event.kind, copies[1]))
        if not missing | missing_of_clips | missing_of_copies:
            return
    raise AssertionError(f"never walked: {missing | missing_of_clips | missing_of_copies}")


@given(RANDOMS, LENGTHS)
def test_a_history_that_was_written_and_read_folds_to_the_job_that_lived_through_it(
    random: Random, length: int
) -> None:
    events, jobs = lived(random, length)

    read = [Event.from_json(through_text(event.to_json())) for event in events]  # type: ignore[arg-type]

    assert read == events
    assert list(fold(read).values()) == [jobs[-1]]


@given(RANDOMS, LENGTHS)
def test_every_record_on_the_way_survives_the_round_trip_as_plain_json(random: Random, length: int) -> None:
    for job in lived(random, length)[1]:
        written = job_to_json(job)
        read = through_text(written)

        assert read == written
        assert job_from_json(read) == job  # type: ignore[arg-type]
        assert job_from_json({**written, "clips": []}, job.clips) == job
        assert [clip_from_json(clip_to_json(clip)) for clip in job.clips] == list(job.clips)
        assert request_from_json(request_to_json(job.request)) == job.request


@given(RANDOMS, LENGTHS)
def test_money_is_never_negative_and_never_forgotten_but_for_what_was_free(random: Random, length: int) -> None:
    events, jobs = lived(random, length)
    frees = {EventKind.SUBMIT_DEFERRED, EventKind.SUBMIT_ORPHANED, EventKind.CLAIM_RECEIVED}
    before = 0.0
    for event, job in zip(events, jobs, strict=True):
        assert min(job.reserved_usd, job.settled_usd) >= 0
        free = event.data.get("failure", {}).get("billing") in {"unbilled", "refunded"}
        if job.committed_usd < before:
            assert event.kind in frees or (free and job.state in ENDED)
            assert job.committed_usd == job.settled_usd + job.reserved_usd
        before = job.committed_usd


@given(RANDOMS, LENGTHS)
def test_what_each_attempt_reserved_is_counted_until_an_answer_says_that_it_was_free(
    random: Random, length: int
) -> None:
    for job in lived(random, length)[1]:
        assert 0 <= job.claims_made <= job.claims_allowed
        assert 0 <= job.orphans <= job.attempt
        if job.state is State.PLANNED:
            assert job.reserved_usd == 0


@given(RANDOMS, LENGTHS)
def test_a_state_means_what_it_says(random: Random, length: int) -> None:
    for job in lived(random, length)[1]:
        clips = {clip.state for clip in job.clips}
        if job.state is State.DONE:
            assert clips == {ClipState.DONE}
            assert job.failure is None
        if job.state in {State.SUBMITTED, State.CLAIMING, State.CLAIMED}:
            assert job.receipt is not None
        if job.state is State.CLAIMED:
            assert len(job.clips) == len(job.outputs)
        if job.state is State.SUBMITTING:
            assert (job.receipt, job.clips) == (None, ())
        if job.state in IN_DOUBT:
            assert job.failure is not None
        assert (job.finished_at is not None) == (job.state in ENDED)


@settings(max_examples=30)
@given(RANDOMS)
def test_an_event_is_read_back_as_it_was_written(random: Random) -> None:
    event = Walk(random).step()

    assert Event.from_json(event.to_json()) == event
    assert event.at.tzinfo is not None


def test_what_is_absent_is_read_as_absent() -> None:
    assert receipt_from_json(None) is None
    assert failure_from_json(None) is None


def test_a_job_of_a_ledger_from_before_prices_were_kept_apart_is_read() -> None:
    job = lived(Random(7), 12)[1][-1]
    written = job_to_json(job)
    for younger in ("expected_usd", "expected_is", "cleanup"):
        del written[younger]

    read = job_from_json(written)

    assert (read.expected_usd, read.expected_is, read.cleanup) == (None, CostIs.UNKNOWN, CleanUp.NONE)
    assert (read.state, read.reserved_usd, read.clips) == (job.state, job.reserved_usd, job.clips)
