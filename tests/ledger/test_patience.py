"""A stranger who holds the ledger's file is told of once and waited for; nothing is skipped and nothing begun."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import DiskRefused
from pipeline.jobs.state import State
from pipeline.ledger.patience import TRIES
from pipeline.ledger.store import Ledger
from tests.ledger.ledgers import plan, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledger.ledgers import Machine

S = State


class Impatient(sqlite3.Connection):
    """A connection that does not wait, whatever it is told."""

    def execute(self, sql: str, /, *args: Any) -> sqlite3.Cursor:
        return super().execute("PRAGMA busy_timeout = 0" if "busy_timeout" in sql else sql, *args)


@pytest.mark.parametrize("holds", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE", "a read"])
async def test_a_stranger_who_holds_the_file_is_told_of_once_and_waited_for(machine: Machine, holds: str) -> None:
    ledger = await machine.open()
    machine.connections[-1].execute("PRAGMA busy_timeout = 1")
    stranger = machine.effects.open_database(machine.path)
    if holds == "a read":
        stranger.execute("BEGIN")
        stranger.execute("SELECT * FROM meta").fetchall()
    else:
        stranger.execute(holds)
    writing = asyncio.create_task(ledger.record(*plan()))
    while not machine.told:
        assert not writing.done()
        await machine.effects.clock.sleep(0)
    for _ in range(20):  # it goes on waiting
        await machine.effects.clock.sleep(0)
        assert not writing.done()

    stranger.close()

    assert (await writing).state is S.PLANNED
    assert machine.ask("SELECT id FROM item") == [("fox",)]
    assert len(machine.told) == 1
    assert re.match(r"Another program has held .*ledger.sqlite for 3 s .*Nothing more is begun", machine.told[0])
    await ledger.close("finished")


async def test_what_waits_for_a_stranger_is_as_a_whole_there_or_not(machine: Machine) -> None:
    """A commit that a reader holds up has not happened, for nobody sees it and nobody was told that it did."""
    ledger = await machine.open()
    fox = await ledger.record(*plan())
    machine.connections[-1].execute("PRAGMA busy_timeout = 1")
    reader = machine.effects.open_database(machine.path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT state FROM item").fetchall() == [("planned",)]
    begun = asyncio.create_task(ledger.record(*start(fox)))
    while not machine.told:
        assert not begun.done()
        await machine.effects.clock.sleep(0)

    assert reader.execute("SELECT state FROM item").fetchall() == [("planned",)]
    assert not begun.done()

    reader.close()
    await begun
    assert machine.ask("SELECT state FROM item") == [("submitting",)]
    await ledger.close("finished")


async def test_to_open_a_ledger_that_a_stranger_keeps_is_given_up_in_a_sentence(machine: Machine) -> None:
    await (await machine.open()).close("finished")
    stranger = machine.effects.open_database(machine.path)
    stranger.execute("BEGIN EXCLUSIVE")
    before = len(machine.connections)

    def impatient(path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Impatient)
        machine.connections.append(database)
        return database

    with pytest.raises(DiskRefused, match=r"Another program holds .*ledger.sqlite open. Close it"):
        await Ledger.open(machine.path, replace(machine.effects, open_database=impatient), {}, machine.told.append)

    assert len(machine.connections) - before == TRIES
    await machine.effects.clock.sleep(0)
    assert len(machine.told) == 1
    stranger.close()
