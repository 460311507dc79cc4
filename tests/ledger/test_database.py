"""Opening: what a ledger is set to, which files are refused, and who may do what beside whom."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DiskRefused, InputError
from pipeline.ledger.database import open_reader, open_writer, told_as_our_errors
from pipeline.ledger.layout import APPLICATION_ID, VERSION
from pipeline.ledger.reader import reading
from tests.ledger.ledgers import Machine, plan, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def a_ledger(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        jobs = await ledger.record_all([plan(f"i{number}") for number in range(40)])
        await ledger.record_all([start(job) for job in jobs])


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


PAGE_BYTES = 4096


def garbage(path: Path) -> None:
    path.write_bytes(b"This is not a database at all, whatever its name says. " * 100)


def a_strangers(path: Path) -> None:
    run_sql(path, "CREATE TABLE recipes (name TEXT)", "INSERT INTO recipes VALUES ('soup')")


def a_strangers_in_wal_mode(path: Path) -> None:
    run_sql(path, "PRAGMA journal_mode = WAL", "CREATE TABLE recipes (name TEXT)", "PRAGMA wal_checkpoint(TRUNCATE)")


def a_marked_strangers(path: Path) -> None:
    run_sql(path, "PRAGMA application_id = 7")


def a_newer(path: Path) -> None:
    run_sql(path, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION + 1}")


FOREIGN = {
    garbage: "is not a sound ledger",
    a_strangers: "database of another program; it is left untouched",
    a_strangers_in_wal_mode: "database of another program; it is left untouched",
    a_marked_strangers: "database of another program; it is left untouched",
    a_newer: "written by a newer clipmill .*Upgrade clipmill",
}


@pytest.mark.parametrize("opening", [open_writer, open_reader])
@pytest.mark.parametrize("make", FOREIGN)
def test_a_file_that_is_not_ours_is_refused_in_a_sentence_and_left_as_it_was(
    machine: Machine, opening: Callable[..., sqlite3.Connection], make: Callable[[Path], None]
) -> None:
    make(machine.path)
    before = machine.path.read_bytes()

    with pytest.raises(InputError, match=FOREIGN[make]):
        opening(machine.path, machine.effects)

    assert machine.path.read_bytes() == before
    assert os.listdir(machine.folder.root) == [machine.path.name]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        machine.connections[-1].execute("SELECT 1")


@pytest.mark.parametrize("opening", [open_writer, open_reader])
async def test_a_truncated_ledger_is_refused_and_left_as_it_was(
    machine: Machine, opening: Callable[..., sqlite3.Connection]
) -> None:
    await a_ledger(machine)
    before = machine.path.read_bytes()[:-PAGE_BYTES]
    machine.path.write_bytes(before)

    with pytest.raises(InputError, match=r"is not a sound ledger .* Restore it from a copy"):
        opening(machine.path, machine.effects)

    assert machine.path.read_bytes() == before


async def test_a_ledger_with_a_damaged_page_is_refused_before_anything_is_written(machine: Machine) -> None:
    await a_ledger(machine)
    pages = machine.path.stat().st_size // PAGE_BYTES
    with machine.path.open("r+b") as file:
        file.seek((pages - 1) * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    before = machine.path.read_bytes()

    with pytest.raises(InputError, match=r"is not a sound ledger \(\*\*\* in database main"):
        await machine.open()

    assert machine.path.read_bytes() == before


def test_a_reader_refuses_what_is_missing_or_empty_and_creates_nothing(machine: Machine) -> None:
    with pytest.raises(InputError, match=r"There is no ledger at .*Name a batch folder"):
        open_reader(machine.path, machine.effects)
    assert not machine.path.exists()

    machine.path.touch()
    with pytest.raises(InputError, match="is an empty ledger: nothing was ever planned there"):
        open_reader(machine.path, machine.effects)
    assert machine.path.stat().st_size == 0


async def test_a_writer_makes_a_ledger_of_an_empty_file_which_a_crash_at_birth_leaves(machine: Machine) -> None:
    machine.path.touch()

    await a_ledger(machine)

    assert machine.ask("SELECT count(*) FROM item") == [(40,)]


async def test_a_birth_that_fails_leaves_no_half_of_a_ledger(machine: Machine) -> None:
    def cramped(path: Path) -> sqlite3.Connection:
        database = machine.effects.open_database(path)
        database.execute("PRAGMA max_page_count = 10")
        return database

    with pytest.raises(DiskRefused, match="database or disk is full"):
        open_writer(machine.path, replace(machine.effects, open_database=cramped))

    assert machine.path.stat().st_size == 0
    await a_ledger(machine)
    assert machine.ask("SELECT count(*) FROM meta WHERE key = 'uuid'") == [(1,)]


def test_a_folder_that_is_not_there_is_told_in_a_sentence(machine: Machine) -> None:
    with pytest.raises(DiskRefused, match="cannot be written: unable to open database file"):
        open_writer(machine.folder.root / "absent" / "ledger.sqlite", machine.effects)


async def test_a_writer_is_set_as_the_papers_say(machine: Machine) -> None:
    with closing(open_writer(machine.path, machine.effects)) as database:

        def pragma(name: str) -> object:
            return database.execute(f"PRAGMA {name}").fetchone()[0]

        assert pragma("journal_mode") == "delete"
        assert pragma("synchronous") == 3, "EXTRA: a commit that returned survives a power cut"
        assert pragma("fullfsync") == 1
        assert pragma("foreign_keys") == 1
        assert pragma("trusted_schema") == 0
        assert pragma("cell_size_check") == 1
        assert pragma("secure_delete") == 1
        assert pragma("busy_timeout") == 3_000, "then the user is told who is in the way, and it is tried again"
        assert pragma("application_id") == APPLICATION_ID
        assert pragma("user_version") == VERSION
        assert pragma("integrity_check") == "ok"


async def test_a_ledger_that_somebody_set_to_wal_is_set_back(machine: Machine) -> None:
    await a_ledger(machine)
    run_sql(machine.path, "PRAGMA journal_mode = WAL")

    async with machine.ledger():
        assert machine.connections[-1].execute("PRAGMA journal_mode").fetchone() == ("delete",)


async def test_a_reader_cannot_write(machine: Machine) -> None:
    await a_ledger(machine)

    with closing(open_reader(machine.path, machine.effects)) as database:
        for statement in ("DELETE FROM clip", "UPDATE item SET position = 1", "CREATE TABLE t (x)"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                database.execute(statement)


async def test_a_reader_reads_what_was_committed_beside_a_writer_in_the_middle_of_a_transaction(
    machine: Machine,
) -> None:
    await a_ledger(machine)
    with closing(open_writer(machine.path, machine.effects)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO meta VALUES ('name', '\"uncommitted\"')")

        with reading(machine.path, machine.effects) as reader:
            assert reader.meta("name") is None
            assert len(list(reader.jobs())) == 40

        writer.execute("COMMIT")
        with reading(machine.path, machine.effects) as reader:
            assert reader.meta("name") == "uncommitted"


DIES_IN_A_TRANSACTION = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 2")  # so that pages reach the file before the commit
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE item SET position = 4711")
for number in range(200):
    database.execute("INSERT INTO meta VALUES (?, ?)", (f"k{number}", "x" * 3000))
print("half way", flush=True)
sys.stdin.read()
"""


async def test_a_reader_rolls_back_what_a_killed_writer_left_half_done(machine: Machine) -> None:
    await a_ledger(machine)
    before = machine.path.read_bytes()
    writer = subprocess.Popen(
        [sys.executable, "-c", DIES_IN_A_TRANSACTION, str(machine.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half way\n"
        writer.send_signal(signal.SIGKILL)
    journal = machine.path.with_name("ledger.sqlite-journal")
    assert journal.stat().st_size > 0
    assert machine.path.read_bytes() != before, "the file is half written"

    with reading(machine.path, machine.effects) as reader:
        assert reader.meta("k0") is None
        assert len(list(reader.jobs())) == 40

    assert not journal.exists()
    assert machine.path.read_bytes() == before


@pytest.mark.parametrize(
    ("error", "ours", "says"),
    [
        (sqlite3.OperationalError("database is locked"), DiskRefused, "Another program holds .* open"),
        (sqlite3.OperationalError("disk I/O error"), DiskRefused, "cannot be written: disk I/O error"),
        (sqlite3.DatabaseError("database disk image is malformed"), InputError, "not a sound ledger"),
    ],
)
def test_an_error_of_the_database_becomes_a_sentence(
    tmp_path: Path, error: sqlite3.Error, ours: type[Exception], says: str
) -> None:
    with pytest.raises(ours, match=says) as raised, told_as_our_errors(tmp_path):
        raise error

    assert raised.value.__cause__ is error


def test_an_integrity_error_passes_for_the_caller_knows_what_it_means(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError), told_as_our_errors(tmp_path):
        raise sqlite3.IntegrityError("no")
