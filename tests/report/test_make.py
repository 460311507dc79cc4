"""The page of a batch is written whole or not at all, as often as one likes, and over nothing that is the user's."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import BatchLocked, DiskRefused, InputError
from pipeline.paths import BatchFolder
from pipeline.report.make import Made, make_report
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles
from tests.cli.batches import Item, make_batch, one_of_each, planned
from tests.report.reports import seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.effects import Effects


@pytest.fixture
def effects() -> Iterator[Effects]:
    made = system()
    yield made
    made.threads.close()


@pytest.fixture
def folder(tmp_path: Path) -> BatchFolder:
    return BatchFolder(make_batch(tmp_path / "reefs", *one_of_each(), cap_usd=25.0))


def make(folder: BatchFolder, effects: Effects, **changes: Any) -> Made:
    told: list[int] = []

    def begun(clips: int) -> Any:
        told.append(clips)
        return lambda: told.append(-1)

    made = asyncio.run(make_report(folder, effects, **{"next_command": "", "begun": begun, **changes}))
    assert told == [made.clips, *[-1] * made.clips], "whoever watches is told of every clip"
    return made


def test_the_page_tells_what_the_ledger_says(folder: BatchFolder, effects: Effects) -> None:
    made = make(folder, effects)
    assert (made.path, made.items, made.clips, made.thumbnails) == (folder.report, 5, 1, 0)
    page = seen(folder.report.read_bytes())
    assert [(row["id"], row["state"]) for row in page.rows()] == [
        ("turtle", "done"),
        ("fox", "submit_in_doubt"),
        ("wave", "rejected"),
        ("deer", "submitted"),
        ("zoom", "planned"),
    ]
    text = " ".join(page.text.split())
    assert "1 of 5 items is done." in text
    assert "Spent $3.20 $3.20 reserved, $0.44 in doubt" in text


def test_no_download_address_and_no_key_is_on_the_page(folder: BatchFolder, effects: Effects) -> None:
    make(folder, effects)
    page = folder.report.read_text(encoding="utf-8")
    assert "canary-signature" not in page
    assert "0123456789ab" not in page, "the account's fingerprint is nobody's business"


def test_a_page_is_written_over_a_page_and_says_what_is_new(tmp_path: Path, effects: Effects) -> None:
    folder = BatchFolder(make_batch(tmp_path / "reefs", Item(id="a", plan=planned())))
    make(folder, effects)
    make_batch(folder.root, Item(id="b", plan=planned()))
    make(folder, effects)
    assert [row["id"] for row in seen(folder.report.read_bytes()).rows()] == ["a", "b"]


@pytest.mark.parametrize("kind", ["file", "link", "folder", "broken link"])
def test_what_is_the_users_is_left_as_it_is(folder: BatchFolder, effects: Effects, kind: str) -> None:
    mine = folder.root / "mine.html"
    mine.write_text("<h1>My notes on clipmill report</h1>")
    if kind == "file":
        folder.report.write_text(mine.read_text())
    elif kind == "folder":
        folder.report.mkdir()
    else:
        folder.report.symlink_to(mine if kind == "link" else "nowhere")
    before = os.lstat(folder.report)
    with pytest.raises(InputError, match=r"report\.html is not a report of clipmill's.*Move it away"):
        make(folder, effects)
    assert os.lstat(folder.report) == before
    assert mine.read_text() == "<h1>My notes on clipmill report</h1>"
    assert not folder.thumbnails.exists()


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_the_old_page_stays_until_the_new_one_is_whole(folder: BatchFolder, effects: Effects, call: str) -> None:
    make(folder, effects)
    before = folder.report.read_bytes()

    class Full(SystemFiles):
        pass

    def refuse(self: SystemFiles, *args: Any) -> None:
        if call == "write":
            SystemFiles.write(self, args[0], args[1][:100])
        raise OSError(28, "No space left on device")

    setattr(Full, call, refuse)
    with pytest.raises(DiskRefused, match="Free space"):
        make(folder, replace(effects, files=Full()))
    assert folder.report.read_bytes() == before
    make(folder, effects)


def test_a_second_process_waits_its_turn(folder: BatchFolder, effects: Effects) -> None:
    release = effects.locks.acquire(folder.report_lock, "somebody")
    with pytest.raises(BatchLocked, match="Another process makes the report"):
        make(folder, effects)
    assert not folder.report.exists()
    release()
    make(folder, effects)


def test_a_batch_that_is_being_run_can_be_reported_on(folder: BatchFolder, effects: Effects) -> None:
    effects.locks.acquire(folder.lock, "a run")
    assert make(folder, effects).items == 5


def test_without_a_ledger_nothing_is_made(tmp_path: Path, effects: Effects) -> None:
    with pytest.raises(InputError):
        make(BatchFolder(tmp_path), effects)
    assert list(tmp_path.iterdir()) == []
