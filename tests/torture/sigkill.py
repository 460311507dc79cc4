"""Real SIGKILLs of the real command, against the sandbox in another process, worst-case billing: every claim bills.

    python -m tests.torture.sigkill --provider modelmax --kills 200 --seed 1
    python -m tests.torture.sigkill --provider venice --seeds 10 --kills 100 --state FILE   goes on where it stopped

A batch is run, killed at a random moment, run again, killed again, until it comes to its end; then the sandbox's own
bill is held against the ledger and the folder. Violations are printed and make the exit code 1. The seed decides the
moments; the machine decides what happens in them.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import Exit
from tests.torture.kept import Kept
from tests.torture.verdict import (
    MODELS,
    Tally,
    ask,
    environment,
    is_doubt,
    jobs_of,
    judge,
    report,
    requests_made,
    sandbox,
    worst_case,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def torture_batch(
    manifest: Path, root: Path, urls: dict[str, str], rng: random.Random, most_kills: int, *, longest_s: float
) -> Tally:
    """Run one manifest to its end through kills, and judge it by the vendor's bill."""
    tally = Tally(batches=1)
    command = [sys.executable, "-m", "pipeline", "run", str(manifest), "-o", str(root), "--yes"]
    around = environment(urls, root.parent / "state")
    accepted_before = set(ask(urls["bill"])["jobs"])
    doubts_before = pauses = 0
    with root.with_suffix(".log").open("wb") as log:
        while True:
            child = subprocess.Popen(command, env=around, stdout=log, stderr=log)
            is_last = tally.crashes >= most_kills
            try:
                child.wait(None if is_last else rng.uniform(0.25, longest_s))
                pauses += 1
                # After three crashes in a row that each left a doubt a run buys nothing and says so; the next one does.
                if child.returncode != Exit.PAUSED or pauses > 2:
                    break
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
                tally.crashes += 1
                in_doubt = sum(map(is_doubt, jobs_of(root)))
                tally.doubts_most_a_crash = max(tally.doubts_most_a_crash, in_doubt - doubts_before)
                doubts_before = in_doubt
    if child.returncode not in {0, 4}:
        tally.violations.append(f"{root}: the run ended with exit code {child.returncode}; see {log.name}")
    before = requests_made(urls)
    again = subprocess.run([*command], env=around, check=False, capture_output=True)
    after = requests_made(urls)
    if again.returncode not in {0, 4} or after != before:
        tally.violations.append(f"{root}: running it with nothing to do made {after - before} requests")
    judge(root, ask(urls["bill"]), accepted_before, tally)
    return tally


def torture(
    provider: str,
    kills: int,
    seed: int,
    *,
    items: int = 40,
    kills_per_batch: int = 8,
    speed: float = 200.0,
    longest_s: float = 1.6,
    manifest: Path | None = None,
) -> Tally:
    """Run batches through so many kills, one sandbox for all of them, and return what was seen."""
    rng = random.Random(seed)
    total = Tally()
    with tempfile.TemporaryDirectory(prefix="clipmill-sigkill-") as temporary:
        folder = Path(temporary)
        if manifest is None:
            manifest = folder / "m.yaml"
            write_manifest(manifest, provider, items, speed)
        with sandbox(folder, *worst_case(speed, seed)) as urls:
            while total.crashes < kills:
                most = min(kills_per_batch, kills - total.crashes)
                root = folder / f"batch{total.batches}"
                total.add(torture_batch(manifest, root, urls, rng, most, longest_s=longest_s))
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture one provider's path until enough kills are seen, for one seed or for many."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(MODELS), default="modelmax")
    parser.add_argument("--kills", type=int, default=20, help="for each seed")
    parser.add_argument("--kills-per-batch", type=int, default=8)
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds, from --seed on")
    parser.add_argument("--state", type=Path, help="remembers what was seen; the next call goes on from there")
    parser.add_argument("--speed", type=float, default=200.0)
    parser.add_argument("--longest-s", type=float, default=1.6)
    parser.add_argument("--manifest", type=Path, help="run this manifest instead of a generated one")
    options = parser.parse_args(arguments)
    kept = Kept(options.state, "provider", "seed") if options.state else None
    total = Tally()
    began_s = time.monotonic()
    for seed in range(options.seed, options.seed + options.seeds):
        record = kept and kept.get(options.provider, seed)
        if not record:
            tally = torture(
                options.provider,
                options.kills,
                seed,
                items=options.items,
                kills_per_batch=options.kills_per_batch,
                speed=options.speed,
                longest_s=options.longest_s,
                manifest=options.manifest,
            )
            record = asdict(tally)
            if kept:
                kept.add({"provider": options.provider, "seed": seed, **record})
        total.add(Tally(**record))
        if options.seeds > 1:
            print(f"seed {seed}: {total.crashes} kills so far, {len(total.violations)} violations", flush=True)
    seeds = f"seed {options.seed}" + (f" to {options.seed + options.seeds - 1}" if options.seeds > 1 else "")
    took_s = time.monotonic() - began_s
    return report(f"sigkill {options.provider} {seeds}: {total.line('SIGKILLs')}; {took_s:.0f} s", total)


if __name__ == "__main__":
    sys.exit(main())
