"""Properties of the table of moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.jobs.state import (
    CLIP_MOVES,
    ENDED,
    IN_DOUBT,
    LIVE,
    MOVES,
    UNSUCCESSFUL,
    ClipState,
    EventKind,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

E, S = EventKind, State
DOORS = {E.SUBMIT_DEFERRED, E.SUBMIT_ORPHANED, E.DOUBT_RESUBMITTED, E.RETRIED}
"""The four ways to a second submission."""
OPERATOR = {E.DOUBT_RESUBMITTED, E.DOUBT_ADOPTED, E.DOUBT_ABANDONED, E.CLAIM_ALLOWED}


def reachable(start: State | None, without: Iterable[EventKind] = ()) -> set[State]:
    """Return the states to which moves lead from `start`, itself only where a move leads back to it."""
    barred = set(without) | {E.ITEM_RELABELLED}
    found: set[State] = set()
    edge: set[State | None] = {start}
    while edge:
        edge = {to for source, kind, to in MOVES if source in edge and kind not in barred} - found
        found |= edge  # type: ignore[arg-type]
    return found


def leaving(*states: State) -> set[EventKind]:
    """Return the events that lead out of any of the states, into another than itself."""
    return {kind for source, kind, to in MOVES if source in states and to is not source}


def entering(state: State) -> set[tuple[State | None, EventKind]]:
    """Return from where, and by what, a state is entered."""
    return {(source, kind) for source, kind, to in MOVES if to is state and source is not state}


def test_every_state_can_be_reached() -> None:
    assert reachable(None) == set(State)


def test_planned_live_held_and_ended_share_the_states_out_among_them() -> None:
    parts = [{S.PLANNED}, LIVE, IN_DOUBT, ENDED]

    assert set().union(*parts) == set(State)
    assert sum(map(len, parts)) == len(State)


@pytest.mark.parametrize("state", sorted(set(State) - ENDED))
def test_what_is_not_ended_can_become_done_and_can_fail(state: State) -> None:
    assert S.DONE in reachable(state)
    assert reachable(state) & UNSUCCESSFUL


def test_done_is_left_only_because_a_clip_is_missing() -> None:
    assert leaving(S.DONE) == {E.CLIP_MISSING}


@pytest.mark.parametrize("state", sorted(UNSUCCESSFUL))
def test_another_end_is_left_only_because_the_operator_asks_for_a_retry(state: State) -> None:
    assert leaving(state) == {E.RETRIED}


def test_a_submit_begins_in_one_place_only() -> None:
    assert entering(S.SUBMITTING) == {(S.PLANNED, E.SUBMIT_STARTED)}


def test_a_second_submission_passes_one_of_four_doors() -> None:
    assert S.SUBMITTING not in reachable(S.SUBMITTING, without=DOORS)


@pytest.mark.parametrize("door", sorted(DOORS))
def test_each_door_opens_on_planned_and_none_can_be_done_without(door: EventKind) -> None:
    assert {to for _, kind, to in MOVES if kind is door} == {S.PLANNED}
    assert S.SUBMITTING in reachable(S.SUBMITTING, without=DOORS - {door})


def test_planned_is_entered_by_planning_and_by_the_doors_alone() -> None:
    assert {kind for _, kind in entering(S.PLANNED)} == DOORS | {E.ITEM_PLANNED}


def test_a_claim_begins_in_one_place_only() -> None:
    assert entering(S.CLAIMING) == {(S.SUBMITTED, E.CLAIM_STARTED)}


def test_a_second_claim_needs_a_deferral_the_operator_or_a_missing_clip_of_a_job_without_claims() -> None:
    """`record.apply` keeps the last of them to jobs that were never claimed."""
    ways = DOORS | {E.CLAIM_DEFERRED, E.CLAIM_ALLOWED, E.CLIP_MISSING}

    assert S.CLAIMING not in reachable(S.CLAIMING, without=ways)


def test_what_is_in_doubt_is_settled_by_the_operator_alone() -> None:
    assert leaving(*IN_DOUBT) == OPERATOR


def test_no_state_that_awaits_an_answer_is_left_by_the_operator() -> None:
    assert not leaving(S.SUBMITTING, S.CLAIMING) & (OPERATOR | {E.RETRIED})


def test_a_request_changes_only_before_it_is_submitted() -> None:
    assert {source for source, kind, _ in MOVES if kind is E.ITEM_REVISED} == {S.PLANNED}


def test_metadata_changes_anywhere_and_moves_nothing() -> None:
    assert {(source, to) for source, kind, to in MOVES if kind is E.ITEM_RELABELLED} == {(s, s) for s in State}


def test_every_event_but_the_withdrawal_of_an_item_moves_a_job() -> None:
    assert {kind for _, kind, _ in MOVES} == set(EventKind) - {E.ITEM_WITHDRAWN}


def test_the_events_of_clips_are_those_that_their_names_say() -> None:
    assert {kind for _, kind, _ in CLIP_MOVES} == {kind for kind in EventKind if kind.startswith("clip_")}


def test_an_event_takes_a_clip_to_one_state() -> None:
    assert len({(source, kind) for source, kind, _ in CLIP_MOVES}) == len(CLIP_MOVES)


def test_a_clip_is_stored_before_it_is_done_and_a_lost_one_stays_lost() -> None:
    assert {(source, kind) for source, kind, to in CLIP_MOVES if to is ClipState.DONE} == {
        (ClipState.STORED, E.CLIP_PUBLISHED),
        (ClipState.DONE, E.CLIP_DECODED),
        (ClipState.DONE, E.CLIP_UPLOADED),
        (ClipState.DONE, E.CLIP_COPY_LOST),
    }
    assert not any(source is ClipState.LOST for source, _, _ in CLIP_MOVES)
