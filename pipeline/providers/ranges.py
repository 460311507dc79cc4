"""When a cut body may be gone on with: RFC 9110's validators and ranges, decided from headers alone.

Two halves of two different files would make one that no check of sizes finds wrong. So a rest is asked for only where
the vendor gave the whole a name that changes with every byte of it (a strong validator), and taken only where the
answer says that it is a rest of that very whole. Header names are lower-case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')
"""An entity tag without the `W/` of a weak one (RFC 9110, 8.8.3)."""
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
SURE_AFTER_S = 1
"""A date names one version only if the answer was made at least a second after it (RFC 9110, 8.8.2.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """A body's name and length, by which a rest of it is asked for and known again."""

    validator: str
    """A strong entity tag, or a date that is as good as one."""
    length: int

    def asking(self, offset: int) -> dict[str, str]:
        """Return the headers that ask for the rest from `offset`, or for nothing where the whole has changed."""
        return {"Range": f"bytes={offset}-", "If-Range": self.validator}

    def is_rest(self, status: int, headers: Mapping[str, str], offset: int) -> bool:
        """Tell whether an answer is the rest of this very whole, from `offset` to its last byte."""
        told = CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if status != 206 or told is None or not _is_plain(headers):
            return False
        name = "etag" if STRONG_TAG.fullmatch(self.validator) else "last-modified"
        # A tag that the whole bore must be told with its rest (RFC 9110, 15.3.7); a date may be left out.
        same = headers.get(name, "" if name == "etag" else self.validator).strip() == self.validator
        return same and tuple(map(int, told.groups())) == (offset, self.length - 1, self.length)


def whole_of(status: int, headers: Mapping[str, str], length: int | None) -> Whole | None:
    """Return the whole that a body is, if it has a name that can be trusted; else None."""
    if status != 200 or not length or not _is_plain(headers) or headers.get("accept-ranges", "").strip() == "none":
        return None
    tag = headers.get("etag", "").strip()
    if tag:
        return Whole(validator=tag, length=length) if STRONG_TAG.fullmatch(tag) else None
    changed = headers.get("last-modified", "").strip()
    return Whole(validator=changed, length=length) if _is_sure(changed, headers.get("date", "")) else None


def _is_plain(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "identity").strip().lower() == "identity"


def _is_sure(changed: str, answered: str) -> bool:
    try:
        age = parsedate_to_datetime(answered) - parsedate_to_datetime(changed)
    except (TypeError, ValueError):
        return False
    return age.total_seconds() >= SURE_AFTER_S
