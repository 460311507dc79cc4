"""Venice, row by row: what is sent, and what each documented or observed answer becomes."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    Billing,
    Catalogue,
    Failed,
    Gone,
    NotSent,
    Output,
    Quoted,
    Ready,
    Receipt,
    Refused,
    Running,
    Scope,
    Stage,
    Streaming,
    Throttled,
    Transient,
)
from pipeline.providers.transport import Patience
from pipeline.providers.venice.provider import Venice
from pipeline.system.effects import system
from tests.providers.loopback import (
    CANARY,
    DROP,
    MP4,
    STALL,
    Script,
    answer,
    asked,
    bytes_of,
    loopback,
    png,
    provided,
)
from tests.providers.test_origin import EVIL

if TYPE_CHECKING:
    from pipeline.providers.base import GenerationRequest

MODEL = "wan-2.6-text-to-video"
QUEUE_ID = "123e4567-e89b-12d3-a456-426614174000"
TAKEN = {"model": MODEL, "queue_id": QUEUE_ID}
HASTE = Patience(connect_s=0.3, submit_s=0.3, claim_s=0.3, look_s=0.3, gap_s=0.3)
OFFLINE = Venice(None, system())
REQUEST = asked(model=MODEL, duration_seconds=5, aspect_ratio="16:9", resolution="720p", generate_audio=False)
PROCESSING = {"status": "PROCESSING", "average_execution_time": 145000, "execution_duration": 53200}


def receipt(**answered: Any) -> Receipt:
    return Receipt(job_id=QUEUE_ID, model=MODEL, answer={**TAKEN, **answered})


async def calling(method: str, script: Script, *args: Any) -> Any:
    async with loopback(script) as server, provided(Venice, server.url + "/api/v1", patience=HASTE) as provider:
        outcome = await getattr(provider, method)(*args)
        assert len(server.received) == 1
        return outcome


async def submitted(script: Script, request: GenerationRequest = REQUEST) -> Any:
    return await calling("submit", script, request, {})


async def looked(script: Script, held: Receipt | None = None) -> Any:
    return await calling("look", script, held or receipt())


async def test_a_submit_sends_the_documented_body_and_keeps_the_whole_answer() -> None:
    body = {**TAKEN, "download_url": "https://private-share.venice.ai/a?sig=1"}
    script = answer(body, headers={"X-Balance-Remaining": "4.23"})
    async with loopback(script) as server, provided(Venice, server.url + "/api/v1") as provider:
        outcome = await provider.submit(REQUEST, {})
        assert outcome == Accepted(
            receipt=Receipt(job_id=QUEUE_ID, model=MODEL, answer=body), warnings=(), balance_usd=4.23
        )
        assert server.paths == ["POST /api/v1/video/queue"]
        assert server.received[0].json == {
            "model": MODEL,
            "prompt": "A fox",
            "duration": "5s",
            "aspect_ratio": "16:9",
            "resolution": "720p",
            "audio": False,
        }
        assert server.received[0].headers["authorization"] == f"Bearer {CANARY}"


async def test_the_model_that_venice_names_is_the_one_that_is_asked_for() -> None:
    scripts = (answer({"model": "wan-3-0", "queue_id": "q"}), answer(PROCESSING))
    async with loopback(*scripts) as server, provided(Venice, server.url) as provider:
        accepted = await provider.submit(REQUEST, {})
        assert "wan-3-0 in the place of" in accepted.warnings[0]
        await provider.look(accepted.receipt)
        assert server.received[1].json == {"model": "wan-3-0", "queue_id": "q"}


async def test_an_answer_without_a_model_keeps_the_one_that_was_asked_for() -> None:
    assert (await submitted(answer({"queue_id": "q"}))).receipt.model == MODEL


async def test_a_deprecation_header_is_told() -> None:
    outcome = await submitted(answer(TAKEN, headers={"x-venice-model-deprecation-warning": "ends soon"}))
    assert "ends soon" in outcome.warnings[0]


@pytest.mark.parametrize(
    ("status", "body", "scope", "kind"),
    [
        (400, {"error": "Invalid", "details": {"_errors": []}, "issues": [1]}, Scope.ITEM, "invalid_request"),
        (400, {"error": "x", "code": "INVALID_MODEL"}, Scope.MODEL, "INVALID_MODEL"),
        (400, {"error": {"message": "Unknown model foo"}}, Scope.MODEL, "invalid_request"),
        (400, {"detail": "bad"}, Scope.ITEM, "invalid_request"),
        (400, b"<html>", Scope.ITEM, "invalid_request"),
        (401, {"error": "Authentication failed"}, Scope.ACCOUNT, "authentication_failed"),
        (401, {"error": "This model is only available to Pro users"}, Scope.MODEL, "PRO_ONLY_MODEL"),
        (401, {"error": "x", "code": "PRO_ONLY_MODEL"}, Scope.MODEL, "PRO_ONLY_MODEL"),
        (402, {"error": "Insufficient USD or Diem balance"}, Scope.ACCOUNT, "insufficient_balance"),
        (
            402,
            {"error": "x", "code": "API_KEY_USD_SPEND_LIMIT_EXCEEDED"},
            Scope.ACCOUNT,
            "API_KEY_USD_SPEND_LIMIT_EXCEEDED",
        ),
        (402, {"x402Version": 1, "accepts": []}, Scope.ACCOUNT, "no_key"),
        (403, {"error": "The specified model is unavailable in your region."}, Scope.MODEL, "forbidden"),
        (403, {"error": "x", "code": "API_ACCESS_DISABLED"}, Scope.ACCOUNT, "API_ACCESS_DISABLED"),
        (403, {"error": "no"}, Scope.ACCOUNT, "forbidden"),
        (403, b"<html>blocked</html>", Scope.ACCOUNT, "not_the_api"),
        (404, {"error": "no such", "code": "MODEL_NOT_FOUND"}, Scope.MODEL, "MODEL_NOT_FOUND"),
        (404, b"<html>", Scope.ACCOUNT, "not_the_api"),
        (409, {"error": {"code": "needs_consent", "message": "m"}, "docs_url": "u"}, Scope.ITEM, "needs_consent"),
        (410, {"error": "retired"}, Scope.MODEL, "model_retired"),
        (413, {"error": "big", "code": "PAYLOAD_TOO_LARGE"}, Scope.ITEM, "PAYLOAD_TOO_LARGE"),
        (413, b"<html>", Scope.ITEM, "payload_too_large"),
        (415, {"error": "type"}, Scope.ITEM, "invalid_content_type"),
        (422, {"error": "policy", "suggested_prompt": "B"}, Scope.ITEM, "content_policy_violation"),
    ],
)
async def test_a_submit_that_is_refused(status: int, body: object, scope: Scope, kind: str) -> None:
    outcome = await submitted(answer(body, status))
    assert isinstance(outcome, Refused)
    assert (outcome.scope, outcome.kind) == (scope, kind)
    assert outcome.message


async def test_what_a_refusal_suggests_is_kept() -> None:
    outcome = await submitted(answer({"error": "policy", "suggested_prompt": "B"}, 422))
    assert outcome.details == {"suggested_prompt": "B"}
    outcome = await submitted(answer({"error": "bad", "details": "text", "issues": [{"path": ["x"]}]}, 400))
    assert outcome.details == {"details": "text", "issues": [{"path": ["x"]}]}


AMBIGUOUS = {
    "500": answer({"error": "Inference processing failed"}, 500),
    "502": answer({"error": "x"}, 502),
    "504": answer({"error": "x", "code": "REQUEST_TIMEOUT"}, 504),
    "503 of a gateway": answer(b"<html>busy</html>", 503),
    "408": answer({"error": "x"}, 408),
    "524": answer(b"", 524),
    "307": answer(b"", 307, {"Location": "https://evil.example/"}),
    "dropped": DROP,
    "silent": STALL,
    "no id": answer({"model": MODEL}),
    "error within 200": answer({"error": "odd"}),
    "HTML": answer(b"<html>"),
    "an MP4": answer(MP4),
    "cut": Script(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"queue_id": "1', "close"),
    "same key twice": answer(b'{"queue_id": "a", "queue_id": "b"}'),
}


@pytest.mark.parametrize("script", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_a_submit_whose_outcome_cannot_be_known(script: Script) -> None:
    outcome = await submitted(script)
    assert isinstance(outcome, Ambiguous)
    assert json.dumps(outcome.evidence)


@pytest.mark.parametrize("code", ["MODEL_AT_CAPACITY", "MODEL_OFFLINE", ""])
async def test_a_503_of_the_apis_own_on_a_submit_is_a_definite_not_now(code: str) -> None:
    outcome = await submitted(answer({"error": "The model is at capacity", "code": code}, 503))
    assert outcome == Throttled(wait_s=None, message="The model is at capacity")


async def test_a_429_says_how_long_and_whether_the_key_is_locked_out() -> None:
    assert (await submitted(answer({"error": "x"}, 429, {"Retry-After": "30"}))).wait_s == 30
    assert (await looked(answer({"error": "x"}, 429))).wait_s is None
    text = "Too many failed attempts (> 20) resulting in a non-success status code."
    outcome = await looked(answer({"error": text}, 429))
    assert outcome == Throttled(wait_s=30.0, locked_out=True, message=text)


@pytest.mark.parametrize("word", ["PROCESSING", "processing", "QUEUED", "FAILED", "ANYTHING"])
async def test_a_word_that_is_not_completed_is_running(word: str) -> None:
    assert await looked(answer({**PROCESSING, "status": word})) == Running(
        stage=Stage.RUNNING, word=word, elapsed_s=53.2, usual_s=145.0
    )


@pytest.mark.parametrize("odd", [None, "soon", -5, True, []])
async def test_times_that_are_none_are_left_out(odd: object) -> None:
    outcome = await looked(answer({"status": "PROCESSING", "average_execution_time": odd, "execution_duration": odd}))
    assert outcome == Running(stage=Stage.RUNNING, word="PROCESSING")


@pytest.mark.parametrize("kind", ["video/mp4", "application/json", "application/octet-stream"])
async def test_a_look_that_finds_the_clip_is_the_download(kind: str) -> None:
    script = answer(MP4, headers={"Content-Type": kind})
    async with loopback(script) as server, provided(Venice, server.url) as provider:
        outcome = await provider.look(receipt())
        assert isinstance(outcome, Streaming)
        assert await bytes_of(outcome.source) == MP4
        assert server.received[0].json == {"model": MODEL, "queue_id": QUEUE_ID}


async def test_a_clip_may_take_longer_than_a_look() -> None:
    sent = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(MP4)}\r\n\r\n".encode() + MP4[:100])
        await writer.drain()
        for start in range(100, len(MP4), 2000):
            await asyncio.wait({asyncio.ensure_future(sent.wait())}, timeout=0.08)
            writer.write(MP4[start : start + 2000])
        await writer.drain()
        sent.set()
        writer.close()

    server = await asyncio.start_server(slowly, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with provided(Venice, url, patience=HASTE) as provider:
        outcome = await provider.look(receipt())
        assert await bytes_of(outcome.source) == MP4  # 0.4 s, where a look has 0.3 s
    server.close()


async def test_completed_points_to_the_address_that_came_with_the_acceptance() -> None:
    url = "https://private-share.venice.ai/a?sig=1"
    outcome = await looked(answer({**PROCESSING, "status": "COMPLETED"}), receipt(download_url=url))
    assert outcome == Ready(outputs=(Output(index=0, location={"download_url": url}),))


@pytest.mark.parametrize("url", [None, "https://evil.example/a", 5])
async def test_completed_without_a_usable_address_is_gone_and_says_why(url: object) -> None:
    outcome = await looked(answer({**PROCESSING, "status": "COMPLETED"}), receipt(download_url=url))
    assert isinstance(outcome, Gone)
    assert "download_url" in outcome.message


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "Invalid queue_id", "code": "REQUEST_ID_NOT_FOUND"}, Gone),
        (404, {"error": "Media could not be found."}, Gone),
        (410, {"error": "gone"}, Gone),
        (404, b"<html>", Refused),
        (401, {"error": "Authentication failed"}, Refused),
        (402, {"error": "Insufficient"}, Refused),
        (403, {"error": "no"}, Refused),
        (401, {"error": "x", "code": "PRO_ONLY_MODEL"}, Transient),
        (403, {"error": "unavailable in your region"}, Transient),
        (400, b"<html>", Transient),
        (409, {"error": "x"}, Transient),
        (500, {"error": "Inference processing failed"}, Transient),
        (502, b"", Transient),
        (503, {"error": "The model is at capacity"}, Transient),
        (504, b"", Transient),
        (307, b"", Transient),
        (200, b"<html>", Transient),
        (200, {}, Transient),
        (200, {"error": "odd"}, Transient),
        (200, b"\x00\x00\x00\x18moov" + b"x" * 40, Transient),
    ],
)
async def test_a_look_that_finds_no_status(status: int, body: object, kind: type) -> None:
    outcome = await looked(answer(body, status))
    assert isinstance(outcome, kind)
    if isinstance(outcome, Transient):
        assert outcome.status == status


async def test_the_status_of_a_500_is_told_so_that_it_can_be_counted() -> None:
    assert (await looked(answer({"error": "Inference processing failed"}, 500))).status == 500


@pytest.mark.parametrize(
    ("told", "billing"), [(True, Billing.REFUNDED), (False, Billing.BILLED), (None, Billing.UNKNOWN)]
)
async def test_a_refused_content_tells_whether_it_was_refunded(told: object, billing: Billing) -> None:
    error = {"message": "refused", "type": "provider_content_policy", "recommended_model": "wan-2-7-text-to-video"}
    if told is not None:
        error["credits_refunded"] = told  # type: ignore[assignment]  # any JSON
    outcome = await looked(answer({"error": error}, 422))
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.billing) == ("provider_content_policy", billing)
    assert "wan-2-7-text-to-video" in outcome.message


async def test_a_500_that_tells_of_the_refund_is_the_end_of_the_job() -> None:
    outcome = await looked(answer({"error": "failed", "credits_refunded": 0.55}, 500))
    assert outcome == Failed(kind="inference_failed", message="failed", billing=Billing.REFUNDED)


async def test_a_download_goes_without_the_key_and_a_look_with_it() -> None:
    async with loopback(answer(MP4)) as server, provided(Venice, server.url) as provider:
        outcome = await provider.fetch(receipt(), Output(index=0, location={"download_url": server.url + "/a?sig=1"}))
        assert isinstance(outcome, Streaming)
        assert await bytes_of(outcome.source) == MP4
        assert "authorization" not in server.received[0].headers


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer(b"", 403), Gone),
        (answer(b"", 404), Gone),
        (answer(b"", 410), Gone),
        (answer(b"", 429, {"Retry-After": "9"}), Transient),
        (answer(b"", 500), Transient),
        (answer(b"<html>"), Transient),
        (DROP, Transient),
        (STALL, Transient),
    ],
)
async def test_a_download_that_does_not_work(script: Script, kind: type) -> None:
    async with loopback(script) as server, provided(Venice, server.url, patience=HASTE) as provider:
        output = Output(index=0, location={"download_url": server.url + "/a"})
        assert isinstance(await provider.fetch(receipt(), output), kind)


@pytest.mark.parametrize("evil", EVIL)
async def test_an_evil_download_address_is_told_and_never_followed(evil: str) -> None:
    async with loopback(answer(MP4)) as elsewhere, loopback(answer({**TAKEN, "download_url": evil})) as server:
        async with provided(Venice, "https://api.venice.ai/api/v1") as real:  # sends nothing: the address is no good
            output = Output(index=0, location={"download_url": evil})
            assert isinstance(await real.fetch(receipt(), output), Gone)
        async with provided(Venice, server.url) as provider:
            outcome = await provider.submit(REQUEST, {})
            assert "not an address of Venice's" in outcome.warnings[0]
        assert not elsewhere.received


async def test_a_clip_without_an_address_is_had_by_looking_again() -> None:
    assert isinstance(await OFFLINE.fetch(receipt(), Output(index=0, location={})), Transient)


async def test_a_quote_is_a_price() -> None:
    request = asked(
        model=MODEL, duration_seconds=5, resolution="720p", negative_prompt="x", image="leaf.png", files=png()
    )
    async with loopback(answer({"quote": 0.55})) as server, provided(Venice, server.url) as provider:
        assert await provider.quote(request) == Quoted(price_usd=0.55)
        assert server.paths == ["POST /video/quote"]
        assert server.received[0].json == {"model": MODEL, "duration": "5s", "resolution": "720p"}


@pytest.mark.parametrize("quote", [0, 0.0, -1, 5000, True, "0.5", None, [], {}])
async def test_a_price_that_is_none_is_not_taken_for_one(quote: object) -> None:
    assert isinstance(await calling("quote", answer({"quote": quote}), REQUEST), Transient)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer({"error": "bad"}, 400), Refused),
        (answer({"error": "region"}, 403), Refused),
        (answer({"error": "x"}, 429), Throttled),
        (answer({"error": "x"}, 500), Transient),
        (answer(b"[]"), Transient),
        (DROP, Transient),
    ],
)
async def test_a_quote_or_a_list_that_does_not_come(script: Script, kind: type) -> None:
    assert isinstance(await calling("quote", script, REQUEST), kind)
    assert isinstance(await calling("models", script), kind)


async def test_the_list_of_models_is_read_leniently() -> None:
    spec = {
        "name": "Wan",
        "offline": True,
        "deprecation": {"replacementModelId": "wan-3-0"},
        "constraints": {
            "model_type": "text-to-video",
            "durations": ["5s", "Auto", 3],
            "resolutions": ["720p", None],
            "aspect_ratios": "16:9",
            "audio": True,
            "audio_configurable": False,
        },
    }
    entries = [{"id": "a", "type": "video", "model_spec": spec}, {"id": "b", "type": "video"}, {"id": 5}, None]
    entries.append({"id": "c", "type": "image"})
    async with loopback(answer({"data": entries})) as server, provided(Venice, server.url) as provider:
        outcome = await provider.models()
        assert server.paths == ["GET /models?type=video"]
        assert isinstance(outcome, Catalogue)
        first, second = outcome.models
        assert (first.id, first.name, first.kind, first.audio) == ("a", "Wan", "text-to-video", "always")
        assert (first.durations_s, first.resolutions, first.aspect_ratios) == ((5.0,), ("720p",), ())
        assert first.notes == ("deprecated; use wan-3-0", "offline")
        assert (second.id, second.audio) == ("b", "")


async def test_without_an_account_nothing_is_sent() -> None:
    for outcome in (
        await OFFLINE.submit(REQUEST, {}),
        await OFFLINE.look(receipt()),
        await OFFLINE.quote(REQUEST),
        await OFFLINE.models(),
    ):
        assert isinstance(outcome, NotSent)


def test_every_neutral_parameter_has_its_field() -> None:
    png_url = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    request = asked(
        model="tomorrow-1",
        prompt="P",
        duration_seconds=8,
        aspect_ratio="16:9",
        resolution="720p",
        generate_audio=True,
        negative_prompt="leaf.png",
        sample_count=1,
        image="leaf.png",
        end_image="https://example.com/b.png",
        audio="https://example.com/a.mp3",
        video="https://example.com/a.mp4",
        reference_images=["leaf.png", "https://example.com/c.png"],
        reference_videos=["https://example.com/d.mp4"],
        reference_audios=("https://example.com/e.mp3",),
        scene_images=["leaf.png"],
        elements=["leaf.png", {"frontal_image": "leaf.png", "reference_images": ["leaf.png"], "video": "https://x/v"}],
        keyframes=[{"image": "leaf.png", "frame_index": 24}],
        upscale_factor=2,
        files=png(),
        options={"bitrate_mode": "high", "resolution": "768P"},
    )
    assert not [problem for problem in OFFLINE.check(request) if problem.field != ("model",)]
    assert OFFLINE.request_body(request, {"leaf.png": b"\x89PNG"}) == {
        "model": "tomorrow-1",
        "prompt": "P",
        "duration": "8s",
        "aspect_ratio": "16:9",
        "resolution": "768P",
        "audio": True,
        "negative_prompt": "leaf.png",
        "image_url": png_url,
        "end_image_url": "https://example.com/b.png",
        "audio_url": "https://example.com/a.mp3",
        "video_url": "https://example.com/a.mp4",
        "reference_image_urls": [png_url, "https://example.com/c.png"],
        "reference_video_urls": ["https://example.com/d.mp4"],
        "reference_audio_urls": ["https://example.com/e.mp3"],
        "scene_image_urls": [png_url],
        "elements": [
            {"frontal_image_url": png_url},
            {"frontal_image_url": png_url, "reference_image_urls": [png_url], "video_url": "https://x/v"},
        ],
        "keyframes": [{"image_url": png_url, "frame_index": 24}],
        "upscale_factor": 2,
        "bitrate_mode": "high",
    }


def test_audio_that_cannot_be_chosen_is_not_sent() -> None:
    request = asked(model="veo3.1-fast-text-to-video", generate_audio=True)
    assert "audio" not in OFFLINE.request_body(request, {})


def test_the_billed_seconds_are_never_less_than_what_can_come() -> None:
    assert OFFLINE.billed_seconds(REQUEST) == 5
    assert OFFLINE.billed_seconds(asked(model="tomorrow-1", duration_seconds=8, options={"duration": "10s"})) == 10
    assert OFFLINE.billed_seconds(asked(model="tomorrow-1")) == 30
    assert OFFLINE.billed_seconds(asked(model="veo3-full-text-to-video")) == 8
    assert OFFLINE.billed_seconds(asked(model="topaz-video-upscale", prompt="", video="a.mp4")) == 300
    assert OFFLINE.billed_seconds(asked(model="tomorrow-1", options={"duration": "-1"})) == 30
