"""The one place that sends. A method, a path and a body come in; an `exchange` value goes out, and no exception.

What always holds:
- One call here is one request on the wire, or none. aiohttp repeats a dropped GET by itself; `transport` stops it.
- A call that can bill goes over a connection of its own, so that a stale kept-alive one never makes its outcome
  unknown. Whether a failed request had left is not guessed from the error: a trace notes the moment.
- Redirects of the API are not followed, environment variables (proxies, .netrc) not read, cookies not kept.
- The key is a header of each request to the frozen origin, never of a session, so that it cannot reach another host.
- A cancelled call closes its connection, and leaks nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import yarl

from pipeline.providers.addresses import Resolve, is_public, system_resolve
from pipeline.providers.answers import EVIDENCE_MAX_BYTES
from pipeline.providers.exchange import JSON_MAX_BYTES, Lost, Opened, Outcome, Reply, Unsent
from pipeline.providers.mask import Mask
from pipeline.providers.origin import PRINTABLE, Origin, download_url, is_loopback
from pipeline.providers.ranges import Whole, whole_of
from pipeline.providers.transport import (
    BROKEN,
    SNIFFED_BYTES,
    Body,
    Patience,
    Rest,
    Trip,
    describe,
    is_clip,
    open_session,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

    from pipeline.effects import Effects

JSON = "application/json"
REDIRECTS_MAX = 3
NOT_NOW = frozenset({408, 425, 429})


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request as it goes out."""

    method: str
    url: str
    deadline_s: float
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    fresh: bool = False
    may_be_clip: bool = False
    cap_bytes: int = JSON_MAX_BYTES
    server_name: str | None = None
    """The name to ask TLS for, where the URL names an address."""


class Wire:
    """The connections to one vendor for one key.

    The mutable state is the two sessions, made on first use within the event loop, and whether they were let go.
    """

    def __init__(
        self,
        origin: Origin,
        key: str,
        effects: Effects,
        *,
        download_hosts: Sequence[str] = (),
        patience: Patience | None = None,
        resolve: Resolve = system_resolve,
    ) -> None:
        self._origin = origin
        self._key = key
        self._mask = Mask(key)
        self._effects = effects
        self._download_hosts = tuple(download_hosts)
        self._patience = patience or Patience()
        self._resolve = resolve
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._closed = False

    async def submit(self, path: str, body: bytes, content_type: str = JSON) -> Outcome:
        """POST once over a fresh connection; it may bill."""
        uplink_s = len(body) / self._patience.upload_bytes_per_s
        call = self._call("POST", path, body, self._patience.submit_s + uplink_s, fresh=True, content_type=content_type)
        return await self._ask(call)

    async def claim(self, path: str, cap_bytes: int) -> Outcome:
        """GET once over a fresh connection; it bills."""
        return await self._ask(self._call("GET", path, None, self._patience.claim_s, fresh=True, cap_bytes=cap_bytes))

    async def ask(self, method: str, path: str, body: bytes | None = None, cap_bytes: int = JSON_MAX_BYTES) -> Outcome:
        """Make one call that costs nothing."""
        uplink_s = len(body or b"") / self._patience.upload_bytes_per_s
        return await self._ask(self._call(method, path, body, self._patience.look_s + uplink_s, cap_bytes=cap_bytes))

    async def open(self, method: str, path: str, body: bytes | None = None) -> Outcome | Opened:
        """Make one call that costs nothing and whose answer may be a clip."""
        return await self._exchange(self._call(method, path, body, self._patience.look_s, may_be_clip=True))

    async def open_download(self, url: str) -> Outcome | Opened:
        """GET a vendor's download address without the key; at most three redirects, each to an allowed address."""
        for _ in range(REDIRECTS_MAX + 1):
            target = download_url(self._origin, url, self._download_hosts)
            if target is None:
                return Lost(message="The download address is not one of the vendor's; nothing was fetched.")
            outcome = await self._open_checked(target)
            location = outcome.headers.get("location", "") if isinstance(outcome, Reply) else ""
            if not isinstance(outcome, Reply) or not 300 <= outcome.status < 400 or not PRINTABLE.fullmatch(location):
                return outcome
            try:
                url = urljoin(target, location)
            except ValueError:
                return outcome
        return Lost(message=f"The download was redirected more than {REDIRECTS_MAX} times.")

    async def delete_download(self, url: str) -> Outcome:
        """DELETE a vendor's download address without the key; no redirect is followed."""
        target = download_url(self._origin, url, self._download_hosts)
        if target is None:
            return Lost(message="The download address is not one of the vendor's; nothing was sent.")
        outcome = await self._open_checked(target, "DELETE")
        assert not isinstance(outcome, Opened)  # only a GET may be answered with a clip
        return outcome

    async def close(self) -> None:
        """Let the connections go; calls after it send nothing."""
        self._closed = True
        while self._sessions:
            await self._sessions.popitem()[1].close()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        deadline_s: float,
        *,
        fresh: bool = False,
        may_be_clip: bool = False,
        cap_bytes: int = JSON_MAX_BYTES,
        content_type: str = JSON,
    ) -> Call:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        if body is not None:
            headers["Content-Type"] = content_type
        return Call(
            method=method,
            url=self._origin.url(path),
            deadline_s=deadline_s,
            body=body,
            headers=headers,
            fresh=fresh,
            may_be_clip=may_be_clip,
            cap_bytes=cap_bytes,
        )

    async def _open_checked(self, url: str, method: str = "GET") -> Outcome | Opened:
        """Ask an allowed address; a real host over a connection to an address of it that was checked."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        may_be_clip = method == "GET"
        call = Call(method=method, url=url, deadline_s=self._patience.look_s, may_be_clip=may_be_clip, fresh=True)
        if is_loopback(host):
            return await self._exchange(call)
        try:
            async with asyncio.timeout(self._patience.connect_s):
                addresses = await self._resolve(host, 443)
        except (OSError, TimeoutError, UnicodeError):
            return Unsent(message="The download host's name could not be resolved.")
        if not addresses or not all(map(is_public, addresses)):
            return Unsent(message="The download host is not on the public internet; nothing was fetched.")
        outcome: Outcome | Opened = Unsent(message="The download host could not be reached.")
        for address in addresses[:REDIRECTS_MAX]:
            literal = f"[{address}]" if ":" in address else address
            pinned = replace(
                call, url=parts._replace(netloc=literal).geturl(), headers={"Host": host}, server_name=host
            )
            outcome = await self._exchange(pinned)
            if not isinstance(outcome, Unsent):
                break
        return outcome

    async def _ask(self, call: Call) -> Outcome:
        outcome = await self._exchange(call)
        assert not isinstance(outcome, Opened)  # only a call that may be a clip opens one
        return outcome

    async def _exchange(self, call: Call) -> Outcome | Opened:
        if self._closed:
            return Unsent(message="The connections were already let go; nothing was sent.")
        trip, response, outcome = Trip(), None, None
        body = bytearray()
        try:
            async with asyncio.timeout(call.deadline_s):
                response = await self._send(call, trip)
                if call.may_be_clip:
                    await self._read(response, body, SNIFFED_BYTES)
                    if is_clip(response, body):
                        outcome = Opened(source=Body(response, bytes(body), self._rest_of(call, response)))
                        return outcome
                await self._read(response, body, call.cap_bytes + 1)
        except BROKEN as error:
            message = f"{self._origin.host}: {describe(error)}."
            return Unsent(message=message) if not trip.left else self._lost(message, response, body)
        finally:
            if response is not None and outcome is None:
                response.close()
        if len(body) > call.cap_bytes:
            return self._lost("The answer is larger than an answer may be.", response, body)
        told = self._mask.body(bytes(body))
        return Reply(status=response.status, headers=self._headers(response), body=told, mask=self._mask)

    def _rest_of(self, call: Call, response: aiohttp.ClientResponse) -> Rest | None:
        """Return what opens the rest of a clip after a cut, where the vendor said enough to be sure of it."""
        whole = whole_of(response.status, self._headers(response), response.content_length)
        if whole is None or call.method != "GET":
            return None
        return partial(self._open_rest, call, whole)

    async def _open_rest(self, call: Call, whole: Whole, offset: int) -> Body | None:
        """Ask for a clip again from `offset`; None where the answer is no rest of the same clip.

        Raises:
            ConnectionError: there is no answer, or none for now.
        """
        if self._closed:
            return None
        again = replace(call, headers={**call.headers, **whole.asking(offset)})
        body = None
        try:
            async with asyncio.timeout(call.deadline_s):
                response = await self._send(again, Trip())
        except BROKEN as error:
            raise ConnectionError(describe(error)) from error
        try:
            if response.status in NOT_NOW or response.status >= 500:
                raise ConnectionError(f"the answer was {response.status}")
            if whole.is_rest(response.status, self._headers(response), offset):
                body = Body(response, b"", partial(self._open_rest, call, whole))
        finally:
            if body is None:
                response.close()
        return body

    async def _send(self, call: Call, trip: Trip) -> aiohttp.ClientResponse:
        return await self._session(call.fresh).request(
            call.method,
            yarl.URL(call.url, encoded=True),
            data=call.body,
            headers=call.headers,
            allow_redirects=False,
            trace_request_ctx=trip,
            server_hostname=call.server_name,
        )

    def _session(self, fresh: bool) -> aiohttp.ClientSession:
        if fresh not in self._sessions:
            self._sessions[fresh] = open_session(self._effects.connector(fresh), self._patience)
        return self._sessions[fresh]

    async def _read(self, response: aiohttp.ClientResponse, body: bytearray, enough_bytes: int) -> None:
        """Read until the body holds `enough_bytes`, or all there is."""
        while len(body) < enough_bytes:
            chunk = await response.content.read(enough_bytes - len(body))
            if not chunk:
                return
            body += chunk

    def _lost(self, message: str, response: aiohttp.ClientResponse | None, body: bytearray) -> Lost:
        if response is None:
            return Lost(message=message)
        kept = self._mask.body(bytes(body[:EVIDENCE_MAX_BYTES]))
        return Lost(message=message, status=response.status, headers=self._headers(response), body=kept)

    def _headers(self, response: aiohttp.ClientResponse) -> dict[str, str]:
        told = {}
        for name, value in response.headers.items():
            with suppress(UnicodeError):  # a byte that is no text is no use to anybody
                told[name.lower()] = self._mask.body(value.encode()).decode()
        return told
