from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import threading
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pipeline.clips.download import BATCH_BYTES, Collected, DownloadLimits, collect
from pipeline.clips.mp4 import walk
from pipeline.errors import BrokenClip, ClipmillError, DiskRefused
from pipeline.system.files import SystemFiles
from pipeline.system.threads import SystemThreads
from tests.support import mp4s
from tests.support.memory_files import Crash, CrashAt, MemoryFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from datetime import datetime

    from pipeline.effects import Files

T = TypeVar("T")

PART = Path("/batch/clips/.turtle.0.1.part")
SMALL = mp4s.minimal()
LARGE = mp4s.minimal(data=random.Random(1).randbytes(3 * BATCH_BYTES + 12_345))


class Body:
    """A source that yields what it is given: bytes, seconds to wait before the next, an event, or an error to raise."""

    def __init__(self, clock: StandingClock, script: Iterable[Any], length: int | None = None) -> None:
        self.length = length
        self.closed = 0
        self.yielded = 0
        self._clock = clock
        self._script = script

    async def chunks(self) -> AsyncIterator[bytes]:
        for step in self._script:
            if isinstance(step, bytes):
                self.yielded += len(step)
                yield step
            elif isinstance(step, Exception):
                raise step
            elif isinstance(step, asyncio.Event):
                await step.wait()
            else:
                await self._clock.sleep(step)

    async def close(self) -> None:
        self.closed += 1


class StandingClock:
    """Time stands still until every task waits; then it jumps to the next timer. The mutable state is the timers."""

    def __init__(self) -> None:
        self.time = 0.0
        self._timers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        raise NotImplementedError

    def monotonic(self) -> float:
        return self.time

    def boottime(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        timer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timers.append((self.time + seconds, timer))
        await timer

    async def run(self, task: asyncio.Task[T]) -> T:
        """Drive the time until the task ends."""
        jumps = 0
        while not task.done():
            await turns(20)
            self._timers = [(due, timer) for due, timer in self._timers if not timer.done()]
            if not task.done() and self._timers:
                due, timer = min(self._timers, key=lambda entry: entry[0])
                self.time = max(self.time, due)
                timer.set_result(None)
            jumps += 1
            assert jumps < 100_000, "nothing ends this task"
        return task.result()


class CountingThreads:
    """Work runs at once, and is counted; `pause_s` of virtual time pass before it."""

    def __init__(self, clock: StandingClock, pause_s: float = 0.0) -> None:
        self.hops: list[str] = []
        self._clock = clock
        self._pause_s = pause_s

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        self.hops.append(work.__name__)
        if self._pause_s:
            await self._clock.sleep(self._pause_s)
        return work(*args)

    run_busy = run

    async def run_alone(self, lane: str, work: Callable[..., T], *args: Any) -> T:
        raise NotImplementedError

    def close(self) -> None: ...


class Desk:
    """Everything that a download needs, and what came of it."""

    def __init__(self, files: MemoryFiles | None = None, pause_s: float = 0.0) -> None:
        self.clock = StandingClock()
        self.files = files or MemoryFiles()
        self.threads = CountingThreads(self.clock, pause_s)
        self.limits = DownloadLimits()
        self.files.plant_folder(PART.parent)

    def start(self, body: Body) -> asyncio.Task[Collected]:
        return asyncio.create_task(
            collect(body, PART, files=self.files, threads=self.threads, clock=self.clock, limits=self.limits)
        )

    async def collect(self, *script: Any, length: int | None = None) -> Collected:
        self.body = Body(self.clock, script, length)
        try:
            return await self.clock.run(self.start(self.body))
        finally:
            await turns(3)
            assert self.body.closed, "the source was left open"
            assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"
            assert not self.files.open_descriptors, "a descriptor was left open"

    async def refuses(self, error: type[ClipmillError], words: str, *script: Any, length: int | None = None) -> None:
        with pytest.raises(error) as caught:
            await self.collect(*script, length=length)
        assert words in str(caught.value)
        assert self.files.snapshot() == {}, "a part file was left behind"


async def turns(number: int) -> None:
    """Let everything that is ready run that many times."""
    for _ in range(number):
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0)


def sliced(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 199, 65_536, BATCH_BYTES, 10 * BATCH_BYTES])
@pytest.mark.parametrize("promise", [True, False])
async def test_a_whole_body_ends_durable_hashed_and_walked(size: int, promise: bool) -> None:
    data = SMALL if size == 1 else LARGE
    desk = Desk()
    collected = await desk.collect(*sliced(data, size), length=len(data) if promise else None)
    assert collected == Collected(
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        facts=walk(lambda offset, size: data[offset : offset + size], len(data)),
    )
    desk.files.fsync_folder(PART.parent)
    desk.files.crash("power", random.Random(0))
    assert desk.files.bytes_at(PART) == data


async def test_a_small_clip_costs_one_thread_hop() -> None:
    desk = Desk()
    await desk.collect(*sliced(SMALL, 100))
    assert desk.threads.hops == ["finish"]


async def test_a_large_clip_costs_a_hop_for_each_batch() -> None:
    desk = Desk()
    await desk.collect(*sliced(LARGE, BATCH_BYTES // 32))
    assert desk.threads.hops == ["append", "append", "append", "finish"]


async def test_the_source_is_closed_before_the_disk_is_waited_for() -> None:
    desk = Desk()
    closed_at: list[int] = []

    def note(operation: str, subject: Path | int) -> None:
        if operation == "fsync":
            closed_at.append(desk.body.closed)

    desk.files.on_call = note
    await desk.collect(SMALL)
    assert closed_at == [1]


async def test_a_page_is_refused_at_once_with_its_first_200_bytes() -> None:
    desk = Desk()
    page = b"<html>\x1b[2J" + b"x" * 400
    await desk.refuses(BrokenClip, "it is an HTML page; it begins: <html>\\x1b[2Jxxx", page, 3600, b"y" * BATCH_BYTES)
    assert desk.body.yielded == len(page)
    assert desk.threads.hops == ["discard"]


async def test_a_short_json_answer_in_small_pieces_is_named_whole() -> None:
    await Desk().refuses(BrokenClip, 'JSON document; it begins: {"error":"gone"}', *sliced(b'{"error":"gone"}', 3))


@pytest.mark.parametrize(
    ("script", "length", "words"),
    [
        ([], None, "it is empty"),
        ([], 0, "it is empty"),
        ([SMALL[:1000]], None, "mdat ends at"),
        ([SMALL[:1000]], len(SMALL), f"The body ended after 1000 of {len(SMALL)} bytes."),
        ([SMALL[:1000], ConnectionResetError("reset")], len(SMALL), "was cut after 1000 of"),
        ([SMALL[:1000], ConnectionResetError("reset")], None, "was cut after 1000 of unknown bytes (reset)."),
        ([SMALL[:1000], TimeoutError()], None, "was cut after 1000 of unknown bytes."),
        ([SMALL, b"x"], len(SMALL), f"longer than the {len(SMALL)} bytes that were promised"),
        ([SMALL, b"", SMALL[:9]], None, "ftyp ends at"),
        ([LARGE[:700_000], ConnectionError("gone")], len(LARGE), "was cut after 700000 of"),
        ([LARGE[:-1]], None, "mdat ends at"),
    ],
)
async def test_a_body_that_is_not_whole_is_broken_and_leaves_nothing(
    script: list[Any], length: int | None, words: str
) -> None:
    await Desk().refuses(BrokenClip, words, *script, length=length)


async def test_an_empty_chunk_does_not_end_a_body() -> None:
    assert (await Desk().collect(b"", SMALL[:300], b"", SMALL[300:])).size_bytes == len(SMALL)


async def test_an_endless_body_is_refused_at_the_limit() -> None:
    desk = Desk()
    desk.limits = DownloadLimits(max_bytes=600_000)
    header = mp4s.FTYP + b"\0\0\0\0mdat"
    await desk.refuses(BrokenClip, "larger than 600000 bytes", header, *[bytes(100_000)] * 50)
    assert desk.body.yielded < 800_000


async def test_a_body_promised_to_be_too_large_is_not_read_at_all() -> None:
    desk = Desk()
    desk.limits = DownloadLimits(max_bytes=1000)
    await desk.refuses(BrokenClip, "said to be 1001 bytes", SMALL, length=1001)
    assert desk.body.yielded == 0


async def test_a_stalled_body_is_given_up_after_a_window() -> None:
    desk = Desk()
    await desk.refuses(BrokenClip, "less than 1000 bytes a second for 60 s; given up after 500", SMALL[:500], 1e9)
    assert desk.clock.time <= 120


async def test_a_dripping_body_is_given_up() -> None:
    desk = Desk()
    drips = [step for byte in sliced(LARGE, 1) for step in (10, byte)]
    await desk.refuses(BrokenClip, "less than 1000 bytes a second", *drips)
    assert desk.clock.time <= 120


async def test_a_slow_but_steady_body_is_read_to_its_end() -> None:
    desk = Desk()
    steady = [step for piece in sliced(LARGE, 13_000) for step in (10, piece)]
    assert (await desk.collect(*steady)).size_bytes == len(LARGE)
    assert desk.clock.time > 300


async def test_a_slow_disk_is_not_held_against_the_body() -> None:
    desk = Desk(pause_s=3600)
    assert (await desk.collect(*sliced(LARGE, 65_536))).size_bytes == len(LARGE)


async def test_time_spent_on_the_disk_does_not_count_as_slowness() -> None:
    desk = Desk(pause_s=45)
    desk.limits = DownloadLimits(min_bytes_per_s=10_000, window_s=60)
    data = mp4s.minimal(data=bytes(12 * BATCH_BYTES))
    body = [step for piece in sliced(data, BATCH_BYTES) for step in (10, piece)]
    assert (await desk.collect(*body)).size_bytes == len(data)


async def test_a_time_limit_of_the_callers_own_stays_a_timeout() -> None:
    desk = Desk()
    body = Body(desk.clock, [SMALL[:500], asyncio.Event()])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await desk.start(body)
    assert body.closed


OPERATIONS = ("create", "write", "write the rest", "read", "fsync", "close")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_says_no_pauses_and_leaves_nothing(operation: str, data: bytes, code: int) -> None:
    calls: list[str] = []

    def refuse(called: str, subject: Path | int) -> None:
        calls.append(called)
        if called == operation:
            raise OSError(code, os.strerror(code))

    desk = Desk(MemoryFiles(on_call=refuse))
    await desk.refuses(DiskRefused, "run the same command", *sliced(data, 65_536))
    assert calls.count("close") == (operation != "create"), "closed twice, a descriptor may be somebody else's"


async def test_a_full_disk_leaves_its_room_free() -> None:
    desk = Desk(MemoryFiles(capacity_bytes=500_000))
    await desk.refuses(DiskRefused, "No space left on device", *sliced(LARGE, 65_536))
    assert desk.files.free_bytes(PART) == 500_000


@pytest.mark.parametrize("in_the_way", ["file", "link"])
async def test_what_is_in_the_way_is_neither_written_nor_removed(in_the_way: str) -> None:
    desk = Desk()
    if in_the_way == "file":
        desk.files.plant(PART, b"somebody's")
    else:
        desk.files.plant_link(PART)
    with pytest.raises(DiskRefused, match="is in the way; remove it"):
        await desk.collect(SMALL)
    assert desk.files.names(PART.parent) == [PART.name]
    assert desk.files.bytes_at(PART) == (b"somebody's" if in_the_way == "file" else None)


async def test_a_part_that_cannot_be_removed_does_not_hide_the_reason() -> None:
    def refuse(called: str, subject: Path | int) -> None:
        if called in {"unlink", "close"}:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    desk = Desk(MemoryFiles(on_call=refuse))
    with pytest.raises(BrokenClip, match="mdat ends at"):
        await desk.collect(SMALL[:-1])


@pytest.mark.parametrize("after", [0, 100, 400_000])
async def test_a_cancelled_download_leaves_nothing(after: int) -> None:
    desk = Desk()
    body = Body(desk.clock, [*sliced(LARGE[:after], 65_536), asyncio.Event()])
    task = desk.start(body)
    await turns(50)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert body.closed
    assert desk.files.snapshot() == {}
    assert not desk.files.open_descriptors


async def until_it_ends(desk: Desk, body: Body) -> Collected:
    return await desk.clock.run(desk.start(body))


def test_a_crash_at_any_step_leaves_at_most_a_part_file_that_has_no_final_name() -> None:
    left: set[int] = set()
    for step in range(1, 100):
        desk = Desk()
        desk.files.on_call = hook = CrashAt(step)
        with suppress(Crash):  # it ends the loop, as it would end the process
            asyncio.run(until_it_ends(desk, Body(desk.clock, sliced(LARGE, BATCH_BYTES // 4))))
        if hook.calls < step:
            break
        desk.files.crash("kill", random.Random(step))
        assert set(desk.files.snapshot()) <= {PART}
        left |= {len(data) for data in desk.files.snapshot().values()}
    assert hook.calls > 10
    assert {0, len(LARGE)} < left


class LateThreads(CountingThreads):
    """Work that was begun and then given up by a cancellation runs all the same, but only when the test says so."""

    def __init__(self, clock: StandingClock) -> None:
        super().__init__(clock)
        self.late: list[Callable[[], object]] = []

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        if work.__name__ == "discard":
            return await super().run(work, *args)
        self.late.append(lambda: work(*args))
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        return await result


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["while finishing", "while appending"])
async def test_work_that_comes_after_the_clean_up_creates_nothing(data: bytes) -> None:
    desk = Desk()
    desk.threads = threads = LateThreads(desk.clock)
    task = desk.start(Body(desk.clock, [data]))
    await turns(50)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(threads.late) == 1
    with pytest.raises(BrokenClip, match="given up"):
        threads.late[0]()
    assert desk.files.snapshot() == {}
    assert not desk.files.open_descriptors


class Gate:
    """Real files whose writes wait until the test lets them go on. Nothing may be closed meanwhile."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.let_go = threading.Event()
        self._files = SystemFiles()
        self._writing = False

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes]) -> None:
        self._writing = True
        self.reached.set()
        assert self.let_go.wait(10)
        self._files.write_pieces(descriptor, pieces)
        self._writing = False

    def close(self, descriptor: int) -> None:
        assert not self._writing, "closed under the writer, the number may already lead to another file"
        self._files.close(descriptor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["while finishing", "while appending"])
async def test_cancelling_while_a_thread_writes_waits_for_it_and_cleans_up(tmp_path: Path, data: bytes) -> None:
    gate = Gate()
    files: Files = gate
    threads = SystemThreads()
    clock = StandingClock()
    body = Body(clock, [data])
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    task = asyncio.create_task(
        collect(body, tmp_path / "x.part", files=files, threads=threads, clock=clock, limits=DownloadLimits())
    )
    while not gate.reached.is_set():
        await asyncio.wait([task], timeout=0.001)
    task.cancel()
    await asyncio.wait([task], timeout=0.001)
    task.cancel()  # twice, as an impatient user does
    await asyncio.wait([task], timeout=0.001)
    gate.let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    threads.close()
    assert os.listdir(tmp_path) == []
    assert body.closed
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_real_files_and_threads_collect_a_real_clip(tmp_path: Path, real_clip: Path) -> None:
    data = real_clip.read_bytes()
    threads = SystemThreads()
    clock = StandingClock()
    part = tmp_path / "x.part"
    collected = await collect(
        Body(clock, sliced(data, 4096), len(data)),
        part,
        files=SystemFiles(),
        threads=threads,
        clock=clock,
        limits=DownloadLimits(),
    )
    threads.close()
    assert part.read_bytes() == data
    assert (collected.facts.frames, collected.facts.has_audio) == (48, True)


async def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    threads = SystemThreads()
    piece = bytes(65_536)
    header = mp4s.FTYP + mp4s.movie(mp4s.track()) + b"\0\0\0\0mdat"
    clock = StandingClock()
    tracemalloc.start()
    try:
        collected = await collect(
            Body(clock, (header, *[piece] * 1000)),
            tmp_path / "x.part",
            files=SystemFiles(),
            threads=threads,
            clock=clock,
            limits=DownloadLimits(),
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        threads.close()
    assert collected.size_bytes > 65_000_000
    assert peak < 4_000_000
