"""What /sandbox/bill and /sandbox/requests tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sandbox.conftest import Sandbox


async def test_the_bill_has_rows_totals_and_an_account_of_each_job(sandbox: Sandbox) -> None:
    job = await sandbox.submit("veo-3", sample_count=2)
    failed = await sandbox.queue(prompt="A turtle [sandbox: fail]")
    sandbox.finish()
    await sandbox.ask("GET", job["status_url"])
    await sandbox.ask("GET", job["status_url"])
    result = await (await sandbox.ask("GET", job["response_url"])).json()
    await sandbox.ask("GET", result["data"][1]["url"])
    await sandbox.retrieve(failed)

    bill = await sandbox.bill()
    assert bill["accepted"] == 2
    assert {row["kind"] for row in bill["charges"]} == {"charge", "refund"}
    assert set(bill["charges"][0]) == {"provider", "key", "job", "model", "kind", "amount_usd", "time"}
    assert bill["charges"][0]["time"] == "2026-11-21T12:00:00.000Z"
    assert bill["totals"] == {
        "charged_usd": pytest.approx(6.40 + 0.55),
        "refunded_usd": pytest.approx(0.55),
        "net_usd": pytest.approx(6.40),
        "by_provider": {
            "modelmax": {"charged_usd": 6.40, "refunded_usd": 0, "net_usd": 6.40},
            "venice": {"charged_usd": 0.55, "refunded_usd": 0.55, "net_usd": 0},
            "openai-videos": {"charged_usd": 0, "refunded_usd": 0, "net_usd": 0},
        },
    }
    account = bill["jobs"][job["request_id"]]
    assert (account["charges"], account["net_usd"], account["outputs"]) == (1, 6.40, 2)
    assert account["requests"] == {"submit": 1, "status": 2, "result": 1, "content": 1}
    account = bill["jobs"][failed["queue_id"]]
    assert (account["charges"], account["net_usd"]) == (1, 0)
    assert account["requests"] == {"submit": 1, "retrieve": 1}


async def test_no_key_is_written_down(sandbox: Sandbox) -> None:
    await sandbox.queue()
    response = await sandbox.ask("GET", "/sandbox/bill", key={})
    assert "sk-one" not in await response.text()


async def test_requests_are_counted_by_endpoint_and_status(sandbox: Sandbox) -> None:
    await sandbox.queue()
    await sandbox.try_queue(model="none")
    await sandbox.ask("GET", "/nowhere")
    counted = await sandbox.requests()
    assert counted["endpoints"] == {"venice-queue": {"200": 1, "404": 1}, "unknown": {"404": 1}}
    assert counted["total"] == 3
    assert (counted["throttled"], counted["blocked"], counted["leaks"]) == (0, 0, 0)


async def test_ten_thousand_tenths_of_a_cent_add_up_exactly(sandbox: Sandbox) -> None:
    from pipeline.sandbox.state import money

    assert money([0.001] * 10_000) == 10.0
