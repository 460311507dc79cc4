"""Real aiohttp client, real aiohttp server, no socket: it behaves as over the loopback interface."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import socket
import struct
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from tests.support.simulation.memory_network import Action, Direction, Exchange, Fault
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    Scenario = Callable[[aiohttp.ClientSession, str], Awaitable[object]]

API = "http://api.test"
MEGABYTES_5 = 5 * 1024 * 1024


async def pause(seconds: float) -> None:
    await asyncio.sleep(seconds)  # noqa: TID251  # a handler of these tests takes its time


def with_sockets_reset(request: web.Request) -> None:
    transport = request.transport
    assert transport is not None
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def application(reset: Callable[[web.Request], None], folder: Path | None = None) -> web.Application:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"hello {request.query.get('name', 'nobody')}")

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"you sent": await request.json()})

    async def digest(request: web.Request) -> web.Response:
        total = hashlib.sha256()
        async for piece in request.content.iter_any():
            total.update(piece)
        return web.Response(text=total.hexdigest())

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(MEGABYTES_5)})
        await response.prepare(request)
        for number in range(80):
            await response.write(bytes([number]) * 65536)
        return response

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 500)
        assert request.transport is not None
        if request.query["then"] == "reset":
            await pause(0.01)  # a reset at once would overtake the bytes in a real kernel
            reset(request)
        else:
            request.transport.close()
        return response

    async def nothing(request: web.Request) -> web.Response:
        assert request.transport is not None
        if request.query["then"] == "reset":
            reset(request)
        else:
            request.transport.close()
        return web.Response()

    async def slow(request: web.Request) -> web.StreamResponse:
        if request.query["at"] == "answer":
            await pause(float(request.query["s"]))
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"12345")
        await pause(float(request.query["s"]))
        await response.write(b"67890")
        return response

    async def wait(request: web.Request) -> web.Response:
        await pause(float(request.query["s"]))
        return web.Response()

    async def file(request: web.Request) -> web.FileResponse:
        assert folder is not None
        return web.FileResponse(folder / "clip.mp4")

    app = web.Application(client_max_size=10 * MEGABYTES_5)
    for path, handler in (("/hello", hello), ("/stream", stream), ("/half", half), ("/nothing", nothing)):
        app.router.add_get(path, handler)
    app.router.add_get("/slow", slow)
    app.router.add_get("/file", file)
    app.router.add_post("/wait", wait)
    app.router.add_post("/echo", echo)
    app.router.add_post("/digest", digest)
    app.router.add_post("/nothing", nothing)
    return app


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(limit_s=100_000) as world:
        world.serve(application(lambda request: world.network.cut(), tmp_path), "api.test")
        yield world


def ask(world: World, scenario: Scenario, *, fresh: bool = False) -> object:
    async def main() -> object:
        async with aiohttp.ClientSession(connector=world.network.connector(fresh)) as session:
            return await scenario(session, API)

    return world.run(main())


def ask_over_sockets(scenario: Scenario) -> object:
    async def main() -> object:
        runner = web.AppRunner(application(with_sockets_reset), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            async with aiohttp.ClientSession() as session:
                return await scenario(session, "http://{}:{}".format(*runner.addresses[0][:2]))
        finally:
            await runner.cleanup()

    with asyncio.Runner() as runner:
        return runner.run(main())


async def get(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return await response.text()


def test_a_get_and_a_post_are_answered(world: World) -> None:
    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        text = await get(session, f"{base}/hello?name=sea+turtle")
        async with session.post(f"{base}/echo", json={"prompt": "Ä", "n": [1, 2]}) as response:
            return text, response.status, await response.json()

    assert ask(world, scenario) == ("hello sea turtle", 200, {"you sent": {"prompt": "Ä", "n": [1, 2]}})


def test_five_megabytes_arrive_whole_through_a_slow_reader(world: World) -> None:
    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        got = bytearray()
        async with session.get(f"{base}/stream") as response:
            async for piece in response.content.iter_chunked(10_000):
                got += piece
                await pause(0.001)
        return bytes(got)

    assert ask(world, scenario) == b"".join(bytes([number]) * 65536 for number in range(80))


def test_a_reader_that_does_not_read_holds_the_writer_back(world: World) -> None:
    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        async with session.get(f"{base}/stream") as response:
            await pause(60)
            sent_while_asleep = world.network.exchanges[0].sent_bytes[Direction.RESPONSE]
            body = await response.read()
        return sent_while_asleep < 1024 * 1024, len(body)

    assert ask(world, scenario) == (True, MEGABYTES_5)


def test_five_megabytes_are_uploaded_from_a_stream(world: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(80):
            yield bytes([number]) * 65536

    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        async with session.post(f"{base}/digest", data=pieces()) as response:
            return await response.text()

    whole = b"".join(bytes([number]) * 65536 for number in range(80))
    assert ask(world, scenario) == hashlib.sha256(whole).hexdigest()


def test_a_file_response_is_sent_whole(world: World, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    (tmp_path / "clip.mp4").write_bytes(content)

    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        async with session.get(f"{base}/file") as response:
            return await response.read()

    assert ask(world, scenario) == content


@pytest.mark.parametrize(("fresh", "connections"), [(False, 1), (True, 20)])
def test_connections_are_kept_alive_or_fresh(world: World, fresh: bool, connections: int) -> None:
    async def scenario(session: aiohttp.ClientSession, base: str) -> None:
        for _ in range(20):
            await get(session, f"{base}/hello")

    ask(world, scenario, fresh=fresh)
    assert world.network.connections == connections
    assert len(world.network.exchanges) == 20


def test_an_idle_connection_is_closed_after_its_virtual_seconds(world: World) -> None:
    async def scenario(session: aiohttp.ClientSession, base: str) -> None:
        for idle_s in (14, 31, 0):
            await get(session, f"{base}/hello")
            await pause(idle_s)

    ask(world, scenario)
    assert world.network.connections == 2
    assert "client sends end of stream" in str(world.trace)


def test_the_pool_makes_the_65th_request_wait(world: World) -> None:
    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        async with asyncio.TaskGroup() as group:
            for _ in range(65):
                group.create_task(get(session, f"{base}/slow?at=answer&s=10"))
        return world.loop.time()

    assert ask(world, scenario) == 40
    assert world.network.connections == 64


def test_the_loop_resolves_the_networks_hosts_alone(world: World) -> None:
    async def main() -> list[object]:
        return [each[4] for each in await asyncio.get_running_loop().getaddrinfo("api.test", 80)]

    assert world.run(main()) == [("127.0.0.1", 80)]


def test_latency_passes_in_virtual_time() -> None:
    with World(latency_s=(0.5, 0.5)) as world:
        world.serve(application(lambda request: None), "api.test")

        async def scenario(session: aiohttp.ClientSession, base: str) -> object:
            await get(session, f"{base}/hello")
            return world.loop.time()

        assert ask(world, scenario) == 1.5


def test_the_servers_date_is_the_worlds(world: World) -> None:
    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        await pause(3600)
        async with session.get(f"{base}/hello") as response:
            return response.headers["Date"]

    assert ask(world, scenario) == "Thu, 01 Jan 2026 01:00:00 GMT"


# The same mishaps over real sockets and over memory end in the same exceptions.


async def told(attempt: Awaitable[object]) -> str:
    try:
        await attempt
    except Exception as error:
        cause = error.__cause__ or error.__context__
        return f"{type(error).__name__} from {type(cause).__name__}"
    return "nothing was raised"


def closing(path: str) -> Scenario:
    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        return await told(get(session, base + path))

    return scenario


async def posting_where_the_connection_ends(session: aiohttp.ClientSession, base: str) -> object:
    async def post(then: str) -> None:
        async with session.post(f"{base}/nothing?then={then}", json={"a": 1}):
            pass

    return await told(post("close")), await told(post("reset"))


async def time_running_out(session: aiohttp.ClientSession, base: str) -> object:
    async def wait(at: str, timeout: aiohttp.ClientTimeout) -> None:
        async with session.get(f"{base}/slow?at={at}&s=0.4", timeout=timeout) as response:
            await response.read()

    return [
        await told(wait("answer", aiohttp.ClientTimeout(total=0.1))),
        await told(wait("answer", aiohttp.ClientTimeout(sock_read=0.1))),
        await told(wait("body", aiohttp.ClientTimeout(total=0.1))),
        await told(wait("body", aiohttp.ClientTimeout(sock_read=0.1))),
    ]


async def nobody_listening(session: aiohttp.ClientSession, base: str) -> object:
    try:
        await get(session, f"{base.rpartition(':')[0] if base.count(':') == 2 else base}:9/")
    except aiohttp.ClientConnectorError as error:
        return type(error).__name__, error.errno, type(error.os_error).__name__
    return None


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(closing("/half?then=close"), id="closed in the middle of the body"),
        pytest.param(closing("/half?then=reset"), id="reset in the middle of the body"),
        pytest.param(closing("/nothing?then=close"), id="closed before the answer"),
        pytest.param(closing("/nothing?then=reset"), id="reset before the answer"),
        pytest.param(posting_where_the_connection_ends, id="a POST that is not answered"),
        pytest.param(time_running_out, id="time-outs"),
        pytest.param(nobody_listening, id="nobody listens"),
    ],
)
def test_mishaps_end_as_they_do_with_sockets(world: World, scenario: Scenario) -> None:
    outcome = ask(world, scenario)
    assert outcome == ask_over_sockets(scenario)
    assert "nothing was raised" not in str(outcome)


# Faults at exact points


def test_an_unknown_host_and_a_refused_and_a_silent_one(world: World) -> None:
    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        answers = [await told(get(session, "http://elsewhere.test/"))]
        world.network.connect_faults["api.test"] = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        answers.append(await told(get(session, f"{base}/hello")))
        world.network.connect_faults["api.test"] = None
        began = world.loop.time()
        session._timeout = aiohttp.ClientTimeout(sock_connect=30)
        answers.append(await told(get(session, f"{base}/hello")))
        assert world.loop.time() == began + 30
        del world.network.connect_faults["api.test"]
        return [*answers, await get(session, f"{base}/hello")]

    assert ask(world, scenario) == [
        "ClientConnectorDNSError from gaierror",
        "ClientConnectorError from ConnectionRefusedError",
        "ConnectionTimeoutError from TimeoutError",
        "hello nobody",
    ]


@pytest.mark.parametrize("after_bytes", [0, 1, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("direction", list(Direction))
def test_a_fault_strikes_at_its_byte(world: World, direction: Direction, after_bytes: int) -> None:
    arrived = dict.fromkeys(Direction, 0)

    def count(direction: Direction, exchange: Exchange, size_bytes: int) -> None:
        if exchange.number == 1:  # aiohttp sends a GET once more by itself
            arrived[direction] += size_bytes

    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        async def call() -> None:
            upload = b"x" * 1_040_000 if direction is Direction.REQUEST else None
            method, path = ("POST", "digest") if upload else ("GET", "stream")
            async with session.request(method, f"{base}/{path}", data=upload) as response:
                await response.read()

        return await told(call())

    world.network.on_bytes = count
    fault = Fault(action=Action.RESET, direction=direction, after_bytes=after_bytes)
    world.network.fault_for = lambda exchange: fault
    assert "Client" in str(ask(world, scenario))
    assert arrived[direction] == after_bytes


def test_a_stalled_answer_meets_the_clients_own_time_out(world: World) -> None:
    def stall_the_second(exchange: Exchange) -> Fault | None:
        return Fault(action=Action.STALL, after_bytes=50) if exchange.line == "GET /hello?name=b" else None

    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        session._timeout = aiohttp.ClientTimeout(sock_read=60)
        return [await told(get(session, f"{base}/hello?name={name}")) for name in "abc"], world.loop.time()

    world.network.fault_for = stall_the_second
    ok = "nothing was raised"
    assert ask(world, scenario) == ([ok, "SocketTimeoutError from NoneType", ok], 60)


def test_an_orderly_close_in_the_middle_is_a_short_body(world: World) -> None:
    world.network.faults[1] = Fault(action=Action.CLOSE, after_bytes=100_000)

    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        return await told(get(session, f"{base}/stream"))

    assert ask(world, scenario) == "ClientPayloadError from ContentLengthError"


def test_cutting_the_network_resets_everybody_and_it_can_be_used_again(world: World) -> None:
    async def post(session: aiohttp.ClientSession, number: int) -> None:
        async with session.post(f"{API}/wait?s=100", json=number):
            pass

    async def scenario(session: aiohttp.ClientSession, base: str) -> object:
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(told(post(session, number))) for number in range(5)]
            await pause(10)
            world.network.cut()
        return {wait.result() for wait in waits}, await get(session, f"{base}/hello")

    assert ask(world, scenario) == ({"ClientOSError from ConnectionResetError"}, "hello nobody")
    assert len(world.network.exchanges) == 6


def trace_of(seed: int, *, shuffle: bool) -> str:
    with World(seed, shuffle=shuffle, latency_s=(0.01, 0.2)) as world:
        world.serve(application(lambda request: None), "api.test")
        world.serve(application(lambda request: None), "cdn.test")
        chance = world.random("faults")
        world.network.fault_for = lambda exchange: (
            Fault(action=chance.choice(list(Action)), after_bytes=chance.randrange(400))
            if chance.random() < 0.3
            else None
        )

        async def scenario(session: aiohttp.ClientSession, base: str) -> object:
            session._timeout = aiohttp.ClientTimeout(total=30)

            async def one(number: int) -> str:
                host = ("http://api.test", "http://cdn.test")[number % 2]
                return await told(get(session, f"{host}/hello?name={number}"))

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(number)) for number in range(100)]
            return json.dumps([task.result() for task in tasks])

        return f"{ask(world, scenario)}\n{world.trace}"


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_seed_gives_the_same_trace_and_another_seed_another(shuffle: bool) -> None:
    first = trace_of(7, shuffle=shuffle)
    assert first == trace_of(7, shuffle=shuffle)
    assert first != trace_of(8, shuffle=shuffle)
    assert "reset" in first
    assert "stall" in first
