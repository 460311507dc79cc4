from __future__ import annotations

import json

import pytest

from pipeline.providers.redact import TEXT_MOST, redact, redact_text

CANARY = "canary"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://cdn.venice.ai/a/canary.mp4?sig=canary", "https://cdn.venice.ai/…"),
        ("see https://user:canary@cdn.venice.ai:8443/x, and more", "see https://cdn.venice.ai/… and more"),
        (r'{"url":"https:\/\/cdn.venice.ai\/canary"}', '{"url":"https://cdn.venice.ai/…"}'),
        (r"https:\u002f\u002fcdn.venice.ai\u002fcanary", "https://cdn.venice.ai/…"),
        ("HTTPS://CDN.VENICE.AI/canary", "HTTPS://cdn.venice.ai/…"),
        ("https://cdn.venice.ai?canary", "https://cdn.venice.ai/…"),
        ("https://[bad/canary", "https:///…"),
        ("s3://bucket/canary", "s3://bucket/…"),
        ("no address: a/b", "no address: a/b"),
    ],
)
def test_an_address_is_reduced_to_its_host(text: str, shown: str) -> None:
    assert redact_text(text) == shown


def test_addresses_and_keys_are_redacted_however_deep_they_lie() -> None:
    value = {
        "answer": [{"download_url": f"https://a.b/{CANARY}", f"https://a.b/{CANARY}": 1}],
        "headers": {"Authorization": f"Bearer {CANARY}", "x-api-key": CANARY, "Set-Cookie": CANARY},
        "access_token": CANARY,
        "total_tokens": 12,
        "nothing": None,
    }
    shown = redact(value)
    assert CANARY not in json.dumps(shown)
    assert (shown["total_tokens"], shown["nothing"]) == (12, None)


def test_what_the_user_gave_is_shown_as_it_is() -> None:
    value = {"base_url": "https://api.modelmax.io", "request": {"prompt": "https://example.com/a"}}
    assert redact(value) == value


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    shown = redact({"body": "x" * (TEXT_MOST + 1)})["body"]
    assert shown.endswith(f"… ({TEXT_MOST + 1} characters)")
    assert len(shown) < TEXT_MOST + 40
