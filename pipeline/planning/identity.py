"""Which request is which: one canonical text for a value, and the fingerprint of a request made from it.

The canonical form is a contract. Changing it, or what `fingerprint` covers, changes the fingerprint of every item in
every ledger, and every batch would then ask its operator about items that have not changed.

Canonical JSON: keys sorted, no spaces, ASCII with `\\u` escapes; a whole number is written without a fraction however
the user wrote it (`8` and `8.0` are equal, `true` and `1` are not); infinities and NaN are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.providers.base import MEDIA_PARAMETERS

if TYPE_CHECKING:
    from pipeline.providers.base import GenerationRequest, InputFile

EXACT_WHOLE = 2**53
"""Up to here every whole number is exact as a float, so that writing it as an integer says the same."""

_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


def canonical_json(value: Any) -> str:
    """Return the one text of a JSON value. Raises ValueError for an infinity or a NaN."""
    return _encode(_normal(value))


def digits_of(value: Any, count: int = 6) -> str:
    """Return the first hex digits of the digest of a JSON value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:count]


def fingerprint(provider: str, request: GenerationRequest) -> str:
    """Return `sha256:` and 64 hex digits over all that decides what is generated, and over nothing else.

    Covered: provider, model, prompt, parameters, options, and the bytes of local inputs (not their names, so that
    moving a file changes nothing). Not covered: ids, metadata, limits and prices.
    """
    parameters: Mapping[str, Any] = request.parameters
    if request.files:
        parameters = {
            name: _digested(value, request.files) if name in MEDIA_PARAMETERS else value
            for name, value in parameters.items()
        }
    text = canonical_json(
        {
            "model": request.model,
            "options": request.options,
            "parameters": parameters,
            "prompt": request.prompt,
            "provider": provider,
        }
    )
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _digested(value: Any, files: Mapping[str, InputFile]) -> Any:
    if isinstance(value, str):
        return {"sha256": files[value].sha256} if value in files else value
    if isinstance(value, Mapping):
        return {key: _digested(part, files) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_digested(part, files) for part in value]
    return value


def _normal(value: Any) -> Any:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= EXACT_WHOLE else value
    if isinstance(value, Mapping):
        return {key: part if type(part) in _AS_THEY_ARE else _normal(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(part) for part in value]
    return value
