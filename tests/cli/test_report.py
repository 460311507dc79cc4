"""`clipmill report`, as its user meets it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.errors import Exit
from tests.cli.batches import make_batch, one_of_each
from tests.cli.front_door import call, run

if TYPE_CHECKING:
    from pathlib import Path


def test_it_writes_the_page_and_prints_its_path(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "reefs", *one_of_each())
    said = call("report", root)
    assert said.code == Exit.DONE
    assert said.out == f"{root / 'report.html'}\n"
    assert (root / "report.html").read_bytes().startswith(b"<!doctype html>")


def test_the_page_says_which_command_comes_next(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "reefs", *one_of_each())
    call("report", root)
    assert f"Next: <code>clipmill resume {root}</code>" in (root / "report.html").read_text()


def test_a_batch_that_is_over_waits_for_nothing(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "reefs", one_of_each()[0])
    call("report", root)
    assert "Next:" not in (root / "report.html").read_text()


def test_a_clip_that_is_gone_is_told(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "reefs", *one_of_each())
    said = call("report", root)
    assert f"gone or not to be decoded: 1 clip. Look with: clipmill check {root}\n" in said.err


def test_a_folder_without_a_ledger_is_bad_input(tmp_path: Path) -> None:
    said = call("report", tmp_path)
    assert said.code == Exit.BAD_INPUT
    assert "ledger" in said.err


def test_open_starts_the_browser_with_the_page(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "my reefs", *one_of_each())
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    said = run("report", root, "--open", cwd=tmp_path, BROWSER=str(browser))
    assert said.code == Exit.DONE, said.err
    assert (tmp_path / "opened").read_text().strip() == (root / "report.html").as_uri()


def test_without_the_extras_it_says_what_to_install(tmp_path: Path) -> None:
    root = make_batch(tmp_path / "reefs", *one_of_each())
    (tmp_path / "bare").mkdir()
    hidden = "import sys\nfor name in ('av', 'PIL', 'jinja2'):\n    sys.modules[name] = None\n"
    (tmp_path / "bare" / "sitecustomize.py").write_text(hidden)
    said = run("report", root, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path / "bare"), os.getcwd()]))
    assert said.code == Exit.BAD_INPUT
    assert "pip install 'clipmill[report]'" in said.err
    (tmp_path / "bare" / "sitecustomize.py").write_text(hidden.replace(", 'jinja2'", ""))
    said = run("report", root, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path / "bare"), os.getcwd()]))
    assert said.code == Exit.DONE, said.err
    assert "pip install 'clipmill[media]'" in said.err
