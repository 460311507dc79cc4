"""The ledger: durable events a second with 1, 64 and 1,000 writers at once, beside bare SQLite with the same pragmas.

usage: bench_ledger.py

An event of the ledger is a row of history, a row of the item with its guards, and the triggers that keep the sums; the
bare rows are one insert of as many bytes. Group commits of n rows stand beside n writers.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.tables import machine, median, show
from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind
from pipeline.ledger.database import WRITER_PRAGMAS
from pipeline.ledger.store import Ledger
from pipeline.runner.reconcile import NothingKnown, write_plan
from pipeline.system.effects import system
from tests.support.batches import items

if TYPE_CHECKING:
    from pipeline.effects import Effects

WRITERS = (1, 64, 1000)
EVENTS = {1: 300, 64: 6400, 1000: 10_000}
TIMES = 3
DETAIL = "x" * 160


async def through_the_ledger(folder: Path, effects: Effects, writers: int) -> float:
    """Return durable events a second: every writer defers a submit and begins it anew, in turns."""
    ledger = await Ledger.open(folder / "ledger.db", effects, {})
    await write_plan(ledger, items(writers), NothingKnown(), None, effects.clock.now())
    jobs = await ledger.jobs()
    each = EVENTS[writers] // writers

    async def write(place: int) -> None:
        job = jobs[place]
        begun = {"price_usd": 0.4, "price_is": "computed", "base_url": "http://127.0.0.1", "account": "a" * 12}
        for number in range(each):
            kind, data = (
                (EventKind.SUBMIT_DEFERRED, {"why": "a pause"}) if number % 2 else (EventKind.SUBMIT_STARTED, begun)
            )
            event = Event(kind=kind, item_id=job.item_id, revision=1, at=effects.clock.now(), data=data)
            job = await ledger.record(job, event)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for place in range(writers):
            group.create_task(write(place))
    took_s = time.perf_counter() - began
    await ledger.close("finished")
    return each * writers / took_s


def through_sqlite(folder: Path, batch: int) -> float:
    """Return rows a second in commits of `batch` rows."""
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for pragma in WRITER_PRAGMAS:
        database.execute(pragma).fetchall()
    database.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, at TEXT, item TEXT, kind TEXT, data TEXT)")
    rows, began = EVENTS[batch], time.perf_counter()
    for start in range(0, rows, batch):
        database.execute("BEGIN IMMEDIATE")
        for number in range(start, min(start + batch, rows)):
            values = ("2026-01-01T00:00:00+00:00", f"i{number}", "submit_started", DETAIL)
            database.execute("INSERT INTO event (at, item, kind, data) VALUES (?, ?, ?, ?)", values)
        database.execute("COMMIT")
    took_s = time.perf_counter() - began
    database.close()
    return rows / took_s


def main() -> None:
    """Print the table."""
    print(machine())
    rows = []
    for writers in WRITERS:
        ours, bare = [], []
        for _ in range(TIMES):
            effects = system()
            with tempfile.TemporaryDirectory() as folder:
                bare.append(through_sqlite(Path(folder), writers))
                ours.append(asyncio.run(through_the_ledger(Path(folder), effects, writers)))
            effects.threads.close()
        rows.append((writers, f"{median(ours):,.0f}", f"{median(bare):,.0f}", f"{median(ours) / median(bare):.2f}"))
    columns = ("writers", "ledger, events/s", "bare SQLite, rows/s", "ratio")
    show(f"Durable writes, median of {TIMES}", columns, rows)


if __name__ == "__main__":
    main()
