"""A sandbox as a process of its own, started by the command itself."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.front_door import command_line, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Sandbox:
    """One that listens."""

    addresses: Mapping[str, str]

    @property
    def environ(self) -> dict[str, str]:
        """The variables that point both providers at it."""
        return {
            "MODELMAX_BASE_URL": self.addresses["modelmax"],
            "MODELMAX_API_KEY": "rehearsal",
            "VENICE_BASE_URL": self.addresses["venice"],
            "VENICE_API_KEY": "rehearsal",
            "OPENAI_VIDEOS_BASE_URL": self.addresses["openai-videos"],
            "OPENAI_VIDEOS_API_KEY": "rehearsal",
        }

    def bill(self) -> Any:
        """Return what was charged."""
        return self._ask("bill")

    def requests(self) -> Any:
        """Return how often each endpoint was called."""
        return self._ask("requests")

    def _ask(self, page: str) -> Any:
        with urllib.request.urlopen(f"{self.addresses['sandbox']}/sandbox/{page}") as answer:
            return json.load(answer)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Start the sandbox, and end it as a run does: by closing its standard input."""
    process = subprocess.Popen(
        command_line("sandbox", "--until-eof", "--instant"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    with process:
        assert process.stdout is not None
        yield Sandbox(json.loads(process.stdout.readline()))
        process.communicate()
    assert process.returncode == 0
