"""Answers that are bombs, that do not end, or that are no JSON (threats T15, T16, T17)."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from typing import TYPE_CHECKING, Any, get_args

import pytest

from pipeline.clips.download import DownloadLimits, collect
from pipeline.errors import BrokenClip
from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    ClaimAnswer,
    Claimed,
    Failed,
    Gone,
    LookAnswer,
    NotSent,
    Refused,
    Streaming,
    SubmitAnswer,
    Throttled,
    Transient,
)
from pipeline.providers.transport import Patience
from pipeline.system.effects import system
from tests.providers.dialects import DIALECTS
from tests.providers.loopback import CANARY, MP4, Script, answer, loopback, provided
from tests.support import mp4s
from tests.torture.fuzz_targets import documented

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.providers.dialect import Dialect

HASTE = Patience(connect_s=20.0, submit_s=1.5, claim_s=1.5, look_s=1.5, gap_s=1.5)
"""For answers that do not end."""
EASE = Patience(connect_s=30.0, submit_s=30.0, claim_s=30.0, look_s=30.0, gap_s=30.0)
"""For all others: a busy machine is no attack."""
GROWTH_MOST_BYTES = 50 << 20


def resident_bytes() -> int:
    """Return how much memory this process holds, as the system counts it."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


async def calls(provider: Any, dialect: Dialect) -> dict[str, Any]:
    """Make the calls whose answers decide about money and clips."""
    made = {"submit": await provider.submit(dialect.request, {}), "look": await provider.look(dialect.held())}
    if dialect.can.has_claim_step:
        made["claim"] = await provider.claim(dialect.held())
    return made


def judge(dialect: Dialect, made: dict[str, Any]) -> None:
    """A call that bills is in doubt, one that does not may be made again; nothing is taken for an answer."""
    for name, outcome in made.items():
        if name == dialect.billing:
            assert isinstance(outcome, Ambiguous), (name, outcome)
            assert len(repr(outcome.evidence)) < 300_000
        else:
            assert isinstance(outcome, Ambiguous | Transient), (name, outcome)


async def attack(dialect: Dialect, script: Script) -> dict[str, Any]:
    async with loopback(script) as server, provided(dialect.factory, server.url + dialect.path, patience=EASE) as made:
        return await calls(made, dialect)


def whole_answer(dialect: Dialect) -> bytes:
    """Return an answer that could be one to any of the calls."""
    records = [record for method in ("submit", "look", "claim") for record in documented(dialect, method)]
    whole = {name: value for record in records for name, value in record.items()}
    return json.dumps({**whole, **dialect.running, **dialect.accepted}).encode()


# T15


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.can.name)
async def test_a_compressed_bomb_stops_at_the_cap(dialect: Dialect, encoding: str) -> None:
    documented = whole_answer(dialect)
    zeros = documented + b" " * 100_000_000  # sound JSON, if anybody reads all of it
    body = zlib.compress(zeros) if encoding == "deflate" else gzip.compress(zeros, 1)
    del zeros
    before = resident_bytes()
    judge(dialect, await attack(dialect, answer(body, headers={"Content-Encoding": encoding})))
    assert resident_bytes() - before < GROWTH_MOST_BYTES


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.can.name)
async def test_a_clip_in_a_wrapping_is_no_clip(dialect: Dialect) -> None:
    made = await attack(dialect, answer(gzip.compress(MP4), headers={"Content-Encoding": "gzip"}))
    assert not any(isinstance(outcome, Streaming) for outcome in made.values())


# T16


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.can.name)
async def test_an_answer_larger_than_any_answer_is_none(dialect: Dialect) -> None:
    documented = whole_answer(dialect)
    before = resident_bytes()
    judge(dialect, await attack(dialect, answer(documented + b" " * 40_000_000)))
    assert resident_bytes() - before < 2 * GROWTH_MOST_BYTES  # the server has its own


@pytest.mark.parametrize("kind", ["endless", "drip", "headers", "one header"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.can.name)
async def test_what_does_not_end_is_ended(dialect: Dialect, kind: str) -> None:
    gone: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            match kind:
                case "endless":
                    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    while True:
                        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                        await writer.drain()
                case "drip":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    while True:
                        writer.write(b" ")
                        await writer.drain()
                        await asyncio.sleep(0.2)  # noqa: TID251  # the server's own time
                case "headers":
                    writer.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n{}")
                case _:
                    writer.write(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 1_000_000 + b"\r\n\r\n{}")
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            gone.append(time.monotonic())
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{dialect.path}"
    before, began_s = resident_bytes(), time.monotonic()
    async with provided(dialect.factory, url, patience=HASTE) as provider:
        judge(dialect, await calls(provider, dialect))
    assert resident_bytes() - before < GROWTH_MOST_BYTES
    assert time.monotonic() - began_s < 30
    server.close()
    await server.wait_closed()


class Endless:
    """A clip that goes on for ever. The mutable state is how much of it was read, and whether it was let go."""

    length: int | None = None

    def __init__(self) -> None:
        self.read_bytes = 0
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        yield mp4s.FTYP + b"\0\0\0\0mdat"
        while self.read_bytes < 100 << 20:
            self.read_bytes += 100_000
            yield bytes(100_000)

    async def close(self) -> None:
        self.closed = True


async def test_a_clip_without_end_stops_at_the_limit(tmp_path: Path) -> None:
    effects, source = system(), Endless()
    limits = DownloadLimits(max_bytes=1 << 20)
    here = {"files": effects.files, "threads": effects.threads, "clock": effects.clock, "limits": limits}
    with pytest.raises(BrokenClip, match="larger than"):
        await collect(source, tmp_path / ".a.part", **here)
    effects.threads.close()
    assert source.read_bytes < 2 << 20
    assert source.closed
    assert not list(tmp_path.iterdir())


# T17

MALFORMED: dict[str, bytes] = {
    "depth": b"[" * 100_000,
    "depth of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth within": b'{"status":"X","request_id":"a","queue_id":"a","id":"a","x":' + b"[" * 500 + b"]" * 500 + b"}",
    "not a number": b'{"status":"COMPLETED","request_id":"a","queue_id":"a","id":"a","x":NaN}',
    "infinity": b'{"status":"COMPLETED","request_id":"a","queue_id":"a","id":"a","x":-Infinity}',
    "a huge number": b'{"status":"COMPLETED","request_id":"a","queue_id":"a","id":"a","x":1e999}',
    "a huge integer": b'{"status":"COMPLETED","request_id":"a","queue_id":"a","id":"a","x":' + b"9" * 5_000 + b"}",
    "a key twice": b'{"request_id":"a","queue_id":"a","id":"a","status":"a","request_id":"b","status":"b","id":"b"}',
    "not UTF-8": b'{"request_id":"\xff\xfe","queue_id":"\xff","id":"\xff","status":"\xff"}',
    "a list": b'["COMPLETED"]',
    "a text": b'"COMPLETED"',
    "two": b'{"request_id":"a","queue_id":"a","id":"a","status":"x"}{}',
    "nothing": b"",
    "a page": b"<html><title>Welcome to the hotel</title></html>",
}


@pytest.mark.parametrize("kind", MALFORMED)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.can.name)
async def test_what_is_no_sound_json_is_a_doubt_and_nothing_else(dialect: Dialect, kind: str) -> None:
    judge(dialect, await attack(dialect, answer(MALFORMED[kind], headers={"Content-Type": "application/json"})))


@pytest.mark.parametrize("status", [200, 201, 500, 502, 504, 520])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.can.name)
async def test_half_characters_are_kept_in_a_form_that_a_database_takes(dialect: Dialect, status: int) -> None:
    record = {**json.loads(whole_answer(dialect)), "note": "\ud800", "\udfff": [CANARY]}
    made = await attack(dialect, answer(json.dumps(record).encode(), status))
    for name, outcome in made.items():
        union = {"submit": SubmitAnswer, "look": LookAnswer, "claim": ClaimAnswer}[name]
        assert isinstance(outcome, get_args(union))
        assert not isinstance(outcome, NotSent | Throttled | Refused | Gone), (name, outcome)
        assert status < 300 or not isinstance(outcome, Accepted | Claimed | Failed)
        repr(outcome).encode()
        assert CANARY not in repr(outcome)
