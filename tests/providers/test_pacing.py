"""How long a vendor asks to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.providers.pacing import reset_s, retry_after_s, wait_s

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
THEIRS = datetime(2026, 11, 21, 15, 0, 0, tzinfo=UTC)
"""A server whose clock is three hours ahead."""


def date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", 7.0),
        ("2.5", 2.5),
        ("0", 0.1),
        ("99999", 600.0),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
    ],
)
def test_retry_after_in_seconds_is_held_within_bounds(text: str, wait: float | None) -> None:
    assert retry_after_s({"retry-after": text}, NOW) == wait


def test_retry_after_as_a_date_is_measured_against_the_answers_own_clock() -> None:
    headers = {"retry-after": date(THEIRS + timedelta(seconds=20)), "date": date(THEIRS)}
    assert retry_after_s(headers, NOW) == 20.0


def test_retry_after_as_a_date_without_one_is_measured_against_ours() -> None:
    assert retry_after_s({"retry-after": date(NOW + timedelta(seconds=20))}, NOW) == 20.0
    assert retry_after_s({"retry-after": date(NOW - timedelta(hours=1))}, NOW) == 0.1


@pytest.mark.parametrize("scale", [1, 1000])
def test_the_reset_is_understood_in_seconds_and_in_milliseconds(scale: int) -> None:
    stamp = str(int((THEIRS + timedelta(seconds=30)).timestamp() * scale))
    assert reset_s({"x-ratelimit-reset-requests": stamp, "date": date(THEIRS)}, NOW) == 30.0


@pytest.mark.parametrize(("ahead_s", "wait"), [(-60, 0.0), (5000, 120.0)])
def test_the_reset_is_held_within_bounds(ahead_s: int, wait: float) -> None:
    stamp = str(int((NOW + timedelta(seconds=ahead_s)).timestamp()))
    assert reset_s({"x-ratelimit-reset-requests": stamp}, NOW) == wait


def test_retry_after_goes_before_the_reset_and_neither_is_none() -> None:
    both = {"retry-after": "3", "x-ratelimit-reset-requests": str(int(NOW.timestamp()) + 50)}
    assert wait_s(both, NOW) == 3.0
    del both["retry-after"]
    assert wait_s(both, NOW) == 50.0
    assert wait_s({}, NOW) is None


@given(st.dictionaries(st.sampled_from(["retry-after", "date", "x-ratelimit-reset-requests"]), st.text()))
def test_no_header_makes_it_fail(headers: dict[str, str]) -> None:
    wait = wait_s(headers, NOW)
    assert wait is None or 0 <= wait <= 600
