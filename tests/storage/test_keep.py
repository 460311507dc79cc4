"""One file into a store, and the mark of a batch at its prefix."""

from __future__ import annotations

import hashlib
import json

import pytest

from pipeline.errors import InputError
from pipeline.storage.base import Found, StoreDown
from pipeline.storage.keep import BATCH, SHA256, Content, keep, renew
from pipeline.storage.mark import MARK, take
from tests.support.memory_store import URL, Bucket, Fault, MemoryStore

FOX = b"a fox" * 1000


def content(data: bytes = FOX) -> Content:
    return Content(data=data, sha256=hashlib.sha256(data).hexdigest(), media_type="video/mp4")


@pytest.fixture(params=[False, True], ids=["tags are digests", "tags say nothing"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    return Bucket(opaque=request.param)


async def test_an_object_is_created_with_its_digest_and_looked_at(bucket: Bucket) -> None:
    tag = await keep(MemoryStore(bucket), "fox.mp4", content(), "batch-1")

    there = bucket.objects["fox.mp4"]
    assert (there.data, there.e_tag, there.media_type) == (FOX, tag, "video/mp4")
    assert there.labels == {SHA256: hashlib.sha256(FOX).hexdigest(), BATCH: "batch-1"}
    assert bucket.calls == {"create": 1, "look": 1}


async def test_the_same_bytes_are_taken_as_ours_and_others_are_left_alone(bucket: Bucket) -> None:
    store = MemoryStore(bucket)
    bucket.put("same", FOX)
    bucket.put("shorter", FOX[:-1])
    bucket.put("other", b"b" + FOX[1:], **{SHA256: content().sha256, BATCH: "batch-1"})

    assert await keep(store, "same", content(), "batch-1") == bucket.objects["same"].e_tag
    assert await keep(store, "shorter", content(), "batch-1") is None
    assert await keep(store, "other", content(), "batch-1") is None
    assert set(bucket.written.values()) == {1}
    assert bucket.calls["read"] == (2 if bucket.opaque else 1), "a tag that is a digest spares the reading"


async def test_a_store_that_does_not_have_what_it_took_is_not_believed(bucket: Bucket) -> None:
    class Forgetful(MemoryStore):
        async def look(self, key: str) -> Found | None:
            return None

    with pytest.raises(StoreDown, match="is not there, though the store said that it is"):
        await keep(Forgetful(bucket), "fox.mp4", content(), "batch-1")


async def test_a_store_that_has_something_else_than_it_took_is_found_out(bucket: Bucket) -> None:
    class Careless(MemoryStore):
        async def create(self, key: str, data: object, labels: object, media_type: str) -> str | None:
            return await MemoryStore.create(self, key, b"c" + FOX[1:], {}, media_type)

    assert await keep(Careless(bucket), "fox.mp4", content(), "batch-1") is None


async def test_what_is_renewed_takes_the_place_of_what_the_batch_had_there_alone(bucket: Bucket) -> None:
    store = MemoryStore(bucket)
    assert await renew(store, "results", content(b"1"), "batch-1")
    assert await renew(store, "results", content(b"1"), "batch-1")
    assert bucket.written["results"] == 1
    assert await renew(store, "results", content(b"12"), "batch-1")
    assert bucket.objects["results"].data == b"12"
    assert not await renew(store, "results", content(b"3"), "batch-2")
    assert bucket.objects["results"].data == b"12"


async def test_what_changed_between_look_and_renewal_stays(bucket: Bucket) -> None:
    class Raced(MemoryStore):
        async def look(self, key: str) -> Found | None:
            found = await MemoryStore.look(self, key)
            bucket.put(key, b"theirs")
            return found

    await renew(MemoryStore(bucket), "results", content(b"1"), "batch-1")
    assert not await renew(Raced(bucket), "results", content(b"2"), "batch-1")
    assert bucket.objects["results"].data == b"theirs"


# --- the mark ---


async def test_a_place_is_taken_once_and_found_to_be_ours_again() -> None:
    bucket = Bucket()
    for _ in range(2):
        await take(MemoryStore(bucket), "batch-1", "foxes")
    assert json.loads(bucket.objects[MARK].data) == {"clipmill_batch": "batch-1", "name": "foxes"}
    assert bucket.written == {MARK: 1}


@pytest.mark.parametrize(
    "data", [b'{"clipmill_batch": "batch-2"}', b"mine", b"[]", b'{"clipmill_batch": 3}', b"x" * 99999]
)
async def test_a_place_that_is_another_s_is_refused(data: bytes) -> None:
    bucket = Bucket()
    bucket.put(MARK, data)
    with pytest.raises(InputError, match=f"{URL} holds .* Name another prefix with --store"):
        await take(MemoryStore(bucket), "batch-1", "foxes")
    assert bucket.objects[MARK].data == data


async def test_a_store_that_writes_over_what_is_there_is_refused() -> None:
    with pytest.raises(InputError, match="lets an object be written over"):
        await take(MemoryStore(Bucket(overwrites=True)), "batch-1", "foxes")


async def test_a_mark_whose_answer_was_lost_is_found_by_the_next_try() -> None:
    bucket = Bucket(fault=lambda call, key: Fault.UNANSWERED if call == "create" and not bucket.objects else None)
    with pytest.raises(StoreDown):
        await take(MemoryStore(bucket), "batch-1", "foxes")
    await take(MemoryStore(bucket), "batch-1", "foxes")
