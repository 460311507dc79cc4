"""Which clips become rows, and what stands in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.clips.acceptance import Acceptance
from pipeline.dataset.rows import MEANINGS, TYPES, Selection, select, types_of
from pipeline.dataset.split import ALL_TRAIN
from pipeline.dataset.where import meeting, parse
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.cli.batches import REJECTED, Item
from tests.dataset.made import a_batch, finished

if TYPE_CHECKING:
    from pathlib import Path


def chosen(root: Path, rules: Acceptance | None = None, *where: str) -> Selection:
    with reading(BatchFolder(root).ledger, system()) as reader:
        conditions = meeting([parse(text) for text in where])
        return select(list(reader.with_clips()), rules or Acceptance(), ALL_TRAIN, conditions, len(reader.item_ids()))


def keys(selection: Selection) -> list[str]:
    return [row.key for row in selection.rows]


def test_a_row_says_what_the_clip_is_who_made_it_and_what_it_cost(tmp_path: Path) -> None:
    root = a_batch(tmp_path / "b", finished("fox", metadata={"place": "snow"}, clips=2))
    first, second = chosen(root).rows
    assert (first.source, second.source) == ("clips/fox.mp4", "clips/fox__1.mp4")
    columns: dict[str, Any] = dict(first.columns)
    assert list(columns) == [*MEANINGS, "metadata.place"]
    assert len(columns.pop("sha256")) == 64
    assert json.loads(columns.pop("parameters")) == {"duration_seconds": 8, "sample_count": 2}
    assert columns.pop("finished_at").startswith("2026-11-21T12:")
    assert columns == {
        "text": "A picture of fox",
        "duration": 8.0,
        "fps": 24.0,
        "width": 1280,
        "height": 720,
        "num_frames": 192,
        "has_audio": True,
        "codec": "avc1",
        "bytes": 913,
        "provider": "modelmax",
        "model": "veo-3",
        "item_id": "fox",
        "revision": 1,
        "clip": 0,
        "negative_prompt": "",
        "provider_job_id": "job-fox-1",
        "cost_usd": 0.2,
        "cost_is": "computed",
        "split": "train",
        "metadata.place": "snow",
    }
    assert second.columns["clip"] == 1


def test_clips_come_in_the_order_of_the_manifest_and_items_without_one_are_counted(tmp_path: Path) -> None:
    root = a_batch(tmp_path / "b", finished("zebra"), Item(id="left"), Item(id="no", events=REJECTED), finished("ant"))
    selection = chosen(root)
    assert keys(selection) == ["zebra", "ant"]
    assert selection.unfinished == 2


def test_what_accept_turns_down_is_left_out_and_its_cost_is_told(tmp_path: Path) -> None:
    short, black = {"duration_s": 2.0}, {"black": 1.0}
    root = a_batch(
        tmp_path / "b", finished("short", facts=short), finished("black", seen=black, price_usd=0.7), finished("good")
    )
    selection = chosen(root, Acceptance(min_duration_s=4, not_black=True))
    assert keys(selection) == ["good"]
    assert (selection.rejected, selection.rejected_usd) == (2, 1.1)


def test_a_damaged_clip_is_left_out_without_a_word_of_the_manifest_unless_it_says_otherwise(tmp_path: Path) -> None:
    root = a_batch(tmp_path / "b", finished("cut", seen={"frames": 100}), finished("good"))
    assert keys(chosen(root)) == ["good"]
    assert keys(chosen(root, Acceptance(not_damaged=False))) == ["cut", "good"]


def test_what_only_a_decoder_can_tell_is_neither_accepted_nor_turned_down(tmp_path: Path) -> None:
    unseen = finished("unseen")
    unseen.events = unseen.events[:-1]
    selection = chosen(a_batch(tmp_path / "b", unseen, finished("seen")), Acceptance(not_black=True))
    assert keys(selection) == ["seen"]
    assert (selection.undecided, selection.rejected) == (1, 0)


def test_an_earlier_revision_of_the_same_request_is_exported_and_that_of_another_is_not(tmp_path: Path) -> None:
    same = [finished("fox", revision=1), finished("fox", revision=2)]
    other = [finished("deer", revision=1, fingerprint="0" * 64), finished("deer", revision=2)]
    selection = chosen(a_batch(tmp_path / "b", *same, *other))
    assert keys(selection) == ["fox", "fox__r2", "deer__r2"]
    assert selection.unfinished == 0


def test_conditions_see_numbers_where_rows_have_text_for_their_gaps(tmp_path: Path) -> None:
    items = [finished("a", metadata={"score": 3}), finished("b"), finished("c", metadata={"score": 10})]
    root = a_batch(tmp_path / "b", *items)
    assert [row.columns["metadata.score"] for row in chosen(root).rows] == ["3", "", "10"]
    selection = chosen(root, None, "metadata.score>=3")
    assert [row.columns["metadata.score"] for row in selection.rows] == [3, 10]
    assert selection.passed_over == 1


def test_a_cost_that_nobody_knows_is_no_null_and_is_not_counted_as_nothing(tmp_path: Path) -> None:
    (row,) = chosen(a_batch(tmp_path / "b", finished("a", price_usd=None))).rows
    assert (row.cost_usd, row.columns["cost_usd"], row.columns["cost_is"]) == (None, 0.0, "unknown")


def test_the_types_of_all_columns_are_known(tmp_path: Path) -> None:
    items = [finished("a", metadata={"n": 1, "x": 0.5, "t": "z", "b": True})]
    rows = chosen(a_batch(tmp_path / "b", *items)).rows
    types = types_of(rows)
    assert all(type(value) is types[name] for row in rows for name, value in row.columns.items())
    assert TYPES.keys() <= MEANINGS.keys()


def test_long_data_urls_stay_out_of_the_rows(tmp_path: Path) -> None:
    item = finished("a")
    item.plan["request"]["parameters"]["image"] = "data:image/png;base64," + "A" * 100_000
    (row,) = chosen(a_batch(tmp_path / "b", item)).rows
    assert len(row.columns["parameters"]) < 300
