"""The way in and out of a ledger, when lock and ledger are not what they should be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.running.epoch import begin_epoch
from pipeline.errors import InputError, StaleWrite
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.ledger.ledgers import accept, plan, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class NoLocks:
    """Locks that lock nobody out, as on a network's file system that only says that it does."""

    def acquire(self, path: Path, holder: str) -> Callable[[], None]:
        return lambda: None

    def is_seen(self, path: Path) -> bool:
        return True


async def test_beside_a_run_whose_ledger_was_restored_no_twin_begins_and_the_run_writes_nothing_into_it(
    tmp_path: Path,
) -> None:
    """Two things go wrong at once: the lock does not hold, and an old ledger is put beneath a run that goes on."""
    folder, marks = BatchFolder(tmp_path), tmp_path / "marks"
    effects = replace(system(), locks=NoLocks())
    async with begin_epoch(folder, effects, marks, command="run") as earlier:
        fox = await earlier.ledger.record(*plan())
    old = folder.ledger.read_bytes()

    async with begin_epoch(folder, effects, marks, command="run") as run:
        fox = await run.ledger.record(*start(fox))
        await run.ledger.record(*plan("deer"))
        await run.move_mark()
        folder.ledger.write_bytes(old)

        with pytest.raises(InputError, match="restored from a copy"):
            async with begin_epoch(folder, effects, marks, command="run"):
                pytest.fail("the twin would submit the fox again")
        with pytest.raises(StaleWrite):
            await run.ledger.record(*accept(fox))

    with pytest.raises(InputError, match=r"older than it was.*check .* --repair"):
        async with begin_epoch(folder, effects, marks, command="run"):
            pytest.fail("what the run bought is not in this ledger")
    effects.threads.close()


async def test_a_twin_that_the_lock_did_not_keep_out_ends_the_older_run(tmp_path: Path) -> None:
    folder, marks = BatchFolder(tmp_path), tmp_path / "marks"
    effects = replace(system(), locks=NoLocks())
    async with begin_epoch(folder, effects, marks, command="run") as older:
        fox = await older.ledger.record(*plan())
        async with begin_epoch(folder, effects, marks, command="run") as newer:
            assert (await newer.ledger.job("fox", 1)).state == fox.state
            with pytest.raises(StaleWrite, match="run 2 has taken over from run 1"):
                await older.ledger.record(*start(fox))
            await newer.ledger.record(*start(fox))
    effects.threads.close()


async def test_what_the_folder_and_the_ledger_have_to_say_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    effects = replace(system(), locks=NoLocks(), mounts=lambda: "server:/x / nfs4 rw 0 0\n")

    async with begin_epoch(BatchFolder(tmp_path), effects, None, command="run", tell=told.append):
        pass

    assert len(told) == 1
    assert "(nfs4): run this batch from one machine only" in told[0]
    effects.threads.close()
