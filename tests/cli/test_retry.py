"""New attempts: of what, at which price, and after which words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.jobs.state import EventKind
from tests.cli.batches import AT_PROVIDER, DONE, IN_DOUBT, REJECTED, Item, accepted, failure, make_batch, started
from tests.cli.batches import planned as planned_as
from tests.cli.front_door import call, run
from tests.cli.vendors import PRICE_USD, Shop, charged_usd, job_of

if TYPE_CHECKING:
    from pathlib import Path

E = EventKind
SUBMITTED: Any = [(E.SUBMIT_STARTED, started()), (E.SUBMIT_ACCEPTED, accepted("job-9"))]
LOST: Any = [*SUBMITTED, (E.JOB_LOST, {"failure": failure("gone", "It is no longer there.", "billed")})]
ABANDONED: Any = [*IN_DOUBT, (E.DOUBT_ABANDONED, {"failure": failure("abandoned", "Given up.", "unknown")})]
UNPRICED: Any = [
    (E.SUBMIT_STARTED, started(None)),
    (E.SUBMIT_REFUSED, {"failure": failure("invalid_request", "Refused.", "unbilled")}),
]


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the high-water marks of these batches out of the user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A batch with something of everything."""
    return make_batch(
        tmp_path / "out",
        Item(id="turtle", events=DONE),
        Item(id="wave", events=REJECTED),
        Item(id="gone", events=LOST),
        Item(id="left", events=ABANDONED),
        Item(id="fox", plan=planned_as("A fox", provider="venice", model="wan-2.6"), events=IN_DOUBT),
        Item(id="deer", events=AT_PROVIDER),
        Item(id="zoom"),
    )


def states(root: Path) -> dict[str, str]:
    return {line["id"]: line["state"] for line in call("results", root, "--json").json["results"]}


def test_all_that_ended_without_a_clip_is_planned_again(ended: Path) -> None:
    before = states(ended)
    said = call("retry", ended, "--all", "--yes", "--json")
    assert said.code == 0
    assert [(item["id"], item["was"], item["price_usd"]) for item in said.json["retried"]] == [
        ("wave", "rejected", 3.2),
        ("gone", "lost", 3.2),
        ("left", "abandoned", 0.44),
    ]
    assert said.json["resume"] == f"clipmill resume {ended}"
    assert states(ended) == {**before, "wave": "planned", "gone": "planned", "left": "planned"}


def test_what_each_has_cost_is_said_before_a_new_attempt(ended: Path) -> None:
    said = call("retry", ended, "--all", "--yes")
    assert "wave is rejected (The prompt is refused); it cost nothing that is known." in said.err
    assert (
        "gone was paid for already, and its clip is no longer to be had (It is no longer there); "
        "$3.20 stays counted as spent." in said.err
    )
    assert "left is abandoned (Given up); $0.44 stays counted as spent." in said.err
    assert f"To go on: clipmill resume {ended}" in said.err


def test_without_a_terminal_and_without_yes_nothing_is_changed(ended: Path) -> None:
    before = states(ended)
    said = run("retry", ended, "gone", "wave", cwd=ended.parent, XDG_STATE_HOME=str(ended.parent / "state"))
    assert said.code == 2
    assert "A new attempt of gone, wave may cost $6.40. Go on? There is no terminal to ask on" in said.err
    assert states(ended) == before


def test_an_unknown_price_is_said_to_be_unknown(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a", events=UNPRICED), Item(id="b", events=UNPRICED))
    said = run("retry", root, "--all", cwd=tmp_path, XDG_STATE_HOME=str(tmp_path / "state"))
    assert "may cost an unknown amount for 2 items. Go on?" in said.err


def test_what_cannot_be_retried_is_told_all_at_once_and_nothing_is_changed(ended: Path) -> None:
    before = states(ended)
    said = call("retry", ended, "wave", "turtle", "fox", "deer", "zoom", "--yes")
    assert said.code == 2
    for why in (
        "turtle is done",
        "fox is in doubt, and may be paid for",
        "deer is at the provider",
        "zoom waits to be submitted already",
        "Nothing was changed.",
    ):
        assert why in said.err
    assert states(ended) == before


def test_unknown_items_name_near_ones(ended: Path) -> None:
    said = call("retry", ended, "wav", "--yes")
    assert (said.code, "There is no item 'wav'. Did you mean 'wave'?" in said.err) == (2, True)


def test_nothing_to_retry_is_no_mistake(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a", events=DONE))
    said = call("retry", root, "--all")
    assert (said.code, "No item" in said.err) == (0, True)
    assert call("retry", root, "--all", "--json").json["retried"] == []


@pytest.mark.parametrize("args", [[], ["wave", "--all"]])
def test_items_or_all_of_them_must_be_named_and_not_both(ended: Path, args: list[str]) -> None:
    said = call("retry", ended, *args)
    assert (said.code, "Name the items to retry, or say --all or --rejected-clips." in said.err) == (2, True)


def test_a_retried_item_is_bought_again_and_both_attempts_are_counted(tmp_path: Path) -> None:
    shop, price = Shop(tmp_path, "venice"), PRICE_USD["venice"]
    with shop.open("generation-failure=1") as sandbox:
        first = shop.call("run", shop.write("fox", "deer"), "--json")
        assert (first.code, first.json["failed"]) == (3, 2)
        assert first.json["spent_usd"] == sandbox.bill()["totals"]["net_usd"] == 0  # Venice gave it back
    with shop.open() as sandbox:
        assert shop.call("retry", "output/shop", "fox", "--yes", "--max-cost", "0.50").code == 0
        capped = shop.call("resume", "output/shop")
        assert (capped.code, "Raise it with --max-cost" in capped.err) == (5, True)
        ended = shop.call("resume", "output/shop", "--max-cost", "5", "--json")
        assert (ended.code, ended.json["done"], ended.json["failed"]) == (3, 1, 1)
        bill = sandbox.bill()
    assert [len(job_of(bill, f"A {item}")) for item in ("fox", "deer")] == [2, 1]
    assert bill["totals"]["net_usd"] == pytest.approx(price) == pytest.approx(ended.json["spent_usd"])
    assert shop.results()["fox"]["attempts"] == 2
    assert shop.call("check", "output/shop").code == 0


def test_an_abandoned_doubt_that_is_retried_is_counted_twice(tmp_path: Path) -> None:
    shop, price = Shop(tmp_path, "venice"), PRICE_USD["venice"]
    with shop.open("drop-after-accept=1"):
        assert shop.call("run", shop.write("fox")).code == 4
    with shop.open() as sandbox:
        assert shop.call("resolve", "output/shop", "fox", "--abandon").code == 0
        assert shop.call("retry", "output/shop", "fox", "--yes").code == 0
        ended = shop.call("resume", "output/shop", "--json")
        assert (ended.code, ended.json["spent_usd"]) == (0, pytest.approx(2 * price))
        assert charged_usd(sandbox.bill()) == pytest.approx(2 * price)


def states_in_results(root: Path) -> dict[str, str]:
    rows = map(json.loads, (root / "results.jsonl").read_text().splitlines())
    return {row["id"]: row["state"] for row in rows}


def test_results_say_at_once_what_is_to_be_attempted_again(ended: Path) -> None:
    assert call("retry", ended, "wave").code == 2, "nobody could be asked"
    assert not (ended / "results.jsonl").exists()

    assert call("retry", ended, "wave", "--yes").code == 0

    assert states_in_results(ended)["wave"] == "planned"
    assert states_in_results(ended)["gone"] == "lost"


def test_results_that_cannot_be_written_do_not_keep_an_item_from_being_retried(ended: Path) -> None:
    (ended / "results.jsonl").mkdir()
    (ended / "results.jsonl" / "mine").touch()

    said = call("retry", ended, "wave", "--yes")

    assert (said.code, "results.jsonl was left as it was." in said.err) == (0, True)
    assert "wave: to be attempted again." in said.err
