"""Long manifests, from `validate` to `resume`, with the real command against the sandbox's instant mode."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
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
    """What must hold for a manifest of some length; seconds of CPU, since others may be at work on the machine."""

    items: int
    validate_s: float
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

        batch = root / "batch"
        chosen = ["--limit", str(slice_items), "--yes"]
        command = [*CLIPMILL, "run", str(manifest), "-o", str(batch), *chosen]
        ran = _until(command, around, lambda: _submits(origin) > 0, None)
        yield from _reached(f"{label}: run --limit {slice_items}, first submit", ran, targets.first_submit_s)
        yield Figure(f"{label}: run --limit {slice_items}, peak memory", ran.peak_mib, "MiB", most=targets.peak_mib)
        yield Figure(f"{label}: clips of the slice", _finished(origin), "clips", least=slice_items, most=slice_items)

        command = [*CLIPMILL, "resume", str(batch), "--yes"]
        _until(command, around, lambda: _finished(origin) >= 2 * slice_items, signal.SIGKILL)
        looks = _looks(origin)
        resumed = _until(command, around, lambda: _looks(origin) > looks, signal.SIGINT)
        yield from _reached(f"{label}: killed, resume to first look", resumed, targets.first_look_s)
        yield Figure(f"{label}: resume, peak memory", resumed.peak_mib, "MiB", most=targets.peak_mib)
        used = run([*CLIPMILL, "status", str(batch), "--json"], around, root)
        yield from _told(f"{label}: status", used, cpu_s=targets.status_s)
        standing = json.loads(used.stdout)["batches"][0]
        yield Figure(f"{label}: items that status counts", standing["items"], "items", least=targets.items)
        yield Figure(f"{label}: charged more than once", _charged_twice(origin), "jobs", most=0)
        ledger = batch / "ledger.sqlite"
        yield Figure(f"{label}: ledger", ledger.stat().st_size / 2**20, "MiB")
        shutil.rmtree(batch)


def _told(name: str, used: Used, *, cpu_s: float = math.inf, peak_mib: float = math.inf) -> Iterator[Figure]:
    """Yield what a command took that ended well."""
    assert used.exit_code == 0, f"{name}: exit code {used.exit_code}"
    yield Figure(name, used.cpu_s, "s of CPU", most=cpu_s, beside=f"{used.wall_s:.1f} s in all")
    if peak_mib < math.inf:
        yield Figure(f"{name}, peak memory", used.peak_mib, "MiB", most=peak_mib)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How a process came to a moment that was waited for, and what it took until its end."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def _reached(name: str, reached: Reached, most_s: float) -> Iterator[Figure]:
    yield Figure(name, reached.cpu_s, "s of CPU", most=most_s, beside=f"{reached.wall_s:.1f} s in all")


def _until(
    command: list[str], around: Mapping[str, str], is_reached: Callable[[], bool], number: signal.Signals | None
) -> Reached:
    """Run a command until something has happened, and then signal it, or let it come to its own end."""
    began = time.monotonic()
    nowhere = subprocess.DEVNULL
    child = subprocess.Popen(command, env={**os.environ, **around}, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    while not is_reached():
        assert child.poll() is None, f"{command} ended with {child.returncode}"
        time.sleep(WAITS_S)
    wall_s, cpu_s = time.monotonic() - began, _cpu_s(child.pid)
    if number is not None:
        child.send_signal(number)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Reached(wall_s=wall_s, cpu_s=cpu_s, peak_mib=usage.ru_maxrss / 1024)


def _cpu_s(pid: int) -> float:
    """Return the CPU time that a process has taken so far, as Linux counts it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _counted(origin: str, name: str) -> int:
    endpoints: dict[str, dict[str, int]] = ask(f"{origin}/sandbox/requests")["endpoints"]
    return endpoints.get(name, {}).get("200", 0)


def _finished(origin: str) -> int:
    return _counted(origin, "modelmax-content")


def _submits(origin: str) -> int:
    endpoints: dict[str, dict[str, int]] = ask(f"{origin}/sandbox/requests")["endpoints"]
    return sum(endpoints.get("modelmax-submit", {}).values())


def _looks(origin: str) -> int:
    return _counted(origin, "modelmax-status")


def _charged_twice(origin: str) -> int:
    jobs: dict[str, Any] = ask(f"{origin}/sandbox/bill")["jobs"]
    return sum(job["charges"] > 1 for job in jobs.values())
