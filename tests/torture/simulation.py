"""The deterministic crash simulation: the real runner, ledger, clips and provider code, the real sandbox, virtual time.

    python -m tests.torture.simulation --points 10000 --seed 1 --jobs 2        a table; exit 1 on any violation
    python -m tests.torture.simulation --from-seed 1 --seeds 100 --state FILE  every point; goes on where it stopped
    python -m tests.torture.simulation --scenario venice --seed 1 --step 57 --flavour power     one point, its trace

Every scenario is first lived without a strike, twice, and the traces compared; that counts its moments. Then it is
lived again for each of them: killed, or with the machine's power cut, or told to stop. A point is one such life.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.simulation.virtual_loop import BusyLoop, Deadlock, TimeIsUp
from tests.torture.kept import Kept
from tests.torture.life import live, points_of
from tests.torture.scenarios import SCENARIOS, Flavour
from tests.torture.stage import Point
from tests.torture.witness import Blame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.torture.life import Told

CHUNK = 25
"""Points handed to a worker at once."""
LIVED_TWICE = 0.01
"""The share of points that are lived twice, to compare the traces."""
SHOWN_MOST = 20
SAID_EVERY = 1000
"""Points between two lines of progress."""


@dataclass
class Figures:
    """What a number of lives have shown."""

    points: int = 0
    runs: int = 0
    crashes: int = 0
    second_crashes: int = 0
    strikes: int = 0
    """Kills, power cuts and orders to stop: a life is struck at its point, and again while it recovers."""
    items: int = 0
    done: int = 0
    doubts: int = 0
    charges: int = 0
    compared: int = 0
    """Lives lived twice."""
    cpu_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    """A command to repeat each, and what was blamed."""

    def add(self, other: Figures) -> None:
        """Add others."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def count(self, told: Told) -> None:
        """Add one life."""
        self.points += 1
        for name in ("runs", "crashes", "second_crashes", "strikes", "items", "done", "doubts", "charges"):
            setattr(self, name, getattr(self, name) + getattr(told, name))


SERVERS: list[str] = []
"""The address of the server that this process's ledgers are in; none for SQLite."""


def use_server(dsn: str | None) -> None:
    """Keep the ledgers of all lives of this process in a server from now on."""
    SERVERS[:] = [dsn] if dsn else []


def live_safely(name: str, seed: int, point: Point | None, *, with_trace: bool = False) -> Told:
    """Live one life; a simulation that cannot go on is one more thing to blame."""
    from tests.torture.life import Told

    try:
        return live(name, seed, point, with_trace=with_trace, server=next(iter(SERVERS), None))
    except (Deadlock, BusyLoop, TimeIsUp, AssertionError) as error:
        return Told(blamed=(Blame(number="I7", what=repr(error), at_s=0.0),))


def how_to_repeat(name: str, seed: int, point: Point | None) -> str:
    """Return the arguments that live this life again."""
    return f"--scenario {name} --seed {seed} {point if point is not None else '--unstruck'}"


def play(name: str, seed: int, points: Sequence[Point | None]) -> Figures:
    """Live through some points of one scenario."""
    began_s = time.process_time()
    figures = Figures()
    for point in points:
        twice = point is None or random.Random(f"{name}/{seed}/{point}/twice").random() < LIVED_TWICE
        told = live_safely(name, seed, point, with_trace=twice)
        figures.count(told)
        blamed = list(told.blamed)
        if twice:
            figures.compared += 1
            again = live_safely(name, seed, point, with_trace=True)
            if again.trace != told.trace:
                blamed.append(Blame(number="I17", what=first_difference(told.trace, again.trace), at_s=0.0))
        if blamed:
            figures.violations.append(f"{how_to_repeat(name, seed, point)}\n      {blamed[0]}")
    figures.cpu_s = time.process_time() - began_s
    return figures


def first_difference(one: str, other: str) -> str:
    """Say where two traces part."""
    for number, (a, b) in enumerate(zip(one.splitlines(), other.splitlines(), strict=False), start=1):
        if a != b:
            return f"line {number} of the trace: {a.strip()!r} and then {b.strip()!r}"
    return "one trace is longer than the other"


def all_points(name: str, seed: int) -> tuple[list[Point | None], Told]:
    """Return every point of a scenario, the unstruck life first, and what the unstruck life told."""
    told = live_safely(name, seed, None)
    return [None, *points_of(name, told)], told


def shared_out(names: Sequence[str], seed: int, points: int) -> Iterator[tuple[str, int, list[Point | None]]]:
    """Yield chunks of points such that every scenario has its share; a share beyond one seed goes on with the next."""
    share = -(-points // len(names))
    for name in names:
        left, at = share, seed
        while left > 0:
            found, _ = all_points(name, at)
            if len(found) > left:
                drawn = sorted(random.Random(f"{name}/{at}/{left}").sample(range(1, len(found)), left - 1))
                found = [None, *(found[place] for place in drawn)]
            yield from chunks(name, at, found)
            left -= len(found)
            at += 1


def chunks(name: str, seed: int, points: Sequence[Point | None]) -> Iterator[tuple[str, int, list[Point | None]]]:
    """Cut a list of points into pieces of work."""
    rest = iter(points)
    while piece := list(islice(rest, CHUNK)):
        yield name, seed, piece


def play_all(work: Iterable[tuple[str, int, list[Point | None]]], jobs: int) -> dict[str, Figures]:
    """Live through all of it, in so many processes; return the figures by scenario."""
    figures: defaultdict[str, Figures] = defaultdict(Figures)
    with ProcessPoolExecutor(jobs, initializer=use_server, initargs=(next(iter(SERVERS), None),)) as pool:
        pending = [(name, pool.submit(play, name, seed, points)) for name, seed, points in work]
        lived = 0
        for name, future in pending:
            found = future.result()
            figures[name].add(found)
            for violation in found.violations:
                print(violation, flush=True)
            if lived // SAID_EVERY < (lived + found.points) // SAID_EVERY:
                violations = sum(len(each.violations) for each in figures.values())
                print(f"{lived + found.points} points, {violations} violations", flush=True)
            lived += found.points
    return figures


COLUMNS = ("points", "runs", "crashes", "second_crashes", "strikes", "items", "done", "doubts", "charges", "compared")


def table(figures: dict[str, Figures]) -> str:
    """Return the figures as a table."""
    total = Figures()
    for each in figures.values():
        total.add(each)
    widths = [max(len(column), 8) for column in COLUMNS]
    lines = [" ".join([f"{'scenario':20}", *map(str.rjust, COLUMNS, widths), "violations", "    CPU s"])]
    for name, each in [*figures.items(), ("all", total)]:
        cells = [str(getattr(each, column)).rjust(width) for column, width in zip(COLUMNS, widths, strict=True)]
        lines.append(" ".join([f"{name:20}", *cells, f"{len(each.violations):10}", f"{each.cpu_s:9.1f}"]))
    return "\n".join(lines)


def report(figures: dict[str, Figures], told: str) -> int:
    """Print the table and what was violated; return the exit code."""
    print(table(figures))
    violations = [violation for each in figures.values() for violation in each.violations]
    for violation in violations[:SHOWN_MOST]:
        print(f"  {violation}")
    if len(violations) > SHOWN_MOST:
        print(f"  ... and {len(violations) - SHOWN_MOST} more")
    print(told)
    return 1 if violations else 0


def simulate(names: Sequence[str], points: int, seed: int, jobs: int) -> int:
    """Live through so many points."""
    began_s = time.monotonic()
    figures = play_all(shared_out(names, seed, points), jobs)
    lived = sum(each.points for each in figures.values())
    took_s = time.monotonic() - began_s
    return report(figures, f"seed {seed}: {lived} points in {took_s:.0f} s, {lived / took_s:.0f} a second, {jobs} jobs")


def simulate_long(names: Sequence[str], seeds: range, state: Path, jobs: int) -> int:
    """Live through every point of every scenario, seed by seed; what is in the state file is not lived again."""
    kept = Kept(state, "scenario", "seed")
    figures: defaultdict[str, Figures] = defaultdict(Figures)
    for seed in seeds:
        for name in names:
            record = kept.get(name, seed)
            if record is None:
                found, _ = all_points(name, seed)
                record = asdict(play_all(chunks(name, seed, found), jobs)[name])
                kept.add({"scenario": name, "seed": seed, **record})
            figures[name].add(Figures(**record))
        lived = sum(each.points for each in figures.values())
        violations = sum(len(each.violations) for each in figures.values())
        strikes = sum(each.strikes for each in figures.values())
        print(f"seed {seed}: {lived} points so far, {strikes} strikes, {violations} violations", flush=True)
    return report(figures, f"seeds {seeds.start} to {seeds.stop - 1}, every point of each")


def repeat(name: str, seed: int, point: Point | None) -> int:
    """Live one life and show everything."""
    told = live_safely(name, seed, point, with_trace=True)
    print(told.trace)
    for blame in told.blamed:
        print(blame)
    print(told)
    return 1 if told.blamed else 0


def with_a_server(command: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None) -> int:
    """Do the same (`command` is who asks) with a PostgreSQL server that is there for so long."""
    from tests.support.postgres import MISSING, Server, programs

    if programs() is None:
        print(MISSING)
        return 0
    server = Server(in_memory=True)
    try:
        use_server(server.dsn)
        return command(arguments)
    finally:
        use_server(None)
        server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and simulate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000, help="how many lives, shared among the scenarios")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite", help="what the ledger is kept in")
    parser.add_argument("--scenario", choices=SCENARIOS, help="this one alone")
    one = parser.add_argument_group("one point, with its trace")
    one.add_argument("--step", type=int, default=0)
    one.add_argument("--turn", type=int, default=0)
    one.add_argument("--unstruck", action="store_true", help="the life in which nothing strikes")
    one.add_argument("--flavour", type=Flavour, choices=list(Flavour), default=Flavour.KILL)
    long = parser.add_argument_group("every point of many seeds")
    long.add_argument("--from-seed", type=int, default=1)
    long.add_argument("--seeds", type=int, default=0)
    long.add_argument("--state", type=Path, help="remembers what was lived")
    options = parser.parse_args(arguments)
    if options.store == "postgres" and not SERVERS:
        return with_a_server(main, arguments)
    names = [options.scenario] if options.scenario else list(SCENARIOS)
    if options.step or options.turn or options.unstruck:
        if not options.scenario:
            parser.error("name the --scenario of the point")
        point = Point(flavour=options.flavour, step=options.step, turn=options.turn)
        return repeat(options.scenario, options.seed, None if options.unstruck else point)
    if options.seeds:
        if options.state is None:
            parser.error("name the --state file that remembers what was lived")
        seeds = range(options.from_seed, options.from_seed + options.seeds)
        return simulate_long(names, seeds, options.state, options.jobs)
    return simulate(names, options.points, options.seed, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
