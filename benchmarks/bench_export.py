"""Exports of 10,000 clips: verified, hashed and durable, beside `cp` and `tar`, which do none of the three.

usage: bench_export.py [CLIPS [ROUNDS [KIB]]]

One batch of clips of 150 KiB on one disk; each round races all of them in turns, so that what else the machine does
meets them alike. What they make is removed at the end: where many files were removed within the last minutes, ext4 goes
through all of their inodes for each new one. `cp -r` copies the clips, `tar cf` packs them; neither waits until the
bytes are on the disk, as an export does, so that each has a second row with `sync -f` after it. The real command is
timed from its start to its end: reading the ledger and writing rows, card and index are in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks.processes import CLIPMILL, run
from benchmarks.tables import machine, median, show
from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind as E
from pipeline.ledger.store import Ledger
from pipeline.paths import BatchFolder
from pipeline.system.effects import system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIPS, KIB, TIMES = 10_000, 150, 3
PLAIN = ("cp -r", "tar cf")
BESIDE = {"webdataset": "tar cf"}
"""What is held against `tar cf`; the others are against `cp -r`."""
DECODED = {"frames": 96, "corrupt": 0, "stopped_because": "", "sound_damage": "", "black": 0.0, "frozen": 0.0}
FACTS = {"duration_s": 4.0, "width": 1280, "height": 720, "fps": 24.0, "has_audio": True, "codec": "avc1"}


def history(number: int, data: bytes) -> Iterator[tuple[E, dict[str, Any]]]:
    """Yield what happens to an item from its plan to its decoded clip."""
    file = f"clips/item-{number:05}.mp4"
    request = {"model": "veo-3", "prompt": f"A fox, number {number}", "parameters": {"duration_seconds": 4}}
    request |= {"options": {}, "files": {}}
    yield E.ITEM_PLANNED, {"fingerprint": "f" * 64, "provider": "modelmax", "request": request, "metadata": {}}
    yield E.SUBMIT_STARTED, {"base_url": "x", "account": "y", "price_usd": 0.4, "price_is": "computed"}
    receipt = {"job_id": f"job-{number}", "model": "veo-3", "answer": {}}
    yield E.SUBMIT_ACCEPTED, {"receipt": receipt, "warnings": []}
    digest = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    stored = {"index": 0, "part": "p", "file": file, "facts": {**FACTS, "frames": 96}, "warnings": []}
    yield E.CLIP_STORED, stored | digest
    yield E.CLIP_PUBLISHED, {"index": 0, "file": file}
    yield E.CLIP_DECODED, {"index": 0, "decoded": {**DECODED, "silent": False}}


async def make_batch(root: Path, clips: int, size_bytes: int) -> None:
    """Write a batch of finished clips, each of its own bytes."""
    (root / "clips").mkdir(parents=True)
    effects, body = system(), Random(1).randbytes(size_bytes)
    ledger = await Ledger.open(BatchFolder(root).ledger, effects, {})
    await ledger.write_meta({"name": "bench"})
    jobs: list[Any] = [None] * clips
    steps = [list(history(number, _clip(root, number, body))) for number in range(clips)]
    for step in range(len(steps[0])):
        moves = []
        for number, (kind, data) in enumerate(each[step] for each in steps):
            item = f"item-{number:05}"
            event = Event(kind=kind, item_id=item, revision=1, at=effects.clock.now(), data=data)
            moves.append((jobs[number], event))
        jobs = await ledger.record_all(moves)
    await ledger.place((f"item-{number:05}", number) for number in range(clips))
    await ledger.close("made")
    effects.threads.close()


def _clip(root: Path, number: int, body: bytes) -> bytes:
    data = body[:-8] + number.to_bytes(8, "big")
    (root / "clips" / f"item-{number:05}.mp4").write_bytes(data)
    return data


def seconds(*words: object) -> float:
    """Run a command to its end; return how long that took."""
    used = run([str(word) for word in words])
    assert used.exit_code == 0, words
    return used.wall_s


def main() -> None:
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else CLIPS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else TIMES
    size_bytes = (int(sys.argv[3]) if len(sys.argv) > 3 else KIB) << 10
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "batch"
        asyncio.run(make_batch(root, clips, size_bytes))
        export = (*CLIPMILL, "export", root, "--dest")
        racers: dict[str, Callable[[Path], tuple[object, ...]]] = {
            "cp -r": lambda out: ("cp", "-r", root / "clips", out / "cp"),
            "videofolder": lambda out: (*export, out / "export", "--to", "videofolder"),
            "tar cf": lambda out: ("tar", "cf", out / "clips.tar", "-C", root, "clips"),
            "webdataset": lambda out: (*export, out / "export", "--to", "webdataset"),
            "videofolder --link": lambda out: (*export, out / "export", "--to", "videofolder", "--link"),
        }
        taken: dict[str, list[float]] = {}
        for number in range(rounds):
            for name, command in racers.items():
                out = Path(folder) / f"{number} {name}"
                out.mkdir()
                seconds("sync", "-f", out)
                took_s = seconds(*command(out))
                taken.setdefault(name, []).append(took_s)
                if name in PLAIN:
                    taken.setdefault(f"{name}; sync", []).append(took_s + seconds("sync", "-f", out))
    mib = clips * size_bytes / (1 << 20)
    middle = {name: median(times) for name, times in taken.items()}
    rows = []
    for name, times in taken.items():
        plain = BESIDE.get(name, "cp -r")
        beside = () if name.startswith(PLAIN) else (middle[plain], middle[f"{plain}; sync"])
        ratios = [f"{seconds / middle[name]:.2f}" for seconds in beside] or ["", ""]
        told = " ".join(f"{each:.1f}" for each in times)
        rows.append((name, told, f"{clips / middle[name]:,.0f}", f"{mib / middle[name]:,.0f}", *ratios))
    print(machine())
    title = f"{clips:,} clips of {size_bytes >> 10} KiB, {rounds} rounds in turns; beside cp -r, webdataset beside tar:"
    show(title, ["", "s", "clips/s", "MiB/s", "x plain", "x with sync"], rows)


if __name__ == "__main__":
    main()
