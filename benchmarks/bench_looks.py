"""The look scheduler: the real runner in virtual time, beside the oracle and the usual ways to wait.

usage: bench_looks.py [--full] [--alone]

Every row of a table meets the same durations, limits and network. "x oracle" is the makespan over that of an oracle
that submits in the same order by the same sliding log and looks once at each job, when it finishes. The limits are
enforced in fixed and in sliding windows at once; a refusal counts as a failure towards the lock-out. `--full` adds the
batches of 10,000 clips and more seeds; `--alone` prints only what isolates causes: the schedule without the runner.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from benchmarks import laws
from benchmarks.alone import Submits, alone
from benchmarks.policies import Account, oracle, places_bound_s, steady_timers, usual
from benchmarks.tables import machine, mean, median, percentile, show
from benchmarks.virtual import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.laws import Law

VENICE = (40.0, 120.0)
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
    """Print the same batch with other draws, and all of them together."""
    rows, every = [], Account()
    bests_s = 0.0
    for seed in seeds:
        account, best = beside_oracle(laws.USUAL, clips, seed)
        rows.append(row(f"seed {seed}", account, best))
        every.makespan_s += account.makespan_s
        bests_s += best.makespan_s
        every.looks += account.looks
        every.refusals += account.refusals
        every.lockouts += account.lockouts
        every.lags_s += account.lags_s
    rows.append(row("together", every, Account(makespan_s=bests_s)))
    show(f"The same, {clips:,} clips, by seed", COLUMNS, rows)


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


def without_limits(clips: int, seeds: Sequence[int]) -> None:
    """Print ModelMax-like batches: 100 jobs at once, looks cost nothing but courtesy, lag perhaps throughput."""
    rows = []
    cases: tuple[tuple[str, float, dict[str, int]], ...] = (
        ("our own cap of 100 jobs", 0.0, {}),
        ("... a tenth of it queued", 0.1, {}),
        ("a cap of 100 that was given", 0.0, {"in_flight": 100}),
    )
    for name, queue_share, limits in cases:
        accounts = [run("modelmax", laws.USUAL, clips, seed, queue_share=queue_share, **limits) for seed in seeds]
        ratios = [
            account.makespan_s / places_bound_s(laws.USUAL, seed, clips, 100)
            for seed, account in zip(seeds, accounts, strict=True)
        ]
        lags = [lag for account in accounts for lag in account.lags_s]
        rows.append(
            (
                name,
                f"{mean(ratios):.3f}",
                f"{mean([account.looks / clips for account in accounts]):.2f}",
                f"{mean(lags):.2f}",
                *(f"{percentile(lags, share):.1f}" for share in (0.5, 0.95, 0.99)),
            )
        )
    columns = ("", "x bound", "looks a clip", "lag s: mean", "p50", "p95", "p99")
    show(f"ModelMax-like: no limits, no P80 told, {clips:,} clips, seeds {list(seeds)}", columns, rows)


def hidden_limit(clips: int, allowed: float, seeds: Iterable[int]) -> None:
    """Print what happens where the vendor allows less than it documents."""
    rows = []
    for seed in seeds:
        account = run("venice", laws.USUAL, clips, seed, hidden=(40.0, allowed))
        best = oracle(laws.USUAL, seed, clips, 40.0, allowed, account.order)
        rows.append(row(f"{allowed:.0f} looks a minute, seed {seed}", account, best))
    show(f"A hidden limit: 120 looks a minute are documented, {allowed:.0f} allowed, {clips:,} clips", COLUMNS, rows)


def isolated(clips: int, seeds: Sequence[int]) -> None:
    """Print what the schedule alone does were one thing otherwise; means over the seeds."""
    model = list(range(0, clips, 3)) + list(range(1, clips, 3)) + list(range(2, clips, 3))
    three, wide = laws.TROUBLES[3], laws.WIDER
    cases: tuple[tuple[str, Law, dict[str, Any]], ...] = (
        ("lognormal 0.5, as it is", laws.USUAL, {}),
        ("... the law known from the start", laws.USUAL, {"told_all": True}),
        ("... submits in bursts", laws.USUAL, {"submits_as": Submits.BURSTS}),
        ("... submits evenly", laws.USUAL, {"submits_as": Submits.EVENLY}),
        ("... evenly, the law known", laws.USUAL, {"submits_as": Submits.EVENLY, "told_all": True}),
        (three.name, three, {}),
        ("... one model after the other", three, {"order": model}),
        *((law.name, law, {}) for law in wide),
    )
    rows = []
    for name, law, otherwise in cases:
        accounts = [alone(law, seed, clips, *VENICE, **otherwise) for seed in seeds]
        bests = [oracle(law, seed, clips, *VENICE, otherwise.get("order")) for seed in seeds]
        ratios = [account.makespan_s / best.makespan_s for account, best in zip(accounts, bests, strict=True)]
        lags = [lag for account in accounts for lag in account.lags_s]
        rows.append(
            (
                name,
                f"{mean(ratios):.3f}",
                f"{mean([account.looks / clips for account in accounts]):.2f}",
                f"{mean(lags):.1f}",
                f"{percentile(lags, 0.99):.1f}",
            )
        )
    columns = ("", "x oracle", "looks a clip", "lag s: mean", "p99")
    show(f"The schedule alone, {clips:,} clips, seeds {list(seeds)}", columns, rows)


def stated(clips: int, seeds: Sequence[int]) -> None:
    """Print rules in which nothing of ours has a part, beside what the model of events reports for them."""
    rows = []
    for name, half, fives in (
        ("drift: x2 after 15 min", "15.0 / 42", "19.1 / 57"),
        ("drift: x0.5 after 15 min", "17.3 / 49", "23.5 / 60"),
        ("2 % stragglers x12", "17.9 / 58", "22.9 / 52"),
        ("models of 50/145/400 s", "14.3 / 61", "26.9 / 61"),
    ):
        law = next(law for law in laws.TROUBLES if law.name == name)
        half_s = [(told_s or laws.P80_S) / 2 for told_s in law.told_s]
        cells = []
        for first_s, then_s in ((half_s, 15.0), ([5.0], 5.0)):
            accounts = [steady_timers(law, seed, clips, 39.0, 119.0, first_s, then_s) for seed in seeds]
            means, tails = ([f(account) for account in accounts] for f in (_mean_lag, _tail_lag))
            cells.append(f"{median(means):.1f} / {median(tails):.0f}")
        rows.append((name, cells[0], half, cells[1], fives))
    columns = ("mean / p99 lag, s", "P80/2, then 15 s", "in the model", "5 s timers", "in the model")
    show(f"Are these the durations of the model of events? {clips:,} clips, even submits, medians", columns, rows)


def _mean_lag(account: Account) -> float:
    return mean(account.lags_s)


def _tail_lag(account: Account) -> float:
    return percentile(account.lags_s, 0.99)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description="The look scheduler in virtual time.")
    parser.add_argument("--full", action="store_true", help="add the batches of 10,000 clips, and more seeds")
    parser.add_argument("--alone", action="store_true", help="only the schedule without the runner, to isolate causes")
    arguments = parser.parse_args()
    full = arguments.full
    began = time.perf_counter()
    print(machine())
    if not arguments.alone:
        beside_the_usual(1000)
        over_seeds(1000, (1, 2, 3, 4, 5))
        over_laws(1000, (1, 2, 3) if full else (1,))
        without_limits(2000, (1, 2, 3) if full else (1,))
        hidden_limit(2000, 90.0, (1, 2, 3) if full else (1,))
    if full:
        hidden_limit(2000, 60.0, (1,))
        beside_the_usual(10_000)
    isolated(1000, (1, 2, 3, 4, 5))
    stated(1000, (1, 2, 3, 4, 5))
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
