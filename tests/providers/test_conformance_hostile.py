"""What every provider owes the runner when the network, a gateway or the vendor itself is hostile.

A billing call is sent once, whatever comes back; the key stays with the origin; nothing raises.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.providers.answers import Accepted, Ambiguous, Gone, Ready, Receipt, Refused, Running, Streaming, Transient
from tests.providers.dialect import HASTE, UNIONS
from tests.providers.loopback import CANARY, DROP, MP4, STALL, Loopback, Received, Script, answer, loopback, provided

if TYPE_CHECKING:
    from tests.providers.dialect import Dialect

DOUBTFUL = {
    "dropped": DROP,
    "silent": STALL,
    "500": answer({"error": "x"}, 500),
    "502": answer({"error": {"message": "x"}}, 502),
    "504": answer(b"", 504),
    "redirected": answer(b"", 307, {"Location": "/elsewhere"}),
    "a hotel's page": answer(b"<html>welcome</html>"),
    "cut": Script(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"', "close"),
    "silent in the middle": Script(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"', "stall"),
    "not HTTP": Script(b"\x16\x03\x01", "close"),
    "nothing": answer(b""),
    "null": answer(b"null"),
    "a list": answer([1, 2]),
    "an empty object": answer({}),
    "the same key twice": answer(b'{"id": "a", "id": "b", "status": "x", "status": "y"}'),
    "far too much": answer(b'{"id": "a", "pad": "' + b"x" * (33 << 20) + b'"}'),
    "too deep": answer(b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "encoded, unasked": answer(b"\x28\xb5\x2f\xfd", 200, {"Content-Encoding": "zstd"}),
    "a tiny mp4 that is none": answer(b"\x00\x00\x00\x08free"),
}
KEYS = [
    *("request_id", "queue_id", "id", "model", "status", "status_url", "response_url", "download_url", "data", "url"),
    *("usage", "video_seconds", "quote", "video_resolution", "execution_duration", "error", "message", "type", "code"),
    *("details", "detail", "issues", "credits_refunded", "model_spec", "constraints", "seconds", "size", "object"),
]
WORDS = ["", "COMPLETED", "FAILED", "IN_QUEUE", "PROCESSING", "expired", "/v1/queue/m/requests/x", CANARY, "\ud800"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)
BODIES = st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Retry-After", "Date", "x-ratelimit-reset-requests", "X-Balance-Remaining", "Content-Encoding", "Location"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12) | st.just(f"/x?{CANARY}"),
    max_size=3,
)
STATUSES = st.sampled_from([200, 202, 204, 301, 307, 400, 401, 402, 403, 404, 409, 410, 413, 422, 429, 500, 501, 503])
HOSTILE_IDS = [
    "../../secrets",
    "..",
    ".",
    "a/b?c=d#e",
    "a\r\nX: y",
    " ",
    "é\ud800",
    "%2e%2e/",
    "//evil.example/x",
    "{}",
]
HOSTILE_PROMPTS = ['"; filename="x\r\nX: y\r\n\r\n--', "\ud800\x00", "{animal} %s %00", "🦊" * 500]


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Draw an answer: mostly well-formed HTTP around odd JSON, sometimes cut, sometimes any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return Script(draw(st.binary(max_size=100)), "close")
    body = draw(BODIES)
    head = f"HTTP/1.1 {draw(STATUSES)} X\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in draw(HEADERS).items())
    data = (head + "\r\n").encode("latin-1") + body
    return Script(data[: draw(st.integers(1, len(data)))] if draw(st.integers(0, 9)) == 1 else data, "close")


# --- one request, whatever comes back ---


@pytest.mark.parametrize("script", DOUBTFUL.values(), ids=DOUBTFUL.keys())
async def test_a_billing_call_whose_answer_is_lost_is_ambiguous_and_was_sent_once(
    dialect: Dialect, script: Script
) -> None:
    async with loopback(script) as server:
        async with provided(dialect.factory, dialect.at(server), patience=HASTE) as provider:
            outcome = await dialect.calls(provider, server)[dialect.billing]()
            assert isinstance(outcome, Ambiguous)
            assert len(json.dumps(asdict(outcome))) < 200_000
        assert len(server.received) == 1


@pytest.mark.parametrize("script", DOUBTFUL.values(), ids=DOUBTFUL.keys())
async def test_a_free_call_whose_answer_is_lost_is_transient_and_was_sent_once(
    dialect: Dialect, script: Script
) -> None:
    async with loopback(script) as server:
        async with provided(dialect.factory, dialect.at(server), patience=HASTE) as provider:
            assert isinstance(await provider.look(dialect.held()), Transient)
        assert len(server.received) == 1


async def test_a_billing_call_never_uses_a_connection_twice(dialect: Dialect) -> None:
    async with loopback(answer({"error": "x"}, 500)) as server:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            calls = dialect.calls(provider, server)
            await calls["look"]()
            await calls[dialect.billing]()
            await calls[dialect.billing]()
        assert [request.connection for request in server.received] == [1, 2, 3]


@pytest.mark.parametrize("name", ["billing", "look", "fetch"])
async def test_a_cancelled_call_lets_its_connection_go(dialect: Dialect, name: str) -> None:
    gone, asked = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read(-1)
        gone.set()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    server = Loopback(lambda _: DROP, port=listening.sockets[0].getsockname()[1])
    async with provided(dialect.factory, dialect.at(server)) as provider:
        calls = dialect.calls(provider, server)
        call = asyncio.ensure_future(calls[dialect.billing if name == "billing" else name]())
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(gone.wait(), 5)
    listening.close()


async def test_a_clip_that_nobody_reads_leaves_nothing_open(dialect: Dialect) -> None:
    async with loopback(answer(MP4 * 500)) as server:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            opened = await provider.fetch(dialect.held(), dialect.output(server))
            assert isinstance(opened, Streaming)
            await opened.source.close()
            await opened.source.close()
        await provider.close()


# --- the key ---


async def test_a_redirect_takes_the_key_nowhere(dialect: Dialect) -> None:
    async with loopback(answer(MP4)) as foreign:

        def away(request: Received) -> Script:
            return answer(b"", 307, {"Location": f"{foreign.url}{request.path}"})

        async with loopback(by=away) as server, provided(dialect.factory, dialect.at(server)) as provider:
            for call in dialect.calls(provider, server).values():
                outcome = await call()
                if isinstance(outcome, Streaming):
                    await outcome.source.close()
        assert all(request.method == "GET" and "authorization" not in request.headers for request in foreign.received)
        assert CANARY not in str(foreign.received)


async def test_an_address_in_an_answer_takes_the_key_nowhere(dialect: Dialect) -> None:
    async with loopback(answer(dialect.running)) as foreign:

        def moved(value: Any) -> Any:
            """Put every path of an answer on the foreign host, and add what other vendors call an address."""
            if isinstance(value, dict):
                there = {name: moved(inner) for name, inner in value.items()}
                return {"url": foreign.url, "download_url": f"{foreign.url}/x", "polling_url": foreign.url} | there
            if isinstance(value, list):
                return [moved(inner) for inner in value]
            return foreign.url + value if isinstance(value, str) and value.startswith("/") else value

        def misled(script: Script) -> Script:
            head, _, body = script.data.partition(b"\r\n\r\n")
            return script if body == MP4 else answer(moved(json.loads(body)), int(head.split()[1]))

        lies = [misled(script) for script in dialect.a_whole_job()]
        async with loopback(*lies) as server, provided(dialect.factory, dialect.at(server)) as provider:
            accepted = await provider.submit(dialect.request, {})
            assert isinstance(accepted, Accepted)
            await provider.look(accepted.receipt)
            found = await provider.look(accepted.receipt)
            if dialect.can.has_claim_step:
                found = await provider.claim(accepted.receipt)
            for output in getattr(found, "outputs", ()):
                found = await provider.fetch(accepted.receipt, output)
            if isinstance(found, Streaming):
                await found.source.close()
        assert CANARY not in str(foreign.received)
        assert all("authorization" not in request.headers for request in foreign.received)


async def test_the_key_is_in_no_answer(dialect: Dialect) -> None:
    def echo(request: Received) -> Script:
        return answer({"error": f"{request.headers['authorization']}"}, 401, {"X-Echo": CANARY})

    async with loopback(by=echo) as server, provided(dialect.factory, dialect.at(server)) as provider:
        for call in dialect.calls(provider, server).values():
            assert CANARY not in repr(await call())
        assert CANARY not in repr(provider) + repr(vars(provider))


async def test_without_a_key_none_is_sent_where_none_is_needed(dialect: Dialect) -> None:
    if not dialect.can.key_is_optional:
        pytest.skip("this vendor asks for a key")
    async with loopback(answer(dialect.accepted)) as server:
        async with provided(dialect.factory, dialect.at(server), key="") as provider:
            for call in dialect.calls(provider, server).values():
                await call()
        assert server.received
        assert all("authorization" not in request.headers for request in server.received)


# --- hostile text ---


@pytest.mark.parametrize("job_id", HOSTILE_IDS)
async def test_whatever_the_id_is_the_request_stays_below_the_base_url(dialect: Dialect, job_id: str) -> None:
    held = Receipt(job_id=job_id, model=dialect.request.model, answer={})
    async with loopback(answer(dialect.running)) as server:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            # A clip at an address of its own is not asked for by the id.
            for method in ("look",) if dialect.can.download_hosts else ("look", "fetch"):
                outcome = await dialect.calls(provider, server, held)[method]()
                assert isinstance(outcome, get_args(UNIONS[method]))
        for request in server.received:
            assert request.path.startswith(f"{dialect.path}/")
            assert not {"..", "."} & set(request.path.partition("?")[0].split("/"))
            assert "x" not in request.headers


@pytest.mark.parametrize("prompt", HOSTILE_PROMPTS)
async def test_whatever_the_prompt_is_it_is_sent_whole_or_refused(dialect: Dialect, prompt: str) -> None:
    async with loopback(answer(dialect.accepted)) as server:
        async with provided(dialect.factory, dialect.at(server)) as provider:
            outcome = await provider.submit(replace(dialect.request, prompt=prompt), {})
            assert isinstance(outcome, Accepted | Refused)
        assert len(server.received) == isinstance(outcome, Accepted)
        assert all("x" not in request.headers for request in server.received)


@given(script=scripts())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_no_answer_makes_a_call_raise_or_shows_the_key(dialect: Dialect, script: Script) -> None:
    async with loopback(script) as server:
        async with provided(dialect.factory, dialect.at(server), patience=HASTE) as provider:
            for method, call in dialect.calls(provider, server).items():
                outcome = await call()
                assert isinstance(outcome, get_args(UNIONS[method])), (method, outcome)
                assert CANARY not in repr(outcome)
                assert CANARY not in str(outcome)
                if isinstance(outcome, Streaming):
                    await outcome.source.close()
                elif not isinstance(outcome, Ready):
                    json.dumps(asdict(outcome), allow_nan=False, ensure_ascii=False, default=str).encode()
        assert all(request.path != "/elsewhere" for request in server.received)


async def test_a_gateways_page_of_not_found_ends_no_job(dialect: Dialect) -> None:
    """A wrong base URL or a portal answers 404 as well; only the vendor's own word may end what was paid for."""
    async with (
        loopback(answer(b"<html>404</html>", 404)) as server,
        provided(dialect.factory, dialect.at(server)) as provider,
    ):
        assert not isinstance(await provider.look(dialect.held()), Gone | Running)
