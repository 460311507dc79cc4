"""Room for open files is made before a run, and told of where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

from pipeline.cli.running.descriptors import OWN, make_room, needed
from pipeline.runner.context import LaneLimits
from pipeline.system.network import CONNECTIONS, system_connector


@dataclass
class Process:
    """A process whose limits can be raised as far as the hard one, or not at all."""

    soft: int
    hard: int
    stubborn: bool = False
    RLIMIT_NOFILE: int = 7

    def getrlimit(self, which: int, /) -> tuple[int, int]:
        assert which == self.RLIMIT_NOFILE
        return self.soft, self.hard

    def setrlimit(self, which: int, limits: tuple[int, int], /) -> None:
        assert which == self.RLIMIT_NOFILE
        soft, hard = limits
        if self.stubborn or hard != self.hard or (0 <= hard < soft):
            raise ValueError("not allowed to raise maximum limit")
        self.soft = soft


@pytest.mark.parametrize(
    ("soft", "hard", "after"), [(256, 1000, 300), (256, -1, 300), (300, 300, 300), (1024, 4096, 1024), (-1, -1, -1)]
)
def test_the_soft_limit_is_raised_to_what_is_needed_and_never_lowered(soft: int, hard: int, after: int) -> None:
    process = Process(soft, hard)

    assert make_room(300, process) == ""
    assert process.getrlimit(7) == (after, hard)


def test_a_hard_limit_that_is_too_low_is_told_and_used_up() -> None:
    process = Process(100, 200)

    said = make_room(300, process)

    assert "can need 300 open files and connections, and may have 200." in said
    assert said.endswith("ulimit -n 300")
    assert process.soft == 200


def test_a_system_that_refuses_is_told_of() -> None:
    assert "and may have 100." in make_room(300, Process(100, -1, stubborn=True))


def lane(billing: int, downloads: int) -> LaneLimits:
    return LaneLimits(
        in_flight=10_000,
        submits_per_minute=None,
        looks_per_minute=None,
        failures_per_30_s=None,
        look_spacing_s=1.0,
        concurrent_billing=billing,
        concurrent_downloads=downloads,
    )


async def test_what_is_needed_grows_with_providers_and_downloads_and_not_with_jobs() -> None:
    connector = system_connector(False)
    assert connector.limit == CONNECTIONS
    await connector.close()

    assert needed([lane(2, 8)]) == OWN + CONNECTIONS + 10
    assert needed([lane(2, 8), lane(3, 1000)]) == OWN + CONNECTIONS + 10 + CONNECTIONS + 3 + CONNECTIONS


REAL = """
import resource
from pipeline.cli.running.descriptors import make_room
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
print(repr(make_room(100)), *resource.getrlimit(resource.RLIMIT_NOFILE))
print(bool(make_room(1000)), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_real_process_has_the_room_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["'' 100 128", "True 128 128"]
