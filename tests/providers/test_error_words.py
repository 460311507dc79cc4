"""Error answers of every shape: what is read out of them, and that each refusal says what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.providers.answers import Refused, Scope
from pipeline.providers.exchange import Reply
from pipeline.providers.modelmax.errors import refusal as modelmax_refusal
from pipeline.providers.modelmax.errors import told as modelmax_told
from pipeline.providers.venice.errors import error_told, refusal


def reply(status: int, body: object) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=status, headers={}, body=raw)


def venice(status: int, body: object) -> Refused:
    refused = refusal(reply(status, body), error_told(reply(status, body)))
    assert refused is not None
    return refused


def modelmax(status: int, body: object, *, of_submit: bool = True) -> Refused:
    refused = modelmax_refusal(reply(status, body), of_submit=of_submit)
    assert refused is not None
    return refused


SHAPES: dict[str, tuple[object, str]] = {
    "text": ({"error": "Bad input"}, "Bad input."),
    "an object": ({"error": {"message": "Bad input", "type": "bad_request"}}, "Bad input."),
    "a message": ({"message": "Bad input!"}, "Bad input!"),
    "a detail": ({"detail": "Bad input"}, "Bad input."),
    "issues": (
        {
            "error": "Invalid request parameters",
            "details": {"_errors": [], "duration": {"_errors": ["Invalid enum value"]}},
            "issues": [{"path": ["duration"], "expected": "5s | 10s", "message": "Invalid enum value"}],
        },
        "Invalid request parameters. duration: Invalid enum value (expected 5s | 10s).",
    ),
    "details alone": (
        {"error": "Invalid request parameters", "details": {"_errors": [], "image_url": {"_errors": ["Required"]}}},
        "Invalid request parameters. image_url: Required.",
    ),
    "details as text": (
        {"error": "Bad input", "details": "the image is too small"},
        "Bad input. the image is too small.",
    ),
    "a list of details": (
        {"detail": [{"loc": ["body", "prompt"], "msg": "field required"}]},
        "it gave no reason. body.prompt: field required.",
    ),
    "a suggestion": (
        {"error": "Policy.", "suggested_prompt": "A calm sea"},
        "Policy. Venice suggests the prompt: A calm sea.",
    ),
    "odd details": ({"error": "Bad", "details": {"a": 1, "b": {"_errors": 5}}}, "Bad."),
    "odd issues": ({"error": "Bad", "issues": ["x", {}, {"path": 3}, {"path": [], "message": 5}]}, "Bad."),
    "plain text": (b"Too many requests\n", "Too many requests."),
    "a page": (b"<html><body>Sign in</body></html>", "it gave no reason."),
    "a list": (b'["no"]', "it gave no reason."),
    "nothing": (b"", "it gave no reason."),
    "bytes": (b"\x00\xff\x1b[31m", "it gave no reason."),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_an_error_of_any_shape_has_words(shape: str) -> None:
    body, words = SHAPES[shape]
    assert error_told(reply(400, body)).at_length == words


@pytest.mark.parametrize(
    ("status", "body", "scope", "kind", "says"),
    [
        (401, {"error": "Authentication failed"}, Scope.ACCOUNT, "authentication_failed", "Check VENICE_API_KEY."),
        (
            401,
            {"error": "x", "code": "AUTHENTICATION_FAILED_INACTIVE_KEY"},
            Scope.ACCOUNT,
            "AUTHENTICATION_FAILED_INACTIVE_KEY",
            "The key is inactive",
        ),
        (401, {"error": "This model is only available to Pro users"}, Scope.MODEL, "PRO_ONLY_MODEL", "choose another"),
        (402, {"error": "Insufficient USD balance"}, Scope.ACCOUNT, "insufficient_balance", "Top up the account"),
        (
            402,
            {"error": "x", "code": "API_KEY_USD_SPEND_LIMIT_EXCEEDED"},
            Scope.ACCOUNT,
            "API_KEY_USD_SPEND_LIMIT_EXCEEDED",
            "Raise the key's spend limit",
        ),
        (402, {"error": "API key spend limit exceeded"}, Scope.ACCOUNT, "insufficient_balance", "spend limit"),
        (
            402,
            {"error": "Payment required", "x402Version": 2, "accepts": []},
            Scope.ACCOUNT,
            "no_key",
            "without the key: check VENICE_API_KEY",
        ),
        (403, {"error": "Not available in your region"}, Scope.MODEL, "forbidden", "region: choose another"),
        (403, {"error": "no"}, Scope.ACCOUNT, "forbidden", "another account"),
        (404, {"error": "no such model"}, Scope.MODEL, "model_not_found", "clipmill models --provider venice"),
        (400, {"error": "Invalid model"}, Scope.MODEL, "invalid_request", "clipmill models --provider venice"),
        (410, {"error": "gone"}, Scope.MODEL, "model_retired", "retired"),
        (409, {"error": {"code": "needs_consent", "message": "m"}}, Scope.ITEM, "needs_consent", "options: {consents"),
        (413, {"error": "too large"}, Scope.ITEM, "payload_too_large", "26 MB"),
        (404, b"<html>", Scope.ACCOUNT, "not_the_api", "VENICE_BASE_URL"),
    ],
)
def test_a_refusal_of_venices_says_how_far_it_reaches_and_what_to_do(
    status: int, body: Any, scope: Scope, kind: str, says: str
) -> None:
    refused = venice(status, body)
    assert (refused.scope, refused.kind) == (scope, kind)
    assert says in refused.message


def test_what_only_the_item_can_mend_gets_the_vendors_words_alone() -> None:
    assert venice(400, {"error": "duration is wrong"}).message == "duration is wrong."
    assert modelmax(400, {"error": {"message": "duration is wrong"}}).message == "duration is wrong"


@pytest.mark.parametrize(
    ("status", "body", "scope", "kind", "says"),
    [
        (
            401,
            {"error": {"message": "bad key", "type": "unauthorized"}},
            Scope.ACCOUNT,
            "unauthorized",
            "Check MODELMAX",
        ),
        (
            402,
            {"error": {"message": "x", "type": "insufficient_balance"}},
            Scope.ACCOUNT,
            "insufficient_balance",
            "Top up",
        ),
        (403, {"error": "no"}, Scope.ACCOUNT, "forbidden", "ask ModelMax's support"),
        (400, {"error": {"message": "gpt-4 is not a video model"}}, Scope.MODEL, "invalid_model", "clipmill models"),
        (404, {"error": "no such model"}, Scope.MODEL, "invalid_model", "clipmill models"),
        (400, {"error": {"message": "prompt is required", "type": "bad_request"}}, Scope.ITEM, "bad_request", "prompt"),
        (405, b"<html>", Scope.ACCOUNT, "not_the_api", "MODELMAX_BASE_URL"),
    ],
)
def test_a_refusal_of_modelmaxs_says_how_far_it_reaches_and_what_to_do(
    status: int, body: Any, scope: Scope, kind: str, says: str
) -> None:
    refused = modelmax(status, body)
    assert (refused.scope, refused.kind) == (scope, kind)
    assert says in refused.message


@pytest.mark.parametrize("body", [{"detail": "x y"}, {"error": "x y"}, {"error": {"message": "x y"}}, b"x y"])
def test_modelmaxs_words_are_found_in_every_shape(body: object) -> None:
    assert modelmax_told(reply(400, body)) == "x y"


@pytest.mark.parametrize("status", [200, 301, 408, 425, 429, 500, 502, 503])
def test_what_is_no_definite_no_is_no_refusal(status: int) -> None:
    assert refusal(reply(status, {"error": "x"}), error_told(reply(status, {"error": "x"}))) is None
    assert modelmax_refusal(reply(status, {"error": "x"}), of_submit=True) is None
