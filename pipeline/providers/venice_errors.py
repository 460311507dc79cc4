"""Venice's error answers: what they say, and how far they reach (Venice error-codes page; OpenAPI, error schemas).

Most bodies carry a message and no code, so the status decides first and the text second. Shapes met: `{error: text}`,
`{error: {message, code, type}}`, `{error, code, details, issues}`, `{detail}`, the x402 object, and pages of HTML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import Billing, Refused, Scope, Throttled
from pipeline.providers.pacing import wait_s

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pipeline.providers.exchange import Reply

TOLD_MAX_CHARACTERS = 1000
LOCKOUT_S = 30.0
"""How long a key is shut out after too many failures (Venice rate-limiting page)."""
LOCKED_OUT = re.compile(r"too many failed attempts", re.IGNORECASE)
PRO_ONLY = re.compile(r"\bpro\b.{0,20}\b(?:users?|account|subscri|only|model)|only available to pro", re.IGNORECASE)
REGION = re.compile(r"\bregions?\b|\bcountr(?:y|ies)\b|\bjurisdiction", re.IGNORECASE)
ABOUT_MODEL = re.compile(
    r"(?:invalid|unknown|unsupported|no such) model|model.{0,60}(?:not found|does not exist)", re.IGNORECASE
)
KEPT_DETAILS = ("details", "issues", "suggested_prompt", "recommended_model", "consent_flow", "docs_url", "detail")
KINDS = {
    400: "invalid_request",
    401: "authentication_failed",
    402: "insufficient_balance",
    403: "forbidden",
    404: "model_not_found",
    409: "needs_consent",
    410: "model_retired",
    413: "payload_too_large",
    415: "invalid_content_type",
    422: "content_policy_violation",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorTold:
    """An error answer's own words, whatever its shape."""

    message: str
    code: str = ""
    """The vendor's code or type; empty where it gives none, as it mostly does."""
    is_api: bool = False
    """Whether the body is JSON, and so written by the API and not by some proxy or portal."""
    refunded: object = None
    """`credits_refunded`, a flag or an amount; None where it is not told."""
    details: Mapping[str, Any] = field(default_factory=dict)


def error_told(reply: Reply) -> ErrorTold:
    """Read an error answer of any of the shapes."""
    record = reply.record_or_none()
    if record is None:
        return ErrorTold(message="it gave no reason.")
    error = record.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else {}
    candidates = (error, inner.get("message"), record.get("message"), record.get("detail"), inner.get("error"))
    message = next((text for text in candidates if isinstance(text, str) and text.strip()), "it gave no reason.")
    codes = (record.get("code"), inner.get("code"), inner.get("type"))
    code = next((text for text in codes if isinstance(text, str) and text), "")
    refunded = inner.get("credits_refunded", record.get("credits_refunded"))
    details = {key: source[key] for source in (record, inner) for key in KEPT_DETAILS if source.get(key) is not None}
    told = message[:TOLD_MAX_CHARACTERS]
    return ErrorTold(message=told, code=code[:64], is_api=True, refunded=refunded, details=details)


def billing_of(told: ErrorTold) -> Billing:
    """Return what a failure says of the money: `credits_refunded` is a flag in the schema, and met as an amount."""
    if isinstance(told.refunded, bool | int | float):
        return Billing.REFUNDED if told.refunded else Billing.BILLED
    return Billing.UNKNOWN


def throttled(reply: Reply, told: ErrorTold, now: datetime) -> Throttled:
    """Read a 429, or a 503 of the API's own on a submit (Venice rate-limiting page)."""
    locked_out = LOCKED_OUT.search(told.message) is not None
    wait = wait_s(reply.headers, now)
    if locked_out:
        wait = max(wait or 0.0, LOCKOUT_S)
    return Throttled(wait_s=wait, locked_out=locked_out, message=told.message)


def scope_of(status: int, told: ErrorTold) -> Scope:
    """Return how far a refusal reaches.

    A 403 that does not speak of the region is the account's: it pauses the batch and fails nothing, which is the
    milder of the two mistakes.
    """
    code, text = told.code.upper(), told.message
    if not told.is_api and status not in {400, 413, 414, 415, 422, 431}:
        return Scope.ACCOUNT  # a proxy's page, or a wrong base URL: no item is to blame
    match status:
        case 401:
            return Scope.MODEL if code == "PRO_ONLY_MODEL" or PRO_ONLY.search(text) else Scope.ACCOUNT
        case 402 | 407:
            return Scope.ACCOUNT
        case 403:
            regional = code not in {"API_ACCESS_DISABLED", "UNAUTHORIZED"} and REGION.search(text)
            return Scope.MODEL if regional else Scope.ACCOUNT
        case 404 | 410:
            return Scope.MODEL
        case _ if code in {"INVALID_MODEL", "MODEL_NOT_FOUND"} or (status == 400 and ABOUT_MODEL.search(text)):
            return Scope.MODEL
        case _:
            return Scope.ITEM


def refusal(reply: Reply, told: ErrorTold) -> Refused | None:
    """Return the definite no that an answer is; None where it is none (2xx, 3xx, 408, 429, 5xx)."""
    status = reply.status
    if not 400 <= status < 500 or status in {408, 425, 429}:
        return None
    scope = scope_of(status, told)
    message = told.message
    if not told.is_api and scope is Scope.ACCOUNT:
        message = f"An answer {status} that is not the API's; check VENICE_BASE_URL and the network."
        return Refused(scope=scope, kind="not_the_api", message=message)
    if status == 409:
        message += " Venice asks for consents that only you can give, in `options: {consents: ...}`."
    kind = told.code or KINDS.get(status, "invalid_request")
    if status == 401 and scope is Scope.MODEL:
        kind = "PRO_ONLY_MODEL"
    return Refused(scope=scope, kind=kind, message=message, details=told.details)
