"""A disk that goes away in the middle of a run, for files and ledger alike: pulled out, failing, mounted read-only.

Whole batches of the real runner against the sandbox. From some moment on nothing can be written any more; afterwards
the disk is back, and the next run must bring everything home that was paid for, and pay for nothing twice.
"""

from __future__ import annotations

import errno
import gc
import os
import sqlite3
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import DiskRefused, Paused
from pipeline.jobs.state import IN_DOUBT, State
from pipeline.runner.stop import Stop
from tests.ledger.ledgers import Machine, accept, plan, start
from tests.support.batches import Batch, a_vendor, items
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.runner.batch import Outcome
    from tests.support.batches import Vendor

ITEMS = 4
SQLITE_SAYS = {
    errno.EROFS: "attempt to write a readonly database",
    errno.EIO: "disk I/O error",
    errno.ENODEV: "unable to open database file",
}
"""What SQLite makes of what the system says."""
CHANGES = {"create", "write", "fsync", "link", "replace", "unlink", "fsync_folder", "make_folder"}
EVERY = {errno.EIO: 4, errno.EROFS: 8, errno.ENODEV: 8}
"""Each how manieth change of a whole run is the first that fails."""


@dataclass
class Disk:
    """What can be changed on one disk, by files and databases. The mutable state is how often it was."""

    number: int
    last: int
    """How many changes it takes before it is gone; -1 for no end."""
    changes: int = 0

    def change(self) -> bool:
        self.changes += 1
        return 0 <= self.last < self.changes

    def on_call(self, operation: str, subject: Path | int) -> None:
        if operation in CHANGES and self.change():
            raise OSError(self.number, os.strerror(self.number))


class OnDisk:
    """A connection to a database on such a disk."""

    def __init__(self, database: sqlite3.Connection, disk: Disk) -> None:
        self._database = database
        self._disk = disk

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        alone = sql.startswith(("INSERT", "UPDATE", "DELETE")) and not self._database.in_transaction
        if (alone or sql.startswith("COMMIT")) and self._disk.change():
            raise sqlite3.OperationalError(SQLITE_SAYS[self._disk.number])
        return self._database.execute(sql, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def run(batch: Batch, disk: Disk) -> Outcome | Paused:
    """Run the batch as one process on the disk; return how it ended, or the sentence with which it did."""
    world = batch.world
    process = world.process("run")
    effects = world.effects(process)
    on_disk = replace(effects, open_database=lambda path: OnDisk(effects.open_database(path), disk))  # type: ignore[arg-type,return-value]
    world.files.on_call = disk.on_call
    try:
        return world.run(batch.work(on_disk, Stop()), process)
    except Paused as paused:
        return paused
    finally:
        world.files.on_call = None
        world.bury(process)
        gc.collect()
        # One failed commit refuses several tasks with one and the same sentence, and a run ends at the first of them.
        assert [each for each in world.loop.troubles if "DiskRefused" not in each] == []
        world.loop.troubles.clear()


def worlds(provider: str) -> Iterator[tuple[World, Vendor, Batch]]:
    while True:
        with World(limit_s=86400.0) as world:
            vendor = a_vendor(world, durations_s={provider: 20.0})
            yield world, vendor, Batch(world, items(ITEMS, provider))


def changes_of_a_whole_run(provider: str) -> int:
    for _, _, batch in worlds(provider):
        disk = Disk(errno.EIO, -1)
        assert not run(batch, disk).paused_because  # type: ignore[union-attr]
        return disk.changes
    raise AssertionError


@pytest.mark.parametrize("number", SQLITE_SAYS, ids=errno.errorcode.get)
@pytest.mark.parametrize("provider", ["modelmax", "venice"])
def test_a_disk_that_goes_away_at_any_moment_costs_no_clip_and_nothing_twice(provider: str, number: int) -> None:
    whole = changes_of_a_whole_run(provider)
    assert whole > 50
    for last, (_, vendor, batch) in zip(range(0, whole, EVERY[number]), worlds(provider), strict=False):
        outcome = run(batch, Disk(number, last))
        assert isinstance(outcome, Paused) or outcome.paused_because, last

        again = run(batch, Disk(number, -1))

        assert not isinstance(again, Paused), (last, again)
        check(batch, vendor)


def check(batch: Batch, vendor: Vendor) -> None:
    """Everything is done or in doubt, at most two are, each was charged once at the most, and each clip is whole."""
    jobs = batch.jobs()
    assert len(jobs) == ITEMS
    assert {job.state for job in jobs} <= {State.DONE, *IN_DOUBT}
    assert sum(job.state in IN_DOUBT for job in jobs) <= 2
    charges: Counter[str] = Counter()
    for made in vendor.bill()["jobs"].values():
        charges[made["prompt"]] += made["charges"]
    assert max(charges.values()) <= 1
    done = [job for job in jobs if job.state is State.DONE]
    assert len(done) <= charges.total() <= ITEMS
    for job in done:
        clip = batch.clip(job.item_id)
        assert clip is not None
        assert len(clip) == job.clips[0].size_bytes


async def test_a_ledger_that_can_only_be_read_any_more_leaves_its_answers_to_the_journal(machine: Machine) -> None:
    """SQLite itself refuses here, as it does on a disk that was mounted read-only."""
    ledger = await machine.open()
    fox = await ledger.record(*start(await ledger.record(*plan())))
    machine.connections[-1].execute("PRAGMA query_only = 1")

    with pytest.raises(DiskRefused, match="attempt to write a readonly database"):
        await ledger.record(*plan("deer"))
    accepted = await ledger.record(*accept(fox, "op-1"))

    assert accepted.job_id == "op-1"
    assert machine.folder.emergency.exists()
    machine.connections[-1].execute("PRAGMA query_only = 0")
    await ledger.close("finished")
    async with machine.ledger() as again:
        assert [(job.item_id, job.state) for job in await again.jobs()] == [("fox", State.SUBMITTED)]
