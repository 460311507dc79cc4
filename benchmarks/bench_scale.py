"""Many workers, several keys: what workers that share only records do beside one process that sees everything.

usage: bench_scale.py [--full]

In virtual time, with Venice's limits for each key, held in fixed and in sliding windows at once. "x oracle" is the
makespan over that of an oracle with the same keys and clips, one process a key. `--full` adds 1,000 workers and 10
keys.
"""

from __future__ import annotations

import argparse
import time

from benchmarks import laws
from benchmarks.fleet import fleet
from benchmarks.policies import oracle
from benchmarks.tables import machine, mean, percentile, show

LIMITS = (40.0, 120.0)
PER_KEY = 2_000
COLUMNS = (
    *("workers", "keys", "clips", "killed", "makespan s", "x oracle", "looks a clip", "lag s: mean", "p99"),
    *("refusals", "lock-outs", "touches a second", "taken over", "unwatched s, most", "doubts", "twice"),
)


def row(workers: int, keys: int, kills: int, seed: int = 1) -> tuple[str, ...]:
    """Run one batch and return its line."""
    clips = PER_KEY * keys
    shares = [range(key, clips, keys) for key in range(keys)]
    best_s = max(oracle(laws.USUAL, seed, PER_KEY, *LIMITS, order=share).makespan_s for share in shares)
    found = fleet(laws.USUAL, seed, clips, workers=workers, keys=keys, limits=LIMITS, kills=kills)
    assert len(found.lags_s) + found.doubts == clips, "an item was lost"
    return (
        *(f"{each:,}" for each in (workers, keys, clips, found.killed)),
        f"{found.makespan_s:,.0f}",
        f"{found.makespan_s / best_s:.3f}",
        f"{found.looks / clips:.2f}",
        f"{mean(found.lags_s):.1f}",
        f"{percentile(found.lags_s, 0.99):.1f}",
        f"{found.refusals:,}",
        str(found.lockouts),
        f"{found.touches / found.makespan_s:,.0f}",
        f"{found.taken_over:,}",
        f"{max(found.idle_s, default=0.0):.0f}",
        f"{found.doubts:,}",
        f"{found.twice:,}",
    )


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description="Many workers and several keys, in virtual time.")
    arguments.add_argument("--full", action="store_true", help="with 1,000 workers and 10 keys")
    given = arguments.parse_args()
    print(machine())
    began = time.perf_counter()
    cases = [(1, 1, 0), (2, 1, 0), (4, 1, 0), (10, 1, 0), (100, 1, 0), (10, 1, 10), (40, 4, 20)]
    if given.full:
        cases += [(1_000, 10, 0), (1_000, 10, 100)]
    show("Venice's limits for each key, lognormal 0.5, P80 145 s", COLUMNS, [row(*case) for case in cases])
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
