"""Load: every target of the section on load in docs/reliability.md, measured.

    python -m tests.torture.load                      all of it, about an hour and a half
    python -m tests.torture.load storm bad-prompts    some of it
    python -m tests.torture.load soak --seconds 120   a shorter soak

Each part prints a table, what it has to be beside what it is; exit 1 where a target is missed. What reckons and does
not wait is held to its CPU time. How late looks leave wants a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.tables import machine
from tests.torture import loads_in_time, loads_of_lists, loads_on_sockets
from tests.torture.load_figures import print_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.torture.load_figures import Figure


def parts(soak_s: float) -> dict[str, Callable[[], Iterator[Figure]]]:
    """Return what can be measured, by name."""
    return {
        "long": partial(loads_of_lists.of_lists, loads_of_lists.LONG),
        "million": partial(loads_of_lists.of_lists, loads_of_lists.MILLION),
        "in-flight": loads_on_sockets.in_flight,
        "trickling": loads_in_time.trickling,
        "storm": loads_in_time.storm,
        "bad-prompts": loads_in_time.bad_prompts,
        "found": loads_in_time.found_at_a_start,
        "soak": partial(loads_on_sockets.soak, soak_s),
    }


def main() -> None:
    """Measure, and print."""
    names = tuple(parts(0.0))
    arguments = argparse.ArgumentParser(description="Load: every target, measured.")
    arguments.add_argument("names", nargs="*", metavar="PART", help=f"of {', '.join(names)}; all of them by default")
    arguments.add_argument("--seconds", type=float, default=1200.0, help="how long the soak lasts")
    wish = arguments.parse_args()
    if unknown := set(wish.names) - set(names):
        arguments.error(f"there is no part {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    print(machine())
    every = parts(wish.seconds)
    met = True
    for name in wish.names or names:
        began = time.monotonic()
        met &= print_figures(name, every[name]())
        print(f"({time.monotonic() - began:.0f} s)", flush=True)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
