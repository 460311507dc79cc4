"""A manifest that was run into another folder before is told of, for it would be bought once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.cli.running.elsewhere import REMEMBERED_MOST, note_folder
from pipeline.system.locks import SystemShelf

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shelf(tmp_path: Path) -> SystemShelf:
    return SystemShelf(tmp_path / "state")


def a_batch(root: Path) -> Path:
    root.mkdir(parents=True)
    (root / "ledger.sqlite").touch()
    return root


def test_the_other_folders_of_a_manifest_are_told_the_latest_first(tmp_path: Path, shelf: SystemShelf) -> None:
    manifest = tmp_path / "m.yaml"
    one, two, three = (a_batch(tmp_path / name) for name in ("one", "two", "three"))

    assert note_folder(manifest, one, shelf) == []
    assert note_folder(manifest, one, shelf) == [], "to go on with a batch is nothing new"
    assert note_folder(manifest, two, shelf) == [one]
    assert note_folder(manifest, three, shelf) == [two, one]
    assert note_folder(tmp_path / "other.yaml", one, shelf) == [], "of another manifest nothing is known"


def test_folders_that_hold_no_ledger_any_more_are_not_told(tmp_path: Path, shelf: SystemShelf) -> None:
    gone = a_batch(tmp_path / "gone")
    note_folder(tmp_path / "m.yaml", gone, shelf)
    (gone / "ledger.sqlite").unlink()

    assert note_folder(tmp_path / "m.yaml", tmp_path / "new", shelf) == []


def test_the_same_folder_by_another_way_is_the_same(tmp_path: Path, shelf: SystemShelf) -> None:
    here = a_batch(tmp_path / "here")
    (tmp_path / "link").symlink_to(here)
    note_folder(tmp_path / "m.yaml", here, shelf)

    assert note_folder(tmp_path / "m.yaml", tmp_path / "link", shelf) == []
    assert note_folder(tmp_path / "m.yaml", tmp_path / "here" / ".." / "here", shelf) == []


def test_what_is_remembered_stays_small(tmp_path: Path, shelf: SystemShelf) -> None:
    for number in range(REMEMBERED_MOST + 10):
        note_folder(tmp_path / "m.yaml", a_batch(tmp_path / str(number)), shelf)

    assert len(note_folder(tmp_path / "m.yaml", a_batch(tmp_path / "last"), shelf)) == REMEMBERED_MOST


@pytest.mark.parametrize("record", ["", "[1]", '{"folders": 7}', '{"folders": [7, null]}', "\0"])
def test_a_record_that_is_damaged_stops_nobody(tmp_path: Path, shelf: SystemShelf, record: str) -> None:
    manifest = tmp_path / "m.yaml"
    note_folder(manifest, tmp_path / "one", shelf)
    (kept,) = (tmp_path / "state").iterdir()
    kept.write_text(record)

    assert note_folder(manifest, tmp_path / "two", shelf) == []
