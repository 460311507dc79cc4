"""A line to a server that is slow and is cut: some calls never arrive, some answers are never heard."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

PIECE = 16 << 10


@dataclass
class Line:
    """How rough it is, and what was done with it. Every number is mutable; the loop's thread alone counts."""

    host: str
    port: int
    chance: random.Random
    cut: float = 0.0
    """How probable it is that a connection is cut at some moment."""
    pause_s: float = 0.0
    """How long a piece of what is sent up is held back, at most."""
    within_bytes: int = 400_000
    """A connection that is cut is cut within so many bytes on their way up."""
    connections: int = 0
    cut_going: int = 0
    cut_coming: int = 0
    """Cut when an answer arrived: the call took effect, and nobody heard of it."""

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        limit = self.chance.randrange(self.within_bytes) if self.chance.random() < self.cut else None
        coming = self.chance.random() < 0.5
        try:
            up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.close()
            return
        done = {
            asyncio.ensure_future(self._up(reader, up_writer, None if coming else limit)),
            asyncio.ensure_future(self._down(up_reader, writer, limit if coming else None)),
        }
        try:
            await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in done:
                task.cancel()
            for each in (writer, up_writer):
                with suppress(OSError):
                    each.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        gone = 0
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                gone += len(piece)
                if limit is not None and gone > limit:
                    self.cut_going += 1
                    return
                if self.pause_s:
                    await asyncio.sleep(self.chance.uniform(0.0, self.pause_s))  # noqa: TID251 - a real line
                writer.write(piece)
                await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        answers = 0
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                answers += piece.startswith(b"HTTP/1.1")
                if limit is not None and answers > limit % 4:
                    self.cut_coming += 1
                    return
                writer.write(piece)
                await writer.drain()


@contextmanager
def rough_line(endpoint: str, chance: random.Random, *, cut: float, pause_s: float) -> Iterator[tuple[str, Line]]:
    """Yield the address of a line to a server, and what it counts; it lives in a thread of its own."""
    parts = urlsplit(endpoint)
    line = Line(parts.hostname or "", parts.port or 80, chance, cut=cut, pause_s=pause_s)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(line.meet, "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", line
    finally:

        async def end() -> None:
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.05)  # noqa: TID251 - the tasks come to their ends

        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
