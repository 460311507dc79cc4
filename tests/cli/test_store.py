"""`--store` and its like: what is refused before anything is made, what the ledger remembers, what is never shown."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.running.storing import NO_STORE, STORE, find_store
from pipeline.cli.secrecy import Discreet, Secrecy
from pipeline.errors import InputError
from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind
from pipeline.ledger.store import Ledger
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from pipeline.system.locks import without_keys
from tests.cli.front_door import call
from tests.dataset.made import a_batch, finished

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "version: 1\nname: foxes\nprovider: modelmax\nmodel: veo-3\nclips: [{id: fox, prompt: A fox}]\n"
DEAD_END = "http://127.0.0.1:9"
pytest.importorskip("obstore", reason="obstore is not installed (extra s3)")


@pytest.fixture(autouse=True)
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3 be where nobody listens, and keep marks out of the user's home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, value in {"ACCESS_KEY_ID": "AKIAFOXFOXFOX", "SECRET_ACCESS_KEY": "s3cr3t-s3cr3t", "REGION": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", DEAD_END)


@pytest.mark.parametrize("store", ["s3://AKIA:secret@bucket/x", "ftp://bucket", "bucket/prefix", "s3://bucket/../x"])
def test_what_is_no_store_is_told_before_anything_is_made(store: str, tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(MANIFEST)
    said = call("run", manifest, "-o", tmp_path / "batch", "--sandbox", "--store", store)
    assert said.code == 2
    assert "secret" not in said.err
    assert not (tmp_path / "batch").exists()


def test_a_destination_that_is_no_store_is_told(tmp_path: Path) -> None:
    root = a_batch(tmp_path / "reefs", finished("turtle"))
    said = call("export", root, "--to", "sidecars", "--dest", "ftp://bucket/x")
    assert said.code == 2
    assert "Name one of s3://, gs://, az://" in said.err


async def remembered(root: Path, text: str | None, known: str | None) -> tuple[str | None, str | None]:
    """Ask for a batch's store; return the URL that it has and the one that the ledger knows afterwards."""
    effects = system()
    root.mkdir()
    ledger = await Ledger.open(BatchFolder(root).ledger, effects, {"pid": 1})
    try:
        await ledger.write_meta({STORE: known})
        store = await find_store(text, ledger, {"AWS_ENDPOINT_URL": DEAD_END})
        return store and store.url, await ledger.read_meta(STORE)
    finally:
        await ledger.close("done")
        effects.threads.close()


@pytest.mark.parametrize(
    ("text", "known", "then"),
    [
        (None, None, (None, None)),
        (None, "s3://bucket/foxes", ("s3://bucket/foxes", "s3://bucket/foxes")),
        ("s3://bucket/foxes/", "s3://bucket/foxes", ("s3://bucket/foxes", "s3://bucket/foxes")),
        (NO_STORE, "s3://bucket/foxes", (None, None)),
        (NO_STORE, None, (None, None)),
    ],
)
async def test_the_store_is_the_batchs_for_its_life(
    text: str | None, known: str | None, then: tuple[str | None, str | None], tmp_path: Path
) -> None:
    assert await remembered(tmp_path / "batch", text, known) == then, "what the batch has already is not asked"


async def test_a_store_that_does_not_answer_is_not_made_the_batchs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be reached\. No clip was submitted\."):
        await remembered(tmp_path / "batch", "s3://bucket/foxes", None)


def test_a_batch_whose_clips_are_not_all_in_its_store_waits_for_a_resume(tmp_path: Path) -> None:
    root = a_batch(tmp_path / "reefs", finished("turtle"))
    with closing(sqlite3.connect(root / "ledger.sqlite")) as database:
        database.execute("INSERT INTO meta VALUES ('store', '\"s3://bucket/foxes\"')")
        database.commit()

    def comes_next() -> str:
        (batch,) = call("status", root, "--json").json["batches"]
        return str(batch["next"])

    assert comes_next() == f"clipmill resume {root}"
    with_copy(root)
    assert comes_next() == f"clipmill results {root}"


def with_copy(root: Path) -> None:
    """Write into a ledger that its one clip was uploaded."""
    import asyncio

    async def write() -> None:
        effects = replace(system())
        ledger = await Ledger.open(BatchFolder(root).ledger, effects, {"pid": 1})
        (job,) = await ledger.jobs()
        remote = {"store": "s3://bucket/foxes", "key": "clips/turtle.mp4", "e_tag": '"e"'}
        kind, at = EventKind.CLIP_UPLOADED, effects.clock.now()
        data = {"index": 0, "remote": remote}
        await ledger.record(job, Event(kind=kind, item_id=job.item_id, revision=job.revision, at=at, data=data))
        await ledger.close("done")
        effects.threads.close()

    asyncio.run(write())


def test_where_a_clip_was_uploaded_to_is_shown_and_a_check_says_what_it_did_not_look_at(tmp_path: Path) -> None:
    root = a_batch(tmp_path / "reefs", finished("turtle"))
    with_copy(root)
    url = "s3://bucket/foxes/clips/turtle.mp4"
    assert json.loads(call("results", root, "--format", "jsonl").out)["clips"][0]["url"] == url
    assert f'"{url}"' in call("results", root, "--format", "csv").out
    assert f"a clip is in the store too, verified there: clip 0 is {url}" in call("show", root, "turtle").out
    assert "1 uploaded clip in the store not looked at; to do so, add --store." in call("check", root).err
    asked = call("check", root, "--store")
    assert asked.code == 5
    assert f"Could not look at {url}: the store cannot be reached." in asked.err


def test_no_log_line_holds_a_credential_of_a_store_and_no_child_is_given_one(tmp_path: Path) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": "AKIAFOXFOXFOX",
        "AWS_SECRET_ACCESS_KEY": "secret-of-s3",
        "AWS_SESSION_TOKEN": "token-of-s3",
        "AZURE_STORAGE_ACCOUNT_KEY": "key-of-azure",
        "AZURE_STORAGE_SAS_TOKEN": "token-of-azure",
        "GOOGLE_SERVICE_ACCOUNT_KEY": "key-of-google",
    }
    formatter = Discreet(Secrecy(keys, tmp_path))
    for value in keys.values():
        record = logging.LogRecord("a", logging.INFO, "", 0, f"signed with {value}", (), None)
        assert value not in formatter.format(record)
    left = without_keys({**keys, "PATH": "/bin"})
    assert set(left) <= {"PATH", "AWS_ACCESS_KEY_ID"}
