from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from pipeline.cli.main import COMMANDS, clipmill
from tests.cli.front_door import environment, run

if TYPE_CHECKING:
    from pathlib import Path


def command_of(name: str) -> click.Command:
    found = clipmill.get_command(click.Context(clipmill), name)  # type: ignore[attr-defined]  # it is a group
    assert isinstance(found, click.Command)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(clipmill, [name, "--help"])
    assert result.exit_code == 0
    assert re.search(rf"clipmill {name}\b", result.output)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_in_a_sentence(name: str) -> None:
    for parameter in command_of(name).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name
            assert parameter.help[0].isupper(), parameter.help
            assert parameter.help.rstrip().endswith("."), parameter.help


def test_no_option_takes_a_key() -> None:
    for name in COMMANDS:
        for parameter in command_of(name).params:
            assert not any("key" in option or "token" in option for option in parameter.opts), (name, parameter.opts)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_module_loads_nothing_heavy(name: str) -> None:
    code = (
        f"import sys, pipeline.cli.commands.{name}\n"
        "assert not {'aiohttp', 'jsonschema', 'yaml', 'tqdm', 'sqlite3'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_option_exits_2(tmp_path: Path) -> None:
    assert run("status", "--api-key", "canary", cwd=tmp_path).code == 2


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    script = os.path.join(os.path.dirname(sys.executable), "clipmill")
    if not os.path.exists(script):
        pytest.skip("the console script is not installed")

    def completed(words: str, place: int) -> set[str]:
        environ = {"COMP_WORDS": words, "COMP_CWORD": str(place), "_CLIPMILL_COMPLETE": "bash_complete"}
        done = subprocess.run(
            [script], env={**environment(), **environ}, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert completed("clipmill s", 1) == {"status", "show", "schema", "sandbox"}
    assert completed("clipmill results out --fo", 3) == {"--format"}
    assert completed("clipmill results out --format ", 4) == {"table", "csv", "jsonl"}
