"""A network in memory: real aiohttp clients reach real aiohttp servers through it, in virtual time, without a socket.

Servers are registered under a host and a port; a connector joins a client session to them over plain http. Every
request is an `Exchange` with a number and a first line; for each, `fault_for` may name a `Fault` that strikes at an
exact byte.
What the simulation leans on inside aiohttp is in `MemoryConnector`, with the reason beside it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import defaultdict
from contextvars import copy_context
from dataclasses import dataclass, field
from email.utils import format_datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp
from aiohttp import web
from aiohttp.client_proto import ResponseHandler

from tests.support.simulation.memory_transport import Ending, MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from datetime import datetime

    from tests.support.simulation.process import Process
    from tests.support.simulation.trace import Trace
    from tests.support.simulation.virtual_loop import VirtualLoop

IDLE_S = 15.0
"""How long aiohttp keeps an unused connection."""


LOOPBACK_NAMES = {"localhost": "127.0.0.1"}
"""The names by which a machine knows itself, as its hosts file has them."""


class Direction(StrEnum):
    """Which way bytes go."""

    REQUEST = "request"
    RESPONSE = "response"


class Action(StrEnum):
    """What a fault does to the connection."""

    RESET = "reset"
    """Both ends get a ConnectionResetError."""
    CLOSE = "close"
    """Both ends see the other one's orderly end of stream."""
    STALL = "stall"
    """Nothing more gets through that way, and nobody is told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What goes wrong with one exchange, and where."""

    action: Action
    direction: Direction = Direction.RESPONSE
    after_bytes: int = 0
    """So many bytes still pass; the fault strikes at the next one. 0 in a response: when the answer begins."""


@dataclass(kw_only=True, slots=True)
class Exchange:
    """One request and its answer; the counts grow as the bytes are sent."""

    number: int
    """Counted over the whole network, from 1."""
    connection: int
    """The connection's number, from 1; several exchanges share it where connections are kept alive."""
    line: str
    """The request line without the version: "POST /video/queue"."""
    host: str
    port: int
    fault: Fault | None = None
    sent_bytes: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))


class MemoryNetwork:
    """Hosts and the connections between them.

    The mutable state is the tables of servers, of connections and of connectors; the hooks are the tests' to set.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        trace: Trace,
        *,
        latency: Callable[[], float] = lambda: 0.0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        """Make a network without hosts.

        Args:
            loop: the loop of both ends.
            trace: where connections and exchanges are noted.
            latency: virtual seconds for one piece of data to cross, or for a connection to open.
            now: the wall clock of the servers' `Date` headers; None leaves aiohttp's, which reads the machine's.
        """
        self.fault_for: Callable[[Exchange], Fault | None] = self._planned_fault
        """Asked once for each exchange, when its request's first byte is sent."""
        self.faults: dict[int, Fault] = {}
        """Exchange number to fault, which the default `fault_for` looks up."""
        self.connect_faults: dict[str, OSError | None] = {}
        """Host to what connecting raises (ConnectionRefusedError, gaierror, …); None: it never answers."""
        self.on_bytes: Callable[[Direction, Exchange, int], None] = lambda direction, exchange, size_bytes: None
        """Called when bytes are about to be delivered, in the receiver's context."""
        self.connections = 0
        """How many were opened so far."""
        self.exchanges: list[Exchange] = []
        self._loop = loop
        self._trace = trace
        self._latency = latency
        self._now = now
        self._servers: dict[tuple[str, int], tuple[web.AppRunner, Context]] = {}
        self._addresses: dict[str, str] = {}
        self._open: dict[int, _Connection] = {}
        self._connectors: defaultdict[Process | None, list[MemoryConnector]] = defaultdict(list)
        loop.resolve = self._resolve

    async def serve(self, app: web.Application, host: str, port: int = 80, *, address: str = "127.0.0.1") -> None:
        """Start an application; its tasks and handlers belong to the process that calls this."""
        if self._now is not None:
            app.on_response_prepare.append(self._date)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        self._servers[host, port] = (runner, copy_context())
        self._addresses[host] = address

    async def stop(self, host: str, port: int = 80) -> None:
        """Stop a server as its owner would: connections are closed, then the application's clean-up runs."""
        runner, _ = self._servers.pop((host, port))
        await runner.cleanup()

    async def close(self) -> None:
        """Stop every server."""
        for host, port in list(self._servers):
            await self.stop(host, port)

    def connector(self, fresh: bool = False, *, process: Process | None = None, limit: int = 64) -> MemoryConnector:
        """Return a connector to these hosts; with `fresh`, each call opens a connection of its own."""
        connector = MemoryConnector(self, fresh=fresh, process=process, limit=limit)
        self._connectors[process].append(connector)
        return connector

    def process_of(self, connection: int) -> Process | None:
        """Return who opened a connection that is still open; None for a server's own, and for a closed one."""
        return self._open[connection].process if connection in self._open else None

    def cut(self) -> None:
        """Reset every connection, at both ends; what is under way still arrives before."""
        for connection in list(self._open.values()):
            connection.strike(Action.RESET)

    def sever(self, process: Process, *, silently: bool = False) -> None:
        """End a dead process's connections as its kernel does; `silently` as a power cut does."""
        for connection in [each for each in self._open.values() if each.process is process]:
            connection.client.vanish(silently=silently)
            self._open.pop(connection.number, None)  # unless ending it was the last word of both ends
        for connector in self._connectors.pop(process, []):
            connector.forget()

    def forget(self) -> None:
        """Let no connector complain any more that it was not closed: the simulation has failed for another reason."""
        for connectors in self._connectors.values():
            for connector in connectors:
                connector.forget()

    async def connect(
        self, host: str, port: int, factory: Callable[[], ResponseHandler], process: Process | None
    ) -> ResponseHandler:
        """Open a connection.

        Raises:
            OSError: as the sockets would; gaierror where the host is unknown.
        """
        host = LOOPBACK_NAMES.get(host, host)
        if process is not None:
            process.step(f"connects to {host}:{port}")
        delay_s = self._latency()
        if delay_s > 0:
            await asyncio.sleep(delay_s)  # noqa: TID251  # the wire's own time, not the program's
        if host in self.connect_faults:
            error = self.connect_faults[host]
            if error is None:
                await self._loop.create_future()
            else:
                raise type(error)(*error.args)
        self._resolve(host)
        if (host, port) not in self._servers:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed ({host!r}, {port})")
        runner, context = self._servers[host, port]
        self.connections += 1
        self._trace.note(f"connection {self.connections} opens to {host}:{port}")
        server = runner.server
        assert server is not None
        connection = _Connection(self, self.connections, host, port, process)
        protocol = factory()
        connection.join(protocol, server(), context.copy())
        self._open[connection.number] = connection
        return protocol

    def _planned_fault(self, exchange: Exchange) -> Fault | None:
        return self.faults.get(exchange.number)

    def _resolve(self, host: str) -> list[str]:
        if host not in self._addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [self._addresses[host]]

    async def _date(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        assert self._now is not None
        response.headers["Date"] = format_datetime(self._now(), usegmt=True)


class _Connection:
    """Two joined ends, and the exchange that is going on between them."""

    def __init__(self, network: MemoryNetwork, number: int, host: str, port: int, process: Process | None) -> None:
        self.number = number
        self.process = process
        self.client: MemoryTransport
        self.server: MemoryTransport
        self._network = network
        self._host, self._port = host, port
        self._exchange: Exchange | None = None
        self._blocked: set[Direction] = set()

    def join(self, client: asyncio.Protocol, server: asyncio.Protocol, server_context: Context) -> None:
        """Make both ends and tell both protocols, the server's first."""
        client_name, server_name = ("127.0.0.1", 32768 + self.number % 28232), (self._host, self._port)
        end = partial(MemoryTransport, self._network._loop, carry=self._carry, observe=self._observe)
        client_extra = {"sockname": client_name, "peername": server_name}
        server_extra = {"sockname": server_name, "peername": client_name}
        self.client = end(client, context=copy_context(), extra=client_extra)
        self.server = end(server, context=server_context, extra=server_extra)
        self.client.peer, self.server.peer = self.server, self.client
        server_context.copy().run(server.connection_made, self.server)
        client.connection_made(self.client)

    def _carry(self, sender: MemoryTransport, item: bytes | Ending) -> None:
        direction = Direction.REQUEST if sender is self.client else Direction.RESPONSE
        if isinstance(item, Ending):
            side = "client" if direction is Direction.REQUEST else "server"
            self._network._trace.note(f"connection {self.number}: {side} sends {item.value}")
            if self.server.is_closing() and self.client.is_closing():
                self._network._open.pop(self.number, None)
        elif direction is Direction.REQUEST and self.process is not None:
            self.process.step(f"sends {len(item)} bytes on connection {self.number}")
        if direction in self._blocked:
            return
        if isinstance(item, Ending):
            sender.peer.expect(item, self._network._latency())
        else:
            self._carry_bytes(sender, direction, item)

    def _carry_bytes(self, sender: MemoryTransport, direction: Direction, data: bytes) -> None:
        exchange = self._exchange_of(direction, data)
        fault = exchange.fault
        strikes = False
        if fault is not None and fault.direction is direction:
            left = fault.after_bytes - exchange.sent_bytes[direction]
            strikes = len(data) > left
            data = data[:left]
        exchange.sent_bytes[direction] += len(data)
        if data:
            sender.peer.expect(data, self._network._latency())
        if fault is not None and strikes:
            self._network._trace.note(f"exchange {exchange.number}: {fault.action} in the {direction}")
            self._blocked.add(direction)
            if fault.action is not Action.STALL:
                self.strike(fault.action)

    def strike(self, action: Action) -> None:
        """End the connection for both sides, in the middle."""
        ending = Ending.RESET if action is Action.RESET else Ending.END
        self._blocked.update(Direction)
        for end in (self.client, self.server):
            end.expect(ending, self._network._latency())
        self._network._open.pop(self.number, None)

    def _exchange_of(self, direction: Direction, data: bytes) -> Exchange:
        network, exchange = self._network, self._exchange
        answered = exchange is None or exchange.sent_bytes[Direction.RESPONSE] > 0
        if exchange is None or (answered and direction is Direction.REQUEST and b" HTTP/1.1\r\n" in data):
            line = data.partition(b" HTTP/1.1\r\n")[0].decode("latin-1")
            exchange = Exchange(
                number=len(network.exchanges) + 1, connection=self.number, line=line, host=self._host, port=self._port
            )
            exchange.fault = network.fault_for(exchange)
            network.exchanges.append(exchange)
            network._trace.note(f"exchange {exchange.number} on connection {self.number}: {line}")
            self._exchange = exchange
        return exchange

    def _observe(self, receiver: MemoryTransport, size_bytes: int) -> None:
        direction = Direction.RESPONSE if receiver is self.client else Direction.REQUEST
        exchange = self._exchange
        assert exchange is not None
        self._network._trace.note(f"exchange {exchange.number}: {size_bytes} bytes of the {direction} arrive")
        self._network.on_bytes(direction, exchange, size_bytes)


class MemoryConnector(aiohttp.BaseConnector):
    """aiohttp's connector, pool and limits included, over a `MemoryNetwork`.

    Leant on inside aiohttp 3.14: `_create_connection`, the one method that a connector must bring; `_release`, `_conns`
    and `_closed`, for two reasons. aiohttp measures how long a pooled connection is idle with the machine's clock, so
    that is switched off and done here in virtual time. And a connector whose process was killed must not warn that it
    was not closed.
    """

    def __init__(self, network: MemoryNetwork, *, fresh: bool, process: Process | None, limit: int) -> None:
        super().__init__(keepalive_timeout=None, force_close=fresh, limit=limit)
        self._network = network
        self._process = process
        self._lent: WeakSet[aiohttp.connector.Connection] = WeakSet()
        self._sweep: asyncio.TimerHandle | None = None

    async def connect(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        self._lent.add(connection)
        return connection

    async def _create_connection(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> ResponseHandler:
        key = req.connection_key
        assert not key.is_ssl, f"{req.url}: this network speaks plain http"
        try:
            async with asyncio.timeout(timeout.sock_connect):
                protocol = partial(ResponseHandler, loop=self._loop)
                return await self._network.connect(key.host, key.port, protocol, self._process)
        except socket.gaierror as error:
            raise aiohttp.ClientConnectorDNSError(key, error) from error
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise
            raise aiohttp.ClientConnectorError(key, error) from error

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        if self._conns and self._sweep is None:
            self._sweep = self._loop.call_later(IDLE_S, self._close_idle)

    def _close_idle(self) -> None:
        self._sweep = None
        idle = [protocol for pool in self._conns.values() for protocol, _ in pool if protocol.is_connected()]
        for protocol in idle:
            transport = protocol.transport
            if isinstance(transport, MemoryTransport) and transport.idle_since + IDLE_S <= self._loop.time():
                protocol.close()
        if any(protocol.is_connected() for protocol in idle):
            self._sweep = self._loop.call_later(IDLE_S, self._close_idle)

    def forget(self) -> None:
        """Be as closed as the connector of a killed process."""
        self._closed = True
        self._conns.clear()
        for connection in self._lent:
            connection._protocol = None
