"""An export in a store: whole under its index, or without one; never changed, and gone on with where it was cut off."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from pipeline.clips.acceptance import Acceptance
from pipeline.dataset import upload
from pipeline.dataset.build import Options
from pipeline.dataset.export import Order, export
from pipeline.dataset.folders import INDEX
from pipeline.dataset.rows import select
from pipeline.dataset.split import ALL_TRAIN
from pipeline.dataset.upload import PATIENCE_S, upload_export
from pipeline.dataset.where import meeting
from pipeline.errors import InputError
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.storage.base import StoreDown, StoreRefused
from pipeline.storage.mark import MARK
from pipeline.system.effects import SystemClock, system
from tests.dataset.made import a_batch, finished
from tests.support.memory_store import URL, Bucket, Fault, MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.effects import Effects

NAMES = ("turtle", "wave", "fox", "deer", "zoom")


@dataclass
class QuickClock(SystemClock):
    """Time that passes when somebody waits."""

    passed_s: float = 0.0

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


@pytest.fixture
def effects() -> Effects:
    return replace(system(), clock=QuickClock())


def exported(tmp_path: Path, effects: Effects, form: str, count: int = 5) -> Path:
    """Make an export of some clips and return where it lies."""
    root = a_batch(tmp_path / f"batch{count}", *(finished(name) for name in NAMES[:count]))
    with reading(BatchFolder(root).ledger, effects) as reader:
        selection = select(list(reader.with_clips()), Acceptance(), ALL_TRAIN, meeting(()), count)
    order = Order(
        batch=root,
        name="reefs",
        uuid="0" * 32,
        form=form,
        dest=root / "exports" / form,
        selection=selection,
        options=Options(shard_clips=2),
    )
    order.dest.parent.mkdir()
    asyncio.run(export(order, effects, lambda more: None))
    return order.dest


def send(dest: Path, bucket: Bucket, effects: Effects) -> tuple[bool, int]:
    told: list[int] = []
    fresh = asyncio.run(upload_export(dest, MemoryStore(bucket), "batch-1", "reefs", effects, told.append))
    return fresh, sum(told)


def judge(dest: Path, bucket: Bucket) -> None:
    """Check that what is there is the export, file by file, each written once."""
    here = {str(path.relative_to(dest)): path.read_bytes() for path in dest.rglob("*") if path.is_file()}
    assert {key: each.data for key, each in bucket.objects.items() if key != MARK} == here
    assert set(bucket.written.values()) == {1}


@pytest.mark.parametrize("form", ["videofolder", "webdataset", "sidecars"])
def test_every_file_of_an_export_is_there_and_its_index_comes_last(tmp_path: Path, effects: Effects, form: str) -> None:
    dest, bucket = exported(tmp_path, effects, form), Bucket()
    fresh, told = send(dest, bucket, effects)
    assert fresh
    judge(dest, bucket)
    assert list(bucket.objects)[-1] == INDEX
    assert told == sum(each["bytes"] for each in json.loads((dest / INDEX).read_bytes())["files"])
    calls = bucket.calls.total()
    assert send(dest, bucket, effects) == (False, 0)
    assert bucket.calls.total() - calls == 3, "the mark, whose it is, and the index"


def test_what_is_mapped_is_sent_like_what_is_read(tmp_path: Path, effects: Effects) -> None:
    dest, bucket = exported(tmp_path, effects, "webdataset"), Bucket()
    path = next(dest.rglob("*.tar"))
    data = upload._bytes_of(path, upload.IN_MEMORY_BYTES + 1, effects)
    assert not isinstance(data, bytes)
    assert asyncio.run(MemoryStore(bucket).create("x", data, {}, "application/x-tar"))
    assert bucket.objects["x"].data == path.read_bytes()


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNANSWERED])
def test_wherever_it_is_cut_off_there_is_no_index_and_the_next_call_goes_on(
    tmp_path: Path, effects: Effects, fault: Fault
) -> None:
    dest = exported(tmp_path, effects, "videofolder")
    whole = Bucket()
    send(dest, whole, effects)
    for last in range(whole.calls.total()):
        bucket = Bucket()

        def dies(call: str, key: str, bucket: Bucket = bucket, last: int = last) -> Fault | None:
            return fault if bucket.calls.total() > last else None

        bucket.fault = dies
        with pytest.raises(StoreDown, match="goes on where this one stopped"):
            send(dest, bucket, effects)
        if INDEX in bucket.objects:
            judge(dest, bucket)  # cut off when all of it was there
        bucket.fault = lambda call, key: None
        send(dest, bucket, effects)
        judge(dest, bucket)


def test_a_store_that_is_down_for_a_while_is_waited_for(tmp_path: Path, effects: Effects) -> None:
    dest = exported(tmp_path, effects, "sidecars")
    bucket = Bucket(fault=lambda call, key: Fault.LOST if effects.clock.monotonic() < PATIENCE_S - 20 else None)
    assert send(dest, bucket, effects)[0]
    judge(dest, bucket)


def test_another_export_there_is_never_changed(tmp_path: Path, effects: Effects) -> None:
    first, bucket = exported(tmp_path, effects, "videofolder"), Bucket()
    send(first, bucket, effects)
    before = dict(bucket.objects)
    with pytest.raises(InputError, match=f"{URL} holds another export already.*Name another --dest"):
        send(exported(tmp_path, effects, "videofolder", 4), bucket, effects)
    assert bucket.objects == before


def test_something_else_under_a_name_of_the_export_stays_and_there_is_no_index(
    tmp_path: Path, effects: Effects
) -> None:
    dest, bucket = exported(tmp_path, effects, "videofolder"), Bucket()
    bucket.put("train/fox.mp4", b"mine")
    with pytest.raises(InputError, match=r"train/fox.mp4 is something else, and is not written over"):
        send(dest, bucket, effects)
    assert bucket.objects["train/fox.mp4"].data == b"mine"
    assert INDEX not in bucket.objects


def test_a_place_of_another_batch_and_a_store_that_refuses_get_nothing(tmp_path: Path, effects: Effects) -> None:
    dest, bucket = exported(tmp_path, effects, "videofolder"), Bucket()
    bucket.put(MARK, b'{"clipmill_batch": "another"}')
    with pytest.raises(InputError, match="Name another prefix with --dest"):
        send(dest, bucket, effects)
    assert set(bucket.objects) == {MARK}
    with pytest.raises(StoreRefused):
        send(dest, Bucket(fault=lambda call, key: Fault.REFUSED), effects)


def test_a_file_that_was_changed_meanwhile_is_not_uploaded(tmp_path: Path, effects: Effects) -> None:
    dest, bucket = exported(tmp_path, effects, "videofolder"), Bucket()
    path = dest / "train" / "fox.mp4"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="was changed while it was being exported"):
        send(dest, bucket, effects)
    there = bucket.objects.get("train/fox.mp4")
    assert there is None or hashlib.sha256(there.data).digest() != hashlib.sha256(bytes(data)).digest()
    assert INDEX not in bucket.objects
