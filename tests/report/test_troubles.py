"""What went wrong is grouped, and every group says what to do."""

from __future__ import annotations

import pytest

from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, State
from pipeline.report.troubles import NOT_ACCEPTED, Trouble, troubles_of
from pipeline.report.words import STANDING_SAYS, STATE_LABELS, Standing, reason, standing_of
from tests.report.reports import failure, job, told

LINK = "https://user:pw@cdn.venice.ai/clip.mp4?signature=canary"


def of(*jobs: object, folder: str = "output/my reefs") -> tuple[Trouble, ...]:
    return troubles_of(told(jobs), folder)  # type: ignore[arg-type]


def test_items_that_are_done_or_on_their_way_are_no_trouble() -> None:
    assert of(*(job("a", state) for state in State if state not in IN_DOUBT | UNSUCCESSFUL)) == ()


def test_groups_are_of_one_state_and_reason_doubts_first_then_the_largest() -> None:
    groups = of(
        job("a", State.REJECTED, failure=failure("invalid_request")),
        *(job(f"b{n}", State.FAILED, failure=failure("server_error", "Try later.")) for n in range(3)),
        job("b3", State.FAILED, failure=failure("server_error", "No.")),
        job("c", State.SUBMIT_IN_DOUBT, failure=failure("submit_unanswered")),
        job("d", State.CLAIM_IN_DOUBT, failure=failure("claim_unanswered")),
    )
    assert [(group.state, group.items) for group in groups] == [
        ("Submit in doubt", 1),
        ("Result in doubt", 1),
        ("Failed", 4),
        ("Rejected", 1),
    ]
    assert (groups[2].message, groups[2].variants) == ("Try later.", 1)
    assert groups[0].committed_usd == pytest.approx(0.4)


@pytest.mark.parametrize("state", sorted(IN_DOUBT | UNSUCCESSFUL))
def test_every_group_has_a_sentence_and_a_command_that_a_shell_takes(state: State) -> None:
    (group,) = of(job("a", state, failure=failure("some_kind")))
    assert group.advice.endswith(".")
    assert group.command.startswith("clipmill ")
    assert "MANIFEST" in group.command or "'output/my reefs'" in group.command


def test_a_refusal_of_content_is_told_apart_from_other_failures_of_the_same_kind() -> None:
    groups = of(
        job("a", State.FAILED, failure=failure("failed", "content policy violation")),
        job("b", State.FAILED, failure=failure("failed", "video generation failed")),
    )
    assert [group.title for group in groups] == ["Refused for its content", "The provider made no clip"]
    assert groups[0].command == "clipmill run MANIFEST --on-change new"
    assert groups[1].command == "clipmill retry 'output/my reefs' b"


def test_many_items_are_retried_at_once_instead_of_named() -> None:
    (group,) = of(*(job(f"i{n}", State.FAILED, failure=failure("server_error")) for n in range(100)))
    assert group.command == "clipmill retry 'output/my reefs' --all"


def test_no_address_of_a_vendor_is_shown() -> None:
    (group,) = of(job("a", State.FAILED, failure=failure(f"kind {LINK}", f"see {LINK}")))
    assert "canary" not in str(group)
    assert group.message == "see https://cdn.venice.ai/…"


def test_clips_that_the_manifest_turns_down_are_a_group_of_their_own() -> None:
    turned_down = job("a")
    lines = told([turned_down, job("b")])
    lines[0][1]["clips"][0] |= {"accepted": False, "rejected_because": ["Its picture is black."]}
    (group,) = troubles_of(lines, "out")
    assert (group.key, group.items, group.message) == (NOT_ACCEPTED, 1, "Its picture is black.")
    assert group.standing is Standing.DONE


def test_every_state_has_a_label_and_a_standing_with_a_name() -> None:
    assert STATE_LABELS.keys() == set(State)
    assert {standing_of(state) for state in State} == set(STANDING_SAYS) == set(Standing)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("content_policy_violation", "Content policy violation"),
        ("PRO_ONLY_MODEL", "Pro only model"),
        ("insufficient balance", "Insufficient balance"),
        ("submit_unanswered", "The submit's answer was lost"),
        ("", "No reason was given"),
    ],
)
def test_a_kind_reads_as_words(kind: str, says: str) -> None:
    assert reason(kind, "") == says
