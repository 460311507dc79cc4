from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pipeline.clips.download import DownloadLimits, collect
from pipeline.providers.exchange import Opened
from pipeline.providers.http import Wire
from pipeline.providers.origin import origin_of
from pipeline.providers.ranges import Whole, whole_of
from pipeline.system.effects import SystemClock, system
from tests.providers.loopback import CANARY, DROP, MP4, Received, Script, answer, bytes_of, loopback
from tests.support import mp4s

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TAG = '"v1"'
LONG_AGO, NOW = "Fri, 20 Nov 2026 10:00:00 GMT", "Sat, 21 Nov 2026 10:00:00 GMT"
WHOLE = Whole(validator=TAG, length=len(MP4))
CUT_AT = 5000


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": TAG}, TAG),
        ({"etag": TAG, "last-modified": NOW, "date": NOW}, TAG),
        ({"last-modified": LONG_AGO, "date": NOW}, LONG_AGO),
    ],
)
def test_a_strong_validator_names_a_whole(headers: dict[str, str], validator: str) -> None:
    assert whole_of(200, headers, 10) == Whole(validator=validator, length=10)


@pytest.mark.parametrize(
    ("status", "headers", "length"),
    [
        (200, {}, 10),
        (200, {"etag": 'W/"v1"'}, 10),
        (200, {"etag": 'W/"v1"', "last-modified": LONG_AGO, "date": NOW}, 10),
        (200, {"etag": "v1"}, 10),
        (200, {"last-modified": NOW, "date": NOW}, 10),
        (200, {"last-modified": LONG_AGO}, 10),
        (200, {"last-modified": "yesterday", "date": NOW}, 10),
        (200, {"etag": TAG}, None),
        (200, {"etag": TAG, "accept-ranges": "none"}, 10),
        (200, {"etag": TAG, "content-encoding": "gzip"}, 10),
        (206, {"etag": TAG}, 10),
    ],
)
def test_what_is_not_certainly_the_same_bytes_is_no_whole(
    status: int, headers: dict[str, str], length: int | None
) -> None:
    assert whole_of(status, headers, length) is None


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"etag": TAG}),
        (206, {}),
        (206, {"content-range": f"bytes 4999-{len(MP4) - 1}/{len(MP4)}"}),
        (206, {"content-range": f"bytes 5000-{len(MP4) - 2}/{len(MP4)}"}),
        (206, {"content-range": f"bytes 5000-{len(MP4) - 1}/{len(MP4) + 1}"}),
        (206, {"content-range": f"bytes 5000-{len(MP4) - 1}/*"}),
        (206, {"content-range": f"bytes 5000-{len(MP4) - 1}/{len(MP4)}", "etag": '"v2"'}),
        (206, {"content-range": f"bytes 5000-{len(MP4) - 1}/{len(MP4)}", "content-encoding": "gzip"}),
    ],
)
def test_an_answer_that_is_not_the_rest_of_the_same_whole_is_none(status: int, headers: dict[str, str]) -> None:
    assert not WHOLE.is_rest(status, headers, CUT_AT)


def cut(headers: dict[str, str]) -> Script:
    """Send a clip's beginning, and close."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(MP4)}\r\n{lines}\r\n".encode()
    return Script(head + MP4[:CUT_AT], "close")


def rest(request: Received, tag: str = TAG) -> Script:
    """Answer as a server of files does."""
    assert request.headers["if-range"] == TAG
    start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
    told = {"Content-Range": f"bytes {start}-{len(MP4) - 1}/{len(MP4)}", "ETag": tag}
    return answer(MP4[start:], 206, told)


def first_cut_then(then: Callable[[Received], Script], headers: dict[str, str]) -> Callable[[Received], Script]:
    return lambda request: then(request) if "range" in request.headers else cut(headers)


async def resumed(wire: Wire) -> bytes | None:
    """Fetch, be cut, and return the rest; None where it is not to be had."""
    outcome = await wire.open("GET", "/clip")
    assert isinstance(outcome, Opened)
    with pytest.raises(ConnectionError):
        await bytes_of(outcome.source)
    rest = await outcome.source.resume(CUT_AT)  # type: ignore[attr-defined]
    return None if rest is None else await bytes_of(rest)


async def test_a_cut_clip_is_gone_on_with_where_it_stopped_and_with_the_key() -> None:
    async with loopback(by=first_cut_then(rest, {"ETag": TAG})) as server:
        wire = Wire(origin_of(server.url), CANARY, system())
        assert await resumed(wire) == MP4[CUT_AT:]
        assert server.received[1].headers["range"] == f"bytes={CUT_AT}-"
        assert server.received[1].headers["authorization"] == f"Bearer {CANARY}"
        await wire.close()


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"v1"'}])
async def test_a_clip_without_a_name_that_can_be_trusted_is_not_asked_for_again(headers: dict[str, str]) -> None:
    async with loopback(by=first_cut_then(rest, headers)) as server:
        wire = Wire(origin_of(server.url), CANARY, system())
        assert await resumed(wire) is None
        assert len(server.received) == 1
        await wire.close()


@pytest.mark.parametrize("then", [partial(rest, tag='"v2"'), lambda _: answer(MP4, headers={"ETag": '"v2"'})])
async def test_a_rest_of_another_clip_is_not_taken(then: Callable[[Received], Script]) -> None:
    async with loopback(by=first_cut_then(then, {"ETag": TAG})) as server:
        wire = Wire(origin_of(server.url), CANARY, system())
        assert await resumed(wire) is None
        await wire.close()


async def test_a_rest_that_does_not_name_its_whole_is_not_taken() -> None:
    def nameless(request: Received) -> Script:
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        return answer(MP4[start:], 206, {"Content-Range": f"bytes {start}-{len(MP4) - 1}/{len(MP4)}"})

    async with loopback(by=first_cut_then(nameless, {"ETag": TAG})) as server:
        wire = Wire(origin_of(server.url), CANARY, system())
        assert await resumed(wire) is None
        await wire.close()


@pytest.mark.parametrize("then", [DROP, answer({}, 503), answer({}, 429)])
async def test_no_answer_for_now_is_a_connection_error(then: Script) -> None:
    async with loopback(by=first_cut_then(lambda _: then, {"ETag": TAG})) as server:
        wire = Wire(origin_of(server.url), CANARY, system())
        with pytest.raises(ConnectionError):
            await resumed(wire)
        await wire.close()


async def test_a_clip_that_is_cut_again_and_again_comes_home_whole(tmp_path: Path) -> None:
    clip, piece = mp4s.minimal(data=bytes(range(256)) * 400), 30_000

    def serve(request: Received) -> Script:
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        status = (
            f"206 Partial Content\r\nContent-Range: bytes {start}-{len(clip) - 1}/{len(clip)}" if start else "200 OK"
        )
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(clip) - start}\r\nETag: {TAG}\r\n\r\n"
        return Script(head.encode() + clip[start : start + piece], "close")

    async with loopback(by=serve) as server:
        effects = replace(system(), clock=Hasty())
        wire = Wire(origin_of(server.url), CANARY, effects)
        outcome = await wire.open("GET", "/clip")
        assert isinstance(outcome, Opened)
        parts = {"files": effects.files, "threads": effects.threads, "clock": effects.clock}
        found = await collect(outcome.source, tmp_path / "x.part", limits=DownloadLimits(), **parts)  # type: ignore[arg-type]
        assert (tmp_path / "x.part").read_bytes() == clip
        assert found.sha256 == hashlib.sha256(clip).hexdigest()
        assert len(server.received) == -(-len(clip) // piece)
        await wire.close()
        effects.threads.close()


class Hasty(SystemClock):
    """Pauses take no time; a window of the least speed never ends."""

    async def sleep(self, seconds: float) -> None:
        await (asyncio.Event().wait() if seconds >= DownloadLimits().window_s else asyncio.sleep(0))  # noqa: TID251
