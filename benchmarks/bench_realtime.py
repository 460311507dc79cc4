"""Real time: the real command against the sandbox with its limits 20 times as fast, beside the usual script.

usage: bench_realtime.py

"least" is what no client can beat: every submit as early as the limit (Venice) or 100 jobs at once (ModelMax) lets it
leave, in the order in which the jobs were submitted, plus how long each of those very jobs took. "bound" is that of a
client that knows when each job ends, and looks just then, as soon as looks spread evenly over each minute let it: so
fast, 800 jobs end within ten seconds, and a look each at 40 a second takes twenty. The makespan is from the first
accepted job to the end of the process. The bill is the sandbox's own.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.processes import CLIPMILL, PLAIN, ask, environ_of, run, sandbox, write_manifest
from benchmarks.tables import machine, show
from pipeline.providers.registry import find_provider

MINUTE_S = 60.0
POLL_S = 5.0
IN_FLIGHT = 100
BILLING = 16
"""Calls that can bill at once: 2 in life, and 20 times as fast that would be 40; the commits around each are not."""


def durations(bill: Any) -> list[float]:
    """Return how long each job took, in the order in which they were submitted."""
    names = ("accepted_at", "ends_at")
    moments = [[datetime.fromisoformat(job[name]) for name in names] for job in bill["jobs"].values()]
    return [(ends - accepted).total_seconds() for accepted, ends in sorted(moments)]


def ends(lasted: list[float], submits_per_minute: float) -> list[float]:
    """Return the earliest ends of jobs that take so long, counted from the first submit."""
    if submits_per_minute:
        return [number // int(submits_per_minute) * MINUTE_S + s for number, s in enumerate(lasted)]
    free = [0.0] * IN_FLIGHT
    ended = []
    for each in lasted:
        ended.append(heapq.heappop(free) + each)
        heapq.heappush(free, ended[-1])
    return ended


def seen(ended: list[float], looks_per_minute: float) -> float:
    """Return when the last of these ends is seen by one look at each, evenly spread where there is a limit."""
    looked_s = float("-inf")
    for end_s in sorted(ended):
        looked_s = max(end_s, looked_s + MINUTE_S / looks_per_minute if looks_per_minute else end_s)
    return looked_s


def clipmill(provider: str, clips: int, speed: int, folder: Path) -> tuple[float, Any, Any]:
    """Run the real command, told the limits that hold; return when it ended, the bill and the counts."""
    documented = find_provider(provider).capabilities.limits
    limits = {"concurrent_billing": BILLING}
    if not documented.submits_per_minute:
        limits["in_flight"] = IN_FLIGHT
    for name in ("submits_per_minute", "looks_per_minute"):
        if getattr(documented, name):
            limits[name] = int(getattr(documented, name) * speed)
    manifest = write_manifest(folder / "manifest.yaml", provider, clips, limits)
    with sandbox("--speed", str(speed), "--render", "template") as origin:
        used = run([*CLIPMILL, "run", str(manifest), "-o", str(folder / "batch"), "--yes"], environ_of(origin))
        assert used.exit_code == 0, used
        return time.time(), ask(f"{origin}/sandbox/bill"), ask(f"{origin}/sandbox/requests")  # noqa: TID251


def plain(provider: str, clips: int, speed: int, folder: Path) -> tuple[float, Any, Any]:
    """Run the usual script against a sandbox."""
    with sandbox("--speed", str(speed), "--render", "template") as origin:
        given = (origin, str(clips), str(IN_FLIGHT if provider == "modelmax" else clips), str(folder / "plain"))
        used = run([*PLAIN, *given, str(POLL_S / speed), provider])
        assert used.exit_code == 0, used
        return time.time(), ask(f"{origin}/sandbox/bill"), ask(f"{origin}/sandbox/requests")  # noqa: TID251


def compare(provider: str, clips: int, speed: int) -> None:
    """Print one table."""
    rows = []
    limits = find_provider(provider).capabilities.limits
    submits, looks = ((each or 0.0) * speed for each in (limits.submits_per_minute, limits.looks_per_minute))
    for name, make in (("clipmill run", clipmill), ("the usual script", plain)):
        with tempfile.TemporaryDirectory() as folder:
            ended_s, bill, requests = make(provider, clips, speed, Path(folder))
        accepted_s = [datetime.fromisoformat(job["accepted_at"]).timestamp() for job in bill["jobs"].values()]
        wall_s = ended_s - min(accepted_s)
        ended = ends(durations(bill), submits)
        least_s, bound_s = max(ended), seen(ended, looks)
        endpoint = {"venice": "venice-retrieve", "modelmax": "modelmax-status"}[provider]
        looked = requests["endpoints"][endpoint]["200"]
        rows.append(
            (
                name,
                f"{wall_s:.1f}",
                f"{least_s:.1f}",
                f"{bound_s:.1f}",
                f"{wall_s / bound_s:.3f}",
                f"{max(accepted_s) - min(accepted_s):.1f}",
                f"{looked / clips:.2f}",
                requests["throttled"],
                requests["blocked"],
                sum(job["charges"] for job in bill["jobs"].values()),
                clips,
            )
        )
    columns = ("", "makespan s", "least s", "bound s", "x bound", "last submit s", "looks a clip")
    show(
        f"{provider}, {clips} clips, {speed} times as fast as real",
        (*columns, "refusals", "blocked", "charges", "clips"),
        rows,
    )


def main() -> None:
    """Print both tables."""
    print(machine())
    compare("venice", 3200, 20)
    compare("modelmax", 1000, 20)


if __name__ == "__main__":
    main()
