"""The fuzzer: seeded, worsened inputs for everything that reads what others wrote.

    python -m tests.torture.fuzz --runs 100000 --seed 1                 every target; exit 1 if one fails
    python -m tests.torture.fuzz --target answers --seed 1 --run 4711   one run again, with its traceback

A run fails if something is raised that is no verdict, if a verdict breaks its promise, if it takes more than
`RUN_MOST_S` of its own time, or if the process dies: runs are made in processes of their own, since a parser in C can
take one along.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tests.torture.fuzz_targets import TARGETS, target

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 500
"""Runs made in one go; a world that answers them grows with each."""
RUN_MOST_S = 20
SHOWN_MOST = 3
SAID_EVERY = 10_000
"""Runs between two lines of progress."""


class TooLong(Exception):
    """One run took longer than any may."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What some runs have shown."""

    runs: int
    failures: tuple[str, ...] = ()


def give_up(_number: int, _frame: Any) -> None:
    """Leave a run that does not end."""
    raise TooLong(f"it took over {RUN_MOST_S} s")


def play(name: str, seed: int, first: int, runs: int) -> Chunk:
    """Make some runs of one target."""
    failures = []
    signal.signal(signal.SIGPROF, give_up)
    with TemporaryDirectory(prefix="clipmill-fuzz-") as folder, target(name, seed, Path(folder)) as attempt:
        for run in range(first, first + runs):
            signal.setitimer(signal.ITIMER_PROF, RUN_MOST_S)  # of its own time: a busy machine is no failure
            try:
                wrong = attempt(random.Random(f"{name}/{seed}/{run}"))
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                wrong = f"{error!r} at {Path(place.filename).name}:{place.lineno}"
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            if wrong:
                failures.append(f"--target {name} --seed {seed} --run {run}\n      {wrong[:400]}")
    return Chunk(runs=runs, failures=tuple(failures))


def fuzz(names: Sequence[str], runs: int, seed: int, jobs: int) -> int:
    """Make so many runs of each target; print the figures; return the exit code."""
    failed = 0
    for name in names:
        began_s = time.monotonic()
        failures: list[str] = []
        made = 0
        with ProcessPoolExecutor(jobs) as pool:
            starts = range(0, runs, CHUNK)
            pending = [(at, pool.submit(play, name, seed, at, min(CHUNK, runs - at))) for at in starts]
            for at, future in pending:
                try:
                    chunk = future.result()
                except BrokenProcessPool:
                    failures.append(f"--target {name}: the process died in a run between {at} and {at + CHUNK}")
                    break
                made += chunk.runs
                failures += chunk.failures
                for failure in chunk.failures[:SHOWN_MOST]:
                    print(f"  {failure}", flush=True)
                if made % SAID_EVERY == 0:
                    print(f"{name}: {made} runs, {len(failures)} failures", flush=True)
        took_s = time.monotonic() - began_s
        print(f"{name}: seed {seed}: {made} runs in {took_s:.0f} s, {len(failures)} failures", flush=True)
        failed += len(failures)
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--target", choices=TARGETS, help="this one alone")
    parser.add_argument("--run", type=int, help="make one run again; what it raises is shown")
    options = parser.parse_args(arguments)
    names = [options.target] if options.target else list(TARGETS)
    if options.run is None:
        return fuzz(names, options.runs, options.seed, options.jobs)
    with TemporaryDirectory(prefix="clipmill-fuzz-") as folder, target(names[0], options.seed, Path(folder)) as attempt:
        wrong = attempt(random.Random(f"{names[0]}/{options.seed}/{options.run}"))
    print(wrong or "nothing was wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
