"""Every fault, on the wire and on the bill."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from pipeline.sandbox.settings import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.sandbox.conftest import FakeClock, Sandbox

    Start = Callable[..., Awaitable[Sandbox]]

GROK = "grok-imagine-text-to-video-private"


async def dropped(call: Any) -> bool:
    try:
        await call
    except aiohttp.ServerDisconnectedError:
        return True
    return False


def submits(sandbox: Sandbox) -> list[Any]:
    return [sandbox.try_queue(), sandbox.ask("POST", "/v1/queue/veo-3", json={"prompt": "x"})]


async def test_a_submit_dropped_before_acceptance_leaves_nothing(start: Start) -> None:
    sandbox = await start(faults={Fault.DROP_BEFORE_ACCEPT: 1})
    for call in submits(sandbox):
        assert await dropped(call)
    assert (await sandbox.bill())["accepted"] == 0
    endpoints = (await sandbox.requests())["endpoints"]
    assert endpoints["venice-queue"] == endpoints["modelmax-submit"] == {"dropped": 1}


async def test_a_submit_dropped_after_acceptance_is_a_job_and_at_venice_a_charge(start: Start) -> None:
    sandbox = await start(faults={Fault.DROP_AFTER_ACCEPT: 1})
    for call in submits(sandbox):
        assert await dropped(call)
    bill = await sandbox.bill()
    assert bill["accepted"] == 2
    assert [charge["provider"] for charge in bill["charges"]] == ["venice"]


@pytest.mark.parametrize(("fault", "status"), [(Fault.SUBMIT_500, 500), (Fault.SUBMIT_502, 502)])
async def test_a_submit_answered_5xx_is_a_job_all_the_same(start: Start, fault: Fault, status: int) -> None:
    sandbox = await start(faults={fault: 1})
    assert [(await call).status for call in submits(sandbox)] == [status, status]
    bill = await sandbox.bill()
    assert (bill["accepted"], len(bill["charges"])) == (2, 1)


async def test_throttling_refuses_every_call_and_does_nothing(start: Start) -> None:
    sandbox = await start(faults={Fault.THROTTLE: 1})
    for call in submits(sandbox):
        response = await call
        assert response.status == 429
        assert response.headers["Retry-After"] == "5"
        stamp = response.headers.get("x-ratelimit-reset-requests")
        assert stamp == (
            str(1000 * int(sandbox.clock.now().timestamp() + 5)) if "/api/v1/" in str(response.url) else None
        )
    assert (await sandbox.bill())["accepted"] == 0
    assert (await sandbox.requests())["throttled"] == 2


async def modelmax_job(sandbox: Sandbox) -> tuple[str, str]:
    """The URLs of a job's result and of its first output, without asking for the result."""
    job = await sandbox.submit()
    sandbox.finish()
    (token,) = sandbox.state.tokens
    return job["response_url"], f"/v1/queue/veo-3/requests/{token}/content/0"


async def test_errors_strike_calls_that_cannot_bill_and_never_the_claim(start: Start) -> None:
    sandbox = await start(faults={Fault.ERROR_5XX: 1})
    result, content = await modelmax_job(sandbox)
    assert (await sandbox.ask("GET", f"{result}/status")).status in {500, 502, 503}
    assert (await sandbox.ask("GET", content)).status in {500, 502, 503}
    assert (await sandbox.ask("GET", result)).status == 200
    assert (await sandbox.retrieve(await sandbox.queue())).status in {500, 502, 503}


async def test_answers_are_lost_on_calls_that_cannot_bill(start: Start) -> None:
    sandbox = await start(faults={Fault.LOSE_ANSWER: 1})
    result, content = await modelmax_job(sandbox)
    job = await sandbox.queue(model=GROK)
    sandbox.finish()
    for call in (
        sandbox.ask("GET", f"{result}/status"),
        sandbox.ask("GET", content),
        sandbox.retrieve(job),
        sandbox.ask("GET", urlsplit(job["download_url"]).path, key={}),
    ):
        assert await dropped(call)
    assert (await sandbox.ask("GET", result)).status == 200


async def test_a_call_that_is_repeated_is_drawn_anew(start: Start) -> None:
    sandbox = await start(faults={Fault.LOSE_ANSWER: 0.5})
    job = await sandbox.submit()
    lost = [await dropped(sandbox.ask("GET", job["status_url"])) for _ in range(40)]
    assert 8 < sum(lost) < 32


async def test_a_dropped_claim_was_billed(start: Start) -> None:
    sandbox = await start(faults={Fault.CLAIM_DROP: 1})
    result, _ = await modelmax_job(sandbox)
    assert await dropped(sandbox.ask("GET", result))
    assert await dropped(sandbox.ask("GET", result))
    bill = await sandbox.bill()
    assert [job["charges"] for job in bill["jobs"].values()] == [2]
    assert [job["requests"]["result"] for job in bill["jobs"].values()] == [2]


async def test_a_claim_answered_502_was_billed(start: Start) -> None:
    sandbox = await start(faults={Fault.CLAIM_502: 1})
    result, _ = await modelmax_job(sandbox)
    response = await sandbox.ask("GET", result)
    assert (response.status, (await response.json())["error"]["type"]) == (502, "bad_gateway")
    assert len((await sandbox.bill())["charges"]) == 1


async def test_a_claim_may_be_billed_and_empty(start: Start) -> None:
    sandbox = await start(faults={Fault.CLAIM_EMPTY: 1})
    result, _ = await modelmax_job(sandbox)
    answer = await (await sandbox.ask("GET", result)).json()
    assert (answer["status"], answer["data"]) == ("COMPLETED", [])
    assert len((await sandbox.bill())["charges"]) == 1


async def clip_calls(sandbox: Sandbox) -> list[Any]:
    """The three ways to a clip: ModelMax content, the body of a retrieve, a Grok link."""
    _, content = await modelmax_job(sandbox)
    plain, linked = await sandbox.queue(), await sandbox.queue(model=GROK)
    sandbox.finish()
    link = urlsplit(linked["download_url"]).path
    return [sandbox.ask("GET", content), sandbox.retrieve(plain), sandbox.ask("GET", link, key={})]


async def test_a_truncated_clip_is_shorter_than_promised(start: Start) -> None:
    sandbox = await start(faults={Fault.TRUNCATE: 1})
    for call in await clip_calls(sandbox):
        response = await call
        assert (response.status, response.headers["Content-Type"]) == (200, "video/mp4")
        assert int(response.headers["Content-Length"]) > 100_000
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_silently_truncated_clip_ends_without_an_error(start: Start) -> None:
    sandbox = await start(faults={Fault.TRUNCATE_SILENTLY: 1})
    for call in await clip_calls(sandbox):
        response = await call
        assert "Content-Length" not in response.headers
        assert "Transfer-Encoding" not in response.headers
        data = await response.read()
        assert data[4:8] == b"ftyp"
        assert 50_000 < len(data) < 100_000


async def test_a_disguised_clip_is_200_and_video_but_no_clip(start: Start) -> None:
    sandbox = await start(faults={Fault.DISGUISE: 1})
    kinds = set()
    for number in range(12):
        job = await sandbox.queue(prompt=str(number))
        sandbox.finish()
        response = await sandbox.retrieve(job)
        assert (response.status, response.headers["Content-Type"]) == (200, "video/mp4")
        kinds.add((await response.read())[:10])
    assert kinds == {b"<!DOCTYPE ", b"\x00\x00\x00\x1cftypis"}


async def test_a_slow_clip_trickles_and_is_whole(start: Start, clock: FakeClock) -> None:
    sandbox = await start(faults={Fault.SLOW: 1}, speed=2, slow_s=30)
    for call in await clip_calls(sandbox):
        clock.slept.clear()
        response = await call
        assert len(await response.read()) == int(response.headers["Content-Length"])
        assert clock.slept == [0.75] * 20


async def test_a_client_that_hangs_up_on_a_slow_clip_does_no_harm(start: Start, clock: FakeClock) -> None:
    sandbox = await start(faults={Fault.SLOW: 1})
    gone = asyncio.Event()

    async def wait(_seconds: float) -> None:
        await gone.wait()

    clock.sleep = wait  # type: ignore[method-assign]
    job = await sandbox.queue()
    sandbox.finish()
    response = await sandbox.retrieve(job)
    response.close()
    gone.set()
    assert (await sandbox.retrieve(await sandbox.queue())).status == 200


async def test_a_retrieve_may_be_404_shortly_after_the_queueing(start: Start, clock: FakeClock) -> None:
    sandbox = await start(faults={Fault.EARLY_404: 1}, early_404_s=10)
    job = await sandbox.queue()
    assert (await sandbox.retrieve(job)).status == 404
    clock.passed_s += 9.9
    assert (await sandbox.retrieve(job)).status == 404
    clock.passed_s += 0.1
    assert (await (await sandbox.retrieve(job)).json())["status"] == "PROCESSING"


async def test_a_link_may_be_expired_from_the_start(start: Start) -> None:
    sandbox = await start(faults={Fault.EXPIRED_LINK: 1})
    job = await sandbox.queue(model=GROK)
    sandbox.finish()
    assert (await (await sandbox.retrieve(job)).json())["status"] == "COMPLETED"
    assert (await sandbox.ask("GET", urlsplit(job["download_url"]).path, key={})).status == 410


async def test_a_generation_may_be_refused_in_the_end(start: Start) -> None:
    sandbox = await start(faults={Fault.GENERATION_FAILURE: 1})
    modelmax, venice = await sandbox.submit(), await sandbox.queue()
    sandbox.finish()
    status = await (await sandbox.ask("GET", modelmax["status_url"])).json()
    assert (status["status"], status["error"]) == ("FAILED", "content policy violation")
    assert (await sandbox.retrieve(venice)).status == 422


async def test_a_generation_may_break_and_venice_says_so_for_ever(start: Start) -> None:
    sandbox = await start(faults={Fault.GENERATION_ERROR: 1})
    modelmax, venice = await sandbox.submit(), await sandbox.queue()
    sandbox.finish()
    assert (await (await sandbox.ask("GET", modelmax["status_url"])).json())["status"] == "FAILED"
    for _ in range(2):
        response = await sandbox.retrieve(venice)
        body = await response.json()
        assert response.status == 500
        assert body == {"error": "Inference processing failed", "credits_refunded": True}
    assert (await sandbox.bill())["totals"]["net_usd"] == 0


async def test_what_struck_is_counted(start: Start) -> None:
    sandbox = await start(faults={Fault.SUBMIT_500: 1})
    await sandbox.try_queue()
    assert (await sandbox.requests())["faults"] == {"submit-500": 1}


async def test_the_same_seed_and_requests_give_the_same_faults(start: Start) -> None:
    async def story(seed: int) -> list[int]:
        sandbox = await start(seed=seed, faults={Fault.SUBMIT_500: 0.3, Fault.THROTTLE: 0.3})
        return [(await sandbox.try_queue(prompt=str(number))).status for number in range(30)]

    assert await story(1) == await story(1)
    assert await story(1) != await story(2)
