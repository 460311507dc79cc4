"""What is sent and answered, held against the vendor's published contract; what differs from it, as short texts.

A finding names the exchange, whether it is the request or an answer, where in it, and what is wrong, such as
`POST /video/queue request.resolution: enum 4K` or `POST /video/queue answer: 410`. The page of deviations lists them.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema.exceptions import ValidationError

CONTRACT = json.loads((Path(__file__).parent / "venice-video.schema.json").read_text(encoding="utf-8"))
PAGE = Path(__file__).parents[2] / "docs" / "venice-contract.md"


@cache
def validator(exchange: str, part: str, status: str = "", kind: str = "") -> Draft202012Validator | None:
    """Return what holds for a request, or for an answer of a status and a content type; None where nothing is said."""
    said = CONTRACT["exchanges"].get(exchange, {})
    schema = said.get("request") if part == "request" else said.get("answers", {}).get(status, {}).get(kind)
    return None if schema is None else Draft202012Validator({**schema, "$defs": CONTRACT["$defs"]})


def of_request(exchange: str, body: Any) -> Iterator[str]:
    """Yield how a request differs from the contract."""
    known = validator(exchange, "request")
    if known is None:
        if body is not None:
            yield f"{exchange} request: undocumented"
        return
    for error in known.iter_errors(body):
        yield from told(f"{exchange} request", error)
    named = CONTRACT["$defs"][known.schema["$ref"].rpartition("/")[2]]["properties"]
    yield from (f"{exchange} request.{field}: undocumented" for field in body if field not in named)


def of_answer(exchange: str, status: int, kind: str, body: Any) -> Iterator[str]:
    """Yield how an answer differs from the contract; `body` is None for what is not JSON."""
    if str(status) not in CONTRACT["exchanges"].get(exchange, {}).get("answers", {}):
        yield f"{exchange} answer: {status}"
        return
    known = validator(exchange, "answer", str(status), kind)
    if known is None:
        yield f"{exchange} answer {status}: {kind}"
    elif body is not None:
        for error in known.iter_errors(body):
            yield from told(f"{exchange} answer {status}", error)


def told(where: str, error: ValidationError) -> Iterator[str]:
    """Yield an error of the validator as short texts, without indices."""
    place = "".join(f".{step}" for step in error.absolute_path if isinstance(step, str))
    match error.validator:
        case "enum":
            yield f"{where}{place}: enum {error.instance}"
        case "required":
            missing = re.match(r"'(.+?)' is a required property", error.message)
            assert missing is not None
            yield f"{where}{place}.{missing[1]}: required"
        case "additionalProperties":
            extra = set(error.instance) - set(error.schema["properties"])
            yield from (f"{where}{place}.{name}: undocumented" for name in sorted(extra))
        case "oneOf" if not error.context:  # nothing failed: more than one fits
            yield f"{where}{place}: more than one"
        case other:
            yield f"{where}{place}: {other}"


def deviations(page: str) -> dict[str, str]:
    """Read the table of deviations: each finding, and its source."""
    return dict(re.findall(r"^\| `(.+?)` \| .+? \| (.+?) \|$", page, re.MULTILINE))


def unlisted(findings: Iterable[str], listed: Iterable[str]) -> list[str]:
    """Return the findings that no deviation covers."""
    known = set(listed)
    return sorted(set(findings) - known)
