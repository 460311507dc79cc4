"""Quoted, reserved and reported, side by side; and where a clip is not what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipeline.cli.wording.comparison import LISTED_MOST, compared, comparison_text
from pipeline.jobs.state import EventKind
from tests.cli.batches import CLAIMED, DONE, Item, make_batch, one_of_each, planned, started
from tests.cli.front_door import call
from tests.cli.vendors import Shop

if TYPE_CHECKING:
    from pathlib import Path

E = EventKind


def rows_of(root: Path) -> Any:
    return call("results", root, "--json").json


def done(index: int, **claimed: Any) -> Item:
    """Return a done item; what it was billed can be changed."""
    events = [(kind, {**data, **claimed} if kind is E.CLAIM_RECEIVED else data) for kind, data in DONE]
    names = {E.SUBMIT_ACCEPTED: "receipt", E.CLIP_STORED: "file", E.CLIP_PUBLISHED: "file"}
    own: list[tuple[EventKind, Any]] = []
    for kind, data in events:
        if names.get(kind) == "receipt":
            data = {**data, "receipt": {**data["receipt"], "job_id": f"job-{index}"}}
        elif names.get(kind) == "file":
            data = {**data, "file": f"clips/i{index}.mp4"}
        own.append((kind, data))
    return Item(id=f"i{index}", plan=planned("A fox"), events=own)


def test_the_sums_by_source_and_the_ids_are_in_the_json(tmp_path: Path) -> None:
    told = rows_of(make_batch(tmp_path, *one_of_each()))["comparison"]
    assert told == {
        "submitted": 4,
        "expected_usd": 10.04,
        "quoted_usd": 0.44,
        "computed_usd": 9.6,
        "unpriced": 0,
        "counted_usd": 6.84,
        "costs_otherwise": [],
        "differing": ["turtle"],
    }


def test_a_clip_that_was_billed_otherwise_is_told_with_what_the_provider_reports(tmp_path: Path) -> None:
    usage = {"video_seconds": 8, "video_resolution": "4k", "video_has_audio": True}
    warning = "ModelMax billed 4k where 720p was asked for."
    root = make_batch(tmp_path, done(0, cost_usd=4.8, usage=usage, warnings=[warning]), done(1))
    text = call("results", root).out
    assert "$6.40 was expected ($6.40 by the manifest's prices); $8.00 is counted as spent." in text
    assert (
        "  i0: $3.20 was expected, $4.80 is counted; the provider reports video_has_audio true, "
        "video_resolution 4k, video_seconds 8.\n"
    ) in text
    assert f"  i0: {warning}\n" in text
    assert rows_of(root)["comparison"]["costs_otherwise"] == ["i0"]


def test_a_long_list_is_cut_and_counted(tmp_path: Path) -> None:
    count = LISTED_MOST + 3
    text = call("results", make_batch(tmp_path, *(done(index) for index in range(count)))).out
    assert text.count("It has no sound") == LISTED_MOST
    assert "  ... and 3 more differences; --format csv has them all\n" in text


def test_what_nobody_priced_is_said_to_be_unknown(tmp_path: Path) -> None:
    unknown = Item(id="fox", plan=planned("A fox"), events=[(E.SUBMIT_STARTED, started(None, "unknown"))])
    assert "Money: nothing was expected (1 item of unknown price); $0.00 is counted as spent." in (
        call("results", make_batch(tmp_path, unknown)).out
    )


def test_where_nothing_was_bought_there_is_nothing_to_compare(tmp_path: Path) -> None:
    root = make_batch(tmp_path, Item(id="fox", plan=planned("A fox")))
    assert "Money" not in call("results", root).out


@pytest.mark.parametrize("hostile", ["\x1b]0;pwned\x07", "=1+1"])
def test_what_a_vendor_says_reaches_no_terminal_and_no_formula(tmp_path: Path, hostile: str) -> None:
    root = make_batch(tmp_path, done(0, warnings=[hostile], usage={hostile: hostile}))
    assert "\x1b" not in call("results", root).out
    lines = call("results", root, "--format", "csv").out
    assert "\x1b" not in lines
    assert '"=1+1' not in lines


def test_the_text_and_the_sums_are_of_the_same_rows(tmp_path: Path) -> None:
    rows = rows_of(make_batch(tmp_path, done(0), done(1, cost_usd=CLAIMED["cost_usd"] * 2)))["results"]
    found = compared(rows)
    assert (found.expected_usd, found.counted_usd) == (6.4, 9.6)
    assert "$9.60 is counted" in comparison_text(rows)


def test_a_run_with_failures_says_where_it_is_told_what_to_do(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "venice")
    with shop.open():
        said = shop.call("run", shop.write("fox", "deer"), "--json")
        assert "What went wrong" not in said.err
    with shop.open("generation-failure=1"):
        said = shop.call("run", shop.write("fox", "deer", "wave"))
        assert said.code == 3
        assert "What went wrong, and what to do: clipmill results output/shop" in said.err.replace(
            str(tmp_path) + "/", ""
        )
        text = shop.call("results", "output/shop").out
        assert "wave (item): The provider gave the money back. Change what the message names" in text
