from __future__ import annotations

import csv
import io
import json
import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.commands.results import results_table
from pipeline.cli.wording.spreadsheet import HEADER, cell
from pipeline.ledger.lock import only_process
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.cli.batches import HOSTILE, Item, make_batch, one_of_each, planned
from tests.cli.front_door import call, run

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """\
id      state            model           clips  seconds   cost  file, or what went wrong
turtle  done             modelmax/veo-3      1        8  $3.20  clips/turtle.mp4
fox     submit_in_doubt  venice/wan-2.6                  $0.44  submit_unanswered: The connection closed.
wave    rejected         modelmax/veo-3                  $0.00  invalid_request: The prompt is refused.
deer    submitted        modelmax/veo-3                  $3.20
zoom    planned          modelmax/veo-3

Money: $10.04 was expected ($0.44 quoted, $9.60 by the manifest's prices); $6.84 is counted as spent.

Not as asked:
  turtle: It has no sound, and sound was asked for.

What to do:
  fox (ambiguous): It may be paid for. Look for a charge in the provider's account, then settle it with clipmill \
resolve.
  wave (item): Change what the message names and run with --on-change new, or try it once more as it is with clipmill \
retry.
"""


def test_the_table_has_a_row_an_item(tmp_path: Path) -> None:
    assert call("results", make_batch(tmp_path, *one_of_each())).out == TABLE


def test_the_table_fits_the_terminal(tmp_path: Path) -> None:
    rows = call("results", make_batch(tmp_path, *one_of_each()), "--json").json["results"]
    assert max(map(len, results_table(rows, 80).splitlines())) == 80


def test_results_jsonl_is_rewritten_and_is_what_is_printed(tmp_path: Path) -> None:
    root = make_batch(tmp_path, *one_of_each())
    BatchFolder(root).results.write_text("stale")
    printed = [json.loads(line) for line in call("results", root, "--format", "jsonl").out.splitlines()]
    written = [json.loads(line) for line in BatchFolder(root).results.read_text(encoding="utf-8").splitlines()]
    assert printed == written
    assert [row["id"] for row in printed] == ["turtle", "fox", "wave", "deer", "zoom"]


def test_a_batch_that_is_being_run_is_left_alone_and_shown(tmp_path: Path) -> None:
    root = make_batch(tmp_path, *one_of_each())
    BatchFolder(root).results.write_text("the run's own")
    with ExitStack() as stack:
        stack.enter_context(only_process(BatchFolder(root), system()))
        said = call("results", root)
    assert (said.code, said.out) == (0, TABLE)
    assert "is being run now" in said.err
    assert BatchFolder(root).results.read_text() == "the run's own"


def test_a_folder_without_a_ledger_exits_2_and_gets_no_lock_file(tmp_path: Path) -> None:
    said = run("results", ".", cwd=tmp_path)
    assert (said.code, list(tmp_path.iterdir())) == (2, [])


def test_csv_is_one_line_an_item_with_numbers_as_numbers(tmp_path: Path) -> None:
    text = call("results", make_batch(tmp_path, *one_of_each()), "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text), quoting=csv.QUOTE_NONNUMERIC))
    assert tuple(rows[0]) == HEADER
    assert len(text.splitlines()) == 6
    turtle = rows[0]
    assert (turtle["clips"], turtle["seconds"], turtle["bytes"], turtle["cost_usd"]) == (1.0, 8.0, 309_724.0, 3.2)
    assert turtle["metadata"] == '{"split": "train"}'
    assert (rows[2]["error_kind"], rows[2]["files"]) == ("invalid_request", "")


FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://evil","x")',
    "+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "\N{FULLWIDTH EQUALS SIGN}1+1",
    "\N{FULLWIDTH PLUS SIGN}1",
    "\N{FULLWIDTH HYPHEN-MINUS}1",
    "\N{FULLWIDTH COMMERCIAL AT}SUM(1)",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_begins_like_a_formula(text: str) -> None:
    guarded = cell(text)
    assert guarded.lstrip()[0] in "'\\"


def test_a_formula_after_a_quote_is_guarded_too_and_numbers_and_plain_text_are_left_alone() -> None:
    assert cell('a","=1+1') == 'a","\'=1+1'
    assert (cell(-3.5), cell(7), cell(None), cell("a - b = c")) == (-3.5, 7, "", "a - b = c")


@pytest.mark.parametrize("form", [["--format", "table"], ["--format", "csv"], ["--format", "jsonl"], ["--json"]])
def test_hostile_text_reaches_no_terminal_and_forges_no_record(tmp_path: Path, form: list[str]) -> None:
    plan = planned(HOSTILE, metadata={HOSTILE: HOSTILE}, model="m\x1b[2J\nx")
    out = call("results", make_batch(tmp_path, Item(id="a", plan=plan)), *form).out
    assert not {"\x1b", "\x07", "\u202e", "\x9b", "\r"} & set(out)
    assert len(out.splitlines()) <= 2
    assert not any(line.startswith("[INFO]") for line in out.splitlines())


def test_a_folder_that_cannot_be_written_is_still_shown(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "out", *one_of_each())
    os.symlink(tmp_path / "elsewhere", BatchFolder(root).lock)  # the lock cannot be taken
    said = call("results", root)
    assert (said.code, said.out) == (0, TABLE)
    assert "results.jsonl was left as it was." in said.err


def test_the_lock_is_let_go(tmp_path: Path) -> None:
    root = make_batch(tmp_path, *one_of_each())
    call("results", root)
    with only_process(BatchFolder(root), system()):
        assert socket.gethostname() in BatchFolder(root).lock.read_text()
