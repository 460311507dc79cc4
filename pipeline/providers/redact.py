"""Addresses and keys in what a provider answered, made unreadable before it is shown.

A download address is as good as the clip: whoever has it can fetch it. Only its scheme and host are shown.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*):((?:\\?/|\\u002f){2})([^\s\"'<>]*)", re.IGNORECASE)
"""An absolute URL, also within JSON that escapes its slashes."""
SECRET = re.compile(
    r"(proxy-)?authorization|(set-)?cookie|.*api[_-]?key|((access|refresh|id)[_-]?)?token|.*secret|.*password|"
    r".*signature",
    re.IGNORECASE,
)
OURS = frozenset({"base_url", "request"})
"""What the user gave, and what says where it went: shown as it is."""
TEXT_MOST = 4000
"""Longer texts are bodies and inline clips, which nobody reads here."""


def redact(value: Any) -> Any:
    """Return plain JSON with every address reduced to its host, and every key, token and very long text left out."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {redact_text(str(name)): _member(str(name), inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(inner) for inner in value]
    return value


def redact_text(text: str) -> str:
    """Return a text with every address in it reduced to its host."""
    if len(text) > TEXT_MOST:
        text = f"{text[:TEXT_MOST]}… ({len(text)} characters)"
    return ADDRESS.sub(_host_alone, text)


def _member(name: str, value: Any) -> Any:
    if name in OURS:
        return value
    if SECRET.fullmatch(name) and value is not None:
        return "***"
    return redact(value)


def _host_alone(match: re.Match[str]) -> str:
    scheme, _, rest = match.groups()
    authority = re.split(r"[\\/?#]", rest, maxsplit=1)[0]
    try:
        host = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        host = ""
    return f"{scheme}://{host}/…"
