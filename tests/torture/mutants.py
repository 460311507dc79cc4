"""Who watches the watchers: every seeded bug must be caught, by some invariant, within a bounded number of lives.

    python -m tests.torture.mutants --jobs 2                 the table; exit 1 if one survives
    python -m tests.torture.mutants --store postgres --jobs 2             those of a ledger in a server
    python -m tests.torture.mutants --mutant doubt_is_free   one of them, with the life in which it was caught

A mutant that survives means that the simulation or its judges are too weak.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.torture import bugs_of_calls, bugs_of_clips, bugs_of_runs, bugs_of_sharing
from tests.torture.invariants import SENTENCES
from tests.torture.life import points_of
from tests.torture.mutant import ALL_STORES, MUTANTS
from tests.torture.simulation import SERVERS, how_to_repeat, live_safely, use_server, with_a_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.torture.mutant import Mutant
    from tests.torture.stage import Point

ROOMS = (bugs_of_calls, bugs_of_clips, bugs_of_runs, bugs_of_sharing)
"""Importing them enters their bugs."""
LIVES_MOST = 300
UNFIT = re.compile(r"ended with (TypeError|AttributeError|NameError|KeyError)\(")
"""What a patch raises that was written for another version of the program: caught, and by nothing that it is to try."""
POINTS_OF_A_SEED = 12
"""Then the next scenario, and the next seed: other faults matter as much as other moments."""


@dataclass(frozen=True, kw_only=True)
class Hunt:
    """How a mutant fared."""

    name: str
    lives: int
    caught_by: tuple[str, ...] = ()
    """The invariants that blamed it, the first first; empty where it survived."""
    what: str = ""
    repeat: str = ""


def hunt(name: str, seed: int, lives_most: int = LIVES_MOST) -> Hunt:
    """Live with a mutant until it is caught."""
    bug = MUTANTS[name]
    lives = 0
    while True:
        for scenario in bug.scenarios:
            for point in drawn_points(bug, scenario, seed):
                if lives >= lives_most:
                    return Hunt(name=name, lives=lives)
                lives += 1
                caught = strike(bug, scenario, seed, point)
                if caught is not None:
                    numbers, what = caught
                    repeat = how_to_repeat(scenario, seed, point)
                    return Hunt(name=name, lives=lives, caught_by=numbers, what=what, repeat=repeat)
        seed += 1


def drawn_points(bug: Mutant, scenario: str, seed: int) -> list[Point | None]:
    """Return the unstruck life and then some strikes, in an order drawn from the seed."""
    with bug.at_work():
        told = live_safely(scenario, seed, None)
    points = [point for point in points_of(scenario, told) if point.flavour in bug.flavours]
    random.Random(f"{bug.name}/{scenario}/{seed}").shuffle(points)
    return [None, *points[:POINTS_OF_A_SEED]]


def strike(bug: Mutant, scenario: str, seed: int, point: Point | None) -> tuple[tuple[str, ...], str] | None:
    """Live one life, twice; return who blamed it and for what, or None."""
    with bug.at_work():
        told = live_safely(scenario, seed, point, with_trace=True)
        unfit = [blame.what for blame in told.blamed if UNFIT.search(blame.what)]
        assert not unfit, f"{bug.name} does not fit the program any more: {unfit[0]}"
        if told.blamed:
            return tuple(dict.fromkeys(blame.number for blame in told.blamed)), told.blamed[0].what
        if "chance" in bug.name and live_safely(scenario, seed, point, with_trace=True).trace != told.trace:
            return ("I17",), "two lives of one seed differ"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--lives", type=int, default=LIVES_MOST, help="how many lives each mutant may survive")
    parser.add_argument("--store", choices=sorted(ALL_STORES), default="sqlite", help="what the ledger is kept in")
    parser.add_argument("--mutant", choices=MUTANTS)
    options = parser.parse_args(arguments)
    if options.store == "postgres" and not SERVERS:
        return with_a_server(main, arguments)
    fitting = [name for name, bug in MUTANTS.items() if options.store in bug.stores]
    names = [options.mutant] if options.mutant else fitting
    began_s = time.monotonic()
    with ProcessPoolExecutor(options.jobs, initializer=use_server, initargs=(next(iter(SERVERS), None),)) as pool:
        hunts = [pool.submit(hunt, name, options.seed, options.lives) for name in names]
        found = [pending.result() for pending in hunts]
    survivors = [each for each in found if not each.caught_by]
    for each in found:
        verdict = f"{', '.join(each.caught_by):16} after {each.lives:3}" if each.caught_by else "SURVIVES"
        print(f"{each.name:34} {verdict}  {each.repeat}")
        print(f"{'':34} {MUTANTS[each.name].about}")
        print(f"{'':34} {each.what[:150]}")
    useful = sorted({number for each in found for number in each.caught_by}, key=lambda number: int(number[1:]))
    idle = [number for number in SENTENCES if number not in useful]
    print(f"{len(found) - len(survivors)} of {len(found)} mutants caught in {time.monotonic() - began_s:.0f} s")
    print(f"invariants that caught one: {', '.join(useful)}" + (f"; none: {', '.join(idle)}" if idle else ""))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
