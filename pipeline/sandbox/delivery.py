"""Sending a clip: whole, by range, or spoilt in one of the ways that networks and gateways spoil bodies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import web

from pipeline.sandbox.settings import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.effects import Clock
    from pipeline.sandbox.render import Clip
    from pipeline.sandbox.settings import SandboxSettings

PIECES = 20
"""Into how many pieces a slow body is cut."""
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>\n"
TINY_MP4 = bytes.fromhex("0000001c6674797069736f6d0000020069736f6d69736f326d7034310000000866726565000000086d646174")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Severed(Exception):
    """The connection is closed, on purpose or by the client; there is nobody left to answer."""


def sever(request: web.Request) -> Severed:
    """Close the connection without an answer, and return what to raise."""
    if request.transport is not None:
        request.transport.close()
    return Severed()


async def deliver(
    request: web.Request,
    clip: Clip,
    *,
    settings: SandboxSettings,
    clock: Clock,
    strikes: Callable[[Fault], bool],
    disposition: str = "",
    ranges: bool = False,
) -> web.StreamResponse:
    """Answer `request` with `clip`, or with what the faults make of it.

    `strikes` tells whether a fault strikes this delivery; `ranges` allows `Range`, with `If-Range` against the ETag.
    """
    headers = {"Content-Type": "video/mp4"}
    if disposition:
        headers["Content-Disposition"] = disposition
    if strikes(Fault.DISGUISE):
        return web.Response(body=disguise(clip), headers=headers)
    if strikes(Fault.TRUNCATE_SILENTLY):
        return end_early(request, clip.data[: len(clip.data) // 2])
    if strikes(Fault.TRUNCATE):
        return await send(request, clip.data, headers, stop_at=len(clip.data) // 2)
    if strikes(Fault.SLOW):
        return await send(request, clip.data, headers, clock=clock, pause_s=settings.slow_s / settings.speed / PIECES)
    if ranges:
        return answer_range(request, clip, headers)
    return web.Response(body=clip.data, headers=headers)


def disguise(clip: Clip) -> bytes:
    """Return what stands in for the clip; which of the two depends on the clip."""
    return HTML if clip.etag[-2] in "01234567" else TINY_MP4


async def send(
    request: web.Request,
    data: bytes,
    headers: dict[str, str],
    *,
    stop_at: int | None = None,
    clock: Clock | None = None,
    pause_s: float = 0.0,
) -> web.StreamResponse:
    """Announce all of `data`, then send it in pieces with pauses, or stop in the middle and hang up."""
    response = web.StreamResponse(headers=headers)
    response.content_length = len(data)
    step = -(-len(data) // PIECES)
    try:
        await response.prepare(request)
        if stop_at is not None:
            await response.write(data[:stop_at])
            raise sever(request)
        for start in range(0, len(data), step):
            if clock is not None:
                await clock.sleep(pause_s)
            await response.write(data[start : start + step])
        await response.write_eof()
    except ConnectionError:
        raise Severed from None
    return response


def end_early(request: web.Request, data: bytes) -> web.StreamResponse:
    """Send `data` as a body that the end of the connection alone delimits, which the server library would not do."""
    if request.transport is not None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nConnection: close\r\n\r\n"
        request.transport.write(head.encode() + data)
    raise sever(request)


def answer_range(request: web.Request, clip: Clip, headers: dict[str, str]) -> web.Response:
    """Answer with the whole clip, the range asked for, or 416 (RFC 9110, section 14)."""
    size = len(clip.data)
    headers |= {"Accept-Ranges": "bytes", "ETag": clip.etag}
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    if asked is None or asked.groups() == ("", "") or request.headers.get("If-Range", clip.etag) != clip.etag:
        return web.Response(body=clip.data, headers=headers)
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        return web.Response(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return web.Response(status=206, body=clip.data[start : end + 1], headers=headers)
