"""Where a shared ledger is: what is kept of an address, and what is refused before anything is sent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import InputError
from pipeline.ledger.postgres.address import Address, address_beside, bind, parted
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import Server

FILES = SystemFiles()


def reached(address: Address, password: str | None) -> None:
    """Take an address for one that can be reached."""


@pytest.mark.parametrize(
    ("dsn", "kept", "password"),
    [
        ("postgresql://h/db", "postgresql://h/db", None),
        ("postgres://me@h:5433/db", "postgresql://me@h:5433/db", None),
        ("postgresql://me:s3cr%20et@h/db", "postgresql://me@h/db", "s3cr et"),
        ("postgresql://me:a:b@h1:1,h2:2/db?sslmode=require", "postgresql://me@h1:1,h2:2/db?sslmode=require", "a:b"),
        ("postgresql://h/db?user=me&password=x%26y", "postgresql://h/db?user=me", "x&y"),
        ("postgresql://me:@h/db", "postgresql://me@h/db", None),
        ("postgresql:///db?host=%2Fvar%2Frun", "postgresql:///db?host=%2Fvar%2Frun", None),
    ],
)
def test_an_address_is_parted_from_its_password(dsn: str, kept: str, password: str | None) -> None:
    assert parted(dsn) == (kept, password)


@pytest.mark.parametrize(
    "dsn", ["mysql://me:s3cret@h/db", "host=h password=s3cret", "ledger.sqlite", "postgresql:s3[", ""]
)
def test_what_is_no_address_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(InputError, match="postgresql://USER@HOST:PORT/DATABASE") as refused:
        parted(dsn)
    assert "s3" not in str(refused.value)


def test_names_of_batches_become_names_of_schemas_that_are_their_own() -> None:
    names = ["reefs", "reefs-2", "Reefs", "räuber", "x" * 50, "x" * 51, "x" * 52, 'a"b', "a_b"]
    schemas = [Address("", name).schema for name in names]
    assert schemas[0] == "clipmill_reefs"
    assert len(set(schemas)) == len(names)
    assert all(len(schema.encode()) <= 63 and '"' not in schema for schema in schemas)


def test_a_folder_remembers_its_ledger_and_no_password(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path)

    address, password = bind(folder, "postgresql://me:s3cret@h/db", FILES, reached)

    assert (str(address), password) == (f"postgresql://me@h/db (batch {tmp_path.name})", "s3cret")
    assert "s3cret" not in folder.shared.read_text()
    assert folder.shared.stat().st_mode & 0o077 == 0
    assert address_beside(folder.ledger, FILES) == address
    assert bind(folder, "postgresql://me@h/db", FILES, reached) == (address, None)
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.postgresql"]


def test_a_folder_keeps_the_ledger_that_it_has(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path)
    bind(folder, "postgresql://h/db", FILES, reached)
    with pytest.raises(InputError, match=r"is postgresql://h/db \(batch .*\)\. Go on without --ledger"):
        bind(folder, "postgresql://h/other", FILES, reached)

    folder.shared.unlink()
    folder.ledger.touch()
    with pytest.raises(InputError, match="has a ledger of its own"):
        bind(folder, "postgresql://h/db", FILES, reached)


def test_an_address_that_cannot_be_reached_is_not_noted(tmp_path: Path) -> None:
    def away(address: Address, password: str | None) -> None:
        raise InputError("away")

    with pytest.raises(InputError, match="away"):
        bind(BatchFolder(tmp_path), "postgresql://h/db", FILES, away)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ledger": 1}'])
def test_a_note_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    folder = BatchFolder(tmp_path)
    folder.shared.write_text(text)
    with pytest.raises(InputError, match="does not name a ledger"):
        address_beside(folder.ledger, FILES)


def test_a_batch_that_the_database_does_not_have_is_told(tmp_path: Path, postgres: Server) -> None:
    folder = BatchFolder(tmp_path)
    folder.shared.write_text(json.dumps({"ledger": postgres.dsn, "batch": "nobody-planned-it"}))
    with pytest.raises(InputError, match=r"There is no ledger at .* nothing was ever planned"):
        reading(folder.ledger, system()).__enter__()


def test_a_stranger_s_schema_is_left_as_it_is(tmp_path: Path, postgres: Server) -> None:
    folder = BatchFolder(tmp_path)
    folder.shared.write_text(json.dumps({"ledger": postgres.dsn, "batch": "strange"}))
    database = postgres.connect()
    database.execute("CREATE SCHEMA clipmill_strange")
    database.close()
    with pytest.raises(InputError, match="is not a ledger of ours; it is left as it is"):
        reading(folder.ledger, system()).__enter__()
    postgres.drop("clipmill_strange")


def test_a_batch_with_a_ledger_of_its_own_imports_nothing_of_postgresql() -> None:
    imports = "import sys, pipeline.cli.running.session, pipeline.ledger.reader; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", imports], check=False).returncode == 0
