"""Downloads: verified, hashed and durable clips, beside `curl --parallel` (none of the three) and `dd` to the disk.

usage: bench_downloads.py [CLIPS [ROUNDS [MIB]]]

The same server process on loopback, which sends with sendfile(2); clips of 5 MiB, eight at a time, in turns. Each
counted run comes right after one of the same kind that is not counted: where a virtual machine gives free memory back
to its host, the first one to fill the page cache would pay for all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import run, served
from benchmarks.tables import machine, median, show
from pipeline.clips.download import DownloadLimits, collect
from pipeline.providers.exchange import Opened
from pipeline.providers.http import Wire
from pipeline.providers.origin import origin_of
from pipeline.system.effects import system
from tests.support.mp4s import minimal

if TYPE_CHECKING:
    from collections.abc import Callable

GIVEN = [int(word) for word in sys.argv[1:]]
CLIPS, TIMES, MIB = *GIVEN, *(240, 5, 5)[len(GIVEN) :]
SIZE_BYTES, AT_ONCE = MIB << 20, 8
CURL = "curl --parallel, 8 at once"


def ours(origin: str, folder: Path) -> float:
    """Collect every clip through the product's own wire; return the CPU seconds of this process."""
    effects = system()
    before = os.times()

    async def main() -> None:
        wire, slots = Wire(origin_of(origin), "bench", effects), asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with slots:
                opened = await wire.open("GET", f"/clip{number}.mp4")
                assert isinstance(opened, Opened), opened
                part = folder / f"clip{number}.part"
                parts: Any = {"files": effects.files, "threads": effects.threads, "clock": effects.clock}
                await collect(opened.source, part, limits=DownloadLimits(), **parts)

        async with asyncio.TaskGroup() as group:
            for number in range(CLIPS):
                group.create_task(one(number))
        await wire.close()

    asyncio.run(main())
    effects.threads.close()
    after = os.times()
    return after.user + after.system - before.user - before.system


def curl(origin: str, folder: Path) -> float:
    """Fetch the same with curl."""
    command = ["curl", "-s", "--parallel", "--parallel-max", str(AT_ONCE), "--remote-name-all"]
    return run([*command, f"{origin}/clip[0-{CLIPS - 1}].mp4"], folder=folder).cpu_s


def curl_and_sync(origin: str, folder: Path) -> float:
    """Fetch them with curl, then hash them and make them durable with the system's own commands."""
    taken = curl(origin, folder)
    return taken + run(["sh", "-c", "sha256sum *.mp4 && sync *.mp4 ."], folder=folder).cpu_s


def dd(sync: str) -> Callable[[str, Path], float]:
    """Return a way to write the same with dd."""

    def write(_: str, folder: Path) -> float:
        loop = f"for n in $(seq {CLIPS}); do dd if=/dev/zero of={folder}/$n bs=1M count={MIB} {sync} status=none; done"
        return run(["sh", "-c", loop]).cpu_s

    return write


def timed(fetch: Callable[[str, Path], float], origin: str) -> tuple[float, float]:
    """Fetch every clip into a folder of its own; return the seconds it took, and those of CPU."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        cpu_s = fetch(origin, Path(folder))
        wall_s = time.perf_counter() - began
        assert len(list(Path(folder).iterdir())) == CLIPS, fetch
    return wall_s, cpu_s


def main() -> None:
    """Print the table."""
    print(machine())
    ways: dict[str, Callable[[str, Path], float]] = {"clipmill: whole, hashed, walked, fsynced": ours}
    missing = [name for name in ("curl", "dd") if shutil.which(name) is None]
    if "curl" not in missing:
        ways[CURL] = curl
        ways["curl, then sha256sum and sync"] = curl_and_sync
    if "dd" not in missing:
        ways |= {"dd, no fsync": dd(""), "dd conv=fsync": dd("conv=fsync")}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "clip.mp4"
        clip.write_bytes(minimal(data=os.urandom(SIZE_BYTES)))
        server = str(Path(__file__).with_name("files_server.py"))
        with served([sys.executable, server, str(clip)]) as told:
            for _ in range(TIMES):
                for way, fetch in ways.items():
                    timed(fetch, told.strip())
                    taken[way].append(timed(fetch, told.strip()))
    speeds = {way: median([CLIPS * SIZE_BYTES / 1e6 / wall_s for wall_s, _ in runs]) for way, runs in taken.items()}
    against = speeds.get(CURL)
    rows = [
        (
            way,
            f"{speeds[way]:,.0f}",
            f"{speeds[way] / against:.2f}" if against else "-",
            f"{median([cpu_s for _, cpu_s in runs]) / CLIPS * 1000:.1f}",
        )
        for way, runs in taken.items()
    ]
    columns = ("", "MB/s", "x curl", "CPU ms a clip")
    show(f"{CLIPS} clips of {MIB} MiB, median of {TIMES}", columns, rows)
    for name in missing:
        print(f"{name} is not installed; its row is left out.")


if __name__ == "__main__":
    main()
