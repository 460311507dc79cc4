"""Prompts with places to fill: `A {animal} in {place}`, where `{{` and `}}` are the braces themselves."""

from __future__ import annotations

import re
from typing import Final

PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
LOOKS_LIKE_ONE: Final = re.compile(r"(?<!\{)\{([A-Za-z_][A-Za-z0-9_-]*)\}(?!\})")
"""A name in single braces: in a prompt that is no template, most likely a slip."""


class BadTemplate(ValueError):
    """The braces of a template do not match; the text says which, as a sentence."""


def placeholders(template: str) -> tuple[str, ...]:
    """Return the names in a template, each once, in their order.

    Raises:
        BadTemplate: a brace is alone, or a pair encloses nothing.
    """
    names: dict[str, None] = {}
    for piece in PIECE.finditer(template):
        if piece[0] in {"{{", "}}"}:
            continue
        if piece[1] is None:
            other = "closed" if piece[0] == "{" else "opened"
            raise BadTemplate(f"A `{piece[0]}` is never {other}. Write `{piece[0] * 2}` for the brace itself.")
        if not piece[1].strip():
            raise BadTemplate("`{}` names nothing. Write `{name}`, or `{{}}` for the braces themselves.")
        names[piece[1].strip()] = None
    return tuple(names)
