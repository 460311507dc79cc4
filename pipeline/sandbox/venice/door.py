"""The way in to Venice's API: the failure block, the key, the rate limit, and how a refusal looks on the wire.

Source: Venice OpenAPI, error schemas; Venice rate-limiting page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.desk import Key, Refused, read_key, read_object
from pipeline.sandbox.state import CountKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pipeline.sandbox.desk import Desk
    from pipeline.sandbox.limits import Allowance, Bucket
    from pipeline.sandbox.venice.media_rules import Issue

HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("venice_headers", dict)
"""Headers that the answer to this request will bear, whatever the answer is."""
TOO_MANY = 429


def invalid(issues: list[Issue]) -> Refused:
    """Return the refusal that lists what is wrong, as DetailedError has it."""
    details: dict[str, Any] = {"_errors": []}
    for issue in issues:
        details.setdefault(issue.field, {"_errors": []})["_errors"].append(issue.message)
    listed = [{"path": [issue.field], "expected": issue.expected, "message": issue.message} for issue in issues]
    return Refused(400, "INVALID_REQUEST", "Invalid request parameters", details=details, issues=listed)


def body_of(refused: Refused) -> dict[str, Any]:
    """Return the JSON body of a refusal; a refusal that brings its own `error` keeps it."""
    return {"error": refused.message} | refused.more


def payment_required(request: web.Request) -> Refused:
    """Return what a request without any authentication gets: the x402 discovery body, in the header once more."""
    refused = Refused(
        402,
        "",
        "Payment required",
        x402Version=2,
        resource={"url": str(request.url), "description": "Venice API", "mimeType": "application/json"},
        accepts=[],
        authOptions={
            "apiKey": {
                "header": "Authorization: Bearer YOUR_API_KEY",
                "getKey": "https://venice.ai/settings/api",
                "docs": "https://docs.venice.ai/api-reference",
            },
            "x402Wallet": {
                "header": "SIGN-IN-WITH-X",
                "legacyHeader": "X-Sign-In-With-X",
                "topUp": "POST /api/v1/x402/top-up",
                "docs": "https://docs.venice.ai/api-reference/endpoint/x402/top-up",
            },
        },
    )
    refused.headers["PAYMENT-REQUIRED"] = base64.b64encode(json.dumps(body_of(refused)).encode()).decode()
    return refused


async def read_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON object in the body. Raises `Refused`: 413 beyond 35 MB, 400 for what is not a JSON object."""
    try:
        return await read_object(request)
    except web.HTTPRequestEntityTooLarge:
        limit = "The request payload is too large. Please reduce the size of your request."
        raise Refused(413, "PAYLOAD_TOO_LARGE", limit, code="PAYLOAD_TOO_LARGE") from None
    except ValueError:
        raise Refused(400, "INVALID_REQUEST", "Invalid JSON in the request body") from None


class Door:
    """Wraps handlers: what may pass goes on to them, and what they refuse comes out as Venice says it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def open(
        self, handle: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Wrap a handler that needs no key."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await handle(request)
            except Refused as refused:
                return web.json_response(body_of(refused), status=refused.status, headers=refused.headers)

        return answer

    def guard(
        self, handle: Callable[[web.Request, Key], Awaitable[web.StreamResponse]], bucket: Bucket | None
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Wrap a handler that needs a key: the block, the limit, the headers, and the count of failures."""

        async def answer(request: web.Request) -> web.StreamResponse:
            fingerprint = hashlib.sha256(request.headers.get("Authorization", "").encode()).hexdigest()[:12]
            limits = self._desk.limits
            headers = request[HEADERS] = {"x-venice-version": "20260821.193530"}
            try:
                self._stand_block(fingerprint)
                key = self.key_of(request)
                if bucket is not None:
                    self._admit(limits.admit(bucket, key.fingerprint), headers)
                return await handle(request, key)
            except Refused as refused:
                if 400 <= refused.status < 500 and refused.status != TOO_MANY:
                    limits.note_failure(fingerprint)
                if refused.status == TOO_MANY:
                    headers["x-ratelimit-reset-requests"] = self._stamp(refused.wait_s)
                headers["x-ratelimit-remaining"] = str(limits.failures_left(fingerprint))
                return web.json_response(body_of(refused), status=refused.status, headers=refused.headers)

        return answer

    def _stand_block(self, fingerprint: str) -> None:
        wait_s = self._desk.limits.blocked_s(fingerprint)
        if wait_s > 0:
            self._desk.state.count(CountKind.EVENT, "blocked")
            raise self._desk.too_many(
                wait_s,
                f"Too many failed attempts (> {self._desk.settings.venice_failures}) resulting in a non-success "
                "status code. Please wait 30s and try again.",
            )

    def _admit(self, allowance: Allowance | None, headers: dict[str, str]) -> None:
        if allowance is None:
            return
        headers["x-ratelimit-limit-requests"] = str(allowance.limit)
        headers["x-ratelimit-remaining-requests"] = str(allowance.remaining)
        headers["x-ratelimit-reset-requests"] = self._stamp(allowance.reset_s)
        if not allowance.admitted:
            raise self._desk.too_many(allowance.reset_s)

    def key_of(self, request: web.Request) -> Key:
        """Return the key that a request brings. Raises `Refused`: 402 for none at all, 401 for one that is no good."""
        try:
            key = read_key(request)
        except LookupError:
            raise payment_required(request) from None
        if key is None:
            raise Refused(401, "AUTHENTICATION_FAILED", "Authentication failed")
        return key

    def _stamp(self, wait_s: float) -> str:
        """Return the moment `wait_s` from now as Venice stamps it: Unix time in milliseconds."""
        return str(round((self._desk.now_s() + wait_s) * 1000))
