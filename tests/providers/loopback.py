"""A server on this machine that answers by script, byte by byte, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.providers.base import Account, GenerationRequest, InputFile
from pipeline.system.effects import system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

CANARY = "sk-canary-5c1f0b9e7d3a4826"
"""The key of the tests; it may never be seen in an answer."""
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(range(256)) * 40
"""Begins as an MP4 does; whether it is one is the clips' room's question."""


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Script:
    """What to send back: raw bytes, and how the connection goes on."""

    data: bytes = b""
    then: str = "keep"
    """keep, close, or stall (keep the connection open and say nothing more)."""


DROP = Script(then="close")
STALL = Script(then="stall")


def answer(
    body: object = b"", status: int = 200, headers: dict[str, str] | None = None, *, then: str = "keep"
) -> Script:
    """Return a well-formed HTTP answer; what is not bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    lines = {"Content-Type": kind, "Content-Length": str(len(raw)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return Script(f"HTTP/1.1 {status} Word\r\n{head}\r\n".encode() + raw, then)


@dataclass
class Loopback:
    """The server's record, and its script: a function, or answers that are given in turn, the last one for ever."""

    script: Callable[[Received], Script]
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.received]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while await self.one(number, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def one(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        exact = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        names = {name.lower(): value for name, value in exact.items()}
        request = Received(method, path, names, body, number)
        self.received.append(request)
        script = self.script(request)
        writer.write(script.data)
        await writer.drain()
        if script.then == "stall":
            await reader.read(1)
        return script.then == "keep"


def in_turn(*scripts: Script) -> Callable[[Received], Script]:
    """Give the answers one after the other, and the last one for ever."""
    rest: Iterator[Script] = iter(scripts)
    last = scripts[-1]
    return lambda _: next(rest, last)


@asynccontextmanager
async def loopback(
    *scripts: Script, by: Callable[[Received], Script] | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Loopback]:
    """Serve on a free port of this machine."""
    place = Loopback(by or in_turn(*scripts))
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(place.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, host, 0)
    place.port = server.sockets[0].getsockname()[1]
    try:
        yield place
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.wait(tasks) if tasks else None


@asynccontextmanager
async def provided(factory: Any, base_url: str, *, key: str = CANARY, **extra: Any) -> AsyncIterator[Any]:
    """Make a provider over real sockets, and let it go."""
    effects = system()
    provider = factory(Account(key=key, base_url=base_url), effects, **extra)
    try:
        yield provider
    finally:
        await provider.close()
        effects.threads.close()


def asked(model: str = "veo-3", prompt: str = "A fox", **parameters: Any) -> GenerationRequest:
    """Return a request."""
    options = parameters.pop("options", {})
    files = parameters.pop("files", {})
    return GenerationRequest(model=model, prompt=prompt, parameters=parameters, options=options, files=files)


def png(path: str = "leaf.png", size_bytes: int = 4) -> dict[str, InputFile]:
    """Return the record of a local image."""
    return {path: InputFile(path=path, sha256="0" * 64, size_bytes=size_bytes, media_type="image/png")}


async def bytes_of(source: Any) -> bytes:
    """Read a body to its end and close it."""
    try:
        return b"".join([chunk async for chunk in source.chunks()])
    finally:
        await source.close()
