"""The paper on reliability cannot drift: each row names tests that exist or says that it is not covered."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.torture.invariants import SENTENCES

ROOT = Path(__file__).parents[1]
PAPER = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = {"A": 26, "B": 14, "C": 36, "D": 11, "E": 19, "F": 19, "G": 7, "P": 16}
"""How many rows each table of the catalogue has."""
HEADER = "| row | what happens | what clipmill does | held by |"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def tables_under(heading: str) -> list[list[str]]:
    """Return the rows of every table of a section, its header and rule left out."""
    _, found, rest = PAPER.partition(f"\n## {heading}\n")
    assert found, f"there is no section {heading}"
    tables = re.findall(r"^\|.*\n\|[ |-]+\|\n((?:\|.*\n)*)", rest.partition("\n## ")[0], re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for table in tables for line in table.splitlines()]


CATALOGUE = tables_under("The failure catalogue")


@cache
def functions_of(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    walked = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(node.name for node in walked if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_row_of_the_catalogue_is_there_exactly_once() -> None:
    assert PAPER.count(HEADER) == len(ROWS)
    there = Counter(row[0] for row in CATALOGUE)
    assert there == Counter(f"{table}{number}" for table, most in ROWS.items() for number in range(1, most + 1))


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row[0])
def test_a_row_names_tests_or_says_that_it_has_none(row: list[str]) -> None:
    assert len(row) == HEADER.count("|") - 1
    assert all(row)
    cell = row[-1]
    if cell.startswith("not "):
        assert re.match(r"not [\w ]+: \S", cell), "it must say why"
        return
    assert TEST.sub("", cell).replace(",", "").strip() == ""
    assert TEST.findall(cell)


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall(PAPER)
    assert len(named) == PAPER.count("::test_")
    assert [f"{path}::{test}" for path, test in named if test not in functions_of(path)] == []


def test_the_rules_are_nine_and_each_names_who_keeps_it() -> None:
    rules = tables_under("The rules")
    assert [row[0] for row in rules] == [f"R{number}" for number in range(1, 10)]
    for _, _, kept_by in rules:
        keepers = re.findall(r"`(pipeline/[\w/.]+)`", kept_by)
        assert keepers
        assert [path for path in keepers if not (ROOT / path).is_file()] == []


def test_the_invariants_are_those_that_are_checked() -> None:
    assert {row[0]: row[1] for row in tables_under("The invariants")} == SENTENCES


def test_every_target_that_is_named_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"`make ([a-z-]+)", PAPER))
    assert {"torture", "torture-long"} <= named <= set(targets)


def test_there_is_one_place_for_the_figures() -> None:
    assert len(re.findall(r"^## Figures$", PAPER, re.MULTILINE)) == 1
