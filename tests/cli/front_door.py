"""The command line as a user meets it: in this process for speed, or as a process of its own where that matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from click.exceptions import ClickException
from click.testing import CliRunner

from pipeline.cli.main import clipmill
from pipeline.errors import ClipmillError, Exit

if TYPE_CHECKING:
    from pathlib import Path

NO_KEYS = {"MODELMAX_API_KEY": "", "VENICE_API_KEY": "", "MODELMAX_BASE_URL": "", "VENICE_BASE_URL": ""}


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def call(*args: object) -> Said:
    """Call a command in this process; an error becomes its exit code and its text, as `main` would have it."""
    result = CliRunner(env=NO_KEYS).invoke(clipmill, [str(arg) for arg in args], standalone_mode=False)
    code, told = result.return_value or 0, ""
    if isinstance(result.exception, ClipmillError):
        code, told = result.exception.exit_code, str(result.exception)
    elif isinstance(result.exception, ClickException):
        code, told = Exit.BAD_INPUT, result.exception.format_message()
    elif result.exception is not None:
        raise result.exception
    return Said(int(code), result.stdout, result.stderr + told)


def command_line(*args: object) -> list[str]:
    """Return the command as a process of its own is started."""
    return [sys.executable, "-m", "pipeline", *map(str, args)]


def environment() -> dict[str, str]:
    """Return the environment without keys and base URLs."""
    return {name: value for name, value in os.environ.items() if name not in NO_KEYS}


def run(*args: object, cwd: Path, **environ: str) -> Said:
    """Run the command as a process of its own, without keys unless they are given."""
    done = subprocess.run(
        command_line(*args),
        cwd=cwd,
        env={**environment(), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Said(done.returncode, done.stdout, done.stderr)
