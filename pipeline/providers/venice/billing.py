"""Venice's bill: every debit of the account between two moments, for whoever has an admin key.

`GET /billing/usage-history` is a walk in ascending time: the first page takes the filters, each further one the cursor
of the page before and nothing else (Venice OpenAPI, /billing/usage-history). It tells what was charged, and never
charges. The admin key is a header of these calls to the frozen origin, and of nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pipeline.providers.answers import Refused, Scope, Transient
from pipeline.providers.decode import Malformed
from pipeline.providers.exchange import Reply
from pipeline.providers.origin import origin_of
from pipeline.providers.venice.errors import error_told, safe_failure

if TYPE_CHECKING:
    from pipeline.effects import Effects
    from pipeline.providers.answers import SafeFailure
    from pipeline.providers.base import Account
    from pipeline.providers.exchange import Outcome
    from pipeline.providers.transport import Patience

PATH = "/billing/usage-history"
PAGE_ROWS = 500
PAGE_MAX_BYTES = 8 << 20
PAGES_MOST = 200
"""A walk of a few hours has one page; a cursor that never ends is a fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BillRow:
    """One row of the bill."""

    at: datetime
    """When it was entered; aware, UTC."""
    sku: str
    """What was charged for; it begins with the model's id."""
    amount: float
    """Negative for a debit, positive for a refund; in `currency`."""
    currency: str
    request_id: str
    """Venice's id of the request; empty where the row names none. That it is the queue_id is not documented."""

    @property
    def is_debit(self) -> bool:
        """Whether money was taken."""
        return self.amount < 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """All rows between two moments, oldest first."""

    rows: tuple[BillRow, ...]


class VeniceBilling:
    """The reader of the bill. The mutable state is the wire, whose connections are made on the first call."""

    def __init__(self, account: Account, effects: Effects, *, patience: Patience | None = None) -> None:
        """Make a reader; `account` holds the admin key."""
        from pipeline.providers.http import Wire  # a command that only lists does not pay for aiohttp

        self._effects = effects
        self._wire = Wire(origin_of(account.base_url), account.key, effects, patience=patience)

    async def between(self, start: datetime, end: datetime) -> Bill | SafeFailure:
        """Return the bill from `start` (inclusive) to `end` (exclusive), walking all its pages."""
        query = {"startTimestamp": moment(start), "endTimestamp": moment(end), "pageSize": str(PAGE_ROWS)}
        rows: list[BillRow] = []
        for _ in range(PAGES_MOST):
            outcome = await self._wire.ask("GET", f"{PATH}?{urlencode(query)}", cap_bytes=PAGE_MAX_BYTES)
            if not isinstance(outcome, Reply) or not outcome.succeeded:
                return self._failure(outcome)
            try:
                record = outcome.record(PAGE_MAX_BYTES)
                rows += rows_of(record)
            except Malformed as error:
                return Transient(message=f"Venice's bill cannot be read: {error}.", status=outcome.status)
            cursor = record.get("nextCursor")
            if not isinstance(cursor, str) or not cursor:
                return Bill(rows=tuple(rows))
            query = {"cursor": cursor}
        return Transient(message=f"Venice's bill has more than {PAGES_MOST} pages between these moments.")

    async def close(self) -> None:
        """Let the connections go."""
        await self._wire.close()

    def _failure(self, outcome: Outcome) -> SafeFailure:
        if isinstance(outcome, Reply) and outcome.status in {401, 403}:
            message = (
                f"Venice does not let this key read the bill; it takes an admin key: {error_told(outcome).message}"
            )
            return Refused(scope=Scope.ACCOUNT, kind="not_an_admin_key", message=message)
        return safe_failure(outcome, self._effects.clock.now(), asked=" to the question for the bill")


def rows_of(record: dict[str, Any]) -> list[BillRow]:
    """Return the rows of one page.

    Raises:
        Malformed: a row lacks what is counted by; a bill that is only half understood proves nothing.
    """
    data = record.get("data")
    if not isinstance(data, list):
        raise Malformed("it holds no list of rows")
    return [_row(row) for row in data]


def _row(row: object) -> BillRow:
    if not isinstance(row, dict):
        raise Malformed("a row is not an object")
    sku, amount, currency, stamp = (row.get(name) for name in ("sku", "amount", "currency", "timestamp"))
    if not isinstance(sku, str) or not isinstance(stamp, str):
        raise Malformed("a row lacks its sku or its time")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
        raise Malformed("a row lacks its amount")
    details = row.get("inferenceDetails")
    request_id = details.get("requestId") if isinstance(details, dict) else None
    try:
        at = datetime.fromisoformat(stamp)
    except ValueError as error:
        raise Malformed(f"{stamp[:40]!r} is not a time") from error
    return BillRow(
        at=at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC),
        sku=sku,
        amount=float(amount),
        currency=currency if isinstance(currency, str) else "",
        request_id=request_id if isinstance(request_id, str) else "",
    )


def moment(at: datetime) -> str:
    """Return a time as the filters take it: ISO 8601 in UTC with a Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
