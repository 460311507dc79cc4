"""Names of items, such that no edit elsewhere ever renames one.

An id depends on the entry's id and on the item's own values alone, never on its position or on its neighbours. So a
collision is never settled by looking around: a matrix value that is not written in lower-case letters, digits and
single `-` or `_` loses something when it becomes part of an id, and *always* carries six hex digits of its content,
whether or not another value would have met it. Where two ids are equal all the same, the plan refuses them.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from pipeline.planning.identity import canonical_json, digits_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ID_LENGTH = 100
VALUE_LENGTH = 40
"""The longest part of an id that one value becomes, its digits not counted."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_LOSSLESS = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_OTHER = re.compile(r"[^a-z0-9]+")


def is_id(text: str) -> bool:
    """Tell whether the text may be an item's id: it names a file, and `__` parts it from what we append."""
    return _ID.fullmatch(text) is not None and "__" not in text


def slug(text: str, length: int = VALUE_LENGTH) -> str:
    """Return the text in lower-case ASCII letters and digits with single hyphens; empty where none is left."""
    plain = unicodedata.normalize("NFKD", text[: length * 8]).encode("ascii", "ignore").decode().lower()
    return _OTHER.sub("-", plain).strip("-")[:length].rstrip("-")


def value_text(value: Any) -> str:
    """Return a value as it fills a `{name}` in a prompt: text as it is, anything else as canonical JSON."""
    return value if isinstance(value, str) else canonical_json(value)


def value_part(value: Any) -> str:
    """Return the part of an id that a matrix value becomes, by the rule at the top of this module."""
    text = value_text(value)
    if len(text) <= VALUE_LENGTH and _LOSSLESS.fullmatch(text):
        return text
    return labelled(text, value)


def labelled(text: str, content: Any) -> str:
    """Return the slug of `text` followed by six hex digits of `content`; the digits alone where the slug is empty."""
    words = slug(text)
    digits = digits_of(content)
    return f"{words}-{digits}" if words else digits


def join_id(parts: Sequence[str]) -> str:
    """Return the parts joined to one id; an over-long one is cut and carries six hex digits of the whole."""
    return _fit("-".join(parts), "")


def repeat_id(base: str, number: int) -> str:
    """Return the id of the `number`-th repeat. The first has no suffix, so that raising `repeat` renames nothing."""
    return base if number == 1 else _fit(base, f"-{number}")


def _fit(text: str, suffix: str) -> str:
    if len(text) + len(suffix) <= ID_LENGTH:
        return text + suffix
    room = ID_LENGTH - len(suffix) - 7
    return f"{text[:room].rstrip('-_')}-{digits_of(text)}{suffix}"


def row_part(cells: Mapping[str, Any]) -> str:
    """Return the part of an id that a row without an `id` becomes: words of its text, six hex digits of its content.

    `cells` are those that shape the item, so that a further column that shapes nothing renames nothing. The words come
    from `prompt` if there is such a cell, else from the longest text, which no reordering of columns can change.
    """
    texts = [value for _, value in sorted(cells.items()) if isinstance(value, str)]
    text = cells.get("prompt") or max(texts, key=len, default="")
    return labelled(value_text(text), cells)
