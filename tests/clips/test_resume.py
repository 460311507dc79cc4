from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.clips.download import BATCH_BYTES, Collected, DownloadLimits, collect
from pipeline.errors import BrokenClip
from tests.clips.test_download import LARGE, PART, SMALL, Body, Desk

if TYPE_CHECKING:
    from pipeline.clips.resume import ByteSource

RESET = ConnectionResetError("reset by peer")


class Cuttable(Body):
    """A body whose rest can be asked for: `rests` are scripts, errors or None, given in turn."""

    def __init__(self, desk: Desk, script: list[Any], rests: list[Any], whole: bytes = SMALL) -> None:
        super().__init__(desk.clock, script, len(whole))
        self.desk = desk
        self.rests = rests
        self.asked: list[int] = []
        self.asked_at: list[float] = []
        self.opened: list[Body] = []

    async def resume(self, offset: int) -> ByteSource | None:
        assert all(body.closed for body in (self, *self.opened)), "two connections at once"
        self.asked.append(offset)
        self.asked_at.append(self.desk.clock.time)
        rest = self.rests.pop(0)
        if isinstance(rest, Exception):
            raise rest
        if rest is None:
            return None
        self.opened.append(again := Rest(self, rest))
        return again


class Rest(Body):
    def __init__(self, first: Cuttable, script: list[Any]) -> None:
        super().__init__(first.desk.clock, script)
        self.resume = first.resume


async def collected(desk: Desk, body: Body) -> Collected:
    task = asyncio.create_task(
        collect(body, PART, files=desk.files, threads=desk.threads, clock=desk.clock, limits=desk.limits)
    )
    try:
        return await desk.clock.run(task)
    finally:
        assert body.closed
        assert not desk.files.open_descriptors


async def given_up(desk: Desk, body: Cuttable, words: str) -> None:
    with pytest.raises(BrokenClip, match=words):
        await collected(desk, body)
    assert desk.files.snapshot() == {}
    assert all(rest.closed for rest in body.opened)


async def test_a_cut_body_is_gone_on_with_at_the_byte_where_it_stopped() -> None:
    desk = Desk()
    body = Cuttable(desk, [SMALL[:100], RESET], [[SMALL[100:]]])
    assert (await collected(desk, body)).size_bytes == len(SMALL)
    assert desk.files.snapshot() == {PART: SMALL}
    assert body.asked == [100]


async def test_what_was_written_before_a_cut_stays_and_is_hashed_once() -> None:
    desk, whole = Desk(), Desk()
    at = BATCH_BYTES + 1000
    body = Cuttable(desk, [LARGE[:BATCH_BYTES], LARGE[BATCH_BYTES:at], RESET], [[LARGE[at:]]], LARGE)
    found = await collected(desk, body)
    assert found == await whole.collect(LARGE)
    assert desk.files.snapshot() == {PART: LARGE}


async def test_a_body_that_merely_ends_too_early_is_gone_on_with_too() -> None:
    desk = Desk()
    body = Cuttable(desk, [SMALL[:100]], [[SMALL[100:200]], [SMALL[200:]]])
    await collected(desk, body)
    assert body.asked == [100, 200]


async def test_a_body_that_became_too_slow_is_gone_on_with_over_another_connection() -> None:
    desk = Desk()
    desk.limits = DownloadLimits(window_s=10.0, min_bytes_per_s=50.0)
    body = Cuttable(desk, [SMALL[:100], 1000.0], [[SMALL[100:]]])
    await collected(desk, body)
    assert body.asked == [100]
    assert body.asked_at[0] <= 20.0


async def test_the_first_resumption_comes_at_once_and_later_ones_after_doubling_pauses() -> None:
    desk = Desk()
    body = Cuttable(desk, [SMALL[:100], RESET], [RESET, RESET, RESET, [SMALL[100:]]])
    await collected(desk, body)
    assert body.asked_at == [0.0, 1.0, 3.0, 7.0]


async def test_resumptions_are_bounded() -> None:
    desk = Desk()
    desk.limits = DownloadLimits(resumes_most=3)
    body = Cuttable(desk, [SMALL[:100], RESET], [[SMALL[n : n + 1], RESET] for n in range(100, 110)])
    await given_up(desk, body, "was cut after 103 of")
    assert body.asked == [100, 101, 102]


async def test_a_body_that_cannot_be_gone_on_with_is_broken_as_ever() -> None:
    desk = Desk()
    body = Cuttable(desk, [SMALL[:100], RESET], [None])
    await given_up(desk, body, "was cut after 100 of")
    assert body.asked == [100]


async def test_a_rest_that_is_longer_than_what_was_left_is_refused() -> None:
    desk = Desk()
    body = Cuttable(desk, [SMALL[:100], RESET], [[SMALL[99:]]])
    await given_up(desk, body, "longer than")


async def test_a_rest_with_other_bytes_fails_the_walk() -> None:
    desk = Desk()
    body = Cuttable(desk, [SMALL[:40], RESET], [[bytes(len(SMALL) - 40)]])
    await given_up(desk, body, "Not a whole MP4")
