"""The page on security cannot drift: 27 threats, each with files and tests that exist, and a defence to remove."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.security.removals import REMOVALS
from tests.security.removed import THREATS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if re.match(r"\| T\d+ ", line)
]
QUICK = ("key_as_an_option", "any_variable_in_a_file", "formulas", "private_addresses", "any_id")
"""Removals whose tests take a second; `python -m tests.security.removed` makes them all."""


@cache
def functions_of(path: str) -> frozenset[str]:
    walked = ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    return frozenset(node.name for node in walked if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def named_in(row: list[str]) -> list[str]:
    return re.findall(r"`(tests/[\w/]+\.py::test_\w+)`", row[3])


def test_every_threat_has_one_row() -> None:
    assert [row[0].split()[0] for row in ROWS] == [f"T{number}" for number in range(1, THREATS + 1)]
    assert {len(row) for row in ROWS} == {4}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].split()[0])
def test_a_row_names_files_and_tests_that_exist(row: list[str]) -> None:
    files = re.findall(r"`([\w./-]+)`", row[2])
    assert files
    for path in files:
        assert (ROOT / path).is_file(), path
    assert named_in(row)
    for test in named_in(row):
        path, _, name = test.partition("::")
        assert name in functions_of(path), test


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].split()[0])
def test_a_defence_of_every_threat_can_be_taken_away_and_its_test_is_on_the_page(row: list[str]) -> None:
    threat = row[0].split()[0]
    removals = [each for each in REMOVALS.values() if each.threat == threat]
    assert removals, f"nothing shows that the test of {threat} can fail"
    told = named_in(row)
    for each in removals:
        assert any(test.startswith(each.test.partition("[")[0]) for test in told), (each.name, each.test)


@pytest.mark.parametrize("name", QUICK)
def test_a_test_notices_that_its_defence_is_gone(name: str) -> None:
    command = [sys.executable, "-m", "tests.security.removed", "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
