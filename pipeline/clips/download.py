"""One body becomes one durable, walked part file, or nothing.

An open byte source comes in; `Collected` comes out. What always holds: bytes go to a file that this call created, the
digest is of exactly those bytes, and when the call returns they are whole and durable. When it raises, the source is
closed, the descriptor is closed, and the part file is gone where the disk allows it.

The event loop only receives. Writing, hashing, syncing and walking happen in threads, one batch of chunks at a time; a
clip that fits one batch costs a single hop.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.clips.mp4 import ClipFacts, walk
from pipeline.clips.resume import Cut, Line
from pipeline.clips.sniff import EXCERPT_BYTES, refuse_disguise
from pipeline.durable import told_as_disk_refused
from pipeline.errors import BrokenClip, DiskRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pipeline.clips.resume import ByteSource
    from pipeline.effects import Clock, Files, Threads

BATCH_BYTES = 8 << 20
"""Most clips are no larger, and cost one hop to a thread; with 4 MiB, clips of 5 came home a quarter slower. With more,
each download holds more memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadLimits:
    """What a body may cost us."""

    max_bytes: int = 2 << 30
    min_bytes_per_s: float = 1000.0
    """The least speed, on average over a window."""
    window_s: float = 60.0
    resumes_most: int = 5
    """How often a body that stopped, or became too slow, is asked to go on; after that it is begun anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """A whole clip in its part file, durable."""

    size_bytes: int
    sha256: str
    """64 hex digits."""
    facts: ClipFacts


async def collect(
    source: ByteSource, part: Path, *, files: Files, threads: Threads, clock: Clock, limits: DownloadLimits
) -> Collected:
    """Read a body to its end into the new file `part`, and verify it.

    Returns:
        Size, digest and facts of the file. Its bytes are durable now; its name is not.

    Raises:
        BrokenClip: the body was cut, too slow, too large, not of the promised length, or is not one whole MP4.
        DiskRefused: the file could not be created, written, made durable or read back.
    """
    part_file = _PartFile(files, part)
    line = Line(source, clock, limits.resumes_most)
    try:
        try:
            rest = await _receive(line, source.length, part_file, threads, clock, limits)
        finally:
            await line.close()
        return await threads.run(part_file.finish, rest)
    except GeneratorExit:  # the loop is gone, and with it whoever could clean up; the next run sweeps part files
        raise
    except BaseException:
        # Shielded: a second cancellation must not leave the descriptor and the file behind.
        await asyncio.shield(threads.run(part_file.discard))
        raise


async def _receive(
    line: Line, promised: int | None, part_file: _PartFile, threads: Threads, clock: Clock, limits: DownloadLimits
) -> list[bytes]:
    """Read the whole body, writing every full batch; return the rest, which is not written yet."""
    meter = _Meter(promised, limits)
    batch = _Batch()
    while True:
        try:
            await _read(line, meter, batch, part_file, threads, clock)
            meter.check_end()
        except Cut as cut:
            if meter.on_disk:
                raise  # given up in the middle of a write: how much of it was done is not known
            await line.go_on(cut, meter.received)
        else:
            break
    if not batch.sniffed:
        batch.sniff()
    return batch.take()


async def _read(line: Line, meter: _Meter, batch: _Batch, part_file: _PartFile, threads: Threads, clock: Clock) -> None:
    """Read one connection's share of the body."""
    chunks = line.chunks()
    async with _no_slower_than(meter, clock):
        while (chunk := await _next(chunks, meter)) is not None:
            meter.count(len(chunk))
            batch.add(chunk)
            if not batch.sniffed and batch.size_bytes >= EXCERPT_BYTES:
                batch.sniff()
            if batch.size_bytes >= BATCH_BYTES:
                began = clock.monotonic()
                meter.on_disk = True
                await threads.run_busy(part_file.append, batch.take())
                meter.on_disk = False
                meter.disk_s += clock.monotonic() - began


class _Batch:
    """What has come and is not written yet. The mutable state is its chunks, their size, and whether it was sniffed."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.sniffed = False
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.size_bytes += len(chunk)

    def take(self) -> list[bytes]:
        taken, self._chunks, self.size_bytes = self._chunks, [], 0
        return taken

    def sniff(self) -> None:
        """Refuse a body that begins as no clip does, before much of it is fetched."""
        self.sniffed = True
        refuse_disguise(b"".join(self._chunks)[:EXCERPT_BYTES])


async def _next(chunks: AsyncIterator[bytes], meter: _Meter) -> bytes | None:
    try:
        return await anext(chunks, None)
    except OSError as error:  # a ConnectionError, as promised, or a time limit of the connection's own
        reason = f" ({error})" if str(error) else ""
        raise Cut(f"The body was cut after {meter.so_far()}{reason}.") from error


class _Meter:
    """Counts a body's bytes and holds them against the limits.

    The mutable state is `received`, which only grows, and how long the disk has held the reading up.
    """

    def __init__(self, promised: int | None, limits: DownloadLimits) -> None:
        self.received = 0
        self.disk_s = 0.0
        self.on_disk = False
        self._promised = promised
        self.limits = limits
        if promised is not None and promised > limits.max_bytes:
            raise BrokenClip(f"The body is said to be {promised} bytes; a clip may be {limits.max_bytes} at most.")

    def so_far(self) -> str:
        return f"{self.received} of {'unknown' if self._promised is None else self._promised} bytes"

    def count(self, size: int) -> None:
        self.received += size
        if self._promised is not None and self.received > self._promised:
            raise BrokenClip(f"The body is longer than the {self._promised} bytes that were promised.")
        if self.received > self.limits.max_bytes:
            raise BrokenClip(f"The body is larger than {self.limits.max_bytes} bytes, the most that a clip may be.")

    def check_end(self) -> None:
        if self._promised is not None and self.received != self._promised:
            raise Cut(f"The body ended after {self.so_far()}.")


@asynccontextmanager
async def _no_slower_than(meter: _Meter, clock: Clock) -> AsyncIterator[None]:
    """Give up on what runs inside once a window brings too few bytes. Time spent on our own disk does not count."""
    limits = meter.limits

    async def watch(scope: asyncio.Timeout) -> None:
        too_slow = False
        while not too_slow:
            received, disk_s = meter.received, meter.disk_s
            await clock.sleep(limits.window_s)
            receiving_s = limits.window_s - (meter.disk_s - disk_s)
            too_slow = not meter.on_disk and meter.received - received < limits.min_bytes_per_s * receiving_s
        scope.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(None) as scope:
            watcher = asyncio.create_task(watch(scope))
            try:
                yield
            finally:
                watcher.cancel()
    except TimeoutError as error:
        raise Cut(
            f"The body came at less than {limits.min_bytes_per_s:.0f} bytes a second for {limits.window_s:.0f} s; "
            f"given up after {meter.so_far()}."
        ) from error


class _PartFile:
    """The file on its way, used by one thread after another.

    The mutable state is the descriptor, the digest and the size; every change happens under the lock, because a
    cancelled download's clean-up may come while a thread is still writing.
    """

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self._path = path
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._descriptor: int | None = None
        self._created = False
        self._dropped = False

    def append(self, batch: list[bytes]) -> None:
        """Write a batch, creating the file for the first one."""
        with self._lock:
            self._write(batch)

    def finish(self, rest: list[bytes]) -> Collected:
        """Write the rest, walk the file, make it durable and close it."""
        with self._lock:
            descriptor = self._write(rest)
            with told_as_disk_refused(f"read {self._path} back"):
                facts = walk(lambda offset, size: self._files.read(self._path, offset, size), self._size_bytes)
            with told_as_disk_refused(f"make {self._path} durable"):
                self._files.fsync(descriptor)
                self._descriptor = None  # closed or not, a descriptor is never closed twice
                self._files.close(descriptor)
        return Collected(size_bytes=self._size_bytes, sha256=self._digest.hexdigest(), facts=facts)

    def discard(self) -> None:
        """Close and remove what was created, as far as the disk allows."""
        with self._lock:
            self._dropped = True
            if self._descriptor is not None:
                with suppress(OSError):
                    self._files.close(self._descriptor)
                self._descriptor = None
            if self._created:
                with suppress(OSError):
                    self._files.unlink(self._path)

    def _write(self, batch: list[bytes]) -> int:
        if self._dropped:
            raise BrokenClip("The download was given up.")
        if self._descriptor is None:
            self._descriptor = self._create()
            self._created = True
        with told_as_disk_refused(f"write {self._path}"):
            self._files.write_pieces(self._descriptor, batch)
            for data in batch:  # not joined first: to copy a clip costs as much as to write it
                self._digest.update(data)
                self._size_bytes += len(data)
        return self._descriptor

    def _create(self) -> int:
        try:
            with told_as_disk_refused(f"create {self._path}"):
                return self._files.create(self._path)
        except DiskRefused as error:
            if isinstance(error.__cause__, FileExistsError):
                raise DiskRefused(f"{self._path} is in the way; remove it, then run the same command.") from error
            raise
