"""The look scheduler: the real runner in virtual time, beside the oracle and the usual ways to wait.

usage: bench_looks.py [--full]

Every row of a table meets the same durations, limits and network. "x oracle" is the makespan over that of an oracle
that submits in the same order by the same sliding log and looks once at each job, when it finishes. The limits are
enforced in fixed and in sliding windows at once; a refusal counts as a failure towards the lock-out. `--full` adds the
batches of 10,000 clips.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from benchmarks import laws
from benchmarks.policies import Account, oracle, usual
from benchmarks.tables import machine, mean, median, percentile, show
from benchmarks.virtual import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.laws import Law

VENICE = (40.0, 120.0)
FREE = (0.0, 0.0)
COLUMNS = ("", "makespan s", "x oracle", "looks a clip", "refusals", "lock-outs", "lag s: mean", "p50", "p95", "p99")
REFERENCE = {
    "lognormal 0.1": 6.5,
    "lognormal 0.25": 9.9,
    "lognormal 0.5": 14.1,
    "lognormal 0.8": 16.7,
    "bimodal 60/170": 11.4,
    "40 + exp(65)": 13.5,
    "drift: x2 after 15 min": 12.7,
    "drift: x0.5 after 15 min": 15.8,
    "2 % stragglers x12": 16.5,
    "models of 50/145/400 s": 13.8,
    "told P80 3 times too low": 14.1,
    "told P80 3 times too high": 14.1,
    "no P80 told": 14.1,
}
"""The mean lag of the same rule in a model of events with evenly spread submits, median of five seeds."""


def row(name: str, account: Account, best: Account) -> tuple[str, ...]:
    """Return one line of a table."""
    clips, lags = len(account.lags_s), account.lags_s
    figures = (mean(lags), *(percentile(lags, share) for share in (0.5, 0.95, 0.99)))
    return (
        name,
        f"{account.makespan_s:,.0f}",
        f"{account.makespan_s / best.makespan_s:.3f}",
        f"{account.looks / clips:.2f}",
        f"{account.refusals:,}",
        str(account.lockouts),
        *(f"{figure:.1f}" for figure in figures),
    )


def beside_oracle(law: Law, clips: int, seed: int) -> tuple[Account, Account]:
    """Run a batch at Venice's limits; return its account and that of the oracle with the same order of submits."""
    account = run("venice", law, clips, seed)
    return account, oracle(law, seed, clips, *VENICE, account.order)


def beside_the_usual(clips: int, seed: int = 1) -> None:
    """Print one batch at Venice's limits by every policy."""
    best = oracle(laws.USUAL, seed, clips, *VENICE)
    rows = [row("oracle", best, best), row("clipmill", run("venice", laws.USUAL, clips, seed), best)]
    rows += [row(name, account, best) for name, account in usual(laws.USUAL, seed, clips, *VENICE).items()]
    show(f"Venice's limits (40 submits, 120 looks a minute), {clips:,} clips, lognormal 0.5, P80 145 s", COLUMNS, rows)


def over_seeds(clips: int, seeds: Iterable[int]) -> None:
    """Print the same batch with other draws."""
    rows = []
    for seed in seeds:
        account, best = beside_oracle(laws.USUAL, clips, seed)
        rows.append(row(f"seed {seed}", account, best))
    show(f"The same, {clips:,} clips, other seeds", COLUMNS, rows)


def over_laws(clips: int, seeds: Iterable[int]) -> None:
    """Print what other durations do, medians over the seeds."""
    rows = []
    for law in (*laws.SHAPES, *laws.TROUBLES):
        pairs = [beside_oracle(law, clips, seed) for seed in seeds]
        accounts = [account for account, _ in pairs]
        rows.append(
            (
                law.name,
                f"{median([a.makespan_s / best.makespan_s for a, best in pairs]):.3f}",
                f"{median([a.looks / clips for a in accounts]):.2f}",
                str(sum(a.refusals for a in accounts)),
                f"{median([mean(a.lags_s) for a in accounts]):.1f}",
                f"{median([percentile(a.lags_s, 0.99) for a in accounts]):.1f}",
                f"{REFERENCE[law.name]:.1f}",
            )
        )
    columns = ("", "x oracle", "looks a clip", "refusals", "lag s: mean", "p99", "mean in the model")
    show(f"Other durations at Venice's limits, {clips:,} clips", columns, rows)


def without_limits(clips: int, seed: int = 1) -> None:
    """Print ModelMax-like batches: 100 jobs at once, looks cost nothing but courtesy."""
    rows = []
    cases: tuple[tuple[str, Law, float], ...] = (
        ("lognormal 0.5", laws.USUAL, 0.0),
        ("the same, a tenth of it queued", laws.USUAL, 0.1),
    )
    for name, law, queue_share in cases:
        account = run("modelmax", law, clips, seed, queue_share=queue_share, in_flight=100)
        lags = account.lags_s
        rows.append(
            (
                name,
                f"{account.looks / clips:.2f}",
                f"{mean(lags):.2f}",
                *(f"{percentile(lags, share):.1f}" for share in (0.5, 0.95, 0.99)),
            )
        )
    columns = ("", "looks a clip", "lag s: mean", "p50", "p95", "p99")
    show(f"ModelMax-like: no limits, no P80 told, 100 jobs at once, {clips:,} clips", columns, rows)


def hidden_limit(clips: int, allowed: Iterable[float], seed: int = 1) -> None:
    """Print what happens where the vendor allows less than it documents."""
    rows = []
    for looks in allowed:
        account = run("venice", laws.USUAL, clips, seed, hidden=(40.0, looks))
        best = oracle(laws.USUAL, seed, clips, 40.0, looks, account.order)
        rows.append(row(f"{looks:.0f} looks a minute", account, best))
    show(f"A hidden limit: 120 looks a minute are documented, fewer allowed, {clips:,} clips", COLUMNS, rows)


def main() -> None:
    """Print all tables."""
    arguments = argparse.ArgumentParser(description="The look scheduler in virtual time.")
    arguments.add_argument("--full", action="store_true", help="add the batches of 10,000 clips, and more seeds")
    full = arguments.parse_args().full
    began = time.perf_counter()
    print(machine())
    beside_the_usual(1000)
    over_seeds(1000, (2, 3, 4, 5) if full else (2, 3))
    over_laws(1000, (1, 2, 3) if full else (1,))
    without_limits(10_000 if full else 2000)
    hidden_limit(2000, (90.0, 60.0) if full else (90.0,))
    if full:
        beside_the_usual(10_000)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
