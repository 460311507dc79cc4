"""Venice's bill: what is asked, what its pages become, and what is made of an answer that is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.providers.answers import NotSent, Refused, Scope, Throttled, Transient
from pipeline.providers.transport import Patience
from pipeline.providers.venice.billing import PAGES_MOST, Bill, BillRow, VeniceBilling, moment
from tests.providers.loopback import CANARY, DROP, STALL, Received, Script, answer, loopback, provided

START = datetime(2026, 11, 21, 12, 0, 0, 500_000, tzinfo=UTC)
END = START + timedelta(minutes=6)
HASTE = Patience(connect_s=0.3, submit_s=0.3, claim_s=0.3, look_s=0.3, gap_s=0.3)


def row(**changes: Any) -> dict[str, Any]:
    """Return one row as Venice shows it."""
    shown = {
        "timestamp": "2026-11-21T12:00:01.250Z",
        "sku": "wan-2.6-video-unit",
        "units": 1,
        "pricePerUnitUsd": 0.44,
        "amount": -0.44,
        "currency": "USD",
        "notes": "API Inference",
        "inferenceDetails": {"requestId": "req-1", "promptTokens": None},
    }
    return {**shown, **changes}


def page(*rows: object, cursor: str | None = None) -> Script:
    return answer({"data": list(rows), "nextCursor": cursor})


async def ask(*scripts: Script, by: Any = None) -> tuple[Any, list[Received]]:
    """Ask a scripted server for the bill; return what came of it, and what it was asked."""
    async with (
        loopback(*scripts, by=by) as server,
        provided(VeniceBilling, f"{server.url}/api/v1", patience=HASTE) as billing,
    ):
        return await billing.between(START, END), server.received


async def test_the_bill_is_asked_for_between_two_moments_with_the_key_in_a_header() -> None:
    _, (asked,) = await ask(page())
    assert urlsplit(asked.path).path == "/api/v1/billing/usage-history"
    assert parse_qs(urlsplit(asked.path).query) == {
        "startTimestamp": ["2026-11-21T12:00:00.500Z"],
        "endTimestamp": ["2026-11-21T12:06:00.500Z"],
        "pageSize": ["500"],
    }
    assert (asked.method, asked.headers["authorization"]) == ("GET", f"Bearer {CANARY}")
    assert CANARY not in asked.path


async def test_a_row_becomes_what_is_counted_by() -> None:
    bill, _ = await ask(page(row()))
    at = datetime(2026, 11, 21, 12, 0, 1, 250_000, tzinfo=UTC)
    charged = BillRow(at=at, sku="wan-2.6-video-unit", amount=-0.44, currency="USD", request_id="req-1")
    assert bill == Bill(rows=(charged,))
    assert charged.is_debit


async def test_a_refund_is_no_debit_and_a_row_need_not_name_its_request() -> None:
    bill, _ = await ask(page(row(amount=0.44), row(inferenceDetails=None), row(inferenceDetails={"requestId": None})))
    assert [each.is_debit for each in bill.rows] == [False, True, True]
    assert [each.request_id for each in bill.rows] == ["req-1", "", ""]


async def test_every_page_is_walked_with_the_cursor_and_nothing_else() -> None:
    bill, asked = await ask(page(row(), cursor="a b&c"), page(row(), row(), cursor="d"), page(row()))
    assert len(bill.rows) == 4
    assert [parse_qs(urlsplit(each.path).query) for each in asked[1:]] == [{"cursor": ["a b&c"]}, {"cursor": ["d"]}]


async def test_a_walk_that_does_not_end_is_given_up() -> None:
    bill, asked = await ask(page(row(), cursor="again"))
    assert isinstance(bill, Transient)
    assert len(asked) == PAGES_MOST


async def test_a_later_page_that_fails_makes_the_whole_bill_fail() -> None:
    bill, _ = await ask(page(row(), cursor="a"), answer({"error": "Invalid cursor"}, 400))
    assert isinstance(bill, Refused)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_may_not_read_the_bill_is_told_so(status: int) -> None:
    bill, _ = await ask(answer({"error": "Admin API key required"}, status))
    assert bill == Refused(
        scope=Scope.ACCOUNT,
        kind="not_an_admin_key",
        message="Venice does not let this key read the bill; it takes an admin key: Admin API key required",
    )


async def test_too_many_questions_are_a_wait() -> None:
    bill, _ = await ask(answer({"error": "slow down"}, 429, {"Retry-After": "7"}))
    assert isinstance(bill, Throttled)
    assert bill.wait_s == 7


@pytest.mark.parametrize(
    "script",
    [
        answer({"error": "oops"}, 500),
        answer(b"<html>"),
        answer({"data": None}),
        answer([]),
        page("row"),
        page(row(sku=None)),
        page(row(amount="1")),
        page(row(amount=True)),
        page(row(timestamp="yesterday")),
        page(row(timestamp=None)),
        DROP,
        STALL,
    ],
)
async def test_a_bill_that_is_only_half_understood_is_none(script: Script) -> None:
    bill, _ = await ask(script)
    assert isinstance(bill, Transient)
    assert CANARY not in repr(bill)


async def test_a_redirect_is_not_followed() -> None:
    async with loopback(page(row())) as elsewhere:
        bill, _ = await ask(answer(b"", 302, {"Location": f"{elsewhere.url}/api/v1/billing/usage-history"}))
        assert isinstance(bill, Transient)
        assert elsewhere.received == []


async def test_without_a_server_nothing_was_sent() -> None:
    async with loopback(page()) as server:
        url = server.url
    async with provided(VeniceBilling, f"{url}/api/v1", patience=HASTE) as billing:
        assert isinstance(await billing.between(START, END), NotSent)


def test_a_moment_is_told_in_utc() -> None:
    assert moment(START.astimezone(timezone(timedelta(hours=9)))) == "2026-11-21T12:00:00.500Z"
