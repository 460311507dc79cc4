"""Room on the disk: asked for before money is spent, with everything in flight counted in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from pipeline.providers.answers import Running, Stage
from pipeline.providers.base import BilledAt
from pipeline.runner.space import CLIP_BYTES, SPARE_BYTES
from pipeline.runner.stop import Stop
from tests.runner.staged import PROVIDERS, staged, stopped
from tests.support.batches import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.effects import Files
    from pipeline.runner.batch import Outcome
    from tests.support.batches import Batch
    from tests.support.memory_files import MemoryFiles

RUNNING = Running(stage=Stage.RUNNING, word="PROCESSING")


class Disk:
    """The world's files, on a disk with so much room."""

    def __init__(self, files: MemoryFiles, room_bytes: int) -> None:
        self._files = files
        self._room_bytes = room_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def free_bytes(self, path: Path) -> int:
        assert path == ROOT
        return self._room_bytes


def run_with(room_bytes: int, batch: Batch) -> Outcome:
    process = batch.world.process("run")
    disk = cast("Files", Disk(batch.world.files, room_bytes))
    return batch.world.run(batch.work(batch.world.effects(process, files=disk), Stop()), process)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_with_room_for_one_clip_one_item_can_be_made(provider: str) -> None:
    with staged(provider, 1) as (_, batch):
        assert not run_with(SPARE_BYTES + 2 * CLIP_BYTES, batch).paused_because
        assert batch.job().state == "done"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_byte_less_buys_nothing_and_says_what_is_needed(provider: str) -> None:
    with staged(provider, 3) as (script, batch):
        (reason,) = run_with(SPARE_BYTES + CLIP_BYTES - 1, batch).paused_because
        assert reason.startswith("/batch has 71 MiB free, and 72 MiB are needed")
        assert reason.endswith("Free space, then run the same command.")
        assert script.calls == []
        assert set(batch.states().values()) == {"planned"}


def test_what_is_in_flight_needs_room_too() -> None:
    looks = {f"i{number}": [RUNNING] * 3 for number in range(9)}
    with staged("venice", 9, looks=looks) as (script, batch):
        (reason,) = run_with(SPARE_BYTES + 3 * CLIP_BYTES, batch).paused_because
        assert "has 88 MiB free" in reason
        assert script.count("submit") == 3
        states = list(batch.states().values())
        assert (states.count("done"), states.count("planned")) == (3, 6)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_without_room_for_another_clip_what_is_paid_comes_home(provider: str) -> None:
    with staged(provider, 3, looks={"i0": [RUNNING] * 1000}, limits={"in_flight": 1}) as (script, batch):
        stopped(batch, 5.0)
        assert batch.states() == {"i0": "submitted", "i1": "planned", "i2": "planned"}
        script.looks.clear()
        script.forget()
        (reason,) = run_with(SPARE_BYTES, batch).paused_because
        assert "Free space" in reason
        home = "done" if script.capabilities.billed_at is BilledAt.SUBMIT else "submitted"
        assert batch.states() == {"i0": home, "i1": "planned", "i2": "planned"}
        assert script.count("submit") == 1


def test_a_disk_that_does_not_answer_is_no_disk_with_room() -> None:
    with staged("venice", 1) as (script, batch):

        def refuse(operation: str, subject: Any) -> None:
            if operation == "free_bytes":
                raise OSError(5, "Input/output error")

        batch.world.files.on_call = refuse
        (reason,) = batch.run().paused_because
        assert "Could not ask for the free space of /batch: Input/output error" in reason
        assert script.calls == []
