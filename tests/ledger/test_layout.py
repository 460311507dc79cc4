"""Older ledgers: brought up to date whole or not at all, copied first, read without being changed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DiskRefused, InputError, LedgerError
from pipeline.ledger import rows
from pipeline.ledger.database import open_reader, open_writer
from pipeline.ledger.layout import STEPS, fill_moves, version_after
from pipeline.ledger.reader import Reader
from pipeline.system.databases import open_database
from tests.ledger.ledgers import Disk, Machine, accept, plan, start

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER_BYTES = 100
"""In them SQLite counts changes; the rest of a copy is as the original, byte for byte."""
LAYOUTS = Path(__file__).with_name("layouts")


def adds_a_column(database: sqlite3.Connection) -> None:
    database.execute("ALTER TABLE item ADD COLUMN region TEXT NOT NULL DEFAULT 'earth'")


def writes_events_anew(database: sqlite3.Connection) -> None:
    """Do what the triggers and the foreign keys forbid to everybody else."""
    database.execute("UPDATE event SET data = json_set(data, '$.seen', 1)")
    database.execute("CREATE TABLE item_new AS SELECT * FROM item")
    database.execute("DROP TABLE item")
    database.execute("ALTER TABLE item_new RENAME TO item")
    database.execute("CREATE UNIQUE INDEX item_key ON item (id, revision)")


def does_not_fit(database: sqlite3.Connection) -> None:
    database.execute("UPDATE item SET committed_micro_usd = -1")


def leaves_orphans(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM item")


NOW = version_after(STEPS)
NEWER = (*STEPS, adds_a_column, writes_events_anew)
COPY, NEXT_COPY = f"ledger-v{NOW}.sqlite", f"ledger-v{NOW + 1}.sqlite"


async def an_old_ledger(machine: Machine) -> bytes:
    """Write a ledger as this program does, with a job that has a clip; return its bytes."""
    async with machine.ledger() as ledger:
        job = await ledger.record(*start(await ledger.record(*plan())))
        await ledger.record(*accept(job))
    return machine.path.read_bytes()


def names(machine: Machine) -> list[str]:
    return sorted(set(os.listdir(machine.folder.root)) - {"ledger.reserve"})


def shape(database: sqlite3.Connection) -> dict[str, object]:
    """Return all that a layout consists of, however it was arrived at."""
    found: dict[str, object] = {}
    for kind, name in database.execute("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"):
        asks = {"table": ("table_xinfo", "foreign_key_list"), "index": ("index_xinfo",)}.get(kind, ())
        found[name] = [database.execute(f"PRAGMA {ask}({name})").fetchall() for ask in asks]
    return found


@pytest.mark.parametrize("layout", sorted(LAYOUTS.glob("*.sql")), ids=lambda path: path.stem)
def test_every_layout_that_was_ever_released_becomes_that_of_this_program(machine: Machine, layout: Path) -> None:
    """Whoever changes schema.sql without writing a step is told here."""
    with closing(sqlite3.connect(machine.path)) as old:
        old.executescript(layout.read_text())
        old.execute("INSERT INTO money VALUES (1, 0)")
        old.execute("PRAGMA application_id = 0x636C6D6C")
        old.execute(f"PRAGMA user_version = {layout.stem}")
        old.commit()
    new = machine.folder.root / "new.sqlite"
    with (
        closing(open_writer(machine.path, machine.effects)) as migrated,
        closing(open_writer(new, machine.effects)) as made,
    ):
        assert shape(migrated) == shape(made)
        assert "item" in shape(made)


def test_the_clips_of_a_ledger_that_knew_no_copies_have_none(machine: Machine) -> None:
    with closing(sqlite3.connect(machine.path)) as old:
        old.executescript((LAYOUTS / "1.sql").read_text())
        old.executescript(
            "DROP TRIGGER item_begins_planned; DROP TRIGGER clip_begins_wanted; INSERT INTO money VALUES (1, 0);"
            "INSERT INTO item VALUES ('fox', 1, 0, 'done', 'clip_published', 1, 1, 1, 'p', 'm', NULL, 0, '{}', '{}');"
            "INSERT INTO clip VALUES ('fox', 1, 0, 'done', 'clip_published', '', 'clips/fox.mp4', 'a', 1, '{}', '[]');"
            "PRAGMA application_id = 0x636C6D6C; PRAGMA user_version = 1"
        )
    with closing(open_writer(machine.path, machine.effects)) as database:
        assert database.execute("SELECT file, copy, remote FROM clip").fetchall() == [("clips/fox.mp4", "none", "{}")]
        assert rows.not_uploaded(database, "s3://bucket") == [("fox", 1)]
        database.execute(
            "UPDATE clip SET event = 'clip_uploaded', copy = 'uploaded', remote = '{\"store\": \"s3://bucket\"}'"
        )
        assert rows.not_uploaded(database, "s3://bucket") == []
        assert rows.not_uploaded(database, "s3://other") == [("fox", 1)]


def test_every_version_has_its_layout_on_record() -> None:
    recorded = sorted(int(path.stem) for path in LAYOUTS.glob("*.sql"))
    assert recorded == list(range(1, version_after(STEPS) + 1))


async def test_an_older_ledger_is_copied_whole_and_brought_up_to_date(machine: Machine) -> None:
    before = await an_old_ledger(machine)
    told: list[str] = []

    with closing(open_writer(machine.path, machine.effects, told.append, NEWER)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (NOW + 2,)
        assert database.execute("SELECT id, state, region FROM item").fetchall() == [("fox", "submitted", "earth")]
        assert database.execute("SELECT DISTINCT json_extract(data, '$.seen') FROM event").fetchall() == [(1,)]
        assert database.execute("PRAGMA foreign_keys").fetchone() == (1,)
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            database.execute("UPDATE event SET at = ''")
        with pytest.raises(sqlite3.IntegrityError, match="illegal move"):
            database.execute("UPDATE item SET state = 'done'")

    copy = machine.folder.root / COPY
    assert (
        [sentence for sentence in told if f"from version {NOW} to {NOW + 2}" in sentence and copy.name in sentence]
        == told
        != []
    )
    assert names(machine) == [COPY, "ledger.sqlite"]
    assert copy.read_bytes()[HEADER_BYTES:] == before[HEADER_BYTES:]
    with closing(open_writer(machine.path, machine.effects, told.append, NEWER)):
        assert len(told) == 1, "it is told and done once"
    assert names(machine) == [COPY, "ledger.sqlite"]


async def test_only_the_steps_that_are_missing_are_taken(machine: Machine) -> None:
    await an_old_ledger(machine)
    open_writer(machine.path, machine.effects, steps=NEWER[:-1]).close()
    open_writer(machine.path, machine.effects, steps=NEWER).close()  # the first step could not be taken twice

    assert machine.ask("PRAGMA user_version") == [(NOW + 2,)]
    assert names(machine) == [COPY, NEXT_COPY, "ledger.sqlite"]


async def test_a_file_under_the_name_of_the_copy_is_never_overwritten(machine: Machine) -> None:
    before = await an_old_ledger(machine)
    taken = machine.folder.root / COPY
    taken.write_bytes(b"something of the user's")

    open_writer(machine.path, machine.effects, steps=NEWER).close()

    assert taken.read_bytes() == b"something of the user's"
    assert (machine.folder.root / f"ledger-v{NOW}-2.sqlite").read_bytes()[HEADER_BYTES:] == before[HEADER_BYTES:]


@pytest.mark.parametrize(
    ("step", "says"),
    [(does_not_fit, "CHECK constraint failed"), (leaves_orphans, "rows of clip would belong to nothing")],
)
async def test_a_step_that_does_not_fit_leaves_the_ledger_as_it_was(
    machine: Machine, step: Callable[[sqlite3.Connection], None], says: str
) -> None:
    before = await an_old_ledger(machine)

    with pytest.raises(LedgerError, match=rf"from version {NOW} to {NOW + 2}: .*{says}.*It is as it was"):
        open_writer(machine.path, machine.effects, steps=(*STEPS, adds_a_column, step))

    assert machine.path.read_bytes() == before
    async with machine.ledger() as ledger:
        assert [job.job_id for job in await ledger.jobs()] == ["op-1"]


async def test_without_room_for_the_copy_nothing_is_changed(machine: Machine) -> None:
    before = await an_old_ledger(machine)

    class Full(Disk):
        def link(self, source: Path, target: Path) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(DiskRefused, match="No space left"):
        open_writer(machine.path, replace(machine.effects, files=Full(machine)), steps=NEWER)

    assert machine.path.read_bytes() == before
    open_writer(machine.path, machine.effects, steps=NEWER).close()
    assert names(machine) == [COPY, "ledger.sqlite"], "what was begun is cleared away"


DIES_IN_A_STEP = """
import os, signal, sys
from pathlib import Path
from pipeline.system.effects import system
from pipeline.ledger.database import open_writer
from pipeline.ledger.layout import STEPS

def adds_a_column(database):
    database.execute("ALTER TABLE item ADD COLUMN region TEXT NOT NULL DEFAULT 'earth'")

def dies(database):
    database.execute("PRAGMA cache_spill = 1")
    database.execute("PRAGMA cache_size = 2")  # so that pages reach the file before the commit
    for number in range(200):
        database.execute("INSERT INTO meta VALUES (?, ?)", (f"k{number}", "x" * 3000))
    os.kill(os.getpid(), signal.SIGKILL)

open_writer(Path(sys.argv[1]), system(), steps=(*STEPS, adds_a_column, dies))
"""


async def test_a_crash_in_the_middle_leaves_the_old_ledger_and_the_next_start_migrates_it(machine: Machine) -> None:
    before = await an_old_ledger(machine)
    died = subprocess.run([sys.executable, "-c", DIES_IN_A_STEP, str(machine.path)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert machine.path.with_name("ledger.sqlite-journal").stat().st_size > 0
    assert machine.path.read_bytes() != before, "the file is half written"

    async with machine.ledger() as ledger:  # the program that wrote it goes on
        assert [job.job_id for job in await ledger.jobs()] == ["op-1"]
    assert machine.ask("PRAGMA user_version") == [(NOW,)]
    assert (machine.folder.root / COPY).read_bytes()[HEADER_BYTES:] == before[HEADER_BYTES:]

    open_writer(machine.path, machine.effects, steps=NEWER).close()
    assert machine.ask("SELECT region FROM item") == [("earth",)]


async def test_a_copy_that_a_crash_left_is_not_made_twice(machine: Machine) -> None:
    await an_old_ledger(machine)
    for _ in range(3):
        with pytest.raises(LedgerError):
            open_writer(machine.path, machine.effects, steps=(*STEPS, does_not_fit))

    assert names(machine) == [COPY, "ledger.sqlite"]


async def test_an_older_ledger_is_read_as_if_it_were_new_and_not_changed(machine: Machine) -> None:
    before = await an_old_ledger(machine)

    with closing(open_reader(machine.path, machine.effects, NEWER)) as database:
        assert database.execute("SELECT region FROM item").fetchall() == [("earth",)]
        reader = Reader(machine.path, database)
        assert reader.summary().committed_usd == 1.0
        assert [job.job_id for job in reader.jobs()] == ["op-1"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.execute("DELETE FROM item")

    assert machine.path.read_bytes() == before
    assert names(machine) == ["ledger.sqlite"]


async def test_an_older_ledger_can_be_read_while_the_older_program_writes_it(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.record(*plan())
        with closing(open_reader(machine.path, machine.effects, NEWER)) as database:
            await ledger.record(*plan("deer"))
            assert database.execute("SELECT id FROM item").fetchall() == [("fox",)], "as it was when it was opened"


@pytest.mark.parametrize("opening", [open_writer, open_reader])
async def test_a_newer_ledger_is_refused_with_both_versions(
    machine: Machine, opening: Callable[..., sqlite3.Connection]
) -> None:
    await an_old_ledger(machine)
    open_writer(machine.path, machine.effects, steps=NEWER).close()

    with pytest.raises(InputError, match=rf"newer clipmill \(ledger version {NOW + 2}, and this one knows {NOW}\)"):
        opening(machine.path, machine.effects)


async def test_a_ledger_whose_version_makes_no_sense_is_refused(machine: Machine) -> None:
    await an_old_ledger(machine)
    with closing(open_database(machine.path)) as database:
        database.execute("PRAGMA user_version = 0")

    with pytest.raises(InputError, match=r"not a sound ledger \(its version is 0\)"):
        await machine.open()


async def test_moves_and_triggers_of_another_program_become_our_own(machine: Machine) -> None:
    await an_old_ledger(machine)
    with closing(open_database(machine.path)) as database:
        database.execute("INSERT INTO move VALUES ('submitted', 'by_magic', 'done')")
        database.execute("DROP TRIGGER event_stays")
        database.execute("CREATE TRIGGER no_more BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'no'); END")

    async with machine.ledger() as ledger:
        await ledger.record(*plan("deer"))
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            machine.connections[-1].execute("DELETE FROM event")
    assert machine.ask("SELECT count(*) FROM move WHERE event = 'by_magic'") == [(0,)]
    assert machine.ask("SELECT count(*) FROM event") == [(4,)]


async def test_rules_that_are_our_own_are_left_alone(machine: Machine) -> None:
    await an_old_ledger(machine)
    machine.statements.clear()

    open_writer(machine.path, machine.effects).close()

    assert machine.count("BEGIN") == 0
    with closing(open_database(machine.path)) as database:
        kept = database.execute("SELECT * FROM move ORDER BY 1, 2, 3").fetchall()
        fill_moves(database)
        assert database.execute("SELECT * FROM move ORDER BY 1, 2, 3").fetchall() == kept
