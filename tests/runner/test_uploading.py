"""Uploading beside the run: what is in the store in the end, whatever happens to the store or to the process."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING

import pytest

from pipeline.jobs.job import CleanUp
from pipeline.jobs.state import CopyState, EventKind
from pipeline.ledger.results import rewrite_results
from pipeline.paths import BatchFolder
from pipeline.runner.uploading import AT_ONCE, PATIENCE_S, Room
from pipeline.sandbox.settings import Render, SandboxSettings
from pipeline.storage.mark import MARK
from tests.runner.staged import PROVIDERS, staged, stopped
from tests.runner.test_decoding import ScriptedDecoders
from tests.support.batches import ROOT, Batch, Vendor, an_item
from tests.support.memory_files import Crash
from tests.support.memory_store import URL, Bucket, Fault
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

UPLOADED = EventKind.CLIP_UPLOADED
RESULTS = "results.jsonl"


def keys(bucket: Bucket) -> set[str]:
    return set(bucket.objects) - {MARK, RESULTS}


def judge(batch: Batch, bucket: Bucket, *, ours: Sequence[str] | None = None) -> None:
    """Hold ledger, disk and store against each other: every clip there once, whole, and said to be."""
    told: dict[str, bytes] = {}
    for job in batch.jobs():
        for clip in job.clips:
            assert clip.copy is CopyState.UPLOADED, (job.item_id, clip)
            assert clip.remote is not None
            assert clip.remote.store == URL
            told[clip.remote.key] = there = bucket.objects[clip.remote.key].data
            assert there == batch.world.files.bytes_at(ROOT / clip.file)
            assert hashlib.sha256(there).hexdigest() == clip.sha256
            assert clip.remote.e_tag == bucket.objects[clip.remote.key].e_tag
    assert keys(bucket) - set(ours or ()) == set(told)
    assert {key: times for key, times in bucket.written.items() if times > 1 and key != RESULTS} == {}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_clip_of_a_run_is_uploaded_once_and_the_ledger_says_where(provider: str) -> None:
    with staged(provider, 5) as (_, batch):
        batch.bucket = bucket = Bucket()
        assert batch.run().not_uploaded == ""
        judge(batch, bucket)
        assert keys(bucket) == {f"clips/i{number}.mp4" for number in range(5)}
        assert batch.progress.uploaded == 5
        assert [batch.kinds(job.item_id).count(UPLOADED) for job in batch.jobs()] == [1] * 5
        assert {each.media_type for key, each in bucket.objects.items() if key in keys(bucket)} == {"video/mp4"}
        asked = bucket.calls.total()
        batch.run()
        assert bucket.calls.total() - asked == 3, "the mark, who it says the place belongs to, and the results"
        judge(batch, bucket)


def test_the_results_lie_beside_the_clips_with_the_address_of_each_and_are_renewed() -> None:
    with staged("venice", 2) as (_, batch):
        batch.bucket = bucket = Bucket()
        batch.run()
        lines = [json.loads(line) for line in bucket.objects[RESULTS].data.splitlines()]
        assert [clip["url"] for line in lines for clip in line["clips"]] == [f"{URL}/clips/i{n}.mp4" for n in (0, 1)]
        batch.items = [an_item(f"i{number}", "venice") for number in range(3)]
        batch.run()
        assert len(bucket.objects[RESULTS].data.splitlines()) == 3
        assert bucket.written[RESULTS] == 2


def test_results_that_somebody_else_put_there_stay_as_they_are() -> None:
    with staged("venice", 1) as (_, batch):
        batch.bucket = bucket = Bucket()
        bucket.put(RESULTS, b"mine")
        batch.run()
        assert bucket.objects[RESULTS].data == b"mine"
        assert f"{URL}/{RESULTS} is not this batch's and stays as it is." in batch.progress.notes


@pytest.mark.parametrize("provider", PROVIDERS)
def test_nothing_that_a_vendor_is_asked_waits_for_the_store(provider: str) -> None:
    def published_at(batch: Batch) -> list[float]:
        return [event.at.timestamp() for event in batch.events() if event.kind is EventKind.CLIP_PUBLISHED]

    with staged(provider, 30) as (plain, batch):
        batch.run()
        without, calls = published_at(batch), plain.count("look")
    with staged(provider, 30) as (beside, batch):
        batch.bucket = bucket = Bucket(lasts_s=600.0)
        batch.run()
        assert published_at(batch) == pytest.approx(without, abs=0.01)
        assert beside.count("look") == calls
        assert bucket.most_busy == AT_ONCE
        judge(batch, bucket)


def test_a_name_that_is_taken_is_never_written_over_and_the_next_free_one_is_used() -> None:
    with staged("venice", 2) as (_, batch):
        batch.bucket = bucket = Bucket()
        bucket.put("clips/i1.mp4", b"mine")
        bucket.put("clips/i1__x1.mp4", b"mine, too")
        batch.run()
        judge(batch, bucket, ours=["clips/i1.mp4", "clips/i1__x1.mp4"])
        assert keys(bucket) == {"clips/i0.mp4", "clips/i1.mp4", "clips/i1__x1.mp4", "clips/i1__x2.mp4"}
        assert (bucket.objects["clips/i1.mp4"].data, bucket.objects["clips/i1__x1.mp4"].data) == (b"mine", b"mine, too")
        taken = f"{URL}/clips/i1.mp4 is something else and stays as it is; the next free name is used."
        assert taken in batch.progress.notes


@pytest.mark.parametrize("opaque", [False, True])
def test_an_object_of_the_same_size_is_ours_only_if_its_bytes_are(opaque: bool) -> None:
    with staged("venice", 2) as (_, batch):
        batch.run()
        right, wrong = batch.clip("i0"), bytearray(batch.clip("i1") or b"")
        assert right
        wrong[-1] ^= 1
        batch.bucket = bucket = Bucket(opaque=opaque)
        bucket.put("clips/i0.mp4", right)
        bucket.put("clips/i1.mp4", bytes(wrong), sha256=hashlib.sha256(batch.clip("i1") or b"").hexdigest())
        batch.run()
        judge(batch, bucket, ours=["clips/i1.mp4"])
        assert keys(bucket) == {"clips/i0.mp4", "clips/i1.mp4", "clips/i1__x1.mp4"}


def test_a_store_that_the_batch_did_not_have_before_gets_all_of_it() -> None:
    with staged("venice", 3) as (_, batch):
        batch.run()
        batch.bucket = first = Bucket()
        batch.run()
        judge(batch, first)
        batch.bucket, batch.store_url = second, _ = Bucket(), "s3://elsewhere"
        batch.run()
        assert keys(second) == keys(first)
        assert {clip.remote and clip.remote.store for job in batch.jobs() for clip in job.clips} == {"s3://elsewhere"}


def test_what_is_missing_or_changed_on_disk_is_told_and_not_uploaded() -> None:
    with staged("venice", 3) as (_, batch):
        batch.run()
        files = batch.world.files
        files.unlink(ROOT / "clips/i0.mp4")
        changed = bytearray(batch.clip("i1") or b"")
        changed[40] ^= 1
        files.unlink(ROOT / "clips/i1.mp4")
        files.plant(ROOT / "clips/i1.mp4", bytes(changed))
        batch.bucket = bucket = Bucket()
        assert batch.run().paused_because == ()
        assert keys(bucket) == {"clips/i2.mp4"}
        assert len([note for note in batch.progress.notes if "was not uploaded. It is missing, or not" in note]) == 2


# --- the store fails ---


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNANSWERED])
@pytest.mark.parametrize("call", ["create", "look", "read", "replace"])
@pytest.mark.parametrize("opaque", [False, True])
def test_a_call_that_fails_once_is_made_again_whether_it_took_effect_or_not(
    fault: Fault, call: str, opaque: bool
) -> None:
    failed: set[tuple[str, str]] = set()

    def once(asked: str, key: str) -> Fault | None:
        if asked != call or (asked, key) in failed:
            return None
        failed.add((asked, key))
        return fault

    with staged("venice", 3) as (_, batch):
        batch.bucket = bucket = Bucket(fault=once, opaque=opaque)
        for _ in range(2):
            assert batch.run().not_uploaded == ""
            batch.items = [an_item(f"i{number}", "venice") for number in range(4)]
        judge(batch, bucket)
        assert failed


@pytest.mark.parametrize("seed", range(10))
def test_a_store_that_fails_half_of_the_time_has_every_clip_once_in_the_end(seed: int) -> None:
    chance = random.Random(seed)

    def often(call: str, key: str) -> Fault | None:
        return chance.choice([None, None, Fault.LOST, Fault.UNANSWERED])

    with staged("modelmax", wanted=[an_item(f"i{n}", sample_count=2) for n in range(12)], shuffle=True) as (_, batch):
        batch.bucket = bucket = Bucket(fault=often, lasts_s=0.5, opaque=bool(seed % 2))
        for _ in range(5):
            if not batch.run().not_uploaded:
                break
        judge(batch, bucket)


def test_a_store_that_is_down_for_an_hour_is_waited_for_while_clips_are_made() -> None:
    with World(limit_s=86400) as world:
        Vendor(world, SandboxSettings(render=Render.TEMPLATE, durations_s={"venice": 5000.0}))
        batch = Batch(world, [an_item(f"i{number}", "venice") for number in range(4)])
        batch.bucket = bucket = Bucket(fault=lambda call, key: Fault.LOST if world.loop.time() < 3600.0 else None)
        assert batch.run().not_uploaded == ""
        judge(batch, bucket)
        assert bucket.calls["create"] < 3600 / 30 + 20, "it is not asked all the time"


def test_a_store_that_stays_down_ends_the_uploads_and_not_the_batch() -> None:
    with staged("venice", 3) as (_, batch):
        batch.bucket = bucket = Bucket()
        batch.run()
        batch.items = [an_item(f"i{number}", "venice") for number in range(6)]
        bucket.fault = lambda call, key: Fault.LOST
        began_s = batch.world.loop.time()
        outcome = batch.run()
        assert "cannot be reached" in outcome.not_uploaded
        assert outcome.paused_because == ()
        assert batch.world.loop.time() - began_s < 1000 + 2 * PATIENCE_S
        assert set(batch.states().values()) == {"done"}
        assert len(keys(bucket)) == 3
        bucket.fault = lambda call, key: None
        assert batch.run().not_uploaded == ""
        judge(batch, bucket)


def test_a_store_that_refuses_is_asked_no_more_in_this_run() -> None:
    with staged("venice", 6) as (_, batch):
        batch.bucket = bucket = Bucket(fault=lambda call, key: Fault.REFUSED if key.startswith("clips") else None)
        outcome = batch.run()
        assert "403" in outcome.not_uploaded
        assert bucket.calls["create"] <= 1 + 1 + AT_ONCE
        assert any("No more clips are uploaded in this run." in note for note in batch.progress.notes)
        assert set(batch.states().values()) == {"done"}


def test_a_place_that_belongs_to_another_batch_gets_nothing() -> None:
    with staged("venice", 2) as (_, batch):
        batch.bucket = bucket = Bucket()
        bucket.put(MARK, b'{"clipmill_batch": "another", "name": "whales"}')
        outcome = batch.run()
        assert "holds the uploads of another batch (another)" in outcome.not_uploaded
        assert set(bucket.objects) == {MARK}


# --- the process fails ---


def test_a_run_that_is_stopped_waits_for_no_store_and_the_next_one_goes_on() -> None:
    with staged("venice", 4) as (_, batch):
        batch.bucket = bucket = Bucket(lasts_s=3600.0)
        assert stopped(batch, 1800.0).signal
        assert set(batch.states().values()) == {"done"}
        assert keys(bucket) == set()
        bucket.lasts_s = 0.0
        batch.run()
        judge(batch, bucket)


def test_a_run_that_is_stopped_while_only_its_results_are_uploaded_leaves_at_once() -> None:
    with staged("venice", 2) as (_, batch):
        batch.bucket = bucket = Bucket()
        batch.run()
        bucket.fault = lambda call, key: Fault.LOST if key == RESULTS else None
        began_s = batch.world.loop.time()
        assert stopped(batch, 20.0).signal
        assert batch.world.loop.time() - began_s < 25.0
        assert any("It is tried again for as long as clips are made" in note for note in batch.progress.notes)


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("opaque", [False, True])
def test_wherever_a_run_is_killed_the_next_one_leaves_every_object_whole_and_none_twice(
    power_cut: bool, opaque: bool
) -> None:
    def killed_at(step: int | None) -> int:
        """Run it, kill it before a step, run it again; return how many steps there were."""
        with staged("modelmax", wanted=[an_item("i0", sample_count=2), an_item("i1")]) as (_, batch):
            batch.bucket = bucket = Bucket(opaque=opaque)
            bucket.put("clips/i1.mp4", b"mine")
            process = batch.world.process("killed", crash_at=step, power_cut=power_cut)
            try:
                batch.run(process)
            except Crash:
                batch.run()
            if not any(state.endswith("in_doubt") for state in batch.states().values()):
                judge(batch, bucket, ours=["clips/i1.mp4"])
            assert bucket.objects["clips/i1.mp4"].data == b"mine"
            return process.steps

    steps = killed_at(None)
    assert steps > 60
    for step in range(1, steps + 1):
        killed_at(step)


def test_uploading_decoding_and_cleaning_up_take_turns_at_a_job() -> None:
    wanted = [an_item(f"i{number}", "venice") for number in range(12)]
    for seed in range(6):
        with World(seed, shuffle=True, limit_s=86400) as world:
            Vendor(world, SandboxSettings(render=Render.TEMPLATE, durations_s={"venice": 5.0}))
            bucket = Bucket(lasts_s=0.05 * seed)
            batch = Batch(world, wanted, cleanup=True, decoders=ScriptedDecoders(lasts_s=0.1), bucket=bucket)
            assert batch.run().paused_because == ()
            judge(batch, bucket)
            assert [job.cleanup for job in batch.jobs()] == [CleanUp.DONE] * 12
            assert all(clip.facts.get("decoded") for job in batch.jobs() for clip in job.clips)


async def test_what_is_on_its_way_at_once_is_bounded_and_what_is_larger_goes_alone() -> None:
    import asyncio

    room = Room(most=100)
    most = alone = 0

    async def go(size_bytes: int) -> None:
        nonlocal most, alone
        async with room.held(size_bytes):
            if size_bytes > 100:
                alone += room.used == size_bytes
            else:
                most = max(most, room.used)
            for _ in range(3):
                await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop

    async with asyncio.TaskGroup() as group:
        for size_bytes in (40, 40, 40, 500, 40, 99, 1, 300):
            group.create_task(go(size_bytes))
    assert (most, alone, room.used) == (99, 2, 0)


def test_results_name_no_address_where_there_is_none() -> None:
    with staged("venice", 1) as (_, batch):
        batch.run()
        effects = batch.world.effects(batch.world.process("results"))
        rewrite_results(BatchFolder(ROOT), effects)
        line = json.loads(batch.world.files.bytes_at(ROOT / RESULTS) or b"")
        assert line["clips"][0]["url"] is None
