"""A connection in memory ends as a TCP connection of the kernel does: the same script runs over both."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING

import pytest

from tests.support.simulation.memory_transport import HIGH_BYTES, MemoryTransport
from tests.support.simulation.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Script = Callable[["End", "End"], Awaitable[None]]


class End(asyncio.Protocol):
    """A protocol that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.received = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.told.append("end")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(f"lost by {type(exc).__name__}")


async def pause() -> None:
    await asyncio.sleep(0.05)  # noqa: TID251  # the kernel's time, in the half of the comparison that uses sockets


def in_memory(script: Script) -> tuple[list[str], list[str]]:
    client, server = End(), End()

    async def main() -> None:
        def end(protocol: End) -> MemoryTransport:
            return MemoryTransport(
                asyncio.get_running_loop(),
                protocol,
                context=copy_context(),
                carry=lambda sender, item: sender.peer.expect(item, 0.0),
                observe=lambda receiver, size_bytes: None,
                extra={},
            )

        ends = end(client), end(server)
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        client.connection_made(ends[0])
        server.connection_made(ends[1])
        await script(client, server)
        await pause()

    with VirtualLoop() as loop:
        loop.run_until_complete(main())
    return client.told, server.told


def over_sockets(script: Script) -> tuple[list[str], list[str]]:
    client, server = End(), End()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: server, "127.0.0.1", 0)
        async with listening:
            await loop.create_connection(lambda: client, *listening.sockets[0].getsockname())
            await pause()
            await script(client, server)
            await pause()
            for end in (client, server):
                end.transport.abort()

    with asyncio.Runner() as runner:
        runner.run(main())
    return client.told, server.told


async def an_orderly_close(client: End, server: End) -> None:
    client.transport.write(b"a question")
    await pause()
    server.transport.write(b"an answer")
    server.transport.close()
    await pause()
    assert client.received == b"an answer"


async def a_close_with_bytes_unread(client: End, server: End) -> None:
    server.transport.pause_reading()
    client.transport.write(b"a question that nobody reads")
    await pause()
    server.transport.close()


async def an_abort(client: End, server: End) -> None:
    server.transport.abort()


async def half_a_close(client: End, server: End) -> None:
    client.transport.write(b"all there is")
    client.transport.write_eof()
    await pause()
    assert server.received == b"all there is"


async def a_write_that_crosses_the_close(client: End, server: End) -> None:
    client.transport.pause_reading()
    server.transport.close()
    await pause()
    client.transport.write(b"too late")
    await pause()
    client.transport.resume_reading()


async def both_close(client: End, server: End) -> None:
    client.transport.close()
    server.transport.close()


@pytest.mark.parametrize(
    "script",
    [an_orderly_close, a_close_with_bytes_unread, an_abort, half_a_close, both_close],
    ids=lambda s: s.__name__,
)
def test_a_connection_ends_as_it_does_with_sockets(script: Script) -> None:
    outcome = in_memory(script)
    assert outcome == over_sockets(script)
    assert all(told[-1].startswith("lost") for told in outcome)


def test_a_close_waits_until_the_bytes_have_left() -> None:
    async def script(client: End, server: End) -> None:
        client.transport.pause_reading()
        server.transport.write(bytes(3 * HIGH_BYTES))
        server.transport.close()
        await pause()
        assert server.told == []
        client.transport.resume_reading()
        await pause()
        assert len(client.received) == 3 * HIGH_BYTES

    assert in_memory(script) == (["end", "lost by NoneType"], ["lost by NoneType"])
