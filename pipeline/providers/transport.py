"""What aiohttp is made to do, and kept from doing: sessions, departures, broken connections, open bodies.

`http` decides what is sent; here is how. A session has no key, no cookies, no proxy, no decompression, and a
middleware that keeps aiohttp from repeating a dropped GET.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import aiohttp
from aiohttp.http import HttpProcessingError

from pipeline import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import SimpleNamespace

READ_BYTES = 1 << 18
"""How much aiohttp may buffer of a body: with its own 64 KiB it stops and starts the socket again and again."""
SNIFFED_BYTES = 12
"""Enough to see the type of an MP4's first box, at offset 4."""


class Dropped(Exception):
    """The connection went away after the request had its turn. Not a ClientError, so that aiohttp does not repeat."""


BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError, ValueError, Dropped)
"""Everything that aiohttp raises for what a network or a server can do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long is waited for what, in seconds."""

    connect_s: float = 15.0
    """Name, connection and TLS, a free place in the pool included."""
    submit_s: float = 60.0
    """A submit's whole answer, on top of the time that its body needs to go up."""
    claim_s: float = 120.0
    look_s: float = 15.0
    """Any other call's whole answer, or a clip's first bytes."""
    gap_s: float = 60.0
    """The longest silence within a body."""
    upload_bytes_per_s: float = 65_536.0
    """The slowest uplink on which a large body still gets through."""


@dataclass(slots=True)
class Trip:
    """One request's way, changed once: whether its first byte may have left."""

    left: bool = False


async def never_again(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Turn the errors after which aiohttp silently sends a GET once more into one that it does not know."""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Dropped(type(error).__name__) from error


async def note_departure(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    """Note that the request's head is about to be written; from here on, it may have left."""
    trip = context.trace_request_ctx
    assert isinstance(trip, Trip)
    trip.left = True


def describe(error: BaseException) -> str:
    """Say what broke, in words that hold neither an address (a signed link is a secret) nor a header."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the host name could not be resolved"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "the TLS handshake failed"
        case aiohttp.ClientConnectorError():
            return f"no connection: {error.strerror or 'refused'}"
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientPayloadError():
            return "the answer's body was cut short"
        case _:
            return f"the connection broke ({type(error).__name__})"


Rest: TypeAlias = "Callable[[int], Awaitable[Body | None]]"


class Body:
    """The rest of an answer that is a clip. The mutable state is the response, which is read once."""

    def __init__(self, response: aiohttp.ClientResponse, first: bytes, rest: Rest | None = None) -> None:
        """Take over an open response.

        Args:
            response: read up to `first`.
            first: what was read of it.
            rest: opens what is left of the same whole from an offset; None where it has no name to be known by.
        """
        self._response = response
        self._first = first
        self._rest = rest
        self.length = response.content_length

    async def resume(self, offset: int) -> Body | None:
        """Open the rest of the same bytes from `offset`; None where it cannot be had, or not for certain.

        Raises:
            ConnectionError: no answer for now.
        """
        return await self._rest(offset) if self._rest else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come, those already read first. Raises ConnectionError for a body cut short."""
        if self._first:
            yield self._first
        try:
            async for piece, _ in self._response.content.iter_chunks():  # `iter_any` would join, and so copy them
                if piece:
                    yield piece
        except BROKEN as error:
            raise ConnectionError(describe(error)) from error

    async def close(self) -> None:
        """Stop reading; safe to call twice."""
        self._response.close()


def is_clip(response: aiohttp.ClientResponse, first: bytes | bytearray) -> bool:
    """Tell whether a body is an MP4, by its bytes: content types can be wrong, and a box's length can look like `{`."""
    encoding = response.headers.get("Content-Encoding", "identity")
    return response.status == 200 and first[4:8] == b"ftyp" and encoding.strip().lower() == "identity"


def open_session(connector: aiohttp.BaseConnector, patience: Patience) -> aiohttp.ClientSession:
    """Make a session; the connector is its own, and goes with it."""
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(note_departure)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": f"clipmill/{__version__}"},
        timeout=aiohttp.ClientTimeout(
            total=None,
            connect=patience.connect_s,
            sock_connect=patience.connect_s,
            sock_read=patience.gap_s,
        ),
        auto_decompress=False,
        read_bufsize=READ_BYTES,
        trust_env=False,
        middlewares=(never_again,),
        trace_configs=[trace],
    )
