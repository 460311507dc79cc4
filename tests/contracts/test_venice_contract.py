"""What the Venice adapter sends and the sandbox answers, held against Venice's published contract.

Adapter and sandbox speak to each other over real sockets while everything is written down. What differs from the
contract must stand in docs/venice-contract.md, each line with its source, and every line of that page must be met.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pipeline.providers.answers import Accepted, Catalogue, Deleted, Quoted, Running, Streaming
from pipeline.providers.base import Account, GenerationRequest, InputFile
from pipeline.providers.venice.provider import Venice
from pipeline.sandbox.app import make_app
from pipeline.sandbox.settings import Render, SandboxSettings
from pipeline.sandbox.state import open_state
from pipeline.system.databases import open_database
from pipeline.system.effects import system
from tests.contracts.contract import CONTRACT, PAGE, deviations, of_answer, of_request, unlisted
from tests.contracts.venice_table import MEDIA, ROWS, good, prompt_of
from tests.sandbox.conftest import FakeClock, InlineThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PREFIX = "/api/v1"
PNG = b"\x89PNG\r\n\x1a\n"
CONSENTS = dict.fromkeys(
    ("confirmed_terms_and_privacy", "confirmed_legal_right", "confirmed_screening_acknowledged"), True
)
BODY = {
    "model": "wan-2-7-text-to-video",
    "prompt": "A fox",
    "duration": "5s",
    "aspect_ratio": "16:9",
    "resolution": "720p",
}
FACE = {
    "model": "seedance-2-0-image-to-video",
    "prompt": "A face",
    "duration": "4s",
    "resolution": "720p",
    "image_url": "https://example.com/face.png",
}


class Vendor:
    """A sandbox behind a socket whose every exchange is held against the contract. Mutable: findings and statuses."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.findings: set[str] = set()
        self.statuses: set[tuple[str, int]] = set()
        self.fields: set[str] = set()
        """The fields of `POST /video/queue` that the adapter has sent."""
        self.watches_requests = False
        self._state = open_state(None, open_database)

    async def client(self, **settings: Any) -> TestClient[Any, Any]:
        chosen = SandboxSettings(**{"render": Render.TEMPLATE, "limits": False} | settings)
        app = make_app(chosen, clock=self.clock, state=self._state, threads=InlineThreads())

        @web.middleware
        async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._hold(request, handler)

        app.middlewares.insert(0, hold)
        return TestClient(TestServer(app))

    def close(self) -> None:
        self._state.close()

    async def _hold(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = f"{request.method} {request.path.removeprefix(PREFIX)}"
        if exchange in CONTRACT["exchanges"] and self.watches_requests:
            text = await request.read()
            body = json.loads(text) if text else None
            self.findings |= set(of_request(exchange, body))
            self.fields |= set(body) if exchange == "POST /video/queue" else set()
        answer = await handler(request)
        if exchange in CONTRACT["exchanges"]:
            is_json = answer.content_type == "application/json" and isinstance(answer, web.Response)
            told = json.loads(answer.text) if is_json and answer.text else None  # type: ignore[attr-defined,arg-type]
            self.statuses.add((exchange, answer.status))
            self.findings |= set(of_answer(exchange, answer.status, answer.content_type, told))
        return answer


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor = Vendor()
    yield vendor
    vendor.close()


def requests() -> list[GenerationRequest]:
    """One request of each model of the table, both ends of what it lists; and every field that there is."""
    given = {"consents": {"seedance": CONSENTS}}
    made = [
        GenerationRequest(
            model=row.id,
            prompt=prompt_of(row),
            parameters=good(row, last=last),
            options=given if row.id.startswith("seedance-") and row.needs else {},
        )
        for row in ROWS.values()
        for last in (False, True)
    ]

    def more(model: str, options: Mapping[str, Any] | None = None, **parameters: Any) -> None:
        row = ROWS.get(model)
        given = (good(row) if row else {}) | parameters
        made.append(GenerationRequest(model=model, prompt="A fox", parameters=given, options=options or {}))

    more("wan-2-7-text-to-video", negative_prompt="blur", audio=MEDIA["audio"])
    more("kling-o3-pro-reference-to-video", end_image=MEDIA["image"], scene_images=MEDIA["scene_images"])
    element = {"frontal_image": MEDIA["image"], "reference_images": [MEDIA["image"]], "video": MEDIA["video"]}
    more("kling-o3-4k-reference-to-video", elements=[element])
    references = {name: MEDIA[name] for name in ("reference_videos", "reference_audios")}
    more("seedance-2-5-reference-to-video", {**given, "bitrate_mode": "high"}, **references)
    more("wan-3-0-reference-to-video", reference_documents=MEDIA["reference_documents"])
    more("flux-3-text-to-video", duration_seconds=5, keyframes=MEDIA["keyframes"])
    more("minimax-h3-enhanced-text-to-video", duration_seconds=5, resolution="480P", aspect_ratio="16:9")
    source = InputFile(path="a.mp4", sha256="0" * 64, size_bytes=8, media_type="video/mp4", duration_s=5.2)
    made.append(
        GenerationRequest(
            model="seedance-2-5-reference-to-video-basic",
            prompt="Strictly edit <Video 1>, changing its weather to rain.",
            parameters={"resolution": "720p", "reference_videos": ["a.mp4"]},
            options={"omni_reference_task_type": "edit", "duration": "auto", "aspect_ratio": "adaptive"},
            files={"a.mp4": source},
        )
    )
    leaf = {"leaf.png": InputFile(path="leaf.png", sha256="0" * 64, size_bytes=8, media_type="image/png")}
    row = ROWS["wan-2-7-image-to-video"]
    parameters = good(row) | {"image": "leaf.png"}
    made.append(GenerationRequest(model=row.id, prompt="A leaf", parameters=parameters, files=leaf))
    follows = {
        name: value for name, value in good(ROWS["wan-2-7-video-to-video"]).items() if name != "duration_seconds"
    }
    made.append(GenerationRequest(model="wan-2-7-video-to-video", prompt="Colder", parameters=follows))
    return made


async def speak(vendor: Vendor) -> None:
    """Let the adapter list, quote, submit and look, for every request."""
    effects = system()
    vendor.watches_requests = True
    async with await vendor.client() as client:
        provider = Venice(Account(key="sk-one", base_url=str(client.make_url(PREFIX))), effects)
        try:
            listing = await provider.models()
            assert isinstance(listing, Catalogue)
            receipts = []
            for request in requests():
                assert not [problem for problem in provider.check(request) if problem.severity.value == "error"]
                receipts.append(await accepted(provider, request))
            for receipt in receipts[:3]:
                assert isinstance(await provider.look(receipt), Running)
            vendor.clock.passed_s += 3600
            looks = [await provider.look(receipt) for receipt in receipts[:3]]
            assert isinstance(await provider.cleanup(receipts[0]), Deleted)
            for look in looks:
                if isinstance(look, Streaming):
                    await look.source.close()
        finally:
            await provider.close()
            effects.threads.close()
    vendor.watches_requests = False


async def accepted(provider: Venice, request: GenerationRequest) -> Any:
    quote = await provider.quote(request)
    assert isinstance(quote, Quoted), (request, quote)
    answer = await provider.submit(request, dict.fromkeys(request.files, PNG))
    assert isinstance(answer, Accepted), (request, answer)
    return answer.receipt


async def answer_everything(vendor: Vendor) -> None:
    """Ask the sandbox for every kind of answer that it gives."""
    calls: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    def call(path: str, body: dict[str, Any], **headers: str) -> None:
        calls.append((path, body, {"Authorization": "Bearer sk-one"} | headers))

    for path in ("queue", "retrieve", "complete", "quote"):
        call(path, {})
        call(path, {"model": 1})
        call(path, BODY | {"queue_id": "none"}, Authorization="")
        call(path, BODY | {"queue_id": "none"}, Authorization="Bearer bad-key")
        call(path, BODY | {"model": "none", "queue_id": "none"})
        call(path, BODY | {"model": "sora-2-text-to-video", "duration": "4s", "queue_id": "none"})
    call("queue", BODY | {"duration": "6s"})
    upscale = {"model": "topaz-video-upscale", "video_url": "https://example.com/a.mp4"}
    call("quote", {"model": "topaz-video-upscale"})
    call("quote", upscale, Authorization="")
    call("quote", upscale, Authorization="Bearer bad-key")
    call("queue", BODY, Authorization="Bearer poor-key")
    call("queue", FACE)
    call("queue", BODY | {"prompt": "[sandbox: refuse] A fox"})
    call("queue", BODY | {"prompt": "x" * 37_000_000})
    async with await vendor.client() as client:
        jobs = [await job_of(client, prompt) for prompt in ("A fox", "[sandbox: fail] A fox")]
        for queued in jobs:
            call("retrieve", queued)
        vendor.clock.passed_s += 3600
        for queued in jobs:
            call("retrieve", queued)
            call("complete", queued)
        for path, body, headers in calls:
            await send(client, path, body, headers)
        await (await client.get(f"{PREFIX}/models", params={"type": "video"})).read()
    for settings in faults():
        await struck(vendor, settings)
    vendor.clock.passed_s += 80 * 366 * 86_400
    async with await vendor.client() as client:
        await send(client, "queue", BODY | {"model": "sora-2-text-to-video", "duration": "4s"}, {})
        await send(client, "quote", BODY | {"model": "sora-2-text-to-video", "duration": "4s"}, {})


def faults() -> list[dict[str, Any]]:
    names = ("throttle", "submit-500", "submit-502", "generation-error", "early-404", "error-5xx")
    every = [{"faults": {name: 1.0}} for name in names]
    return [*every, {"venice_complete_works": False}, {"venice_complete_works": True}, {"limits": True}]


async def struck(vendor: Vendor, settings: dict[str, Any]) -> None:
    """Submit, look, complete and quote while a fault strikes every time; several times, for what is drawn."""
    async with await vendor.client() as client:
        queued = await job_of(client, f"A fox under {settings}")
    async with await vendor.client(**settings) as client:
        for _ in range(2):
            for path in ("retrieve", "complete", "quote"):
                for _ in range(12):
                    await send(client, path, queued if path != "quote" else BODY, {})
            await send(client, "queue", BODY, {})
            vendor.clock.passed_s += 3600
        if settings.get("limits"):
            for _ in range(45):
                await send(client, "queue", BODY, {})


async def job_of(client: TestClient[Any, Any], prompt: str) -> dict[str, Any]:
    answer = await send(client, "queue", BODY | {"prompt": prompt}, {})
    return {"model": BODY["model"], "queue_id": answer.get("queue_id", "00000000-0000-4000-8000-000000000000")}


async def send(client: TestClient[Any, Any], path: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
    named = {"Authorization": "Bearer sk-one", "Content-Type": "application/json"} | dict(headers)
    kept = {name: value for name, value in named.items() if value}
    data = io.BytesIO(json.dumps(body).encode())
    response = await client.post(f"{PREFIX}/video/{path}", data=data, headers=kept)
    text = await response.read()
    return json.loads(text) if response.content_type == "application/json" else {}


async def test_what_differs_from_the_contract_is_what_the_page_lists(vendor: Vendor) -> None:
    await speak(vendor)
    await answer_everything(vendor)
    listed = deviations(PAGE.read_text(encoding="utf-8"))
    assert unlisted(vendor.findings, listed) == []
    assert sorted(set(listed) - vendor.findings) == [], "the page lists what nobody does"
    assert all(len(source) > 10 for source in listed.values())
    queue = {status for exchange, status in vendor.statuses if exchange == "POST /video/queue"}
    assert queue >= {200, 400, 401, 402, 404, 409, 410, 413, 422, 429, 500, 502}
    look = {status for exchange, status in vendor.statuses if exchange == "POST /video/retrieve"}
    assert look >= {200, 400, 401, 402, 404, 422, 429, 500, 502, 503}


async def test_the_adapter_can_send_every_field_that_the_contract_documents(vendor: Vendor) -> None:
    await speak(vendor)
    documented = set(CONTRACT["$defs"]["QueueVideoRequest"]["properties"])
    assert documented - vendor.fields == set()
    assert vendor.fields - documented == {"bitrate_mode"}


@pytest.mark.parametrize(
    ("exchange", "body", "findings"),
    [
        ("POST /video/queue", BODY, []),
        ("POST /video/queue", BODY | {"duration": 5}, ["request.duration: enum 5", "request.duration: type"]),
        ("POST /video/queue", BODY | {"resolution": "8k"}, ["request.resolution: enum 8k"]),
        ("POST /video/queue", BODY | {"keyframes": [{"image_url": "x"}]}, ["request.keyframes.frame_index: required"]),
        ("POST /video/queue", BODY | {"elements": [{}] * 5}, ["request.elements: maxItems"]),
        ("POST /video/queue", BODY | {"seed": 1}, ["request.seed: undocumented"]),
        (
            "POST /video/queue",
            {},
            ["request.duration: required", "request.model: required", "request.prompt: required"],
        ),
        ("POST /video/retrieve", {"model": "a", "queue_id": "b", "x": 1}, ["request.x: undocumented"]),
        ("GET /models", {}, ["request: undocumented"]),
    ],
)
def test_a_request_that_differs_is_found(exchange: str, body: dict[str, Any], findings: list[str]) -> None:
    assert sorted(set(of_request(exchange, body))) == [f"{exchange} {finding}" for finding in findings]


@pytest.mark.parametrize(
    ("exchange", "status", "body", "findings"),
    [
        ("POST /video/queue", 200, {"model": "a", "queue_id": "b"}, []),
        ("POST /video/queue", 200, {"queue_id": "b", "x": 1}, [
            "answer 200.model: required", "answer 200.x: undocumented"]),
        ("POST /video/queue", 418, {}, ["answer: 418"]),
        ("POST /video/retrieve", 200, {"status": "DONE"}, [
            "answer 200.average_execution_time: required", "answer 200.execution_duration: required",
            "answer 200.status: enum DONE"]),
        ("POST /video/queue", 402, {"x": 1}, ["answer 402: oneOf"]),
        ("GET /models", 200, {"data": [], "object": "list"}, ["answer 200.type: required"]),
    ],
)  # fmt: skip
def test_an_answer_that_differs_is_found(exchange: str, status: int, body: dict[str, Any], findings: list[str]) -> None:
    found = set(of_answer(exchange, status, "application/json", body))
    assert sorted(found) == [f"{exchange} {finding}" for finding in findings]
