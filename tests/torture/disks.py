"""A disk that says no, once or for good, at every operation of a batch's life: no space, or an error of its own.

    python -m tests.torture.disks --seed 1 --jobs 2        every operation of every kind; exit 1 on any violation
    python -m tests.torture.disks --scenario disk-venice --seed 1 --operation link --number 1 --errno EIO --lasts

Operations are those of the files (create, write, fsync, link, ...) and the ledger's commits. Every life is judged by
the invariants of the crash simulation.
"""

from __future__ import annotations

import argparse
import errno
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from tests.torture.one_fault import DISK_SCENARIOS, OPERATIONS, REASONS, Refusal, live_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK = 20
SHOWN_MOST = 10


def refusals_of(name: str, seed: int) -> Iterator[Refusal]:
    """Yield every refusal of a scenario: each call of each operation, for each reason, once and for good."""
    unhurt = live_with(DISK_SCENARIOS[name], seed, None)
    assert not unhurt.blamed, unhurt.blamed
    for operation in OPERATIONS:
        for number in range(1, unhurt.operations.get(operation, 0) + 1):
            for code in REASONS:
                for lasts in (False, True):
                    yield Refusal(operation=operation, number=number, code=code, lasts=lasts)


def play(name: str, seed: int, refusals: Sequence[Refusal]) -> tuple[int, list[str]]:
    """Live through some refusals; return how often the disk said no, and what was violated."""
    struck, violations = 0, []
    for refusal in refusals:
        story = live_with(DISK_SCENARIOS[name], seed, refusal)
        struck += story.struck
        if story.blamed:
            violations.append(f"--scenario {name} --seed {seed} {refusal}\n      {story.blamed[0]}")
    return struck, violations


def play_all(names: Sequence[str], seed: int, jobs: int, every: int) -> int:
    """Live through all of them; print the figures; return the exit code."""
    began_s = time.monotonic()
    violations: list[str] = []
    lives = struck = 0
    with ProcessPoolExecutor(jobs) as pool:
        for name in names:
            refusals = list(refusals_of(name, seed))[::every]
            pieces = [refusals[at : at + CHUNK] for at in range(0, len(refusals), CHUNK)]
            for piece, future in [(piece, pool.submit(play, name, seed, piece)) for piece in pieces]:
                times, wrong = future.result()
                lives, struck, violations = lives + len(piece), struck + times, violations + wrong
            print(f"{name}: {len(refusals)} lives", flush=True)
    for violation in violations[:SHOWN_MOST]:
        print(f"  {violation}")
    took_s = time.monotonic() - began_s
    print(
        f"seed {seed}: {lives} lives, the disk said no {struck} times, {len(violations)} violations, in {took_s:.0f} s"
    )
    return 1 if violations else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and refuse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="only every so-many-th refusal")
    parser.add_argument("--scenario", choices=DISK_SCENARIOS)
    one = parser.add_argument_group("one refusal, with its trace")
    one.add_argument("--operation", choices=OPERATIONS)
    one.add_argument("--number", type=int, default=1)
    one.add_argument("--errno", choices=[errno.errorcode[code] for code in REASONS], default="ENOSPC")
    one.add_argument("--lasts", action="store_true")
    options = parser.parse_args(arguments)
    names = [options.scenario] if options.scenario else list(DISK_SCENARIOS)
    if not options.operation:
        return play_all(names, options.seed, options.jobs, options.every)
    code = int(getattr(errno, options.errno))
    refusal = Refusal(operation=options.operation, number=options.number, code=code, lasts=options.lasts)
    story = live_with(DISK_SCENARIOS[names[0]], options.seed, refusal, with_trace=True)
    print(story.trace)
    for blame in story.blamed:
        print(blame)
    return 1 if story.blamed else 0


if __name__ == "__main__":
    sys.exit(main())
