"""Connections cut at every byte: every exchange of a batch's life, both ways, by an end, a reset or silence.

    python -m tests.torture.cuts --seed 1 --jobs 2                 in memory, every byte; exit 1 on any violation
    python -m tests.torture.cuts --sockets 600 --seed 1            on real sockets, at bytes drawn from the seed
    python -m tests.torture.cuts --bodies                          a small clip's download, every byte
    python -m tests.torture.cuts --scenario cut-venice --seed 1 --exchange 1 --direction response --after 17

In memory every life is judged by the invariants of the crash simulation. A clip's bytes are cut at the first and the
last `CLIP_ENDS`, and at every `CLIP_STEP`th between; `--bodies` cuts a smaller one at each.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.support.simulation.memory_network import Action, Direction, Fault
from tests.torture.cut_bodies import cut_bodies
from tests.torture.cut_sockets import cut_sockets
from tests.torture.one_fault import CUT_SCENARIOS, Cut, live_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLIP_ENDS, CLIP_STEP = 512, 997
SMALL_BYTES = 10_000
"""A longer answer is a clip."""
CHUNK = 50
SHOWN_MOST = 10
SAID_EVERY = 5_000


@dataclass
class Figures:
    """What some cuts have shown."""

    lives: int = 0
    struck: int = 0
    doubts: int = 0
    charges: int = 0
    violations: tuple[str, ...] = ()

    def add(self, other: Figures) -> None:
        """Add others."""
        self.lives += other.lives
        self.struck += other.struck
        self.doubts += other.doubts
        self.charges += other.charges
        self.violations += other.violations


def offsets(size: int, every: int) -> Iterator[int]:
    """Return after how many bytes a transfer of some size is cut: after each, or, of a clip, after many."""
    if size <= SMALL_BYTES:
        yield from range(0, size, every)
        return
    yield from range(0, CLIP_ENDS, every)
    yield from range(CLIP_ENDS, size - CLIP_ENDS, CLIP_STEP * every)
    yield from range(size - CLIP_ENDS, size, every)


def cuts_of(name: str, seed: int, every: int) -> Iterator[Cut]:
    """Yield every cut of a scenario, the calls that bill first; exchanges that only repeat another are left out."""
    unhurt = live_with(CUT_SCENARIOS[name], seed, None)
    assert not unhurt.blamed, unhurt.blamed
    seen: set[tuple[str, int]] = set()
    for number, (line, sizes) in enumerate(unhurt.exchanges, start=1):
        key = line, sizes[Direction.RESPONSE] // 8
        if key in seen:
            continue
        seen.add(key)
        for direction in Direction:
            for after in offsets(sizes[direction], every):
                for action in Action:
                    yield Cut(exchange=number, fault=Fault(action=action, direction=direction, after_bytes=after))


def play(name: str, seed: int, cuts: Sequence[Cut]) -> Figures:
    """Live through some cuts."""
    figures = Figures()
    for cut in cuts:
        story = live_with(CUT_SCENARIOS[name], seed, cut)
        figures.lives += 1
        figures.struck += story.struck
        figures.doubts += story.doubts
        figures.charges += story.charges
        if story.blamed or not story.struck:
            why = story.blamed[0] if story.blamed else "the connection was never cut"
            figures.violations += (f"--scenario {name} --seed {seed} {cut}\n      {why}",)
    return figures


def play_all(names: Sequence[str], seed: int, every: int, jobs: int) -> int:
    """Live through all of them, in so many processes; print the figures; return the exit code."""
    began_s = time.monotonic()
    total = Figures()
    with ProcessPoolExecutor(jobs, initializer=hush) as pool:
        for name in names:
            figures = Figures()
            rest = cuts_of(name, seed, every)
            pending = []
            while piece := list(islice(rest, CHUNK)):
                pending.append(pool.submit(play, name, seed, piece))
            for future in pending:
                before = figures.lives // SAID_EVERY
                figures.add(future.result())
                if figures.lives // SAID_EVERY > before:
                    print(f"{name}: {figures.lives} so far, {len(figures.violations)} violations", flush=True)
            print(f"{name}: {told(figures)}", flush=True)
            total.add(figures)
    for violation in total.violations[:SHOWN_MOST]:
        print(f"  {violation}")
    print(f"seed {seed}: {told(total)}, in {time.monotonic() - began_s:.0f} s")
    return 1 if total.violations else 0


def hush() -> None:
    """Keep aiohttp's server from printing every connection that was cut under it."""
    logging.getLogger("aiohttp.server").addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], ConnectionError))
    )


def told(figures: Figures) -> str:
    """Return figures as words."""
    return (
        f"{figures.lives} cuts, {figures.doubts} doubts, {figures.charges} charges, "
        f"{len(figures.violations)} violations"
    )


def repeat(name: str, seed: int, cut: Cut) -> int:
    """Live one life again and show everything."""
    story = live_with(CUT_SCENARIOS[name], seed, cut, with_trace=True)
    print(story.trace)
    for blame in story.blamed:
        print(blame)
    print(story)
    return 1 if story.blamed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and cut."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="cut at every so-many-th byte")
    parser.add_argument("--scenario", choices=CUT_SCENARIOS)
    parser.add_argument("--bodies", action="store_true", help="a small clip alone, cut at each of its bytes")
    parser.add_argument("--sockets", type=int, default=0, help="so many cuts of real connections instead")
    one = parser.add_argument_group("one cut, with its trace")
    one.add_argument("--exchange", type=int, default=0)
    one.add_argument("--direction", type=Direction, choices=list(Direction), default=Direction.RESPONSE)
    one.add_argument("--after", type=int, default=0)
    one.add_argument("--action", type=Action, choices=list(Action), default=Action.RESET)
    options = parser.parse_args(arguments)
    if options.sockets or options.bodies:
        with TemporaryDirectory(prefix="clipmill-cuts-") as folder:
            if options.bodies:
                return cut_bodies(Path(folder))
            return asyncio.run(cut_sockets(Path(folder), options.sockets, options.seed))
    names = [options.scenario] if options.scenario else list(CUT_SCENARIOS)
    if options.exchange:
        fault = Fault(action=options.action, direction=options.direction, after_bytes=options.after)
        return repeat(names[0], options.seed, Cut(exchange=options.exchange, fault=fault))
    return play_all(names, options.seed, options.every, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
