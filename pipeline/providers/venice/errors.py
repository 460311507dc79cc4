"""Venice's error answers: what they say, and how far they reach (Venice error-codes page; OpenAPI, error schemas).

Most bodies carry a message and no code, so the status decides first and the text second. Shapes met: `{error: text}`,
`{error: {message, code, type}}`, `{error, code, details, issues}`, `{detail}`, the x402 object, and pages of HTML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import Billing, Refused, Scope, Throttled, Transient
from pipeline.providers.exchange import Reply, unanswered
from pipeline.providers.pacing import wait_s

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pipeline.providers.answers import SafeFailure
    from pipeline.providers.exchange import Outcome

TOLD_MAX_CHARACTERS = 1000
LOCKOUT_S = 30.0
"""How long a key is shut out after too many failures (Venice rate-limiting page)."""
LOCKED_OUT = re.compile(r"too many failed attempts", re.IGNORECASE)
PRO_ONLY = re.compile(r"\bpro\b.{0,20}\b(?:users?|account|subscri|only|model)|only available to pro", re.IGNORECASE)
REGION = re.compile(r"\bregions?\b|\bcountr(?:y|ies)\b|\bjurisdiction", re.IGNORECASE)
ABOUT_MODEL = re.compile(
    r"(?:invalid|unknown|unsupported|no such) model|model.{0,60}(?:not found|does not exist)", re.IGNORECASE
)
KEPT_DETAILS = (
    *("details", "issues", "suggested_prompt", "recommended_model", "consent_flow", "docs_url", "detail"),
    "x402Version",
)
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


SPEND_LIMIT = re.compile(r"spend(?:ing)? limit", re.IGNORECASE)
HINTS: Mapping[str | int, str] = {
    "no_key": "The request reached Venice without the key: check VENICE_API_KEY, and any proxy on the way.",
    "SPEND_LIMIT": "Raise the key's spend limit at venice.ai, or wait for its next period.",
    "PRO_ONLY_MODEL": "The model is for Pro accounts: choose another, or use a key of one.",
    "AUTHENTICATION_FAILED_INACTIVE_KEY": "The key is inactive: make it active at venice.ai, or use another.",
    "API_ACCESS_DISABLED": "The account's API access is switched off: ask Venice's support.",
    401: "Check VENICE_API_KEY.",
    402: "Top up the account at venice.ai.",
    403: "The key may not do this: use one of another account, or ask Venice's support.",
    404: "`clipmill models --provider venice` lists the models.",
    409: "Venice asks for consents that only you can give, in `options: {consents: ...}`.",
    410: "The model is retired: `clipmill models --provider venice` lists the others.",
    413: "Make the input files smaller, or name them by URL: all together may have about 26 MB.",
}
"""What to do about a refusal, by code where there is one, else by status."""
REGIONAL = "Venice does not offer the model in your region: choose another."
ISSUES_SHOWN = 3


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

    @property
    def asks_for_key(self) -> bool:
        """Whether this is what a request without any authentication gets: the x402 offer (Venice skills)."""
        return "x402Version" in self.details

    @property
    def at_length(self) -> str:
        """The message, with the fields that it finds fault with and the prompt that it suggests."""
        parts = [self.message, *issues_in(self.details)[:ISSUES_SHOWN]]
        suggested = self.details.get("suggested_prompt")
        if isinstance(suggested, str) and suggested.strip():
            parts.append(f"Venice suggests the prompt: {suggested.strip()}")
        return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)[:TOLD_MAX_CHARACTERS]


def texts(value: object) -> list[str]:
    """Return the texts of a list; nothing for anything else."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def issues_in(details: Mapping[str, Any]) -> list[str]:
    """Return what an error says of single fields, in whichever of its shapes."""
    told: list[str] = []
    for key, where in (("issues", "path"), ("detail", "loc")):
        listed = details.get(key)
        for issue in listed if isinstance(listed, list) else ():
            if isinstance(issue, dict):
                path, wanted = issue.get(where), issue.get("expected")
                name = ".".join(map(str, path)) if isinstance(path, list) else ""
                says = next((issue[word] for word in ("message", "msg") if isinstance(issue.get(word), str)), "")
                expected = f" (expected {wanted})" if isinstance(wanted, str) and wanted else ""
                told += [f"{name}: {says}{expected}" if name else f"{says}{expected}"] if says else []
    inner = details.get("details")
    if isinstance(inner, str) and inner.strip():
        told.append(inner.strip())
    elif isinstance(inner, dict) and not told:
        told += [
            f"{name}: {text}"
            for name, found in inner.items()
            if isinstance(found, dict)
            for text in texts(found.get("_errors"))
        ]
    return told


def error_told(reply: Reply) -> ErrorTold:
    """Read an error answer of any of the shapes."""
    record = reply.record_or_none()
    if record is None:
        return ErrorTold(message=reply.words() or "it gave no reason.")
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
    if not told.is_api and scope is Scope.ACCOUNT:
        message = f"An answer {status} that is not the API's; check VENICE_BASE_URL and the network."
        return Refused(scope=scope, kind="not_the_api", message=message)
    kind = told.code or KINDS.get(status, "invalid_request")
    if status == 401 and scope is Scope.MODEL:
        kind = "PRO_ONLY_MODEL"
    elif status == 402 and told.asks_for_key:
        kind = "no_key"
    message = " ".join(part for part in (told.at_length, hint(status, kind, scope, told.message)) if part)
    return Refused(scope=scope, kind=kind, message=message, details=told.details)


def safe_failure(outcome: Outcome, now: datetime, *, asked: str = "") -> SafeFailure:
    """Read the failure of a call that costs nothing; `asked` says of which, where that is not plain."""
    if not isinstance(outcome, Reply):
        return unanswered(outcome)
    told = error_told(outcome)
    if outcome.status == 429:
        return throttled(outcome, told, now)
    message = f"Venice answered {outcome.status}{asked}: {told.message}"
    return refusal(outcome, told) or Transient(message=message, status=outcome.status)


def hint(status: int, kind: str, scope: Scope, message: str) -> str:
    """Return what to do about a refusal, where that is more than to change the item."""
    if status == 402 and (SPEND_LIMIT.search(message) or "SPEND_LIMIT" in kind):
        return HINTS["SPEND_LIMIT"]
    if kind in HINTS:
        return HINTS[kind]
    if status == 403 and scope is Scope.MODEL:
        return REGIONAL
    if status == 400 and scope is Scope.MODEL:
        return HINTS[404]
    return HINTS.get(status, "")
