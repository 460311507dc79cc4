"""Long manifests, from `validate` to `resume`, with the real command against the sandbox's instant mode."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import CLIPMILL, Used, ask, environ_of, run, sandbox
from tests.torture.load_figures import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

INSTANT = ("--instant", "--render", "template", "--no-limits")
SCENE = "a slow tracking shot along a coral reef at dawn, soft light from above, drifting particles, shallow focus"
WAITS_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What must hold for a manifest of some length."""

    items: int
    validate_s: float
    """Of CPU time; the other times are the wall's."""
    first_submit_s: float
    peak_mib: float
    first_look_s: float = 10.0
    status_s: float = 1.0


LONG = Targets(items=100_000, validate_s=15.0, first_submit_s=20.0, peak_mib=200.0)
MILLION = Targets(items=1_000_000, validate_s=120.0, first_submit_s=math.inf, peak_mib=400.0)


def write_manifest(path: Path, items: int) -> Path:
    """Write a manifest with a prompt of 150 characters and parameters of its own for each item."""
    with path.open("w") as file:
        file.write("version: 1\nname: load\nprovider: modelmax\nmodel: veo-3\n")
        file.write("prices: {modelmax/veo-3: {usd_per_clip: 1}}\nclips:\n")
        for number in range(items):
            file.write(
                f"  - id: clip-{number:07d}\n"
                f"    prompt: Take {number:07d} of {SCENE}, lens {number % 90} mm\n"
                '    parameters: {duration_seconds: 8, aspect_ratio: "16:9", resolution: 720p, generate_audio: false}\n'
            )
    return path


def of_lists(targets: Targets, slice_items: int = 200) -> Iterator[Figure]:
    """Validate, plan, run a slice of, kill, resume and look at one long batch; yield a figure for each."""
    with tempfile.TemporaryDirectory(prefix="clipmill-load-") as name, sandbox(*INSTANT) as origin:
        root, around = Path(name), environ_of(origin)
        manifest = write_manifest(root / "manifest.yaml", targets.items)
        label = f"{targets.items:,} items"

        used = run([*CLIPMILL, "validate", str(manifest)], around, root)
        yield from _told(f"{label}: validate", used, cpu_s=targets.validate_s, peak_mib=targets.peak_mib)
        used = run([*CLIPMILL, "plan", str(manifest)], around, root)
        yield from _told(f"{label}: plan", used, peak_mib=targets.peak_mib)

        began = time.time()  # noqa: TID251 - held against the times in the ledger
        batch = root / "batch"
        chosen = ["--limit", str(slice_items), "--yes"]
        used = run([*CLIPMILL, "run", str(manifest), "-o", str(batch), *chosen], around, root)
        yield from _told(f"{label}: run --limit {slice_items}", used, peak_mib=targets.peak_mib)
        yield Figure(f"{label}: first submit", _first_submit(batch) - began, "s", most=targets.first_submit_s)
        yield Figure(f"{label}: clips of the slice", _finished(origin), "clips", least=slice_items, most=slice_items)

        command = [*CLIPMILL, "resume", str(batch), "--yes"]
        _until(command, around, lambda: _finished(origin) >= 2 * slice_items, signal.SIGKILL)
        looks = _looks(origin)
        waited, peak_mib, _ = _until(command, around, lambda: _looks(origin) > looks, signal.SIGINT)
        yield Figure(f"{label}: killed, resume to first look", waited, "s", most=targets.first_look_s)
        yield Figure(f"{label}: resume, peak memory", peak_mib, "MiB", most=targets.peak_mib)
        used = run([*CLIPMILL, "status", str(batch), "--json"], around, root)
        yield from _told(f"{label}: status", used, cpu_s=targets.status_s)
        standing = json.loads(used.stdout)["batches"][0]
        yield Figure(f"{label}: items that status counts", standing["items"], "items", least=targets.items)
        yield Figure(f"{label}: charged more than once", _charged_twice(origin), "jobs", most=0)
        ledger = batch / "ledger.sqlite"
        yield Figure(f"{label}: ledger", ledger.stat().st_size / 2**20, "MiB")
        shutil.rmtree(batch)


def _told(name: str, used: Used, *, cpu_s: float = math.inf, peak_mib: float = math.inf) -> Iterator[Figure]:
    """Yield what a command took that ended well. What only reckons is held to its CPU time: others may be at work."""
    assert used.exit_code == 0, f"{name}: exit code {used.exit_code}"
    yield Figure(name, used.cpu_s, "s of CPU", most=cpu_s, beside=f"{used.wall_s:.1f} s in all")
    if peak_mib < math.inf:
        yield Figure(f"{name}, peak memory", used.peak_mib, "MiB", most=peak_mib)


def _until(
    command: list[str], around: Mapping[str, str], is_reached: Callable[[], bool], number: signal.Signals
) -> tuple[float, float, int]:
    """Run a command until something has happened, then signal it; return the seconds, the peak memory, the code."""
    began = time.monotonic()
    nowhere = subprocess.DEVNULL
    child = subprocess.Popen(command, env={**os.environ, **around}, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    while not is_reached():
        assert child.poll() is None, f"{command} ended with {child.returncode}"
        time.sleep(WAITS_S)
    waited = time.monotonic() - began
    child.send_signal(number)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return waited, usage.ru_maxrss / 1024, child.returncode


def _first_submit(batch: Path) -> float:
    """Return when the first intent was written, in seconds since the epoch."""
    with closing(sqlite3.connect(batch / "ledger.sqlite")) as database:
        # By the first rows: the intents come right after the plan, and the plan is a row an item.
        query = "SELECT at FROM event WHERE kind = 'submit_started' ORDER BY seq LIMIT 1"
        (at,) = database.execute(query).fetchone()
    return datetime.fromisoformat(at).timestamp()


def _counted(origin: str, name: str) -> int:
    endpoints: dict[str, dict[str, int]] = ask(f"{origin}/sandbox/requests")["endpoints"]
    return endpoints.get(name, {}).get("200", 0)


def _finished(origin: str) -> int:
    return _counted(origin, "modelmax-content")


def _looks(origin: str) -> int:
    return _counted(origin, "modelmax-status")


def _charged_twice(origin: str) -> int:
    jobs: dict[str, Any] = ask(f"{origin}/sandbox/bill")["jobs"]
    return sum(job["charges"] > 1 for job in jobs.values())
