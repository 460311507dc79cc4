"""ModelMax's error answers: what they say, and how far they reach (ModelMax error-handling page)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.providers.answers import Refused, Scope

if TYPE_CHECKING:
    from pipeline.providers.exchange import Reply

TOLD_MAX_CHARACTERS = 500
ABOUT_MODEL = re.compile(
    r"not a (?:supported )?video model|(?:unknown|unsupported|invalid) model|model.{0,40}not found", re.IGNORECASE
)


def told(reply: Reply) -> str:
    """Return an answer's own words: `error.message`, or `error` as text; a short sentence where there are none."""
    record = reply.record_or_none() or {}
    error = record.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    text = error if isinstance(error, str) else record.get("message")
    return text[:TOLD_MAX_CHARACTERS] if isinstance(text, str) and text.strip() else "it gave no reason."


def kind_of(reply: Reply, default: str) -> str:
    """Return the vendor's own name of an error (`error.type`), else `default`."""
    error = (reply.record_or_none() or {}).get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    return kind[:64] if isinstance(kind, str) and kind else default


def refusal(reply: Reply, *, of_submit: bool) -> Refused | None:
    """Return the definite no that an answer is; None where it is none (2xx, 3xx, 408, 5xx).

    401 and 402 are the account's. A page that is not JSON was not written by the API: some proxy or portal refused,
    or the base URL is wrong, and no item is to blame for that.
    """
    status, message = reply.status, told(reply)
    if status == 401:
        return Refused(scope=Scope.ACCOUNT, kind=kind_of(reply, "unauthorized"), message=message)
    if status == 402:
        return Refused(scope=Scope.ACCOUNT, kind=kind_of(reply, "insufficient_balance"), message=message)
    if status in {403, 404, 405, 407, 410} and reply.record_or_none() is None:
        message = f"An answer {status} that is not the API's; check MODELMAX_BASE_URL and the network."
        return Refused(scope=Scope.ACCOUNT, kind="not_the_api", message=message)
    if status == 403:
        return Refused(scope=Scope.ACCOUNT, kind=kind_of(reply, "forbidden"), message=message)
    if of_submit and (status in {404, 410} or (status == 400 and ABOUT_MODEL.search(message))):
        return Refused(scope=Scope.MODEL, kind=kind_of(reply, "invalid_model"), message=message)
    if 400 <= status < 500 and status not in {408, 425, 429}:
        return Refused(scope=Scope.ITEM, kind=kind_of(reply, "invalid_request"), message=message)
    return None
