"""Downloads: verified, hashed and durable clips, beside `curl --parallel` (none of the three) and `dd` to the disk.

usage: bench_downloads.py

The same server process on loopback, 60 clips of 5 MiB, eight at a time, in turns.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.processes import run, served
from benchmarks.tables import machine, median, show
from pipeline.clips.download import DownloadLimits, collect
from pipeline.effects import system
from pipeline.providers.exchange import Opened
from pipeline.providers.http import Wire
from pipeline.providers.origin import origin_of
from tests.support.mp4s import minimal

CLIPS, SIZE_BYTES, AT_ONCE, TIMES = 60, 5 << 20, 8, 5


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
                parts = {"files": effects.files, "threads": effects.threads, "clock": effects.clock}
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


def dd(sync: str) -> object:
    """Return a way to write the same with dd."""

    def write(_: str, folder: Path) -> float:
        loop = f"for n in $(seq {CLIPS}); do dd if=/dev/zero of={folder}/$n bs=1M count=5 {sync} status=none; done"
        return run(["sh", "-c", loop]).cpu_s

    return write


def main() -> None:
    """Print the table."""
    print(machine())
    ways = {"clipmill: whole, hashed, walked, fsynced": ours}
    missing = [name for name in ("curl", "dd") if shutil.which(name) is None]
    if "curl" not in missing:
        ways["curl --parallel, 8 at once"] = curl
    if "dd" not in missing:
        ways |= {"dd, no fsync": dd(""), "dd conv=fsync": dd("conv=fsync")}  # type: ignore[dict-item]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "clip.mp4"
        clip.write_bytes(minimal(data=os.urandom(SIZE_BYTES)))
        server = str(Path(__file__).with_name("files_server.py"))
        with served([sys.executable, server, str(clip)]) as told:
            for _ in range(TIMES):
                for way, fetch in ways.items():
                    with tempfile.TemporaryDirectory() as folder:
                        began = time.perf_counter()
                        cpu_s = fetch(told.strip(), Path(folder))
                        wall_s = time.perf_counter() - began
                        assert len(list(Path(folder).iterdir())) == CLIPS, way
                    taken[way].append((wall_s, cpu_s))
    speeds = {way: median([CLIPS * SIZE_BYTES / 1e6 / wall_s for wall_s, _ in runs]) for way, runs in taken.items()}
    against = speeds.get("curl --parallel, 8 at once")
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
    show(f"{CLIPS} clips of {SIZE_BYTES >> 20} MiB, median of {TIMES}", columns, rows)
    for name in missing:
        print(f"{name} is not installed; its row is left out.")


if __name__ == "__main__":
    main()
