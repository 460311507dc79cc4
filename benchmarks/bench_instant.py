"""An instant provider: what the command costs beside a script that keeps no books.

usage: bench_instant.py [CLIPS] [--profile]

The command writes every intent and every answer down before it acts, and brings every clip to the disk; the script
does neither. Where a row says so, it also decodes every clip to its last frame. Both have 100 jobs at once. The
vendor is a process of its own on the same machine, and is fresh for each run: the sandbox, whose clips have some
kilobytes, or a server that hands out clips of 4 MiB. ModelMax bills the claim, Venice the submit. With `--profile`
the command alone is run, under cProfile, and its dearest functions are printed.
"""

from __future__ import annotations

import argparse
import json
import pstats
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import CLIPMILL, PLAIN, Used, environ_of, run, sandbox, served, write_manifest
from benchmarks.tables import machine, median, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

INSTANT = ("--instant", "--render", "template", "--no-limits")
IN_FLIGHT = 100
SLOW_S, SLOW_CLIPS = 3.0, 24
LARGE_BYTES, LARGE_FEWER = 4 << 20, 4
TIMES = 3
UNLIMITED = {"submits_per_minute": 10_000_000, "looks_per_minute": 10_000_000}
"""For Venice, whose documented limits would decide."""


def clipmill(
    origin: str,
    clips: int,
    folder: Path,
    provider: str = "modelmax",
    limits: dict[str, int] | None = None,
    command: tuple[str, ...] = CLIPMILL,
    *,
    decoded: bool = False,
) -> Used:
    """Run the real command with the full ledger."""
    told = {"in_flight": IN_FLIGHT, **(UNLIMITED if provider == "venice" else {}), **(limits or {})}
    manifest = write_manifest(folder / "manifest.yaml", provider, clips, told, decoded=decoded)
    used = run([*command, "run", str(manifest), "-o", str(folder / "batch"), "--yes"], environ_of(origin))
    assert used.exit_code == 0, used
    assert len(list((folder / "batch" / "clips").glob("*.mp4"))) == clips
    return used


def plain(origin: str, clips: int, folder: Path, provider: str = "modelmax") -> Used:
    """Run the script without a ledger."""
    used = run([*PLAIN, origin, str(clips), str(IN_FLIGHT), str(folder / "plain"), "0.05", provider])
    assert used.exit_code == 0, used
    return used


def line(name: str, runs: list[Used], clips: int, rate: float) -> tuple[str, ...]:
    """Return one row: medians, and the ratio to a rate of clips a second."""
    per_s = clips / median([each.wall_s for each in runs])
    return (
        name,
        f"{per_s:.1f}",
        f"{per_s / rate:.2f}" if rate else "1.00",
        f"{median([each.cpu_s for each in runs]) / clips * 1000:.1f}",
        f"{max(each.peak_mib for each in runs):.0f}",
    )


COLUMNS = ("", "clips a second", "x script", "CPU ms a clip", "peak MiB")


@contextmanager
def large_clips() -> Iterator[str]:
    """Run the vendor of large clips; yield its origin."""
    script = str(Path(__file__).with_name("instant_vendor.py"))
    with served([sys.executable, script, str(LARGE_BYTES)]) as told:
        yield told.strip()


def instant(provider: str, clips: int, vendor: Callable[[], AbstractContextManager[str]], what: str) -> None:
    """Race them in turns against answers that come at once."""
    ways: dict[str, Callable[[str, int, Path], Used]] = {
        "script, no ledger, no fsync": partial(plain, provider=provider),
        "clipmill run": partial(clipmill, provider=provider),
        "clipmill run, 16 billing calls at once": partial(
            clipmill, provider=provider, limits={"concurrent_billing": 16}
        ),
        "... and every frame decoded": partial(
            clipmill, provider=provider, limits={"concurrent_billing": 16}, decoded=True
        ),
    }
    found: dict[str, list[Used]] = {name: [] for name in ways}
    for _ in range(TIMES):
        for way, make in ways.items():
            with tempfile.TemporaryDirectory() as name, vendor() as origin:
                found[way].append(make(origin, clips, Path(name)))
    rate = clips / median([each.wall_s for each in next(iter(found.values()))])
    rows = [line(way, runs, clips, rate) for way, runs in found.items()]
    show(f"{provider}: {clips} clips of {what}, process start to end, median of {TIMES}", COLUMNS, rows)


@contextmanager
def late_by(seconds: float, origin: str) -> Iterator[str]:
    """Run the proxy that answers late; yield its origin."""
    with served([sys.executable, str(Path(__file__).with_name("proxy.py")), origin, str(seconds)]) as line:
        yield line.strip()


def late() -> None:
    """Race them against answers that each take 3 s."""
    clips = SLOW_CLIPS
    cases = (
        ("script, no ledger, no fsync", None),
        ("clipmill run, 2 billing calls at once", 2),
        ("clipmill run, 32 billing calls at once", 32),
    )
    found: list[tuple[str, list[Used]]] = []
    for name, billing in cases:
        with tempfile.TemporaryDirectory() as folder, sandbox(*INSTANT) as origin, late_by(SLOW_S, origin) as slow:
            used = (
                clipmill(slow, clips, Path(folder), limits={"concurrent_billing": billing})
                if billing
                else plain(slow, clips, Path(folder))
            )
            found.append((name, [used]))
    rate = clips / found[0][1][0].wall_s
    rows = [line(name, runs, clips, rate) for name, runs in found]
    show(f"Answers after {SLOW_S:.0f} s each, {clips} clips", COLUMNS, rows)


def profile(clips: int) -> None:
    """Print the command's dearest functions."""
    with tempfile.TemporaryDirectory() as name, sandbox(*INSTANT) as origin:
        told = Path(name) / "profile"
        command = (sys.executable, "-m", "cProfile", "-o", str(told), "-m", "pipeline")
        used = clipmill(origin, clips, Path(name), command=command)
        print(json.dumps({"wall_s": used.wall_s, "cpu_s": used.cpu_s}))
        pstats.Stats(str(told)).strip_dirs().sort_stats("tottime").print_stats(45)
        pstats.Stats(str(told)).strip_dirs().sort_stats("cumtime").print_stats(70)


def main() -> None:
    """Print the tables, or the profile."""
    arguments = argparse.ArgumentParser(description="What the command costs beside a plain script.")
    arguments.add_argument("clips", nargs="?", type=int, default=400)
    arguments.add_argument("--profile", action="store_true")
    given = arguments.parse_args()
    print(machine())
    if given.profile:
        profile(given.clips)
        return
    for provider in ("modelmax", "venice"):
        instant(provider, given.clips, partial(sandbox, *INSTANT), "some kB")
        instant(provider, given.clips // LARGE_FEWER, large_clips, f"{LARGE_BYTES >> 20} MiB")
    late()


if __name__ == "__main__":
    main()
