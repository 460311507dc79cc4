"""A vendor's JSON, distrusted."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.providers.decode import DEPTH_MAX, Malformed, decode_object, inflate


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"a":1}x',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1) + b"}",
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1e999}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":2}}',
        b"\xff\xfe{}",
        b"<html></html>",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_sound_object_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_object(body)


def test_half_characters_are_replaced_so_that_a_database_can_keep_the_answer() -> None:
    record = decode_object(b'{"a\\ud800":["\\udfff ok"]}')
    assert record == {"a?": ["? ok"]}
    assert json.dumps(record, ensure_ascii=False).encode()


@given(st.binary())
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    try:
        record = decode_object(body)
    except Malformed:
        return
    assert isinstance(record, dict)


@pytest.mark.parametrize(
    ("encoding", "squeeze"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_small_encoded_body_is_undone(encoding: str, squeeze: object) -> None:
    assert callable(squeeze)
    assert inflate(squeeze(b"{}"), encoding, 100) == b"{}"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b"x" * 101, mtime=0), "gzip"),
        (gzip.compress(b"x" * 50, mtime=0)[:-9], "gzip"),
        (b"plain", "gzip"),
        (b"x", "br"),
        (b"x", "gzip, gzip"),
    ],
)
def test_a_large_broken_or_unknown_one_is_malformed(body: bytes, encoding: str) -> None:
    with pytest.raises(Malformed):
        inflate(body, encoding, 100)
