"""How long a vendor asks to be left alone, from its answer's headers. Pure: headers in, seconds out."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRY_AFTER_S = (0.1, 600.0)
RESET_S = (0.0, 120.0)
MILLISECONDS_FROM = 1e11
"""A Unix time above this is in milliseconds; in seconds it would be the year 5138."""


def http_date(text: str | None) -> datetime | None:
    """Return the moment that an HTTP date names, aware, in UTC; None for anything else."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    try:
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def number(text: str | None) -> float | None:
    """Return a finite, non-negative decimal number; None for anything else."""
    try:
        value = float((text or "").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the wait that `Retry-After` asks for, in seconds from 0.1 to 600; None where there is none.

    It is a number of seconds or an HTTP date (RFC 9110, 10.2.3); a date is measured against the answer's own `Date`,
    so that the two clocks need not agree, and against `now` where the answer has none.
    """
    text = headers.get("retry-after")
    wait = number(text)
    if wait is None:
        until = http_date(text)
        if until is None:
            return None
        wait = (until - (http_date(headers.get("date")) or now)).total_seconds()
    return min(max(wait, RETRY_AFTER_S[0]), RETRY_AFTER_S[1])


def reset_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the wait until `x-ratelimit-reset-requests`, in seconds from 0 to 120; None where there is none.

    It is a Unix time in seconds (Venice rate-limiting page), seen in milliseconds too; measured against the answer's
    own `Date` as above.
    """
    moment = number(headers.get("x-ratelimit-reset-requests"))
    if moment is None:
        return None
    if moment > MILLISECONDS_FROM:
        moment /= 1000
    wait = moment - (http_date(headers.get("date")) or now).timestamp()
    return min(max(wait, RESET_S[0]), RESET_S[1])


def wait_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how long to wait, in seconds: what `Retry-After` says, else until the limit resets; None for neither."""
    asked = retry_after_s(headers, now)
    return asked if asked is not None else reset_s(headers, now)
