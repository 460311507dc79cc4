"""ModelMax on the wire, field by field: submit, status, result and content as the guide and reference have them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.sandbox.settings import ClaimBills

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.sandbox.conftest import Sandbox

    Start = Callable[..., Awaitable[Sandbox]]


async def finished(sandbox: Sandbox, **parameters: Any) -> dict[str, Any]:
    job = await sandbox.submit(**parameters)
    sandbox.finish()
    return job


async def test_a_submit_is_answered_202_with_an_id_and_two_relative_urls(sandbox: Sandbox) -> None:
    job = await sandbox.submit("veo-3-fast")
    assert set(job) == {"request_id", "status", "status_url", "response_url"}
    assert job["status"] == "IN_QUEUE"
    assert job["response_url"] == f"/v1/queue/veo-3-fast/requests/{job['request_id']}"
    assert job["status_url"] == f"{job['response_url']}/status"
    assert base64.b64decode(job["request_id"]).startswith(b"gemini:veo-3-fast:8:720p:1:op-")


async def test_a_job_waits_runs_and_completes(sandbox: Sandbox) -> None:
    job = await sandbox.submit()
    seen = []
    for _ in range(600):
        answer = await (await sandbox.ask("GET", job["status_url"])).json()
        assert answer == {"request_id": job["request_id"], "status": answer["status"]}
        if not seen or seen[-1] != answer["status"]:
            seen.append(answer["status"])
        sandbox.clock.passed_s += 1
    assert seen == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]


async def test_the_result_lists_urls_under_a_content_id_and_the_usage(sandbox: Sandbox) -> None:
    job = await finished(sandbox, sample_count=3, resolution="1080p", duration_seconds=6, generate_audio=False)
    result = await (await sandbox.ask("GET", job["response_url"])).json()
    assert set(result) == {"request_id", "status", "model", "data", "usage"}
    assert (result["request_id"], result["status"], result["model"]) == (job["request_id"], "COMPLETED", "veo-3")
    assert result["usage"] == {"video_seconds": 6, "video_resolution": "1080p", "video_has_audio": False}
    urls = [clip["url"] for clip in result["data"]]
    content_id = urls[0].split("/")[5]
    assert urls == [f"/v1/queue/veo-3/requests/{content_id}/content/{index}" for index in range(3)]
    assert content_id != job["request_id"]


async def test_a_result_before_the_end_has_no_data_and_costs_nothing(sandbox: Sandbox) -> None:
    job = await sandbox.submit()
    result = await (await sandbox.ask("GET", job["response_url"])).json()
    assert result == {"request_id": job["request_id"], "status": "IN_QUEUE", "model": "veo-3"}
    assert (await sandbox.bill())["charges"] == []


async def test_submit_status_and_content_are_free_and_every_result_call_bills(sandbox: Sandbox) -> None:
    job = await finished(sandbox, duration_seconds=8, sample_count=2)
    await sandbox.ask("GET", job["status_url"])
    assert (await sandbox.bill())["totals"]["net_usd"] == 0
    result = await (await sandbox.ask("GET", job["response_url"])).json()
    await sandbox.ask("GET", result["data"][0]["url"])
    assert (await sandbox.bill())["totals"]["net_usd"] == pytest.approx(0.40 * 8 * 2)
    await sandbox.ask("GET", job["response_url"])
    bill = await sandbox.bill()
    assert bill["totals"]["net_usd"] == pytest.approx(0.40 * 8 * 2 * 2)
    assert bill["jobs"][job["request_id"]]["charges"] == 2


async def test_a_sandbox_can_be_told_to_bill_the_first_result_call_alone(start: Start) -> None:
    sandbox = await start(claim_bills=ClaimBills.ONCE)
    job = await finished(sandbox)
    for _ in range(3):
        assert "data" in await (await sandbox.ask("GET", job["response_url"])).json()
    assert len((await sandbox.bill())["charges"]) == 1


async def test_a_head_request_reaches_nothing_that_bills(sandbox: Sandbox) -> None:
    job = await finished(sandbox)
    assert (await sandbox.ask("HEAD", job["response_url"])).status == 405
    assert (await sandbox.bill())["charges"] == []


async def test_a_failed_job_says_why_and_costs_nothing(sandbox: Sandbox) -> None:
    job = await finished(sandbox, prompt="A turtle [sandbox: fail]")
    reason = "content policy violation"
    status = await (await sandbox.ask("GET", job["status_url"])).json()
    assert status == {"request_id": job["request_id"], "status": "FAILED", "error": reason}
    result = await (await sandbox.ask("GET", job["response_url"])).json()
    assert result == {"request_id": job["request_id"], "status": "FAILED", "model": "veo-3", "error": reason}
    assert (await sandbox.bill())["charges"] == []


async def test_content_is_an_mp4_with_its_name_length_and_a_strong_etag(sandbox: Sandbox) -> None:
    job = await finished(sandbox, sample_count=2)
    result = await (await sandbox.ask("GET", job["response_url"])).json()
    first, second = [await sandbox.ask("GET", clip["url"]) for clip in result["data"]]
    data = await first.read()
    assert first.status == 200
    assert first.headers["Content-Type"] == "video/mp4"
    assert first.headers["Content-Disposition"] == 'inline; filename="video-0.mp4"'
    assert int(first.headers["Content-Length"]) == len(data)
    assert data[4:8] == b"ftyp"
    assert first.headers["ETag"].startswith('"')
    assert first.headers["ETag"] != second.headers["ETag"]
    assert data != await second.read()


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)), ("bytes=-50", slice(-50, None))],
)
async def test_content_can_be_asked_for_in_ranges(sandbox: Sandbox, asked: str, part: slice) -> None:
    job = await finished(sandbox)
    url = (await (await sandbox.ask("GET", job["response_url"])).json())["data"][0]["url"]
    whole = await sandbox.ask("GET", url)
    data, etag = await whole.read(), whole.headers["ETag"]
    ranged = await sandbox.ask("GET", url, headers={"Range": asked, "If-Range": etag})
    assert ranged.status == 206
    assert await ranged.read() == data[part]
    first = range(len(data))[part][0]
    last = range(len(data))[part][-1]
    assert ranged.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"
    stale = await sandbox.ask("GET", url, headers={"Range": asked, "If-Range": '"other"'})
    assert stale.status == 200
    assert await stale.read() == data


async def test_a_range_beyond_the_end_is_416(sandbox: Sandbox) -> None:
    job = await finished(sandbox)
    url = (await (await sandbox.ask("GET", job["response_url"])).json())["data"][0]["url"]
    assert (await sandbox.ask("GET", url, headers={"Range": "bytes=99999999-"})).status == 416


async def error_of(response: Any, status: int, kind: str) -> str:
    assert response.status == status
    body = await response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type"}
    assert body["error"]["type"] == kind
    return body["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": ""},
        {"prompt": 3},
        {"prompt": "x", "parameters": []},
        {"prompt": "x", "parameters": {"aspect_ratio": "1:1"}},
        {"prompt": "x", "parameters": {"resolution": "4K"}},
        {"prompt": "x", "parameters": {"duration_seconds": "8"}},
        {"prompt": "x", "parameters": {"duration_seconds": 9}},
        {"prompt": "x", "parameters": {"duration_seconds": True}},
        {"prompt": "x", "parameters": {"generate_audio": "yes"}},
        {"prompt": "x", "parameters": {"sample_count": 5}},
        {"prompt": "x", "parameters": {"sample_count": 0}},
        {"prompt": "x", "parameters": {"negative_prompt": 1}},
        {"prompt": "x", "parameters": {"image": "not base64!"}},
        {"prompt": "x [sandbox: refuse]"},
        [],
    ],
)
async def test_a_bad_body_is_400_and_makes_no_job(sandbox: Sandbox, body: Any) -> None:
    await error_of(await sandbox.ask("POST", "/v1/queue/veo-3", json=body), 400, "bad_request")
    assert (await sandbox.bill())["accepted"] == 0


async def test_text_that_is_not_json_is_400(sandbox: Sandbox) -> None:
    await error_of(await sandbox.ask("POST", "/v1/queue/veo-3", data=b"{"), 400, "bad_request")


async def test_unknown_parameters_are_ignored(sandbox: Sandbox) -> None:
    job = await finished(sandbox, durationSeconds=4)
    result = await (await sandbox.ask("GET", job["response_url"])).json()
    assert result["usage"]["video_seconds"] == 8


async def test_a_model_that_makes_no_video_is_400(sandbox: Sandbox) -> None:
    message = await error_of(await sandbox.ask("POST", "/v1/queue/gpt-5", json={"prompt": "x"}), 400, "bad_request")
    assert "not a video model" in message


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer bad-key"}, {"Authorization": "Basic x"}])
async def test_a_missing_or_bad_key_is_401_on_every_call(sandbox: Sandbox, headers: dict[str, str]) -> None:
    job = await finished(sandbox)
    for method, path in [
        ("POST", "/v1/queue/veo-3"),
        ("GET", job["status_url"]),
        ("GET", job["response_url"]),
        ("GET", f"{job['response_url']}/content/0"),
    ]:
        response = await sandbox.client.request(method, path, headers=headers, json={"prompt": "x"})
        await error_of(response, 401, "unauthorized")


async def test_a_poor_key_is_402(sandbox: Sandbox) -> None:
    poor = {"Authorization": "Bearer poor-key"}
    response = await sandbox.ask("POST", "/v1/queue/veo-3", key=poor, json={"prompt": "x"})
    await error_of(response, 402, "insufficient_balance")


async def test_an_exhausted_balance_is_402_at_submit_and_at_the_claim(start: Start) -> None:
    sandbox = await start(balance_usd=5.0)
    one, two = await sandbox.submit(prompt="one"), await sandbox.submit(prompt="two")
    sandbox.finish()
    assert (await sandbox.ask("GET", one["response_url"])).status == 200
    await error_of(await sandbox.ask("GET", two["response_url"]), 402, "insufficient_balance")
    response = await sandbox.ask("POST", "/v1/queue/veo-3", json={"prompt": "three"})
    await error_of(response, 402, "insufficient_balance")
    assert len((await sandbox.bill())["charges"]) == 1


async def test_an_id_that_is_unknown_anothers_or_of_another_model_is_400(sandbox: Sandbox) -> None:
    job = await finished(sandbox)
    await error_of(await sandbox.ask("GET", "/v1/queue/veo-3/requests/abc/status"), 400, "bad_request")
    other = {"Authorization": "Bearer sk-two"}
    await error_of(await sandbox.ask("GET", job["response_url"], key=other), 400, "bad_request")
    moved = job["response_url"].replace("/veo-3/", "/veo-2/")
    assert "mismatch" in await error_of(await sandbox.ask("GET", moved), 400, "bad_request")
    assert (await sandbox.bill())["charges"] == []


async def test_a_content_index_out_of_range_or_the_request_id_in_its_place_is_400(sandbox: Sandbox) -> None:
    job = await finished(sandbox)
    url = (await (await sandbox.ask("GET", job["response_url"])).json())["data"][0]["url"]
    await error_of(await sandbox.ask("GET", url[:-1] + "1"), 400, "bad_request")
    await error_of(await sandbox.ask("GET", url[:-1] + "x"), 400, "bad_request")
    await error_of(await sandbox.ask("GET", f"{job['response_url']}/content/0"), 400, "bad_request")


async def test_ids_die_with_age(sandbox: Sandbox) -> None:
    job = await sandbox.submit()
    sandbox.clock.passed_s += 172_801
    await error_of(await sandbox.ask("GET", job["status_url"]), 400, "bad_request")


async def test_models_and_config_answer(sandbox: Sandbox) -> None:
    models = await (await sandbox.ask("GET", "/v1/models")).json()
    assert {"veo-3.1", "veo-3.1-fast", "veo-3", "veo-3-fast", "veo-2"} == {model["id"] for model in models["data"]}
    assert (await (await sandbox.ask("GET", "/v1/config")).json())["balance"] == 100_000


async def test_the_same_request_twice_is_two_jobs(sandbox: Sandbox) -> None:
    assert (await sandbox.submit())["request_id"] != (await sandbox.submit())["request_id"]
