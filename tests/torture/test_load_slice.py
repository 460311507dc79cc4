"""A slice of the load tests for every run of the tests: each part, small; what is held to a clock is given time."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline.pages import HELD_MOST
from tests.torture.load_figures import Figure, print_figures
from tests.torture.loads_in_time import bad_prompts, found_at_a_start, most_within, storm, trickling
from tests.torture.loads_on_sockets import in_flight, soak

if TYPE_CHECKING:
    from collections.abc import Iterator

UNHURRIED = f"""
from tests.torture.load_figures import print_figures
from tests.torture.loads_of_lists import Targets, of_lists

targets = Targets(
    items={HELD_MOST + 1000}, validate_s=60.0, first_submit_s=90.0, peak_mib=120.0, first_look_s=60.0, status_s=30.0
)
raise SystemExit(not print_figures("a slice", of_lists(targets, slice_items=5)))
"""


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param(lambda: storm(clips=60, lasts_s=240.0), id="storm"),
        pytest.param(lambda: bad_prompts(bad=60, good=3), id="bad prompts"),
        pytest.param(lambda: trickling(clips=30), id="trickling"),
        pytest.param(lambda: found_at_a_start(rows=150, watched_s=120.0), id="found at a start"),
    ],
)
def test_load_in_virtual_time(figures: object) -> None:
    missed = [figure for figure in figures() if not figure.is_met]  # type: ignore[operator]
    assert not missed


def test_a_manifest_too_long_for_memory_is_validated_run_killed_and_resumed() -> None:
    """In a process of its own: what a child is said to have taken is never less than what its parent had taken."""
    done = subprocess.run([sys.executable, "-c", UNHURRIED], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


def test_jobs_in_flight_are_looked_at_and_counted() -> None:
    figures = {figure.name: figure for figure in in_flight(jobs=60, watched_s=3.0)}
    assert figures["60 in flight: at the vendor"].is_met
    assert figures["60 in flight: looks in 3 s"].is_met


def test_a_short_soak_charges_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    figures = list(soak(seconds=12.0, every_s=2.0))
    assert next(figure for figure in figures if "charged" in figure.name).is_met
    assert "descriptors" in capsys.readouterr().out


def test_a_missed_target_is_told_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    def figures() -> Iterator[Figure]:
        yield Figure("enough", 3.0, "s", most=3.0)
        yield Figure("too much", 3.1, "s", most=3.0)

    assert not print_figures("x", figures())
    assert capsys.readouterr().out.count("MISSED") == 1
    assert print_figures("x", [Figure("enough", 3.0, "s", least=3.0)])


def test_the_most_within_a_window_counts_its_beginning_and_not_its_end() -> None:
    assert most_within([0.0, 1.0, 59.9, 60.0, 61.0], 60.0) == 3
    assert most_within([], 60.0) == 0


def test_an_unknown_part_is_refused_with_the_names_of_all() -> None:
    told = subprocess.run([sys.executable, "-m", "tests.torture.load", "nothing"], capture_output=True, text=True)
    assert told.returncode == 2
    assert "bad-prompts" in told.stderr
