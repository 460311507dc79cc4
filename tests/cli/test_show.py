from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.jobs.state import EventKind
from tests.cli.batches import DONE, HOSTILE, IN_DOUBT, Item, failure, make_batch, one_of_each, planned, started
from tests.cli.front_door import call, run

if TYPE_CHECKING:
    from pathlib import Path

DONE_ITEM = """\
item        turtle
state       done: Every clip is whole, verified and under its final name.
model       modelmax/veo-3 at https://api.modelmax.io
prompt      A sea turtle
parameters  {"duration_seconds": 8}
metadata    {"split": "train"}
job id      job-1 (attempt 1)
cost        $3.20, by the manifest's prices
took        40 s

clip  state  what it is                                    file
0     done   309,724 bytes, 8 s, 1280x720, 24 fps, silent  clips/turtle.mp4
  clip 0: It has no sound, and sound was asked for.

What happened (UTC)
  2026-11-21 12:00:00  planned
  2026-11-21 12:00:10  the submit is about to leave: $3.20 by the manifest's prices
  2026-11-21 12:00:20  the provider accepted it: job id job-1
  2026-11-21 12:00:30  the call for the result, which bills, is about to leave
  2026-11-21 12:00:40  the result came, and is billed: 1 clip; $3.20; {"video_seconds": 8}
  2026-11-21 12:00:50  a clip is whole and on disk: clip 0, 309,724 bytes, sha256 abababababab…; \
warning: It has no sound, and sound was asked for.
  2026-11-21 12:01:00  a clip has its final name: clip 0 is clips/turtle.mp4
"""

DOUBTED_ITEM = """\
item        fox
state       submit_in_doubt: A submit that bills may have been carried out; nobody knows. It is held.
model       venice/wan-2.6 at https://api.modelmax.io
prompt      A fox
parameters  {"duration_seconds": 8}
cost        $0.44, as the provider quoted; in doubt, and counted as spent

In doubt
  The submit left after 2026-11-21 12:00:10, and its loss was noted at 2026-11-21 12:00:20.
  What is known: The connection closed. (submit_unanswered)
    body: https://cdn.venice.ai/…
  It may have cost $0.44. Look for a charge from between these times in the provider's own account.
  It is held: no run submits it or asks for its result again, so it cannot be paid for twice.
  Settle it with one of:
    clipmill resolve out fox --adopt ID
      the provider has it under an id that you found: it is brought home and not bought again
    clipmill resolve out fox --resubmit
      submit it again: it may cost $0.44 once more
    clipmill resolve out fox --abandon
      give it up: $0.44 stays counted as spent
  The rest of the batch goes on with: clipmill resume out

What happened (UTC)
  2026-11-21 12:00:00  planned
  2026-11-21 12:00:10  the submit is about to leave: $0.44 as the provider quoted
  2026-11-21 12:00:20  the submit's answer was lost; held in doubt: submit_unanswered: The connection closed. \
(billing: unknown)
"""


def test_a_done_item_is_shown_whole(tmp_path: Path) -> None:
    make_batch(tmp_path / "out", *one_of_each())
    assert call("show", tmp_path / "out", "turtle").out == DONE_ITEM


def test_an_item_in_doubt_says_what_is_known_and_when_to_look_for_a_charge(tmp_path: Path) -> None:
    make_batch(tmp_path / "out", *one_of_each())
    assert run("show", "out", "fox", cwd=tmp_path).out == DOUBTED_ITEM


def test_a_refused_item_costs_nothing_and_says_why(tmp_path: Path) -> None:
    out = call("show", make_batch(tmp_path / "out", *one_of_each()), "wave").out
    assert "cost        nothing\n" in out
    assert "failure     invalid_request: The prompt is refused.\n" in out


def test_an_unknown_price_is_told_as_unknown(tmp_path: Path) -> None:
    items = Item(id="a", events=[(EventKind.SUBMIT_STARTED, started(None)), IN_DOUBT[1]])
    out = call("show", make_batch(tmp_path / "out", items), "a").out
    assert "cost        unknown: nobody told the price\n" in out
    assert "It may have cost an unknown amount." in out


def test_a_doubt_from_a_restored_ledger_says_since_when_nothing_is_known(tmp_path: Path) -> None:
    lost = {"price_usd": 0.44, "price_is": "quoted", "failure": failure("history_lost", "It was restored.", "unknown")}
    root = make_batch(tmp_path / "out", Item(id="a", events=[(EventKind.HISTORY_LOST, lost)]))
    out = call("show", root, "a").out
    assert (
        "A submit may have left between 2026-11-21 12:00:00, where this ledger ends, and 2026-11-21 12:00:10, "
        "when that was noticed.\n" in out
    )
    assert "It may have cost $0.44." in out


def test_every_revision_is_told(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", Item(id="a", events=DONE), Item(id="a", plan=planned("New"), revision=2))
    out = call("show", root, "a").out
    assert out.startswith("item        a (revision 2)\nstate       planned")
    assert "An earlier revision (1) is done." in out
    assert "revision 1: the provider accepted it" in out
    assert [job["revision"] for job in call("show", root, "a", "--json").json["revisions"]] == [1, 2]


def test_json_holds_the_whole_history(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", *one_of_each())
    shown = call("show", root, "turtle", "--json").json
    assert (shown["batch"], shown["id"], shown["state"]) == (str(root), "turtle", "done")
    assert [event["kind"] for event in shown["events"]][:2] == ["item_planned", "submit_started"]
    assert shown["revisions"][0]["base_url"] == "https://api.modelmax.io"
    assert shown["revisions"][0]["receipt"]["answer"]["download_url"] == "https://cdn.venice.ai/…"


def test_no_download_address_is_ever_shown(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", *one_of_each())
    for item in ("turtle", "fox", "deer", "wave", "zoom"):
        for said in (call("show", root, item), call("show", root, item, "--json")):
            assert said.code == 0
            assert "canary" not in said.out + said.err
            assert "user:pw" not in said.out + said.err


def test_an_unknown_item_names_a_near_one(tmp_path: Path) -> None:
    make_batch(tmp_path / "out", *one_of_each())
    said = run("show", "out", "Turtel", cwd=tmp_path)
    assert (said.code, said.out) == (2, "")
    assert said.err == "out has no item 'Turtel'. Did you mean 'turtle'?\n"


def test_a_folder_without_a_ledger_exits_2(tmp_path: Path) -> None:
    said = run("show", "none", "a", cwd=tmp_path)
    assert (said.code, "There is no ledger at none/ledger.sqlite" in said.err) == (2, True)


def test_hostile_prompts_and_answers_reach_no_terminal(tmp_path: Path) -> None:
    refused = (EventKind.SUBMIT_REFUSED, {"failure": failure(HOSTILE, HOSTILE, "unbilled", **{HOSTILE: HOSTILE})})
    doubt = (EventKind.SUBMIT_LOST, {"failure": failure(HOSTILE, HOSTILE, "unknown", **{HOSTILE: HOSTILE})})
    plan = planned(HOSTILE, metadata={HOSTILE: HOSTILE}, model="m\x1b[2J")
    start = (EventKind.SUBMIT_STARTED, started())
    root = make_batch(
        tmp_path / "out",
        Item(id="a", plan=plan, events=[start, refused]),
        Item(id="b", plan=plan, events=[start, doubt]),
    )
    for item in ("a", "b"):
        for form in ([], ["--json"]):
            out = call("show", root, item, *form).out
            assert not {"\x1b", "\x07", "\u202e", "\x9b", "\r"} & set(out)
            assert not any(line.lstrip().startswith("[INFO]") for line in out.splitlines())
