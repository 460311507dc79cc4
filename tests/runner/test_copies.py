"""Uploaded clips held against the ledger, and uploaded again where they are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.ledger.store import Ledger
from pipeline.paths import BatchFolder
from pipeline.runner.copies import copied, forget_copies, inspect_copies
from pipeline.storage.base import StoreDown
from tests.runner.staged import staged
from tests.runner.test_uploading import judge
from tests.support.batches import ROOT, Batch
from tests.support.memory_store import URL, Bucket, Fault, MemoryStore

if TYPE_CHECKING:
    from pipeline.runner.inspection import Finding


def found(batch: Batch, bucket: Bucket) -> list[Finding]:
    effects = batch.world.effects(batch.world.process("check"))
    return batch.world.run(inspect_copies(copied(batch.jobs()), lambda url: MemoryStore(bucket, url), effects))


def forget(batch: Batch, findings: list[Finding]) -> int:
    async def write() -> int:
        effects = batch.world.effects(process)
        ledger = await Ledger.open(BatchFolder(ROOT).ledger, effects, {"pid": 3})
        lost = await forget_copies(findings, ledger, effects.clock.now())
        await ledger.close("checked")
        return lost

    process = batch.world.process("repair")
    return batch.world.run(write(), process)


def test_copies_that_are_as_they_were_are_looked_at_and_not_read() -> None:
    with staged("venice", 3) as (_, batch):
        batch.bucket = bucket = Bucket()
        batch.run()
        bucket.calls.clear()
        assert found(batch, bucket) == []
        assert bucket.calls == {"look": 3}


def test_what_was_copied_with_other_tags_is_read_and_found_to_be_the_same() -> None:
    with staged("venice", 2) as (_, batch):
        batch.bucket = bucket = Bucket(opaque=True)
        batch.run()
        for key in [key for key in bucket.objects if key.startswith("clips/")]:
            bucket.put(key, bucket.objects[key].data)
        bucket.calls.clear()
        assert found(batch, bucket) == []
        assert bucket.calls == {"look": 2, "read": 2}


def test_what_is_gone_or_changed_is_told_and_uploaded_again_without_writing_over_it() -> None:
    with staged("venice", 4) as (_, batch):
        batch.bucket = bucket = Bucket()
        batch.run()
        del bucket.objects["clips/i0.mp4"]
        other = bytearray(bucket.objects["clips/i1.mp4"].data)
        other[-1] ^= 1
        bucket.put("clips/i1.mp4", bytes(other))
        bucket.put("clips/i2.mp4", b"short")
        told = found(batch, bucket)
        assert [(each.kind, each.item_id) for each in told] == [
            ("copy_gone", "i0"),
            ("copy_changed", "i1"),
            ("copy_changed", "i2"),
        ]
        assert told[0].says == f"{URL}/clips/i0.mp4 is gone; clips/i0.mp4 was uploaded there."
        assert forget(batch, told) == 3
        bucket.written.clear()
        batch.run()
        judge(batch, bucket, ours=["clips/i1.mp4", "clips/i2.mp4"])
        assert (bucket.objects["clips/i1.mp4"].data, bucket.objects["clips/i2.mp4"].data) == (bytes(other), b"short")
        assert {key for key in bucket.written if key.startswith("clips")} == {
            "clips/i0.mp4",
            "clips/i1__x1.mp4",
            "clips/i2__x1.mp4",
        }
        assert found(batch, bucket) == []


def test_a_store_that_does_not_answer_is_no_finding() -> None:
    with staged("venice", 2) as (_, batch):
        batch.bucket = bucket = Bucket()
        batch.run()
        faults = iter([Fault.LOST, Fault.UNANSWERED])
        bucket.fault = lambda call, key: next(faults, None)
        assert found(batch, bucket) == []
        bucket.fault = lambda call, key: Fault.LOST
        with pytest.raises(StoreDown):
            found(batch, bucket)
