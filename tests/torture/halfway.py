"""Killed when half of its clips are done, and resumed: what is done is not asked for again, and nothing is paid twice.

    python -m tests.torture.halfway --provider venice --items 100 --times 5

The real command runs against the sandbox in another process, worst case: every claim bills. At the end the vendor's own
bill must have one charge for each item that is done and for each doubt that it charged, and none beside; and from the
kill on, it must have seen no request about an item that was done by then.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.jobs.state import State
from tests.torture.verdict import (
    MODELS,
    Tally,
    ask,
    environment,
    is_doubt,
    jobs_of,
    judge,
    report,
    sandbox,
    worst_case,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOOKS_EVERY_S = 0.02
LONGEST_S = 120.0


def done_in(root: Path) -> set[str]:
    """Return the vendor's ids of what is done so far."""
    return {job.job_id for job in jobs_of(root) if job.state is State.DONE}


def kill_at_half(command: Sequence[str], around: Mapping[str, str], root: Path, items: int) -> set[str]:
    """Run the batch until half of it is done, kill the run, and return the vendor's ids of what is done then."""
    with root.with_suffix(".log").open("wb") as log:
        child = subprocess.Popen(command, env=dict(around), stdout=log, stderr=log)
        ends_at = time.monotonic() + LONGEST_S
        while len(done_in(root)) < items / 2 and child.poll() is None and time.monotonic() < ends_at:
            time.sleep(LOOKS_EVERY_S)
        child.send_signal(signal.SIGKILL)
        child.wait()
    return done_in(root)


def requests_about(bill: Any, job_ids: set[str]) -> dict[str, dict[str, int]]:
    """Return what the vendor was asked about some jobs, by job and call."""
    return {job_id: job["requests"] for job_id, job in bill["jobs"].items() if job_id in job_ids}


def torture_batch(manifest: Path, root: Path, urls: dict[str, str], items: int) -> Tally:
    """Kill one batch at half, resume it, and judge it by the vendor's bill."""
    tally = Tally(batches=1, crashes=1)
    command = [sys.executable, "-m", "pipeline", "run", str(manifest), "-o", str(root), "--yes"]
    around = environment(urls, root.parent / "state")
    accepted_before = set(ask(urls["bill"])["jobs"])
    done = kill_at_half(command, around, root, items)
    tally.doubts_most_a_crash = sum(map(is_doubt, jobs_of(root)))
    if not items / 2 <= len(done) < items:
        tally.violations.append(f"{root}: {len(done)} of {items} were done when it was killed, which shows nothing")
    before = requests_about(ask(urls["bill"]), done)
    resumed = subprocess.run(command, env=around, check=False, capture_output=True)
    if resumed.returncode not in {0, 4}:
        tally.violations.append(f"{root}: the resumed run ended with exit code {resumed.returncode}")
    bill = ask(urls["bill"])
    after = requests_about(bill, done)
    tally.violations += [
        f"{root}: {job_id} was done, and was asked about again: {before[job_id]}, then {calls}"
        for job_id, calls in after.items()
        if calls != before[job_id]
    ]
    judge(root, bill, accepted_before, tally)
    return tally


def torture(provider: str, times: int, seed: int, *, items: int = 100, speed: float = 200.0) -> Tally:
    """Kill so many batches at half, one sandbox for all of them, and return what was seen."""
    total = Tally()
    with tempfile.TemporaryDirectory(prefix="clipmill-halfway-") as temporary:
        folder = Path(temporary)
        manifest = folder / "m.yaml"
        write_manifest(manifest, provider, items, speed)
        with sandbox(folder, *worst_case(speed, seed)) as urls:
            for number in range(times):
                total.add(torture_batch(manifest, folder / f"batch{number}", urls, items))
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill at half, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(MODELS), default="modelmax")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began_s = time.monotonic()
    total = torture(options.provider, options.times, options.seed, items=options.items)
    took_s = time.monotonic() - began_s
    told = f"halfway {options.provider} seed {options.seed}: {total.line('SIGKILLs at half')}; {took_s:.0f} s"
    return report(told, total)


if __name__ == "__main__":
    sys.exit(main())
