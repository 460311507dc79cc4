"""Venice on the wire, field by field: quote, queue, retrieve, complete, models, billing and the link."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import jsonschema
import pytest

from pipeline.sandbox.settings import VeniceCharges
from pipeline.sandbox.venice.catalogue import VENICE_MODELS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.sandbox.conftest import Sandbox

    Start = Callable[..., Awaitable[Sandbox]]

GROK = "grok-imagine-text-to-video-private"
UPSCALE = {
    "model": "topaz-video-upscale",
    "video_url": "https://example.com/a.mp4",
    **dict.fromkeys(("prompt", "duration", "aspect_ratio", "resolution")),
}
OTHER = {"Authorization": "Bearer sk-two"}
ADMIN = {"Authorization": "Bearer VENICE_ADMIN_KEY_one"}
TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
TEXTS = {"type": "array", "items": TEXT}


def closed(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


RETRIEVED = {
    "type": "object",
    "properties": {
        "status": {"enum": ["PROCESSING", "COMPLETED"]},
        "average_execution_time": NUMBER,
        "execution_duration": NUMBER,
    },
    "required": ["status", "average_execution_time", "execution_duration"],
}
CONSENT_WANTED = closed(
    error=closed(code={"enum": ["needs_consent"]}, message=TEXT),
    consent_flow={"enum": ["seedance"]},
    face_media_roles={
        "type": "array",
        "items": {"enum": ["image", "end_image", "reference_image", "video", "reference_video"]},
    },
    consent=closed(consent_version=TEXT, policy_text=TEXT),
    docs_url=TEXT,
)
CONSTRAINTS = {
    "type": "object",
    "properties": {
        "aspect_ratios": TEXTS,
        "resolutions": TEXTS,
        "durations": TEXTS,
        "model_type": {"enum": ["image-to-video", "text-to-video", "video"]},
        "audio": FLAG,
        "audio_configurable": FLAG,
        "prompt_character_limit": NUMBER,
    },
    "required": ["aspect_ratios", "resolutions", "durations", "model_type", "audio", "audio_configurable"],
}


async def test_a_queued_job_has_a_model_an_id_and_nothing_else(sandbox: Sandbox) -> None:
    response = await sandbox.try_queue()
    assert response.status == 200
    job = await response.json()
    assert set(job) == {"model", "queue_id"}
    assert job["model"] == "wan-2-7-text-to-video"
    assert str(UUID(job["queue_id"])) == job["queue_id"]
    assert response.headers["X-Balance-Remaining"] == "99999.450000"
    assert response.headers["x-venice-model-id"] == "wan-2-7-text-to-video"


async def test_queueing_charges_before_the_answer_and_what_was_quoted(sandbox: Sandbox) -> None:
    body = {"model": "wan-2-7-text-to-video", "duration": "10s", "resolution": "720p", "aspect_ratio": "16:9"}
    quote = await (await sandbox.ask("POST", "/api/v1/video/quote", key={}, json=body)).json()
    assert quote == {"quote": pytest.approx(1.10)}
    job = await sandbox.queue(duration="10s")
    (charge,) = (await sandbox.bill())["charges"]
    assert (charge["job"], charge["kind"], charge["amount_usd"]) == (job["queue_id"], "charge", quote["quote"])


async def test_a_job_runs_and_then_retrieve_is_the_clip(sandbox: Sandbox) -> None:
    job = await sandbox.queue()
    sandbox.clock.passed_s += 3
    running = await (await sandbox.retrieve(job)).json()
    jsonschema.validate(running, RETRIEVED)
    assert running == {"status": "PROCESSING", "average_execution_time": 145_000, "execution_duration": 3000}
    sandbox.finish()
    for _ in range(2):
        response = await sandbox.retrieve(job)
        data = await response.read()
        assert (response.status, response.headers["Content-Type"]) == (200, "video/mp4")
        assert int(response.headers["Content-Length"]) == len(data)
        assert data[4:8] == b"ftyp"
    assert len((await sandbox.bill())["charges"]) == 1


async def test_speed_divides_the_times_that_are_told(start: Start) -> None:
    sandbox = await start(speed=10)
    running = await (await sandbox.retrieve(await sandbox.queue())).json()
    assert running["average_execution_time"] == 14_500


async def test_a_grok_clip_comes_by_its_link_and_retrieve_answers_json(sandbox: Sandbox) -> None:
    job = await sandbox.queue(model=GROK)
    assert set(job) == {"model", "queue_id", "download_url"}
    link = urlsplit(job["download_url"])
    assert (link.scheme, link.hostname) == ("http", "localhost")  # not the host of the API
    assert link.path.startswith("/private-share/")
    assert (await sandbox.ask("GET", link.path, key={})).status == 404
    sandbox.finish()
    done = await (await sandbox.retrieve(job)).json()
    jsonschema.validate(done, RETRIEVED)
    assert done["status"] == "COMPLETED"
    response = await sandbox.ask("GET", link.path, key={})
    assert (response.status, response.headers["Content-Type"]) == (200, "video/mp4")
    assert (await response.read())[4:8] == b"ftyp"


async def test_a_link_that_is_shown_a_key_refuses_and_tells_of_the_leak(sandbox: Sandbox) -> None:
    job = await sandbox.queue(model=GROK)
    sandbox.finish()
    assert (await sandbox.ask("GET", urlsplit(job["download_url"]).path)).status == 403
    assert (await sandbox.requests())["leaks"] == 1


async def test_a_link_dies_with_age_use_and_deletion(start: Start) -> None:
    sandbox = await start(venice_link_downloads=2)
    used, deleted, old = [await sandbox.queue(model=GROK, prompt=p) for p in ("used", "deleted", "old")]
    sandbox.finish()
    path = urlsplit(used["download_url"]).path
    assert [(await sandbox.ask("GET", path, key={})).status for _ in range(3)] == [200, 200, 429]
    path = urlsplit(deleted["download_url"]).path
    assert (await sandbox.ask("DELETE", path, key={})).status == 204
    assert (await sandbox.ask("GET", path, key={})).status == 404
    sandbox.clock.passed_s += 86_400
    assert (await sandbox.ask("GET", urlsplit(old["download_url"]).path, key={})).status == 410


async def test_no_authorization_is_402_with_the_discovery_body(sandbox: Sandbox) -> None:
    for path in ("queue", "retrieve", "complete"):
        response = await sandbox.ask("POST", f"/api/v1/video/{path}", key={}, json={})
        body = await response.json()
        assert response.status == 402
        assert {"x402Version", "resource", "accepts", "authOptions"} <= set(body)


async def test_a_bad_key_is_401_and_a_poor_one_402(sandbox: Sandbox) -> None:
    bad = await sandbox.try_queue(key={"Authorization": "Bearer bad-key"})
    assert (bad.status, await bad.json()) == (401, {"error": "Authentication failed"})
    poor = await sandbox.try_queue(key={"Authorization": "Bearer poor-key"})
    assert poor.status == 402
    assert set(await poor.json()) == {"error"}
    assert (await sandbox.bill())["accepted"] == 0


async def test_an_exhausted_balance_is_402_at_queue_and_retrieve_goes_on(start: Start) -> None:
    sandbox = await start(balance_usd=0.60)
    job = await sandbox.queue()
    assert (await sandbox.try_queue()).status == 402
    assert (await sandbox.retrieve(job)).status == 200


async def test_an_unknown_model_is_404_and_a_broken_body_400(sandbox: Sandbox) -> None:
    assert (await sandbox.try_queue(model="veo-9")).status == 404
    assert (await sandbox.ask("POST", "/api/v1/video/queue", data=b"{")).status == 400


async def test_a_body_above_35_mb_is_413(sandbox: Sandbox) -> None:
    response = await sandbox.ask("POST", "/api/v1/video/queue", data=BytesIO(b" " * (35 * 1024 * 1024 + 1)))
    body = await response.json()
    assert (response.status, body["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_bad_fields_are_400_with_details_and_issues(sandbox: Sandbox) -> None:
    response = await sandbox.try_queue(seed=1, duration="7s")
    body = await response.json()
    assert response.status == 400
    assert isinstance(body["error"], str)
    assert body["details"]["_errors"] == []
    assert body["details"]["duration"]["_errors"]
    assert {issue["path"][0] for issue in body["issues"]} == {"seed", "duration"}
    assert all(set(issue) == {"path", "expected", "message"} for issue in body["issues"])
    assert (await sandbox.bill())["accepted"] == 0


async def test_a_refused_prompt_is_422_free_and_may_suggest_another(sandbox: Sandbox) -> None:
    response = await sandbox.try_queue(prompt="A turtle [sandbox: refuse]")
    assert response.status == 422
    assert (await response.json())["suggested_prompt"] == "A turtle"
    assert (await sandbox.bill())["charges"] == []


async def test_faces_need_the_consent_round(sandbox: Sandbox) -> None:
    body = {
        "model": "seedance-2-0-image-to-video",
        "image_url": "https://example.com/face.png",
        "aspect_ratio": None,
    }
    response = await sandbox.try_queue(**body)
    assert response.status == 409
    jsonschema.validate(await response.json(), CONSENT_WANTED)
    given = dict.fromkeys(
        ("confirmed_terms_and_privacy", "confirmed_legal_right", "confirmed_screening_acknowledged"), True
    )
    assert (await sandbox.try_queue(**body, consents={"seedance": given | {"more": True}})).status == 400
    assert (await sandbox.try_queue(**body, consents={"seedance": given})).status == 200


async def test_a_refusal_at_the_end_is_422_for_ever_and_refunded_once(sandbox: Sandbox) -> None:
    job = await sandbox.queue(prompt="A turtle [sandbox: fail]")
    sandbox.finish()
    for _ in range(3):
        response = await sandbox.retrieve(job)
        error = (await response.json())["error"]
        assert response.status == 422
        assert set(error) == {"message", "type", "recommended_model", "credits_refunded"}
        assert error["type"] == "provider_content_policy"
        assert error["credits_refunded"] is True
    bill = await sandbox.bill()
    assert [charge["kind"] for charge in bill["charges"]] == ["charge", "refund"]
    assert bill["totals"]["net_usd"] == 0


async def test_a_refund_comes_at_the_end_whether_or_not_anybody_looks(sandbox: Sandbox) -> None:
    await sandbox.queue(prompt="A turtle [sandbox: fail]")
    assert (await sandbox.bill())["totals"]["net_usd"] == pytest.approx(0.55)
    sandbox.finish()
    assert (await sandbox.bill())["totals"]["net_usd"] == 0


@pytest.mark.parametrize(
    ("model", "refunded"),
    [("runway-gen4-5-text", False), ("grok-imagine-text-to-video", False), (GROK, True)],
)
async def test_runway_and_public_grok_keep_the_money_of_a_refusal(sandbox: Sandbox, model: str, refunded: bool) -> None:
    resolution = None if "runway" in model else "720p"
    job = await sandbox.queue(model=model, prompt="A turtle [sandbox: fail]", resolution=resolution)
    sandbox.finish()
    error = (await (await sandbox.retrieve(job)).json())["error"]
    assert error["credits_refunded"] is refunded
    assert ((await sandbox.bill())["totals"]["net_usd"] == 0) is refunded


async def test_an_id_that_is_unknown_anothers_or_older_than_a_day_is_400(sandbox: Sandbox) -> None:
    job = await sandbox.queue()
    assert (await sandbox.retrieve(job | {"queue_id": "none"})).status == 400
    assert (await sandbox.retrieve(job, OTHER)).status == 400
    assert (await sandbox.retrieve(job | {"model": "wan-2.6-text-to-video"})).status == 400
    sandbox.clock.passed_s += 86_399
    assert (await sandbox.retrieve(job)).status == 200
    sandbox.clock.passed_s += 2
    response = await sandbox.retrieve(job)
    assert (response.status, await response.json()) == (400, {"error": "Invalid id"})


@pytest.mark.parametrize("more", [{"id": "x"}, {"delete_media_on_completion": "yes"}, {"queue_id": 3}])
async def test_retrieve_takes_its_documented_keys_and_no_others(sandbox: Sandbox, more: dict[str, Any]) -> None:
    job = await sandbox.queue()
    response = await sandbox.retrieve(job, **more)
    assert response.status == 400
    assert "details" in await response.json()


async def test_a_clip_deleted_on_completion_is_404_from_then_on(sandbox: Sandbox) -> None:
    job = await sandbox.queue()
    assert (await sandbox.retrieve(job, delete_media_on_completion=True)).status == 200
    sandbox.finish()
    response = await sandbox.retrieve(job, delete_media_on_completion=True)
    assert (await response.read())[4:8] == b"ftyp"
    assert (await sandbox.retrieve(job)).status == 404


async def test_complete_deletes_a_finished_clip(sandbox: Sandbox) -> None:
    job = await sandbox.queue()
    for finished in (False, True):
        response = await sandbox.ask("POST", "/api/v1/video/complete", json=job)
        assert (response.status, await response.json()) == (200, {"success": True})
        assert (await sandbox.retrieve(job)).status == (404 if finished else 200)
        sandbox.finish()
        if not finished:
            assert (await sandbox.retrieve(job)).status == 200


async def test_complete_can_refuse_as_the_live_api_was_seen_to(start: Start) -> None:
    sandbox = await start(venice_complete_works=False)
    job = await sandbox.queue()
    response = await sandbox.ask("POST", "/api/v1/video/complete", json=job)
    assert (response.status, await response.json()) == (400, {"error": "Invalid id"})


async def test_a_sandbox_can_be_told_to_charge_when_the_clip_is_found(start: Start) -> None:
    sandbox = await start(venice_charges=VeniceCharges.COMPLETION)
    good, bad = await sandbox.queue(), await sandbox.queue(prompt="A turtle [sandbox: fail]")
    sandbox.finish()
    assert (await sandbox.bill())["charges"] == []
    for _ in range(2):
        await sandbox.retrieve(good)
        await sandbox.retrieve(bad)
    bill = await sandbox.bill()
    assert [charge["job"] for charge in bill["charges"]] == [good["queue_id"]]


async def test_the_quote_needs_no_key_and_drops_what_the_model_does_not_know(sandbox: Sandbox) -> None:
    body = {"model": "runway-gen4-5-text", "duration": "4s", "resolution": "9999p", "audio": True}
    response = await sandbox.ask("POST", "/api/v1/video/quote", key={}, json=body)
    assert (response.status, await response.json()) == (200, {"quote": pytest.approx(0.40)})
    bad = await sandbox.ask("POST", "/api/v1/video/quote", key={}, json={"model": "runway-gen4-5-text"})
    assert bad.status == 400


async def test_the_model_list_describes_at_least_25_models_as_documented(sandbox: Sandbox) -> None:
    response = await sandbox.ask("GET", "/api/v1/models?type=video", key={})
    listing = await response.json()
    models = {model["id"]: model for model in listing["data"]}
    assert (listing["object"], listing["type"]) == ("list", "video")
    assert len(models) >= 25
    for model in models.values():
        assert (model["object"], model["type"]) == ("model", "video")
        if VENICE_MODELS[model["id"]].is_recorded:
            jsonschema.validate(model["model_spec"]["constraints"], CONSTRAINTS)
        else:
            assert "constraints" not in model["model_spec"]
        assert "pricing" not in model["model_spec"]
    families = ("wan-2-7", "veo3.1", "kling", "ltx-2-v2-3", "runway", "sora-2", "grok-imagine-image-to-video-private")
    assert all(any(name.startswith(family) for name in models) for family in families)
    assert "seedance-2-0-text-to-video-basic" in models
    assert "seedance-2-0-image-to-video" not in models
    assert (await (await sandbox.ask("GET", "/api/v1/models?type=text", key={})).json())["data"] == []


async def test_an_upscale_is_quoted_for_the_clip_that_a_key_names(sandbox: Sandbox) -> None:
    body = {"model": "topaz-video-upscale", "upscale_factor": 2}
    clip = {"video_url": "https://example.com/a.mp4"}
    assert (await sandbox.ask("POST", "/api/v1/video/quote", json=body)).status == 400
    assert (await sandbox.ask("POST", "/api/v1/video/quote", key={}, json=body | clip)).status == 402
    told = await (await sandbox.ask("POST", "/api/v1/video/quote", json=body | clip)).json()
    job = await sandbox.queue(**UPSCALE)
    (charge,) = (await sandbox.bill())["charges"]
    assert (charge["job"], charge["amount_usd"]) == (job["queue_id"], told["quote"])


async def test_a_quote_for_a_clip_that_follows_its_source_is_by_the_sources_seconds(sandbox: Sandbox) -> None:
    body = {"model": "seedance-2-5-reference-to-video-basic", "duration": "auto", "resolution": "720p"}
    assert (await sandbox.ask("POST", "/api/v1/video/quote", json=body)).status == 400
    known = body | {"reference_video_total_duration": 5.2}
    fixed = body | {"duration": "6s"}
    quotes = [await (await sandbox.ask("POST", "/api/v1/video/quote", json=each)).json() for each in (known, fixed)]
    assert quotes[0] == quotes[1]


async def test_a_deprecated_model_says_so_and_is_410_after_its_last_day(sandbox: Sandbox) -> None:
    sora = {"model": "sora-2-text-to-video", "duration": "4s"}
    response = await sandbox.try_queue(**sora)
    assert response.headers["x-venice-model-deprecation-date"] == "2099-01-01T00:00:00.000Z"
    assert "deprecated" in response.headers["x-venice-model-deprecation-warning"]
    listing = await (await sandbox.ask("GET", "/api/v1/models?type=video", key={})).json()
    (spec,) = (model["model_spec"] for model in listing["data"] if model["id"] == sora["model"])
    assert spec["deprecation"]["startsAt"][:10] == "2026-09-24"
    sandbox.clock.passed_s += 80 * 366 * 86_400
    assert (await sandbox.try_queue(**sora)).status == 410


async def test_faces_are_named_by_their_roles(sandbox: Sandbox) -> None:
    body = {
        "model": "seedance-2-0-reference-to-video",
        "reference_image_urls": ["https://example.com/face.png"],
        "reference_video_urls": ["https://example.com/face.mp4"],
    }
    answer = await (await sandbox.try_queue(**body)).json()
    assert answer["face_media_roles"] == ["reference_image", "reference_video"]


async def test_a_call_without_a_key_is_told_how_to_pay_in_the_body_and_in_a_header(sandbox: Sandbox) -> None:
    response = await sandbox.try_queue(key={})
    assert response.status == 402
    assert json.loads(base64.b64decode(response.headers["PAYMENT-REQUIRED"])) == await response.json()


async def test_billing_pages_are_for_the_admin_key_alone(sandbox: Sandbox) -> None:
    for page in ("balance", "usage-history"):
        response = await sandbox.ask("GET", f"/api/v1/billing/{page}")
        assert (response.status, await response.json()) == (401, {"error": "Admin API key required"})


async def test_the_usage_history_lists_debits_as_negative_with_their_queue_id(sandbox: Sandbox) -> None:
    job = await sandbox.queue(prompt="A turtle [sandbox: fail]")
    sandbox.finish()
    await sandbox.retrieve(job)
    page = await (await sandbox.ask("GET", "/api/v1/billing/usage-history", key=ADMIN)).json()
    assert [row["amount"] for row in page["data"]] == [-0.55, 0.55]
    assert page["data"][0]["timestamp"] == "2026-11-21T12:00:00.000Z"
    assert {row["inferenceDetails"]["requestId"] for row in page["data"]} == {job["queue_id"]}
    assert page["nextCursor"] is None
    balance = await (await sandbox.ask("GET", "/api/v1/billing/balance", key=ADMIN)).json()
    assert balance["balances"]["usd"] == 100_000
    assert balance["canConsume"] is True


async def test_the_usage_history_is_walked_by_cursor_and_filtered_by_time(sandbox: Sandbox) -> None:
    for number in range(25):
        await sandbox.queue(prompt=str(number))
        sandbox.clock.passed_s += 2
    path, seen = "/api/v1/billing/usage-history?pageSize=10", []
    while path:
        page = await (await sandbox.ask("GET", path, key=ADMIN)).json()
        seen += [row["timestamp"] for row in page["data"]]
        path = page["nextCursor"] and f"/api/v1/billing/usage-history?cursor={page['nextCursor']}"
    assert len(seen) == len(set(seen)) == 25
    assert seen == sorted(seen)
    window = f"startTimestamp={seen[5]}&endTimestamp={seen[8]}"
    page = await (await sandbox.ask("GET", f"/api/v1/billing/usage-history?{window}", key=ADMIN)).json()
    assert [row["timestamp"] for row in page["data"]] == seen[5:8]


@pytest.mark.parametrize("query", ["page=1", "pageSize=5", "cursor=!", "cursor=e30", "startTimestamp=noon"])
async def test_a_bad_usage_query_is_400(sandbox: Sandbox, query: str) -> None:
    assert (await sandbox.ask("GET", f"/api/v1/billing/usage-history?{query}", key=ADMIN)).status == 400
