"""Error answers of servers that speak the OpenAI-style format: what they say, and how far they reach.

Shapes met: `{error: {message, type, param, code}}` (OpenAI error-codes guide; LiteLLM, vLLM-Omni), `{error: text}`,
`{message, type, code}`, and `{detail: text or [{loc, msg}]}` of servers built on FastAPI (vLLM-Omni, SGLang).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import Refused, Scope, Throttled
from pipeline.providers.pacing import number, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pipeline.providers.exchange import Reply

TOLD_MAX_CHARACTERS = 500
NO_REASON = "it gave no reason."
OUT_OF_MONEY = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance", "budget_exceeded"}
)
"""Codes of the account's money, whatever the status: a used-up quota answers 429 (OpenAI error-codes guide)."""
ABOUT_MODEL = re.compile(
    r"\bmodel\b.{0,80}(?:not found|does not exist)|(?:unknown|no such|invalid) model(?: name)?\b(?! param)",
    re.IGNORECASE,
)
KINDS = {
    400: "invalid_request",
    401: "authentication_failed",
    402: "insufficient_balance",
    403: "forbidden",
    404: "not_found",
    413: "payload_too_large",
    415: "invalid_content_type",
    422: "invalid_request",
    501: "not_implemented",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorTold:
    """An error answer's own words, whatever its shape."""

    message: str
    code: str = ""
    """The server's code, else its type; empty where it gives neither."""
    is_api: bool = False
    """Whether the body is JSON, and so written by the server and not by some proxy or portal."""
    is_missing_route: bool = False
    """Whether a server says that it has no such path at all, and nothing of a video."""


def error_told(reply: Reply) -> ErrorTold:
    """Read an error answer of any of the shapes."""
    record = reply.record_or_none()
    if record is None:
        return ErrorTold(message=NO_REASON)
    error = record.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else {}
    detail = record.get("detail")
    candidates = (inner.get("message"), error, record.get("message"), detail, said_of_fields(detail))
    message = next((text for text in candidates if isinstance(text, str) and text.strip()), NO_REASON)
    codes = (inner.get("code"), record.get("code"), inner.get("type"), record.get("type"))
    code = next((text for text in codes if isinstance(text, str) and text and not text.isdecimal()), "")
    return ErrorTold(
        message=message[:TOLD_MAX_CHARACTERS],
        code=code[:64],
        is_api=True,
        is_missing_route=record == {"detail": "Not Found"} or record == {"detail": "Method Not Allowed"},
    )


def said_of_fields(detail: object) -> str:
    """Return FastAPI's list of faults as a sentence."""
    if not isinstance(detail, list):
        return ""
    faults = [fault for fault in detail if isinstance(fault, dict) and isinstance(fault.get("msg"), str)]
    places = (".".join(map(str, fault["loc"])) if isinstance(fault.get("loc"), list) else "" for fault in faults)
    return "; ".join(f"{place}: {fault['msg']}" for place, fault in zip(places, faults, strict=True))


def throttled(reply: Reply, told: ErrorTold, now: datetime) -> Throttled:
    """Read a 429. `retry-after-ms` is the format's own finer word for `Retry-After` (openai-python)."""
    milliseconds = number(reply.headers.get("retry-after-ms"))
    wait_s = milliseconds / 1000 if milliseconds is not None else retry_after_s(reply.headers, now)
    return Throttled(wait_s=wait_s, message=told.message)


def scope_of(status: int, told: ErrorTold) -> Scope:
    """Return how far a refusal reaches. A wrong address, a proxy's page and a wrong body format are no item's fault."""
    if told.code in OUT_OF_MONEY or status in {401, 402, 403, 415, 501} or is_elsewhere(status, told):
        return Scope.ACCOUNT
    return Scope.MODEL if is_about_model(told) else Scope.ITEM


def is_about_model(told: ErrorTold) -> bool:
    """Tell whether it is the model that the server does not have."""
    return told.code in {"model_not_found", "invalid_model"} or ABOUT_MODEL.search(told.message) is not None


def is_elsewhere(status: int, told: ErrorTold) -> bool:
    """Tell whether an answer is not that of a videos API: a proxy's, or another server's that has no such path."""
    if told.is_missing_route or status in {405, 407}:
        return True
    if status in {404, 410}:
        return not is_about_model(told)
    return not told.is_api and status not in {400, 401, 402, 413, 414, 415, 422, 431}


def refusal(reply: Reply, told: ErrorTold) -> Refused | None:
    """Return the definite no that an answer is; None where it is none (2xx, 3xx, 408, 429 that passes, 5xx).

    501 is one: the server does not do what was asked of it (RFC 9110, 15.6.2), if the server's own it is.
    """
    status, message = reply.status, told.message
    is_no = 400 <= status < 500 and status not in {408, 425, 429}
    is_no |= (status == 429 and told.code in OUT_OF_MONEY) or (status == 501 and told.is_api)
    if not is_no:
        return None
    if is_elsewhere(status, told):
        message = f"An answer {status} that is not a videos API's; check OPENAI_VIDEOS_BASE_URL and the network."
        return Refused(scope=Scope.ACCOUNT, kind="not_the_api", message=message)
    if status == 415:
        message += " Try options: {body_format: json}, or without it the form."
    return Refused(
        scope=scope_of(status, told), kind=told.code or KINDS.get(status, "invalid_request"), message=message
    )
