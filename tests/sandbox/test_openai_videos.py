"""The emulated OpenAI-style server, against what its documents say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from pipeline.sandbox.settings import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.sandbox.conftest import Sandbox

VIDEOS = "/openai/v1/videos"
NOBODY: dict[str, str] = {}
FIELDS = {"model": "sora-2", "prompt": "A turtle", "seconds": "4", "size": "1280x720"}


def form(**fields: Any) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        if isinstance(value, tuple):
            data.add_field(name, value[0], filename="input", content_type=value[1])
        else:
            data.add_field(name, value)
    return data


async def create(sandbox: Sandbox, key: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    response = await sandbox.ask("POST", VIDEOS, key=key, json=fields)
    assert response.status == 200, await response.text()
    video: dict[str, Any] = await response.json()
    return video


async def refused(sandbox: Sandbox, **changes: Any) -> tuple[int, dict[str, Any]]:
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    response = await sandbox.ask("POST", VIDEOS, json=fields)
    return response.status, (await response.json())["error"]


async def test_a_job_goes_from_queued_to_a_clip_of_the_size_asked_for(sandbox: Sandbox) -> None:
    video = await create(sandbox)
    assert {name: video[name] for name in ("object", "status", "progress", "seconds", "size", "model", "prompt")} == {
        "object": "video",
        "status": "queued",
        "progress": 0,
        "seconds": "4",
        "size": "1280x720",
        "model": "sora-2",
        "prompt": "A turtle",
    }
    assert video["completed_at"] is video["error"] is None
    sandbox.clock.passed_s += 30
    running = await sandbox.ask("GET", f"{VIDEOS}/{video['id']}")
    assert (await running.json())["status"] == "in_progress"
    assert int(running.headers["openai-poll-after-ms"]) >= 50
    early = await sandbox.ask("GET", f"{VIDEOS}/{video['id']}/content")
    assert (early.status, (await early.json())["error"]["code"]) == (400, "video_not_ready")
    sandbox.finish()
    done = await (await sandbox.ask("GET", f"{VIDEOS}/{video['id']}")).json()
    assert (done["status"], done["progress"], done["completed_at"] < done["expires_at"]) == ("completed", 100, True)
    clip = await sandbox.ask("GET", f"{VIDEOS}/{video['id']}/content")
    assert clip.headers["Content-Type"] == "video/mp4"
    assert (await clip.read())[4:8] == b"ftyp"


async def test_a_form_says_the_same_as_json(sandbox: Sandbox) -> None:
    response = await sandbox.ask("POST", VIDEOS, data=form(**FIELDS, input_reference=(b"\x89PNG", "image/png")))
    video = await response.json()
    assert (response.status, video["seconds"], video["size"]) == (200, "4", "1280x720")


async def test_model_seconds_and_size_have_the_documented_defaults(sandbox: Sandbox) -> None:
    video = await create(sandbox, model=None, seconds=None, size=None)
    assert (video["model"], video["seconds"], video["size"]) == ("sora-2", "4", "720x1280")


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"prompt": None}, 400, "prompt", "missing_required_parameter"),
        ({"prompt": " "}, 400, "prompt", "missing_required_parameter"),
        ({"seconds": "5"}, 400, "seconds", "invalid_value"),
        ({"seconds": "soon"}, 400, "seconds", "invalid_value"),
        ({"seconds": "nan"}, 400, "seconds", "invalid_value"),
        ({"size": "1024x1792"}, 400, "size", "invalid_value"),
        ({"size": "big"}, 400, "size", "invalid_value"),
        ({"size": 720}, 400, "size", "invalid_value"),
        ({"model": "wan", "size": "9000x9000"}, 400, "size", "invalid_value"),
        ({"model": "sora-9"}, 404, None, "model_not_found"),
        ({"model": 7}, 404, None, "model_not_found"),
        ({"input_reference": "x"}, 400, "input_reference", "invalid_value"),
        ({"input_reference": {"image_url": "ftp://x"}}, 400, "input_reference", "invalid_value"),
        ({"prompt": "[sandbox: refuse]"}, 400, None, "moderation_blocked"),
    ],
)
async def test_what_is_wrong_is_refused_with_its_field(
    sandbox: Sandbox, changes: dict[str, Any], status: int, param: str | None, code: str
) -> None:
    got, error = await refused(sandbox, **changes)
    assert (got, error["param"], error["code"], error["type"]) == (status, param, code, "invalid_request_error")
    assert error["message"]
    assert (await sandbox.bill())["accepted"] == 0


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"\xff"])
async def test_a_body_that_is_none_is_refused(sandbox: Sandbox, data: bytes) -> None:
    response = await sandbox.ask("POST", VIDEOS, data=data, headers={"Content-Type": "application/json"})
    assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_body")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
async def test_a_form_that_is_none_is_refused(sandbox: Sandbox, kind: str) -> None:
    response = await sandbox.ask("POST", VIDEOS, data=b"no form", headers={"Content-Type": kind})
    assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_body")


async def test_another_models_size_and_length_are_its_servers_affair(sandbox: Sandbox) -> None:
    video = await create(sandbox, model="Wan-AI/Wan2.2-T2V-A14B-Diffusers", size="832x480", seconds="2.5")
    assert (video["size"], video["seconds"]) == ("832x480", "2.5")


async def test_it_charges_when_it_accepts_and_keeps_the_money_of_a_failure(sandbox: Sandbox) -> None:
    video = await create(sandbox, prompt="[sandbox: fail]", seconds="8")
    assert (await sandbox.bill())["totals"]["by_provider"]["openai-videos"]["net_usd"] == 0.8
    sandbox.finish()
    failed = await (await sandbox.ask("GET", f"{VIDEOS}/{video['id']}")).json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "moderation_blocked")
    assert (await sandbox.ask("GET", f"{VIDEOS}/{video['id']}/content")).status == 404
    assert (await sandbox.bill())["totals"]["by_provider"]["openai-videos"]["net_usd"] == 0.8


async def test_a_key_is_not_needed_and_a_bad_or_a_poor_one_is_refused(sandbox: Sandbox) -> None:
    assert (await create(sandbox, key=NOBODY))["status"] == "queued"
    for token, status, code in (("bad-1", 401, "invalid_api_key"), ("poor-1", 429, "insufficient_quota")):
        response = await sandbox.ask("POST", VIDEOS, key={"Authorization": f"Bearer {token}"}, json=FIELDS)
        assert (response.status, (await response.json())["error"]["code"]) == (status, code)


async def test_a_video_is_its_keys_alone(sandbox: Sandbox) -> None:
    video = await create(sandbox)
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        response = await sandbox.ask(method, f"{VIDEOS}/{video['id']}{path}", key=NOBODY)
        assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")


async def test_videos_are_listed_page_by_page(sandbox: Sandbox) -> None:
    ids = []
    for number in range(5):
        ids.append((await create(sandbox, prompt=f"Turtle {number}"))["id"])
        sandbox.clock.passed_s += 1
    page = await (await sandbox.ask("GET", f"{VIDEOS}?limit=2")).json()
    assert [video["id"] for video in page["data"]] == [ids[4], ids[3]]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", ids[4], ids[3], True)
    rest = await (await sandbox.ask("GET", f"{VIDEOS}?after={ids[3]}&limit=9")).json()
    assert ([video["id"] for video in rest["data"]], rest["has_more"]) == ([ids[2], ids[1], ids[0]], False)
    oldest = await (await sandbox.ask("GET", f"{VIDEOS}?order=asc&limit=1")).json()
    assert oldest["data"][0]["id"] == ids[0]
    nobodys = await (await sandbox.ask("GET", VIDEOS, key=NOBODY)).json()
    assert (nobodys["data"], nobodys["first_id"]) == ([], None)
    for query in ("limit=0", "limit=x", "limit=101", "order=up"):
        assert (await sandbox.ask("GET", f"{VIDEOS}?{query}")).status == 400


async def test_a_video_is_deleted_once_it_is_over_and_stays_on_the_bill(sandbox: Sandbox) -> None:
    path = f"{VIDEOS}/{(await create(sandbox))['id']}"
    assert (await sandbox.ask("DELETE", path)).status == 400
    sandbox.finish()
    gone = await (await sandbox.ask("DELETE", path)).json()
    assert (gone["object"], gone["deleted"]) == ("video.deleted", True)
    assert [(await sandbox.ask("GET", f"{path}{rest}")).status for rest in ("", "/content")] == [404, 404]
    assert (await sandbox.bill())["totals"]["net_usd"] == 0.4


async def test_models_are_listed(sandbox: Sandbox) -> None:
    models = await (await sandbox.ask("GET", "/openai/v1/models", key=NOBODY)).json()
    assert "sora-2" in {model["id"] for model in models["data"]}


async def test_a_clip_expires(sandbox: Sandbox) -> None:
    path = f"{VIDEOS}/{(await create(sandbox))['id']}"
    sandbox.clock.passed_s += 2 * 86_400
    assert (await sandbox.ask("GET", f"{path}/content")).status == 404


async def test_thumbnails_are_refused_and_nothing_is_left_out_silently(sandbox: Sandbox) -> None:
    path = f"{VIDEOS}/{(await create(sandbox))['id']}"
    sandbox.finish()
    assert (await sandbox.ask("GET", f"{path}/content?variant=thumbnail")).status == 400
    assert (await sandbox.ask("GET", f"{path}/content?variant=video")).status == 200


@pytest.mark.parametrize(
    ("fault", "charged"),
    [
        (Fault.DROP_BEFORE_ACCEPT, 0),
        (Fault.DROP_AFTER_ACCEPT, 1),
        (Fault.SUBMIT_500, 1),
        (Fault.SUBMIT_502, 1),
        (Fault.THROTTLE, 0),
    ],
)
async def test_a_fault_of_the_submit_charges_or_does_not(
    start: Callable[..., Awaitable[Sandbox]], fault: Fault, charged: int
) -> None:
    sandbox = await start(faults={fault: 1.0})
    try:
        response = await sandbox.ask("POST", VIDEOS, json=FIELDS)
        assert response.status in {429, 500, 502}
        assert (response.status == 429) == ("Retry-After" in response.headers)
    except aiohttp.ServerDisconnectedError:
        assert fault in {Fault.DROP_BEFORE_ACCEPT, Fault.DROP_AFTER_ACCEPT}
    assert len((await sandbox.bill())["charges"]) == charged


async def test_limits_are_kept_where_they_are_set(start: Callable[..., Awaitable[Sandbox]]) -> None:
    sandbox = await start(openai_videos_submits_per_minute=2, openai_videos_looks_per_minute=1)
    statuses = [(await sandbox.ask("POST", VIDEOS, json=FIELDS)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert [(await sandbox.ask("GET", VIDEOS)).status for _ in range(2)] == [200, 429]


async def test_an_early_404_passes(start: Callable[..., Awaitable[Sandbox]]) -> None:
    sandbox = await start(faults={Fault.EARLY_404: 1.0})
    path = f"{VIDEOS}/{(await create(sandbox))['id']}"
    assert (await sandbox.ask("GET", path)).status == 404
    sandbox.clock.passed_s += 11
    assert (await sandbox.ask("GET", path)).status == 200
