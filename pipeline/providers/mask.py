"""The key, taken out of what a vendor sends back, should it repeat it: as it is, or escaped as JSON and URLs escape.

Bytes and text come in and go out with `***` in the key's place. A key that is short is a rehearsal's: to take it out
could take out a word.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.providers.answers import EVIDENCE_MAX_BYTES

SECRET_MIN_CHARACTERS = 16
HIDDEN = "***"


class Mask:
    """Knows one key and shows it to nobody."""

    def __init__(self, key: str) -> None:
        self._key = key if len(key) >= SECRET_MIN_CHARACTERS else ""
        escaped = "".join(_in_any_escape(character) for character in key)
        self._in_escapes = re.compile(escaped.encode(), re.IGNORECASE)

    def body(self, data: bytes) -> bytes:
        """Return bytes without the key; of those that can be kept as evidence, without its escaped forms too."""
        if not self._key:
            return data
        data = data.replace(self._key.encode(), HIDDEN.encode())
        kept = data[:EVIDENCE_MAX_BYTES]
        if b"\\" not in kept and b"%" not in kept:
            return data
        return self._in_escapes.sub(HIDDEN.encode(), kept) + data[EVIDENCE_MAX_BYTES:]

    def tree(self, value: Any) -> Any:
        """Return plain JSON without the key in any text of it: what was compressed or escaped shows only here."""
        if not self._key:
            return value
        if isinstance(value, str):
            return value.replace(self._key, HIDDEN)
        if isinstance(value, list):
            return [self.tree(element) for element in value]
        if isinstance(value, dict):
            return {self.tree(name): self.tree(element) for name, element in value.items()}
        return value


def _in_any_escape(character: str) -> str:
    code = ord(character)
    return rf"(?:\\?{re.escape(character)}|\\u{code:04x}|%{code:02x})"
