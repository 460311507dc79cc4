"""A slice of the crash simulation for every run of the tests: each scenario, a few strikes, and some mutants."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from tests.torture.invariants import RULES, SENTENCES
from tests.torture.kept import Kept
from tests.torture.life import live, points_of
from tests.torture.mutant import MUTANTS
from tests.torture.mutants import hunt
from tests.torture.scenarios import SCENARIOS, Flavour
from tests.torture.simulation import Figures, play, shared_out, table
from tests.torture.stage import Point

if TYPE_CHECKING:
    from pathlib import Path

# A killed process leaves coroutines behind that nobody will ever await: that is what being killed means.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]

SEED = 3
STRIKES = 3
LIVES = 80
SAMPLE = (
    "intent_not_awaited",
    "submitting_resumed_as_planned",
    "server_error_is_not_now",
    "claim_without_intent",
    "library_repeats_the_get",
    "boxes_not_walked",
    "clip_not_synced",
    "cleaned_up_before_published",
    "foreign_file_overwritten",
    "epoch_not_checked",
    "doubt_is_free",
    "answers_dropped_on_a_full_disk",
    "stop_cancels_billing_calls",
)
"""Mutants that are caught within a few lives; `python -m tests.torture.mutants` hunts them all."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_life_of_a_scenario_breaks_an_invariant(name: str) -> None:
    told = live(name, SEED, None)
    points = random.Random(name).sample(points_of(name, told), STRIKES)
    figures = play(name, SEED, [None, *points])
    assert not figures.violations, "\n".join(figures.violations)
    assert figures.points == figures.items / len(SCENARIOS[name].items) == 1 + STRIKES
    assert figures.compared >= 1, "no trace was compared"


def test_a_life_is_struck_at_the_moment_that_was_asked_for() -> None:
    unstruck = live("venice", SEED, None)
    assert (unstruck.crashes, unstruck.doubts, unstruck.charges) == (0, 0, 3)
    point = Point(flavour=Flavour.KILL, step=unstruck.steps // 2)
    struck = live("venice", SEED, point, with_trace=True)
    assert struck.crashes >= 1
    assert f"run 1 was killed before step {point.step}" in struck.trace
    assert live("venice", SEED, point, with_trace=True).trace == struck.trace


def test_every_point_is_enumerated_and_a_share_is_kept() -> None:
    told = live("modelmax", SEED, None)
    points = points_of("modelmax", told)
    assert len(points) == len(set(points)) == 2 * (told.steps + told.turns)
    work = [point for _, _, piece in shared_out(["modelmax"], SEED, 40) for point in piece]
    assert len(work) == 40
    assert set(work) - {None} <= set(points)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_seeded_bug_is_caught(name: str) -> None:
    assert hunt(name, 1, LIVES).caught_by


def test_there_are_bugs_enough_and_every_rule_has_a_sentence() -> None:
    assert len(MUTANTS) >= 25
    assert {number for number, _, _ in RULES} <= SENTENCES.keys()


def test_what_was_seen_is_remembered_and_a_torn_line_is_seen_again(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    whole = {"scenario": "venice", "seed": 1, "points": 7, "violations": ["--scenario venice"]}
    state.write_text(json.dumps(whole) + '\n{"scenario": "venice", "se')
    kept = Kept(state, "scenario", "seed")
    assert kept.get("venice", 2) is None
    assert Figures(**(kept.get("venice", 1) or {})).points == 7
    kept.add({"scenario": "venice", "seed": 2, "points": 9})
    again = Kept(state, "scenario", "seed")
    assert (again.get("venice", 1), again.get("venice", 2)) == (kept.get("venice", 1), {"points": 9})
    assert "venice" in table({"venice": Figures(points=7)})
