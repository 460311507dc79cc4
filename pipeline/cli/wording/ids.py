"""Ids of items, as people type them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def nearest(item: str, ids: Sequence[str]) -> str:
    """Return a sentence that names the id which may have been meant, or how to list them all."""
    by_lower = {known.lower(): known for known in ids}
    close = get_close_matches(item.lower(), by_lower, n=1)
    if close:
        return f" Did you mean {by_lower[close[0]]!r}?"
    return " List its items with: clipmill results DIR" if ids else " It has no items at all."
