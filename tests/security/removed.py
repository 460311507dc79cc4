"""Who defends, and who would notice if they did not: every defence is taken away in turn, and its test must fail.

    python -m tests.security.removed --jobs 2            the table; exit 1 if a test does not notice
    python -m tests.security.removed --only any_sum      one of them, with what the test says

Each test is first run as it is, and must pass. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.security.removals import REMOVALS
from tests.torture.mutant import Patch

if TYPE_CHECKING:
    from collections.abc import Sequence

THREATS = 27
QUIET = ("-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", "-x")
WITHIN_S = 600.0
NEVER_RAN = 9


@dataclass
class Counting:
    """A plugin that counts how tests end. The mutable state is the counts."""

    passed: int = 0
    failed: int = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one test; what fails before or after it counts as its failure."""
        self.failed += report.failed
        self.passed += report.passed and report.when == "call"

    def code(self) -> int:
        """Return 0 where all passed, 1 where one failed, and another number where none was run."""
        return 1 if self.failed else 0 if self.passed else NEVER_RAN


def run_tests(test: str) -> int:
    """Run a test of a threat, all its parameters, in this process; a part of a parameter may close the name."""
    node, _, parameter = test.partition("[")
    path, _, name = node.partition("::")
    wanted = f"{name} and {parameter.split()[-1]}" if parameter else name
    counting = Counting()
    pytest.main([path, "-k", wanted, *QUIET], plugins=[counting])
    return counting.code()


def run_one(name: str, *, is_removed: bool) -> int:
    """Run a removal's test, in this process, with the defence or without it."""
    patch = Patch()
    if is_removed:
        REMOVALS[name].take_away(patch)
    try:
        return run_tests(REMOVALS[name].test)
    finally:
        patch.undo()


def in_a_process(name: str, how: str) -> tuple[int, str]:
    """Run it in a process of its own; return its code and the end of what it said."""
    command = [sys.executable, "-m", "tests.security.removed", "--only", name, how]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, env=environ)
    return done.returncode, done.stdout[-2000:] + done.stderr[-500:]


def show(name: str) -> bool:
    """Show that a removal's test passes with the defence and fails without it."""
    removal = REMOVALS[name]
    sound, said = in_a_process(name, "--sound")
    weak, told = in_a_process(name, "--weak") if sound == 0 else (0, said)
    noticed = (sound, weak) == (0, 1)
    verdict = "noticed" if noticed else "NOT RUN" if NEVER_RAN in {sound, weak} else "NOT NOTICED"
    print(f"{removal.threat:4} {name:30} {verdict:12} {removal.about}\n{'':36}{removal.test}", flush=True)
    if not noticed:
        print(told)
    return noticed


def main(arguments: Sequence[str] | None = None) -> int:
    """Take away each defence in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=REMOVALS, nargs="+")
    parser.add_argument("--sound", action="store_true", help="run the one test alone, with its defence")
    parser.add_argument("--weak", action="store_true", help="run the one test alone, without its defence")
    options = parser.parse_args(arguments)
    if options.sound or options.weak:
        return run_one(options.only[0], is_removed=options.weak)
    names = options.only or list(REMOVALS)
    began_s = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        noticed = dict(zip(names, pool.map(show, names), strict=True))
    threats = {REMOVALS[name].threat for name in names}
    whole = {threat for threat in threats if all(noticed[name] for name in names if REMOVALS[name].threat == threat)}
    print(f"{sum(noticed.values())} of {len(names)} removals were noticed, in {time.monotonic() - began_s:.0f} s")
    most = len(threats) if options.only else THREATS
    print(f"{len(whole)} of {most} threats have a test that fails without its defence")
    return 0 if len(whole) == most else 1


if __name__ == "__main__":
    sys.exit(main())
