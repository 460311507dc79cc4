"""A vendor's JSON, distrusted: bytes in, plain data out, or `Malformed`.

What comes out is bounded in depth, holds no NaN, no infinity and no integer that a database or a float could not
hold, and no object in it had the same key twice. Nothing that a vendor sends makes any other exception.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

DEPTH_MAX = 64
DIGITS_MAX = 18
"""Every integer of as many digits fits a signed 64-bit number."""


class Malformed(Exception):
    """The bytes are not one acceptable JSON object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise Malformed("an object has the same key twice")
    return record


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS_MAX:
        raise Malformed("an integer is too large")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise Malformed("a number is too large")
    return value


def _constant(text: str) -> float:
    raise Malformed(f"{text} is not JSON")


def _accepted(value: Any, depth: int = 0) -> Any:
    """Return the value with half characters (lone surrogates, which no database takes) replaced; refuse great depth."""
    if depth > DEPTH_MAX:
        raise Malformed("the nesting is too deep")
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_accepted(element, depth + 1) for element in value]
    if isinstance(value, dict):
        return {_accepted(key, depth + 1): _accepted(element, depth + 1) for key, element in value.items()}
    return value


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that `body` is.

    Raises:
        Malformed: it is not one, or not one that we accept.
    """
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not JSON") from error
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object")
    accepted = _accepted(value)
    assert isinstance(accepted, dict)
    return accepted


def inflate(body: bytes, encoding: str, cap_bytes: int) -> bytes:
    """Undo a Content-Encoding that we did not ask for, up to `cap_bytes`.

    Raises:
        Malformed: an encoding other than gzip or deflate, broken data, or more than the cap.
    """
    windows = {"gzip": 31, "x-gzip": 31, "deflate": 15}.get(encoding.strip().lower())
    if windows is None:
        raise Malformed(f"the body is encoded as {encoding[:40]!r}, which was not asked for")
    stream = zlib.decompressobj(wbits=windows)
    try:
        data = stream.decompress(body, cap_bytes)
    except zlib.error as error:
        raise Malformed("the body is not what its Content-Encoding says") from error
    if stream.unconsumed_tail or not stream.eof:
        raise Malformed("the body is cut short, or larger than an answer may be")
    return data
