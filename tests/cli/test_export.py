"""`export`, and `retry --rejected-clips`, as people call them."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.cli.batches import Item
from tests.cli.front_door import call
from tests.dataset.made import a_batch, everything_below, finished
from tests.support import mp4s

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS: dict[str, Any] = {"manifest": "m.yaml", "inputs": ".", "max_cost_usd": None, "prices": {}, "limits": {}}


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the high-water marks of these batches out of the user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def with_rules(root: Path, **rules: Any) -> Path:
    """Write a manifest's `accept` into a ledger, as a run does."""
    with closing(sqlite3.connect(root / "ledger.sqlite")) as database:
        database.execute("INSERT INTO meta VALUES ('settings', ?)", (json.dumps(SETTINGS | {"accept": rules}),))
        database.commit()
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    items = [finished("turtle"), finished("short", facts={"duration_s": 2.0}), finished("wave"), Item(id="left")]
    return with_rules(a_batch(tmp_path / "reefs", *items), min_duration_s=4)


@pytest.mark.parametrize("form", ["videofolder", "webdataset", "sidecars"])
def test_an_export_lies_in_the_batchs_own_folder_and_says_what_is_in_it(root: Path, form: str) -> None:
    said = call("export", root, "--to", form)
    dest = root / "exports" / form
    assert said.code == 0
    assert said.out.startswith(f"{dest} is 2 clips (2 train), ")
    assert "1 clip left out by `accept`; they cost $0.40 and are kept." in said.err
    assert f"clipmill retry {root} --rejected-clips" in said.err
    assert "1 item without a finished clip." in said.err
    assert {"README.md", "index.json"} <= everything_below(dest).keys()
    assert "was there already" in call("export", root, "--to", form).out


def test_for_programs_it_is_one_document(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "elsewhere" / "reefs"
    told = call("export", root, "--to", "sidecars", "--dest", dest, "--where", "item_id=wave", "--json").json
    size_bytes = sum(map(len, everything_below(dest).values()))
    left = {"rejected": 1, "rejected_usd": 0.4, "undecided": 0, "where": 1, "unfinished_items": 1}
    assert told == {
        "batch": "reefs",
        "format": "sidecars",
        "dest": str(dest),
        "fresh": True,
        "clips": 1,
        "splits": {"train": 1},
        "bytes": size_bytes,
        "left_out": left,
    }


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--to", "videofolder", "--where", "item_id=none"], "There is nothing to export: 1 clips are turned down"),
        (["--to", "videofolder", "--where", "colour=red"], "there is no column 'colour'"),
        (["--to", "videofolder", "--split", "90/9"], "three shares in percent"),
        (["--to", "webdataset", "--link"], "--link makes no sense with webdataset"),
        (["--to", "tar"], "'tar' is not one of"),
        ([], "Missing option '--to'"),
    ],
)
def test_a_wish_that_cannot_be_met_is_told_and_nothing_is_made(root: Path, args: list[str], words: str) -> None:
    said = call("export", root, *args)
    assert said.code == 2
    assert words in said.err
    assert not (root / "exports").exists() or not any((root / "exports").iterdir())


def test_a_folder_without_a_ledger_is_no_batch(tmp_path: Path) -> None:
    said = call("export", tmp_path, "--to", "videofolder")
    assert (said.code, "There is no ledger at" in said.err) == (2, True)


def test_two_exports_of_a_batch_do_not_get_into_each_others_way(root: Path) -> None:
    with (root / "export.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = call("export", root, "--to", "videofolder")
    assert (said.code, "Another export" in said.err) == (75, True)


def test_a_batch_that_is_being_run_is_exported_as_far_as_it_has_come(root: Path) -> None:
    with (root / "ledger.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert call("export", root, "--to", "videofolder").code == 0


def unseen(root: Path, *names: str, look: str = "moving") -> Path:
    """Return a batch of real clips that no decoder has seen."""
    items = []
    for name in names:
        item = finished(name, facts={"frames": 48})
        item.events = item.events[:-1]
        data = mp4s.encode(root.parent / f"{name}.mp4", look=look).read_bytes()
        stored: Any = item.events[-2][1]
        import hashlib

        stored["sha256"], stored["size_bytes"] = hashlib.sha256(data).hexdigest(), len(data)
        items.append(item)
    a_batch(root, *items)
    for name in names:
        (root / "clips" / f"{name}.mp4").write_bytes((root.parent / f"{name}.mp4").read_bytes())
    return root


def test_what_no_decoder_has_seen_is_decoded_first_and_written_down(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the full decode is PyAV's")
    root = with_rules(unseen(tmp_path / "b", "one", "two", look="black"), not_black=True)
    said = call("export", root, "--to", "videofolder")
    assert "Decoding the clips of 2 items" in said.err
    assert "There is nothing to export: 2 clips are turned down" in said.err
    with reading(BatchFolder(root).ledger, system()) as reader:
        assert reader.undecoded() == 0
    lines = [json.loads(line) for line in (root / "results.jsonl").read_text().splitlines()]
    assert [line["clips"][0]["rejected_because"] for line in lines] == [["Its picture is black."]] * 2
    again = call("export", root, "--to", "videofolder")
    assert "Decoding" not in again.err


def states(root: Path) -> dict[str, str]:
    return {line["id"]: line["state"] for line in call("results", root, "--json").json["results"]}


def test_rejected_clips_are_bought_again_beside_those_that_are_here(root: Path) -> None:
    said = call("retry", root, "--rejected-clips", "--yes", "--json")
    assert said.code == 0
    assert [(each["id"], each["was"], each["price_usd"]) for each in said.json["retried"]] == [("short", "done", 0.4)]
    assert "clips/short.mp4 is turned down: It lasts 2.00 s; at least 4 s are wanted." in said.err
    assert "short: $0.40 stays counted as spent." in said.err
    assert states(root) == {"turtle": "done", "short": "planned", "wave": "done", "left": "planned"}
    assert list(states(root)) == ["turtle", "short", "wave", "left"], "the manifest's order"
    assert (root / "clips" / "short.mp4").exists()
    with reading(BatchFolder(root).ledger, system()) as reader:
        old, new = reader.revisions("short")
    assert (old.state, new.state, new.revision) == ("done", "planned", 2)
    assert (old.fingerprint, old.request) == (new.fingerprint, new.request)
    assert "No clip of" in call("retry", root, "--rejected-clips", "--yes").err


def test_nothing_is_bought_again_without_a_yes(root: Path) -> None:
    before = states(root)
    said = call("retry", root, "--rejected-clips")
    assert said.code == 2
    assert "To buy short again may cost $0.40. Go on?" in said.err
    assert states(root) == before


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["turtle"], "turtle: none of its clips is turned down"),
        (["left"], "left is planned"),
        (["shrot"], "There is no item 'shrot'. Did you mean 'short'?"),
        (["--all"], "leave --all out"),
    ],
)
def test_what_is_not_rejected_is_not_bought_again(root: Path, items: list[str], words: str) -> None:
    said = call("retry", root, "--rejected-clips", "--yes", *items)
    assert said.code == 2
    assert words in said.err
    assert states(root)["short"] == "done"


@pytest.mark.parametrize("command", [("export", "--to", "parquet"), ("report",)])
def test_an_address_of_a_cluster_is_refused_without_an_engine(tmp_path: Path, command: tuple[str, ...]) -> None:
    root = a_batch(tmp_path / "b", finished("fox"))
    before = everything_below(root)
    said = call(*command, root, "--address", "auto")
    assert said.code == 2
    assert "--address is for --engine ray" in said.err
    assert everything_below(root) == before


@pytest.mark.parametrize("command", [("export", "--to", "parquet"), ("report",)])
def test_rays_proxy_is_refused_before_anything_is_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    root = a_batch(tmp_path / "b", finished("fox"))
    said = call(*command, root, "--engine", "ray", "--address", "ray://127.0.0.1:10001")
    assert said.code == 2
    assert "Run this command on a node of the cluster" in said.err
    assert not (root / "report.html").exists()
    assert not (root / "exports" / "parquet").exists()
