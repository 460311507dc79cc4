from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.running.crew import Errand, crew_wanted, run_errand
from pipeline.cli.running.session import Order
from pipeline.errors import Exit, InputError
from pipeline.names import Names
from pipeline.runner.stop import Stop
from pipeline.scale.crew import Lent
from pipeline.scale.figures import Teller
from tests.cli.front_door import call, command_line
from tests.support import postgres

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pipeline.clips.decoders import Decodes

MANIFEST = """
version: 1
name: crewed
provider: modelmax
model: veo-3
parameters: {duration_seconds: 4}
clips: [{id: fox, prompt: A fox}]
"""


def no_decoders(at_once: int) -> AbstractAsyncContextManager[Decodes]:
    raise AssertionError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    return path


def an_order(root: Path) -> Order:
    return Order(
        root=root, plan=None, chosen=None, on_change=None, max_cost_usd=None, yes=True, as_json=False, speed=0.0
    )


def test_an_engine_without_a_shared_ledger_is_told_what_it_needs(manifest: Path, tmp_path: Path) -> None:
    said = call("run", manifest, "-o", tmp_path / "batch", "--engine", "ray")
    assert said.code == Exit.BAD_INPUT
    assert "--ledger postgresql://" in said.err
    assert not (tmp_path / "batch").exists()


def test_a_crew_does_not_rehearse(manifest: Path) -> None:
    said = call("run", manifest, "--engine", "ray", "--sandbox")
    assert said.code == Exit.BAD_INPUT
    assert "clipmill sandbox" in said.err


@pytest.mark.parametrize(("workers", "address"), [(2, None), (None, "auto")])
def test_what_is_for_an_engine_is_refused_without_one(workers: int | None, address: str | None) -> None:
    with pytest.raises(InputError, match="--engine ray"):
        crew_wanted(None, workers, address)


def test_a_crew_has_two_workers_where_nobody_says_how_many() -> None:
    assert crew_wanted(None, None, None) is None
    wanted = crew_wanted("ray", None, None)
    assert wanted is not None
    assert (wanted.workers, wanted.address) == (2, None)


def test_what_a_worker_is_lent_shows_in_no_text() -> None:
    lent = Lent({"MODELMAX_API_KEY": "canary-key-0123456789"})
    assert "canary" not in f"{lent!r} {lent} {[lent]}"


def test_an_errand_can_be_sent_to_another_process(tmp_path: Path) -> None:
    order = replace(an_order(tmp_path), chosen=Names(["fox", "owl"]))
    sent = pickle.loads(pickle.dumps(partial(run_errand, Errand(order=order))))
    assert sent.func is run_errand
    (errand,) = sent.args
    assert errand.order.root == tmp_path
    assert "owl" in errand.order.chosen
    assert "hen" not in errand.order.chosen


async def test_a_worker_of_another_version_does_nothing(tmp_path: Path) -> None:
    errand = Errand(order=an_order(tmp_path / "none"), version="0.0.0")
    ended = await run_errand(errand, Lent({}), Stop(), no_decoders, Teller())
    assert ended.code is Exit.BAD_INPUT
    assert "0.0.0" in ended.said
    assert not (tmp_path / "none").exists()


async def test_an_error_of_a_worker_comes_back_as_a_value(tmp_path: Path) -> None:
    ended = await run_errand(Errand(order=an_order(tmp_path / "new")), Lent({}), Stop(), no_decoders, Teller())
    assert ended.code is Exit.BAD_INPUT
    assert "never planned" in ended.said


@pytest.mark.skipif(postgres.programs() is None, reason=postgres.MISSING)
async def test_a_worker_opens_the_ledger_with_the_password_that_it_is_lent(tmp_path: Path) -> None:
    with closing(postgres.Server()) as server:
        server.ask_for_password("canary-word")
        order = replace(an_order(tmp_path / "new"), ledger=server.dsn)
        without = await run_errand(Errand(order=order), Lent({}), Stop(), no_decoders, Teller())
        lent = await run_errand(Errand(order=order), Lent({"PGPASSWORD": "canary-word"}), Stop(), no_decoders, Teller())
    assert without.code is Exit.BAD_INPUT
    assert "password" in without.said
    assert "never planned" in lent.said, lent.said
    assert "canary" not in without.said + lent.said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]


def test_no_command_imports_ray() -> None:
    loaded = "sys.stderr.write(repr([name for name in sys.modules if name.split('.')[0] == 'ray']))"
    code = f"import sys, pipeline.cli.main, pipeline.cli.running.crew, pipeline.scale.ray\n{loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]"
    helped = subprocess.run(
        [sys.executable, "-X", "importtime", *command_line("run", "--help")[1:]],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in helped.stderr.splitlines()}
    assert "pipeline" in names
    assert "ray" not in names
