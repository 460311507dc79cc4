"""What every provider owes the runner. Subclass `Conformance` with a `Dialect`; nothing here knows a provider's name.

A dialect says, with the vendor's documented answers, what the vendor sends; the suite branches on capabilities alone.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.effects import system
from pipeline.errors import Severity
from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    Catalogue,
    ClaimAnswer,
    Claimed,
    FetchAnswer,
    Gone,
    LookAnswer,
    ModelsAnswer,
    NotSent,
    Output,
    QuoteAnswer,
    Quoted,
    Ready,
    Receipt,
    Refused,
    Running,
    Scope,
    Streaming,
    SubmitAnswer,
    Throttled,
    Transient,
)
from pipeline.providers.base import BilledAt
from pipeline.providers.origin import check_base_url
from pipeline.providers.transport import Patience
from tests.providers.loopback import (
    CANARY,
    DROP,
    MP4,
    STALL,
    Loopback,
    Received,
    Script,
    answer,
    bytes_of,
    loopback,
    provided,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pipeline.providers.base import Capabilities, GenerationRequest

HASTE = Patience(connect_s=0.3, submit_s=0.2, claim_s=0.2, look_s=0.2, gap_s=0.2)
DOUBTFUL = {
    "dropped": DROP,
    "silent": STALL,
    "500": answer({"error": "x"}, 500),
    "502": answer({"error": {"message": "x"}}, 502),
    "504": answer(b"", 504),
    "redirected": answer(b"", 307, {"Location": "/elsewhere"}),
    "a hotel's page": answer(b"<html>welcome</html>"),
    "cut": Script(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"', "close"),
    "not HTTP": Script(b"\x16\x03\x01", "close"),
}


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One vendor's documented answers."""

    factory: Any
    request: GenerationRequest
    path: str
    """What the base URL has after the host."""
    accepted: Mapping[str, Any]
    running: Mapping[str, Any]
    finished: Script
    """The answer to a look at a finished job."""
    result: Mapping[str, Any] | None = None
    """The answer to the claim, where there is one."""
    quoted: Mapping[str, Any] | None = None
    listed: Mapping[str, Any] | None = None
    job: str = "job-1"
    words: dict[str, str] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        capabilities: Capabilities = self.factory.capabilities
        return capabilities

    def held(self) -> Receipt:
        """Return the receipt of an accepted job, as a ledger would bring it back."""
        return Receipt(job_id=self.job, model=self.request.model, answer=dict(self.accepted))

    def location(self, server: Loopback) -> Output:
        """Return a finished clip at this vendor."""
        if self.result is not None:
            return Output(index=0, location={"path": self.result["data"][0]["url"]})
        return Output(index=0, location={"download_url": server.url + "/clip"})


def answers_of(union: Any) -> tuple[type, ...]:
    """Return the classes of a union of answers."""
    return tuple(get_args(union))


KEYS = [
    "request_id",
    "queue_id",
    "id",
    "model",
    "status",
    "status_url",
    "response_url",
    "download_url",
    "data",
    "url",
    "usage",
    "video_seconds",
    "quote",
    "video_resolution",
    "execution_duration",
    "error",
    "message",
    "type",
    "code",
    "details",
    "issues",
    "credits_refunded",
    "model_spec",
    "constraints",
]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "COMPLETED", "FAILED", "IN_QUEUE", "PROCESSING", "/v1/queue/m/requests/x", CANARY, "\ud800"])
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
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
STATUSES = st.sampled_from([200, 202, 204, 301, 307, 400, 401, 402, 403, 404, 409, 410, 413, 422, 429, 500, 502, 503])


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


class Conformance:
    """The suite."""

    dialect: ClassVar[Dialect]

    @property
    def can(self) -> Capabilities:
        return self.dialect.capabilities

    async def _calls(self, provider: Any, server: Loopback) -> AsyncIterator[tuple[str, Any, Any]]:
        """Make every call that the capabilities allow: its name, the answer, and what it may be."""
        held = self.dialect.held()
        yield "submit", await provider.submit(self.dialect.request, {}), SubmitAnswer
        yield "look", await provider.look(held), LookAnswer
        yield "fetch", await provider.fetch(held, self.dialect.location(server)), FetchAnswer
        if self.can.has_claim_step:
            yield "claim", await provider.claim(held), ClaimAnswer
        if self.can.quotes:
            yield "quote", await provider.quote(self.dialect.request), QuoteAnswer
        if self.can.lists_models:
            yield "models", await provider.models(), ModelsAnswer

    async def _billing(self, provider: Any) -> Any:
        if self.can.billed_at is BilledAt.CLAIM:
            return await provider.claim(self.dialect.held())
        return await provider.submit(self.dialect.request, {})

    def _at(self, server: Loopback) -> str:
        return server.url + self.dialect.path

    def test_the_capabilities_are_sound(self) -> None:
        can = self.can
        assert can.name == can.name.lower()
        assert can.key_variable.endswith("_API_KEY")
        assert can.base_url_variable.endswith("_BASE_URL")
        assert check_base_url(can.default_base_url) == can.default_base_url
        assert can.default_base_url.startswith("https://")
        assert can.has_claim_step == (can.billed_at is BilledAt.CLAIM) == (self.dialect.result is not None)
        assert can.outputs_max >= 1
        assert can.limits.look_spacing_s > 0
        assert all(host.startswith(".") for host in can.download_hosts)

    def test_the_models_that_are_known_without_asking_are_told(self) -> None:
        models = self.dialect.factory.known_models()
        assert models
        assert len({model.id for model in models}) == len(models)

    def test_a_provider_without_an_account_checks_and_prices(self) -> None:
        provider = self.dialect.factory(None, system())
        request = self.dialect.request
        assert not provider.check(request)
        assert provider.billed_seconds(request) >= request.parameters["duration_seconds"]
        assert json.dumps(provider.request_body(request, {}))

    def test_checking_is_pure(self) -> None:
        provider = self.dialect.factory(None, system())
        request = self.dialect.request
        assert provider.request_body(request, {}) == provider.request_body(request, {})
        assert provider.check(request) == provider.check(request)

    def test_an_unknown_model_is_a_warning(self) -> None:
        provider = self.dialect.factory(None, system())
        problems = provider.check(replace(self.dialect.request, model="tomorrows-model-9"))
        assert [problem.severity for problem in problems] == [Severity.WARNING]
        assert problems[0].field == ("model",)

    def test_more_clips_than_a_job_can_yield_are_an_error(self) -> None:
        provider = self.dialect.factory(None, system())
        parameters = {**self.dialect.request.parameters, "sample_count": self.can.outputs_max + 1}
        problems = provider.check(replace(self.dialect.request, parameters=parameters))
        assert any(p.field == ("parameters", "sample_count") and p.severity is Severity.ERROR for p in problems)

    def test_options_reach_the_body_verbatim_and_last(self) -> None:
        provider = self.dialect.factory(None, system())
        request = replace(self.dialect.request, options={"prompt": "B", "tomorrow": {"a": [1, None]}})
        body = provider.request_body(request, {})
        assert (body["prompt"], body["tomorrow"]) == ("B", {"a": [1, None]})

    async def test_a_job_goes_from_submit_to_clip(self) -> None:
        scripts = [answer(self.dialect.accepted), answer(self.dialect.running), self.dialect.finished]
        if self.dialect.result is not None:
            scripts += [answer(self.dialect.result), answer(MP4)]
        async with loopback(*scripts) as server:
            async with provided(self.dialect.factory, self._at(server)) as provider:
                accepted = await provider.submit(self.dialect.request, {})
                assert isinstance(accepted, Accepted)
                assert accepted.receipt.answer == self.dialect.accepted
                assert not accepted.warnings
            # Another process goes on, with what a ledger kept and nothing else.
            kept = Receipt(**json.loads(json.dumps(asdict(accepted.receipt))))
            async with provided(self.dialect.factory, self._at(server)) as provider:
                assert isinstance(await provider.look(kept), Running)
                found = await provider.look(kept)
                if self.can.has_claim_step:
                    assert found == Ready()
                    claimed = await provider.claim(kept)
                    assert isinstance(claimed, Claimed)
                    assert not claimed.warnings
                    output = Output(**json.loads(json.dumps(asdict(claimed.outputs[0]))))
                    found = await provider.fetch(kept, output)
                assert isinstance(found, Streaming)
                assert await bytes_of(found.source) == MP4
            assert len(server.received) == len(scripts)
            assert {request.headers["authorization"] for request in server.received} == {f"Bearer {CANARY}"}

    @pytest.mark.parametrize("script", DOUBTFUL.values(), ids=DOUBTFUL.keys())
    async def test_a_billing_call_whose_answer_is_lost_is_ambiguous_and_was_sent_once(self, script: Script) -> None:
        async with loopback(script) as server:
            async with provided(self.dialect.factory, self._at(server), patience=HASTE) as provider:
                assert isinstance(await self._billing(provider), Ambiguous)
            assert len(server.received) == 1

    @pytest.mark.parametrize("script", DOUBTFUL.values(), ids=DOUBTFUL.keys())
    async def test_a_free_call_whose_answer_is_lost_is_transient_and_was_sent_once(self, script: Script) -> None:
        async with loopback(script) as server:
            async with provided(self.dialect.factory, self._at(server), patience=HASTE) as provider:
                assert isinstance(await provider.look(self.dialect.held()), Transient)
            assert len(server.received) == 1

    async def test_a_billing_call_never_uses_a_connection_twice(self) -> None:
        async with loopback(answer({"error": "x"}, 500)) as server:
            async with provided(self.dialect.factory, self._at(server)) as provider:
                await provider.look(self.dialect.held())
                await self._billing(provider)
                await self._billing(provider)
            assert [request.connection for request in server.received] == [1, 2, 3]

    async def test_what_certainly_was_not_sent_says_so(self) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            server = Loopback(lambda _: DROP, port=held.getsockname()[1])
            async with provided(self.dialect.factory, self._at(server)) as provider:
                async for name, outcome, _ in self._calls(provider, server):
                    assert isinstance(outcome, NotSent), name

    async def test_a_429_is_throttled_by_what_it_says(self) -> None:
        script = answer({"error": "slow"}, 429, {"Retry-After": "11"})
        async with loopback(script) as server, provided(self.dialect.factory, self._at(server)) as provider:
            async for name, outcome, _ in self._calls(provider, server):
                if name != "fetch":  # a link that is used too often is no limit of the API's
                    assert isinstance(outcome, Throttled), name
                    assert outcome.wait_s == 11

    @pytest.mark.parametrize("status", [401, 402])
    async def test_no_key_and_no_money_are_the_accounts(self, status: int) -> None:
        script = answer({"error": "no"}, status)
        async with loopback(script) as server, provided(self.dialect.factory, self._at(server)) as provider:
            async for name, outcome, _ in self._calls(provider, server):
                if name != "fetch" or not self.can.download_hosts:
                    assert isinstance(outcome, Refused), name
                    assert outcome.scope is Scope.ACCOUNT

    async def test_a_bad_request_is_the_items(self) -> None:
        script = answer({"error": "no"}, 400)
        async with loopback(script) as server, provided(self.dialect.factory, self._at(server)) as provider:
            outcome = await provider.submit(self.dialect.request, {})
            assert isinstance(outcome, Refused)
            assert outcome.scope is Scope.ITEM

    async def test_a_job_that_the_vendor_does_not_know_is_gone(self) -> None:
        script = answer({"error": "invalid id"}, 400)
        async with loopback(script) as server, provided(self.dialect.factory, self._at(server)) as provider:
            assert isinstance(await provider.look(self.dialect.held()), Gone)

    async def test_an_unknown_word_means_still_running(self) -> None:
        script = answer({**self.dialect.running, "status": "DAYDREAMING"})
        async with loopback(script) as server, provided(self.dialect.factory, self._at(server)) as provider:
            outcome = await provider.look(self.dialect.held())
            assert isinstance(outcome, Running)
            assert outcome.word == "DAYDREAMING"

    async def test_what_the_vendor_has_no_call_for_sends_nothing(self) -> None:
        async with loopback(DROP) as server:
            async with provided(self.dialect.factory, self._at(server)) as provider:
                if not self.can.has_claim_step:
                    assert isinstance(await provider.claim(self.dialect.held()), Refused)
                if not self.can.quotes:
                    assert isinstance(await provider.quote(self.dialect.request), Refused)
                if not self.can.lists_models:
                    assert isinstance(await provider.models(), Catalogue)
            assert not server.received

    async def test_prices_and_models_are_read(self) -> None:
        async def answered(script: Script, name: str, *args: Any) -> Any:
            async with loopback(script) as server, provided(self.dialect.factory, self._at(server)) as provider:
                return await getattr(provider, name)(*args)

        if self.can.quotes:
            assert isinstance(await answered(answer(self.dialect.quoted), "quote", self.dialect.request), Quoted)
        if self.can.lists_models:
            catalogue = await answered(answer(self.dialect.listed), "models")
            assert isinstance(catalogue, Catalogue)
            assert catalogue.models

    async def test_a_clip_that_nobody_reads_leaves_nothing_open(self) -> None:
        async with loopback(answer(MP4 * 500)) as server:
            async with provided(self.dialect.factory, self._at(server)) as provider:
                opened = await provider.fetch(self.dialect.held(), self.dialect.location(server))
                assert isinstance(opened, Streaming)
                await opened.source.close()
                await opened.source.close()
            await provider.close()

    @pytest.mark.parametrize("name", ["billing", "look", "fetch"])
    async def test_a_cancelled_call_lets_its_connection_go(self, name: str) -> None:
        gone = asyncio.Event()
        asked = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            await reader.read(-1)
            gone.set()
            writer.close()

        listening = await asyncio.start_server(silent, "127.0.0.1", 0)
        server = Loopback(lambda _: DROP, port=listening.sockets[0].getsockname()[1])
        async with provided(self.dialect.factory, self._at(server)) as provider:
            held = self.dialect.held()
            call = asyncio.ensure_future(
                {
                    "billing": lambda: self._billing(provider),
                    "look": lambda: provider.look(held),
                    "fetch": lambda: provider.fetch(held, self.dialect.location(server)),
                }[name]()
            )
            await asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.wait_for(gone.wait(), 5)
        listening.close()

    @given(script=scripts())
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    async def test_no_answer_makes_a_call_raise_or_shows_the_key(self, script: Script) -> None:
        async with loopback(script) as server:
            async with provided(self.dialect.factory, self._at(server), patience=HASTE) as provider:
                async for name, outcome, union in self._calls(provider, server):
                    assert isinstance(outcome, answers_of(union)), (name, outcome)
                    assert CANARY not in repr(outcome)
                    assert CANARY not in str(outcome)
                    if isinstance(outcome, Streaming):
                        await outcome.source.close()
                    elif not isinstance(outcome, Ready):
                        json.dumps(asdict(outcome), allow_nan=False, ensure_ascii=False, default=str).encode()
            assert all(request.path != "/elsewhere" for request in server.received)

    async def test_the_key_is_in_no_answer(self) -> None:
        def echo(request: Received) -> Script:
            return answer({"error": f"{request.headers['authorization']}"}, 401, {"X-Echo": CANARY})

        async with loopback(by=echo) as server, provided(self.dialect.factory, self._at(server)) as provider:
            for outcome in (await provider.submit(self.dialect.request, {}), await provider.look(self.dialect.held())):
                assert CANARY not in repr(outcome)
            assert CANARY not in repr(provider) + repr(vars(provider))
