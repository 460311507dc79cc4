"""What survives: jobs, the bill and the counts, across a restart and a kill."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from pipeline.errors import InputError
from pipeline.sandbox.settings import Fault
from pipeline.sandbox.state import COUNTS_HELD, CountKind, open_state
from pipeline.system.databases import open_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.sandbox.conftest import Sandbox

    Start = Callable[..., Awaitable[Sandbox]]


async def restart(start: Start, sandbox: Sandbox, path: Path, **settings: object) -> Sandbox:
    sandbox.stop()
    return await start(path, **settings)


async def test_a_restart_keeps_jobs_bill_and_counts(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    first = await start(path)
    claimed, venice = await first.submit(), await first.queue(model="grok-imagine-text-to-video-private")
    gone = await first.queue(prompt="gone")
    first.finish()
    result = await (await first.ask("GET", claimed["response_url"])).json()
    await first.retrieve(gone, delete_media_on_completion=True)
    clip = await (await first.ask("GET", result["data"][0]["url"])).read()
    before, counted = await first.bill(), await first.requests()

    second = await restart(start, first, path)
    assert await second.bill() == before
    after = await second.requests()
    assert after["endpoints"]["modelmax-result"] == counted["endpoints"]["modelmax-result"] == {"200": 1}
    assert after["faults"] == counted["faults"]
    assert (await (await second.ask("GET", result["data"][0]["url"])).read()) == clip
    assert (await (await second.retrieve(venice)).json())["status"] == "COMPLETED"
    assert (await second.retrieve(gone)).status == 404
    assert (await second.ask("GET", urlsplit(venice["download_url"]).path, key={})).status == 200


async def test_a_restart_neither_repeats_ids_nor_faults(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    faults = {Fault.DROP_AFTER_ACCEPT: 0.0}
    first = await start(path, faults=faults)
    ids = {(await first.submit())["request_id"] for _ in range(3)}
    second = await restart(start, first, path, faults=faults)
    ids |= {(await second.submit())["request_id"] for _ in range(3)}
    assert len(ids) == 6


async def test_a_refund_is_not_given_again_after_a_restart(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    first = await start(path)
    await first.queue(prompt="A turtle [sandbox: fail]")
    first.finish()
    assert len((await first.bill())["charges"]) == 2
    second = await restart(start, first, path)
    assert len((await second.bill())["charges"]) == 2


def test_two_fresh_sandboxes_have_different_ids(tmp_path: Path) -> None:
    source = random.Random(1)
    one, two = (open_state(tmp_path / name, open_database) for name in ("one", "two"))
    assert one.identity(source) != two.identity(source)
    assert one.identity(source) == one.identity(source)
    one.close()
    two.close()


def test_a_second_sandbox_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    held = open_state(path, open_database)

    def impatient(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, timeout=0)

    with pytest.raises(InputError, match="stop the sandbox that holds it"):
        open_state(path, impatient)
    held.close()
    open_state(path, impatient).close()


def test_a_file_that_is_not_a_sandboxs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, but long enough to look at " * 20)
    with pytest.raises(InputError, match="not a sandbox's state file"):
        open_state(path, open_database)


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        open_state(tmp_path / "nowhere" / "sandbox.sqlite", open_database)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    open_state(path, open_database).close()
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(InputError, match="another version"):
        open_state(path, open_database)


def test_counts_are_written_at_close_and_every_so_often(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    state = open_state(path, open_database)
    for _ in range(COUNTS_HELD + 1):
        state.count(CountKind.EVENT, "leak")
    state.close()
    again = open_state(path, open_database)
    assert again.counts[CountKind.EVENT, "leak", ""] == COUNTS_HELD + 1
    again.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.system.databases import open_database
from pipeline.sandbox.settings import Provider
from pipeline.sandbox.state import Charge, ChargeKind, CountKind, open_state
state = open_state(Path(sys.argv[1]), open_database)
for number in range(100):
    state.count(CountKind.EVENT, "leak")
charge = Charge(provider=Provider.VENICE, key="k", job="j", model="m", kind=ChargeKind.CHARGE, amount_usd=0.5, at_s=1.0)
state.enter(charge)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_charge_that_was_entered_survives_a_kill_with_the_counts_before_it(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, cwd=os.getcwd(), timeout=60)
    assert done.returncode == -signal.SIGKILL
    state = open_state(path, open_database)
    assert [charge.amount_usd for charge in state.charges] == [0.5]
    assert state.counts[CountKind.EVENT, "leak", ""] == 100
    assert state.spent_usd == {"k": 0.5}
    state.close()
