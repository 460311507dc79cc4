"""A connection that is lost: nothing is written twice, nothing is forgotten, and nothing is begun meanwhile."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import InputError
from pipeline.jobs.state import EventKind, State
from pipeline.ledger.postgres.connection import ConnectionLost, translated
from pipeline.ledger.postgres.layout import open_reader, open_writer
from tests.ledger.ledgers import accept, plan, start
from tests.support.postgres import USER, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.ledger.store import Ledger
    from tests.ledger.shared import SharedMachine

E, S = EventKind, State


@asynccontextmanager
async def worker(machine: SharedMachine) -> AsyncIterator[Ledger]:
    ledger = await machine.worker()
    try:
        yield ledger
    finally:
        await ledger.close("finished")


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "came to nothing"])
async def test_a_commit_that_was_cut_off_is_made_once(shared_machine: SharedMachine, landed: bool) -> None:
    machine = shared_machine
    async with worker(machine) as ledger:
        job = await ledger.record(*plan())
        machine.cut_at("COMMIT", landed=landed)

        started = await ledger.record(*start(job, 1.5))

        assert started.state is S.SUBMITTING
        assert machine.kinds() == ["item_planned", "submit_started"]
        assert machine.ask("SELECT committed_micro_usd FROM money") == [(1_500_000,)]
        assert machine.cuts == 0, "it was cut"
        assert (await ledger.record(*accept(started))).state is S.SUBMITTED


@pytest.mark.parametrize("word", ["BEGIN", "SELECT FROM money", "UPDATE run", "INSERT INTO event", "UPDATE item"])
async def test_a_connection_may_be_lost_at_every_step_of_a_write(shared_machine: SharedMachine, word: str) -> None:
    machine = shared_machine
    async with worker(machine) as ledger:
        job = await ledger.record(*plan())
        machine.cut_at(word)

        await ledger.record(*start(job))

        assert machine.kinds() == ["item_planned", "submit_started"]
        assert machine.cuts == 0


async def test_reading_goes_on_after_a_connection_was_lost(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    async with worker(machine) as ledger:
        await ledger.record(*plan())
        machine.server.cut_connections()

        assert await ledger.counts() == {S.PLANNED: 1}
        assert len(await ledger.take_over([S.PLANNED])) == 1


async def test_a_server_that_dies_and_comes_back_has_everything_that_was_promised(
    shared_machine: SharedMachine,
) -> None:
    machine = shared_machine
    async with worker(machine) as ledger:
        job = await ledger.record(*plan())
        machine.server.crash()
        machine.server.start()

        await ledger.record(*start(job))

        assert machine.kinds() == ["item_planned", "submit_started"]


async def test_nobody_loses_a_lease_while_the_server_was_away(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    async with worker(machine) as ledger, worker(machine) as other:
        machine.change(f"UPDATE run SET lease_until = '2020-01-01' WHERE epoch = {ledger.epoch}")
        machine.server.stop()
        machine.server.start()

        assert (await other.keep_company()).silent == []


async def test_after_much_patience_nothing_new_is_begun_and_the_user_is_told(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    ledger = await machine.worker()
    job = await ledger.record(*start(await ledger.record(*plan())))
    machine.unreachable = True
    machine.server.cut_connections()

    with pytest.raises(ConnectionLost, match="When it can be again, run the same command"):
        await ledger.record(*plan("deer"))
    await ledger.record(*accept(job))
    await ledger.close("finished")

    assert any("nothing more is begun until it can" in sentence for sentence in machine.told)
    assert machine.folder.emergency_of(ledger.epoch).exists()


def test_a_server_that_forgets_is_refused(shared_machine: SharedMachine) -> None:
    forgetful = Server(fsync="off")
    try:
        address = replace(shared_machine.address, dsn=forgetful.dsn)
        with pytest.raises(InputError, match="has fsync = off: without it a power cut"):
            open_writer(address, shared_machine.effects)
    finally:
        forgetful.close()


def test_a_session_waits_for_its_commits_whatever_the_server_s_default(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    machine.change(f"ALTER ROLE {USER} SET synchronous_commit = off")
    try:
        database = open_writer(machine.address, machine.effects)
        assert database.execute("SHOW synchronous_commit").fetchone() == ("on",)
        database.close()
    finally:
        machine.change(f"ALTER ROLE {USER} RESET synchronous_commit")


def test_a_reader_cannot_write(shared_machine: SharedMachine) -> None:
    open_writer(shared_machine.address, shared_machine.effects).close()
    database = open_reader(shared_machine.address, shared_machine.effects)
    with pytest.raises(Exception, match="read-only"):
        database.execute("UPDATE money SET committed_micro_usd = 0")
    database.close()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SELECT ? , :name", "SELECT %s , %(name)s"),
        ("SELECT 'a?b:c', x::text, :a1", "SELECT 'a?b:c', x::text, %(a1)s"),
        ("SELECT 5 % 2, '100%', 'it''s ?'", "SELECT 5 %% 2, '100%%', 'it''s ?'"),
    ],
)
def test_statements_are_put_into_the_servers_words(ours: str, theirs: str) -> None:
    assert translated(ours) == theirs
