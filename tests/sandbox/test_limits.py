"""Rate limits, the failure block, and the headers that tell of them."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.sandbox.conftest import FakeClock, Sandbox

    Start = Callable[..., Awaitable[Sandbox]]

OTHER = {"Authorization": "Bearer sk-two"}


async def test_venice_queues_40_a_minute_for_each_key(sandbox: Sandbox) -> None:
    for number in range(40):
        response = await sandbox.try_queue(prompt=str(number))
        assert response.status == 200
        assert response.headers["x-ratelimit-limit-requests"] == "40"
        assert response.headers["x-ratelimit-remaining-requests"] == str(39 - number)
        sandbox.clock.passed_s += 0.5
    refused = await sandbox.try_queue()
    assert refused.status == 429
    assert set(await refused.json()) == {"error"}
    assert (await sandbox.try_queue(key=OTHER)).status == 200
    assert (await sandbox.bill())["accepted"] == 41
    assert (await sandbox.requests())["throttled"] == 1


async def test_the_reset_stamp_is_in_milliseconds_and_right_against_the_date(sandbox: Sandbox) -> None:
    for number in range(40):
        await sandbox.try_queue(prompt=str(number))
    sandbox.clock.passed_s += 20
    refused = await sandbox.try_queue()
    date = parsedate_to_datetime(refused.headers["Date"])
    assert date == sandbox.clock.now()
    reset_ms = int(refused.headers["x-ratelimit-reset-requests"])
    assert reset_ms > 1e11
    assert reset_ms / 1000 - date.timestamp() == 40
    assert refused.headers["Retry-After"] == "40"
    sandbox.clock.passed_s += 39
    assert (await sandbox.try_queue()).status == 429
    sandbox.clock.passed_s += 1
    assert (await sandbox.try_queue()).status == 200


async def test_venice_answers_120_retrieves_a_minute(sandbox: Sandbox) -> None:
    job = await sandbox.queue()
    answers = [(await sandbox.retrieve(job)).status for _ in range(121)]
    assert answers == [200] * 120 + [429]


async def test_speed_multiplies_the_limits(start: Start) -> None:
    sandbox = await start(speed=2)
    answers = [(await sandbox.try_queue()).status for _ in range(81)]
    assert answers == [200] * 80 + [429]


async def test_limits_can_be_switched_off(start: Start) -> None:
    sandbox = await start(limits=False)
    assert {(await sandbox.try_queue()).status for _ in range(60)} == {200}
    assert {(await sandbox.try_queue(model="none")).status for _ in range(30)} == {404}


async def test_more_than_20_failures_in_30_s_block_the_key_for_30_s(sandbox: Sandbox, clock: FakeClock) -> None:
    job = await sandbox.queue()
    for _ in range(20):
        assert (await sandbox.try_queue(model="none")).status == 404
    assert (await sandbox.retrieve(job)).status == 200
    last = await sandbox.try_queue(model="none")
    assert (last.status, last.headers["x-ratelimit-remaining"]) == (404, "20")
    blocked = await sandbox.retrieve(job)
    assert blocked.status == 429
    assert "Too many failed attempts (> 20)" in (await blocked.json())["error"]
    assert (await sandbox.ask("POST", "/api/v1/video/complete", json=job)).status == 429
    assert (await sandbox.try_queue(key=OTHER)).status == 200
    clock.passed_s += 29.9
    assert (await sandbox.retrieve(job)).status == 429
    clock.passed_s += 0.2
    assert (await sandbox.retrieve(job)).status == 200
    assert (await sandbox.requests())["blocked"] == 3


async def test_failures_that_lie_apart_do_not_block(sandbox: Sandbox, clock: FakeClock) -> None:
    for _ in range(45):
        assert (await sandbox.try_queue(model="none")).status == 404
        clock.passed_s += 1.6
    assert (await sandbox.requests())["blocked"] == 0


async def test_modelmax_has_no_limit_unless_one_is_set(start: Start) -> None:
    free = await start()
    for number in range(60):
        await free.submit(prompt=str(number))
    limited = await start(modelmax_submits_per_minute=2, modelmax_looks_per_minute=1)
    job = await limited.submit()
    await limited.submit()
    refused = await limited.ask("POST", "/v1/queue/veo-3", json={"prompt": "x"})
    assert refused.status == 429
    assert (await refused.json())["error"]["type"] == "rate_limit_exceeded"
    assert math.isclose(int(refused.headers["Retry-After"]), 60)
    assert (await limited.ask("GET", job["status_url"])).status == 200
    assert (await limited.ask("GET", job["response_url"])).status == 429
