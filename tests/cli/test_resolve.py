"""Doubts, settled: each answer, who may give it, and what the vendor's own bill says of it afterwards."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.cli.mending.billing import propose
from pipeline.cli.mending.resolution import Wish
from pipeline.jobs.state import EventKind
from pipeline.system.effects import SystemClock, system
from tests.cli.batches import AT_PROVIDER, IN_DOUBT, Item, accepted, failure, make_batch, one_of_each, started
from tests.cli.batches import planned as planned_as
from tests.cli.front_door import call, run
from tests.cli.vendors import PRICE_USD, Shop, charged_usd, job_of

if TYPE_CHECKING:
    from pathlib import Path

E = EventKind
CLAIM_DOUBT: Any = [
    (E.SUBMIT_STARTED, started()),
    (E.SUBMIT_ACCEPTED, accepted()),
    (E.CLAIM_STARTED, {}),
    (E.CLAIM_LOST, {"failure": failure("claim_unanswered", "The connection closed.", "unknown")}),
]
VENICE = planned_as("A fox", provider="venice", model="wan-2.6")


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the high-water marks of these batches out of the user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """A batch with two submits and one claim in doubt, and something of everything else."""
    claimed = Item(id="owl", plan=planned_as("An owl"), events=CLAIM_DOUBT)
    second = Item(id="elk", plan=VENICE, events=IN_DOUBT)
    return make_batch(tmp_path / "out", *[each for each in one_of_each() if each.id != "turtle"], claimed, second)


def state_of(root: Path, item: str) -> str:
    return str(call("show", root, item, "--json").json["state"])


# --- the list ---


def test_every_doubt_is_listed_with_its_price_its_times_what_is_known_and_the_ways_out(doubtful: Path) -> None:
    said = call("resolve", doubtful)
    assert said.code == 4
    fox = said.out.partition("fox: ")[2].partition("\n\n")[0]
    assert fox.startswith("venice/wan-2.6, submit_in_doubt\n")
    assert "left after 2026-11-21 12:00:10, and its loss was noted at 2026-11-21 12:00:20." in fox
    assert "What is known: The connection closed. (submit_unanswered)" in fox
    assert "It may have cost $0.44." in fox
    for way in ("--adopt ID", "--resubmit", "--abandon"):
        assert f"    clipmill resolve {doubtful} fox {way}\n" in fox
    owl = said.out.partition("owl: ")[2].partition("\n\n")[0]
    assert f"    clipmill resolve {doubtful} owl --ask-once\n" in owl
    assert "--adopt" not in owl
    assert said.out.count("In doubt") == 0
    assert "canary" not in said.out + said.err


def test_the_list_as_json_holds_what_a_program_needs(doubtful: Path) -> None:
    said = call("resolve", doubtful, "--json")
    assert (said.code, said.json["in_doubt"]) == (4, 3)
    fox = next(doubt for doubt in said.json["doubts"] if doubt["id"] == "fox")
    assert (fox["price_usd"], fox["price_is"], fox["state"]) == (0.44, "quoted", "submit_in_doubt")
    assert (fox["from"], fox["to"]) == ("2026-11-21T12:00:10+00:00", "2026-11-21T12:00:20+00:00")
    assert fox["evidence"] == {"body": "https://cdn.venice.ai/…"}
    assert fox["commands"]["resubmit"] == f"clipmill resolve {doubtful} fox --resubmit"


def test_some_items_alone_can_be_listed(doubtful: Path) -> None:
    said = call("resolve", doubtful, "elk", "wave")
    assert ("elk: " in said.out, "fox: " in said.out, said.code) == (True, False, 4)
    assert "wave is not in doubt; it is rejected." in said.err


def test_without_doubts_the_exit_code_is_0(tmp_path: Path) -> None:
    said = call("resolve", make_batch(tmp_path / "out", Item(id="a")))
    assert (said.code, said.out) == (0, "")
    assert "Nothing is in doubt" in said.err
    assert call("resolve", tmp_path / "out", "--json").json["doubts"] == []


def test_an_open_call_is_told_since_it_may_become_a_doubt(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a", events=[(E.SUBMIT_STARTED, started())]))
    said = call("resolve", root)
    assert (said.code, "1 more item in the middle of a call" in said.err) == (0, True)


def test_a_folder_without_a_ledger_exits_2_and_gets_none(tmp_path: Path) -> None:
    for answer in ([], ["--all", "--abandon"]):
        said = call("resolve", tmp_path, *answer)
        assert (said.code, "There is no ledger at" in said.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


# --- the answers ---


@pytest.mark.parametrize(
    ("item", "answer", "state"),
    [
        ("fox", ["--resubmit"], "planned"),
        ("fox", ["--abandon"], "abandoned"),
        ("fox", ["--adopt", "q-7"], "submitted"),
        ("owl", ["--ask-once"], "submitted"),
        ("owl", ["--resubmit"], "planned"),
        ("owl", ["--abandon"], "abandoned"),
    ],
)
def test_each_answer_moves_its_item_and_no_other(doubtful: Path, item: str, answer: list[str], state: str) -> None:
    said = call("resolve", doubtful, item, *answer, "--yes", "--json")
    assert said.code == 4  # others are still in doubt
    assert (said.json["in_doubt"], said.json["resume"]) == (2, f"clipmill resume {doubtful}")
    (settled,) = said.json["settled"]
    assert (settled["id"], settled["answer"]) == (item, answer[0].removeprefix("--"))
    assert state_of(doubtful, item) == state
    assert state_of(doubtful, "elk") == "submit_in_doubt"
    told = f"To go on: clipmill resume {doubtful}" in said.err
    assert told is (answer != ["--abandon"])


def test_results_say_at_once_how_a_doubt_was_settled(doubtful: Path) -> None:
    assert call("resolve", doubtful, "fox", "--abandon").code == 4

    rows = {row["id"]: row["state"] for row in map(json.loads, (doubtful / "results.jsonl").read_text().splitlines())}
    assert (rows["fox"], rows["owl"]) == ("abandoned", "claim_in_doubt")


def test_all_doubts_can_be_given_up_at_once(doubtful: Path) -> None:
    said = call("resolve", doubtful, "--all", "--abandon")
    assert said.code == 0
    assert "fox, owl, elk: given up; what it may have cost stays counted as spent." in said.err
    assert call("resolve", doubtful).code == 0
    assert call("resolve", doubtful, "--all", "--abandon").code == 0
    assert call("status", doubtful, "--json").json["batches"][0]["spent_usd"] == pytest.approx(0.44 * 2 + 3.2 * 2)


def test_a_doubt_that_was_answered_is_settled_already(doubtful: Path) -> None:
    call("resolve", doubtful, "fox", "--abandon")
    said = call("resolve", doubtful, "fox", "--resubmit", "--yes")
    assert said.code == 2
    assert "fox was settled already" in said.err
    assert "it was given up. It is abandoned now." in said.err


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_changed(doubtful: Path) -> None:
    said = call("resolve", doubtful, "fox", "owl", "elk", "wave", "--ask-once", "--yes")
    assert said.code == 2
    assert "fox: its submit is in doubt, so there is no result to ask for" in said.err
    assert "elk: its submit is in doubt" in said.err
    assert "wave is not in doubt; it is rejected." in said.err
    assert "Nothing was changed." in said.err
    assert state_of(doubtful, "owl") == "claim_in_doubt"


def test_unknown_items_name_near_ones_and_nothing_is_changed(doubtful: Path) -> None:
    said = call("resolve", doubtful, "fox", "owll", "xyzzy", "--abandon")
    assert said.code == 2
    assert "There is no item 'owll'. Did you mean 'owl'?" in said.err
    assert "There is no item 'xyzzy'." in said.err
    assert state_of(doubtful, "fox") == "submit_in_doubt"


@pytest.mark.parametrize(("item", "answer"), [("fox", "--resubmit"), ("owl", "--ask-once"), ("owl", "--resubmit")])
def test_what_may_cost_again_is_asked_about_and_without_a_terminal_refused(
    doubtful: Path, item: str, answer: str
) -> None:
    said = run("resolve", doubtful, item, answer, cwd=doubtful.parent, XDG_STATE_HOME=os.environ["XDG_STATE_HOME"])
    price = "$0.44" if item == "fox" else "$3.20"
    assert said.code == 2
    assert f"may cost {price} more. Go on? There is no terminal to ask on: say --yes to go on." in said.err
    assert state_of(doubtful, item).endswith("in_doubt")


def test_an_unknown_price_is_asked_about_as_such(tmp_path: Path) -> None:
    unpriced: Any = [(E.SUBMIT_STARTED, started(None)), IN_DOUBT[1]]
    root = make_batch(tmp_path / "out", Item(id="a", events=unpriced), Item(id="b", plan=VENICE, events=IN_DOUBT))
    said = run("resolve", root, "--all", "--resubmit", cwd=tmp_path, XDG_STATE_HOME=str(tmp_path / "state"))
    assert "a, b may be paid for already." in said.err
    assert "may cost $0.44 and an unknown amount for 1 item more" in said.err


def test_a_claim_that_would_pass_the_cap_is_refused_and_a_higher_cap_allows_it(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="owl", events=CLAIM_DOUBT), cap_usd=5.0)
    said = call("resolve", root, "owl", "--ask-once", "--yes")
    assert (said.code, "Raise it with --max-cost." in said.err) == (2, True)
    assert state_of(root, "owl") == "claim_in_doubt"
    assert call("resolve", root, "owl", "--ask-once", "--yes", "--max-cost", "6.40").code == 0
    assert call("status", root, "--json").json["batches"][0]["max_cost_usd"] == 6.4


def test_an_id_that_another_item_has_is_not_adopted(tmp_path: Path) -> None:
    root = make_batch(
        tmp_path / "out",
        Item(id="deer", plan=VENICE, events=AT_PROVIDER),
        Item(id="fox", plan=VENICE, events=IN_DOUBT),
    )
    said = call("resolve", root, "fox", "--adopt", "job-2")
    assert (said.code, "job-2 is another item's" in said.err) == (2, True)
    assert state_of(root, "fox") == "submit_in_doubt"


def test_the_doubt_of_an_older_revision_can_be_settled(tmp_path: Path) -> None:
    root = make_batch(
        tmp_path / "out", Item(id="a", plan=VENICE, events=IN_DOUBT), Item(id="a", plan=VENICE, revision=2)
    )
    assert call("resolve", root, "--json").json["doubts"][0]["revision"] == 1
    assert call("resolve", root, "a", "--abandon").code == 0
    shown = call("show", root, "a", "--json").json
    assert [job["state"] for job in shown["revisions"]] == ["abandoned", "planned"]


def test_the_answer_is_written_down_with_who_gave_it(doubtful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "ada")
    call("resolve", doubtful, "fox", "--resubmit", "--yes")
    last = call("show", doubtful, "fox", "--json").json["events"][-1]
    assert last["kind"] == "doubt_resubmitted"
    assert last["data"] == {"by": "ada", "price_is": "quoted", "price_usd": 0.44}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["fox", "--resubmit", "--abandon"], "Give one answer"),
        (["fox", "--adopt", "q", "--from-billing"], "Give one answer"),
        (["--resubmit"], "Which items?"),
        (["fox", "--all", "--abandon"], "not both"),
        (["--all", "--adopt", "q-7"], "--adopt takes one item"),
        (["fox", "owl", "--adopt", "q-7"], "--adopt takes one item"),
        (["fox", "--adopt", "two words"], "cannot be a provider's id"),
        (["--max-cost", "5"], "goes with an answer"),
    ],
)
def test_answers_that_make_no_sense_exit_2(doubtful: Path, args: list[str], says: str) -> None:
    said = call("resolve", doubtful, *args)
    assert (said.code, says in said.err) == (2, True)
    assert call("resolve", doubtful, "--json").json["in_doubt"] == 3


def test_a_restored_ledger_is_not_decided_on(doubtful: Path) -> None:
    copy = (doubtful / "ledger.sqlite").read_bytes()
    call("resolve", doubtful, "fox", "--abandon")
    (doubtful / "ledger.sqlite").write_bytes(copy)
    said = call("resolve", doubtful, "fox", "--resubmit", "--yes")
    assert (said.code, "is older than it was" in said.err) == (2, True)


# --- the bill ---


class TenMinutesLater(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(minutes=10)


@pytest.fixture
def venice(tmp_path: Path) -> Shop:
    """A user of Venice, whose vendor is not open."""
    return Shop(tmp_path, "venice")


def test_the_bill_needs_an_admin_key_and_changes_nothing(doubtful: Path) -> None:
    said = call("resolve", doubtful, "--from-billing")
    assert (said.code, "VENICE_ADMIN_KEY is not set" in said.err) == (2, True)


def test_the_bill_tells_paid_from_not_accepted_and_the_key_is_shown_nowhere(venice: Shop) -> None:
    canary = "VENICE_ADMIN_KEY_canary-7d1f5e0a9b"
    with venice.open("drop-after-accept=1"):
        venice.call("run", venice.write("fox"), "--only", "fox")
    with venice.open("drop-before-accept=1") as sandbox:
        (venice.folder / ".env").write_text(f"VENICE_ADMIN_KEY={canary}\n")
        paid = venice.call("-v", "resolve", "output/shop", "--from-billing", "--json")
        (proposal,) = paid.json["proposals"]
        assert (paid.code, proposal["verdict"]) == (4, "paid")
        (job_id,) = job_of(sandbox.bill(), "A fox")
        assert [debit["request_id"] for debit in proposal["debits"]] == [job_id]
        assert f"--adopt {job_id}" in proposal["says"]
        assert f"1 unexplained debit, ${PRICE_USD['venice']:.2f} at " in proposal["says"]
        refused = venice.call("resolve", "output/shop", "--from-billing", VENICE_ADMIN_KEY="an-inference-key")
        assert (refused.code, "it takes an admin key" in refused.err) == (2, True)
        venice.call("resolve", "output/shop", "fox", "--adopt", job_id)
        venice.call("run", venice.write("fox", "deer"))
        too_early = venice.call("resolve", "output/shop", "--from-billing", "deer")
        assert "deer: 0 unexplained debits so far; one may still be entered" in too_early.out
    everything = [paid.out, paid.err, too_early.out, too_early.err]
    everything += [path.read_bytes().decode("latin-1") for path in venice.folder.rglob("*") if path.is_file()]
    assert sum(canary in text for text in everything) == 1  # the .env alone


def test_some_time_later_the_bill_says_that_a_second_submit_is_safe(
    venice: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    with venice.open("drop-before-accept=1"):
        venice.call("run", venice.write("deer"))
        effects = system()
        wish = Wish(root=venice.folder / "output/shop", items=(), max_cost_usd=None, yes=False, as_json=False)
        environ = {**venice.environ, "VENICE_ADMIN_KEY": "ADMIN"}
        code = asyncio.run(propose(wish, replace(effects, clock=TenMinutesLater()), environ))
        effects.threads.close()
    out = capsys.readouterr().out
    assert code == 4
    assert "deer: 0 unexplained debits: probably not accepted, so that this is safe: clipmill resolve" in out
    assert "Nothing was changed." in out


def test_the_bill_of_another_origin_is_not_asked_for_with_the_admin_key(doubtful: Path, venice: Shop) -> None:
    with venice.open() as sandbox:
        environ = {**venice.environ, "VENICE_ADMIN_KEY": "ADMIN"}
        said = run("resolve", doubtful, "fox", "owl", "--from-billing", cwd=doubtful.parent, **environ)
        assert "fox: it was submitted to https://api.modelmax.io; set VENICE_BASE_URL to it." in said.out
        assert "owl: modelmax has no bill that can be asked for" in said.out
        assert sandbox.bill()["accepted"] == 0


def test_without_doubts_no_bill_is_asked_for(tmp_path: Path) -> None:
    assert call("resolve", make_batch(tmp_path / "out", Item(id="a")), "--from-billing").code == 0


# --- journeys: a doubt is made, settled in each way, taken up by the next run, and held against the vendor's bill ---


def test_a_submit_in_doubt_settled_in_each_way_costs_what_the_ledger_says(venice: Shop) -> None:
    with venice.open("drop-after-accept=1") as sandbox:
        assert venice.call("run", venice.write("again", "found", "dropped")).code == 4
        assert charged_usd(sandbox.bill()) == pytest.approx(3 * PRICE_USD["venice"])
    with venice.open() as sandbox:
        (job_id,) = job_of(sandbox.bill(), "A found")
        assert venice.call("resume", "output/shop").code == 4  # nothing was asked for again
        assert sandbox.bill()["accepted"] == 3
        assert venice.call("resolve", "output/shop", "again", "--resubmit", "--yes").code == 4
        assert venice.call("resolve", "output/shop", "found", "--adopt", job_id).code == 4
        assert venice.call("resolve", "output/shop", "dropped", "--abandon").code == 0
        ended = venice.call("resume", "output/shop", "--json")
        assert (ended.code, ended.json["done"], ended.json["failed"]) == (3, 2, 1)
        bill = sandbox.bill()
    assert [len(job_of(bill, f"A {item}")) for item in ("again", "found", "dropped")] == [2, 1, 1]
    assert all(job["charges"] == 1 for job in bill["jobs"].values())
    assert charged_usd(bill) == pytest.approx(4 * PRICE_USD["venice"]) == pytest.approx(ended.json["spent_usd"])
    results = venice.results()
    assert results["found"]["provider_job_id"] == job_id
    assert [results[item]["cost_usd"] for item in ("again", "found", "dropped")] == [1.1, 0.55, 0.55]
    assert venice.call("check", "output/shop").code == 0


def test_a_claim_in_doubt_settled_in_each_way_costs_what_the_ledger_says(tmp_path: Path) -> None:
    shop, price = Shop(tmp_path, "modelmax"), PRICE_USD["modelmax"]
    with shop.open("claim-drop=1") as sandbox:
        assert shop.call("run", shop.write("once", "again", "dropped")).code == 4
        assert charged_usd(sandbox.bill()) == pytest.approx(3 * price)
    with shop.open() as sandbox:
        assert shop.call("resume", "output/shop").code == 4
        assert charged_usd(sandbox.bill()) == pytest.approx(3 * price)
        assert shop.call("resolve", "output/shop", "once", "--ask-once", "--yes").code == 4
        assert shop.call("resolve", "output/shop", "again", "--resubmit", "--yes").code == 4
        assert shop.call("resolve", "output/shop", "dropped", "--abandon").code == 0
        ended = shop.call("resume", "output/shop", "--json")
        assert (ended.code, ended.json["done"], ended.json["failed"]) == (3, 2, 1)
        bill = sandbox.bill()
    charges = {item: [bill["jobs"][job]["charges"] for job in job_of(bill, f"A {item}")] for item in shop.results()}
    assert charges == {"once": [2], "again": [1, 1], "dropped": [1]}
    assert charged_usd(bill) == pytest.approx(5 * price) == pytest.approx(ended.json["spent_usd"])
    assert shop.call("check", "output/shop").code == 0


def test_a_claim_that_is_lost_again_is_in_doubt_again_and_counted(tmp_path: Path) -> None:
    shop, price = Shop(tmp_path, "modelmax"), PRICE_USD["modelmax"]
    with shop.open("claim-drop=1") as sandbox:
        assert shop.call("run", shop.write("fox")).code == 4
        assert shop.call("resolve", "output/shop", "--all", "--ask-once", "--yes").code == 0
        ended = shop.call("resume", "output/shop", "--json")
        assert (ended.code, ended.json["in_doubt"]) == (4, 1)
        assert charged_usd(sandbox.bill()) == pytest.approx(2 * price) == pytest.approx(ended.json["spent_usd"])
