"""What an object store has to be able to do, and what can come of it.

Narrow on purpose: create, look, read, and replace what is known to be one's own. Nothing is deleted, and nothing that
somebody else put there can be written over by any of it.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import Paused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

Data = bytes | mmap.mmap
"""What is uploaded: in memory, or a file as the system pages it in."""


class StoreDown(Paused):
    """The store did not answer, or said that it cannot now. Whether the call took effect is not known."""


class StoreRefused(Paused):
    """The store will not: the credentials, the bucket or the request are not what it takes. Asking again is no use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An object, as a look finds it."""

    size_bytes: int
    e_tag: str
    """What the store calls these very bytes; empty where it calls them nothing."""
    version: str = ""
    """What some stores call it besides; empty elsewhere."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What was put down beside it by whoever put it there."""


class ObjectStore(Protocol):
    """One prefix of one bucket; keys are relative to it, with slashes.

    Every call raises StoreDown or StoreRefused, and nothing else. None of them tries again by itself.
    """

    @property
    def url(self) -> str:
        """The prefix as the user would name it, without a slash at its end."""

    async def create(self, key: str, data: Data, labels: Mapping[str, str], media_type: str) -> str | None:
        """Put an object where none is, whole or not at all; return its tag, or None where the name is taken.

        After StoreDown it may be there all the same.
        """

    async def replace(self, key: str, data: Data, labels: Mapping[str, str], media_type: str, old: Found) -> str | None:
        """Put an object in the place of this very one; return the new tag, or None where that one is gone."""

    async def look(self, key: str) -> Found | None:
        """Return what is known of an object without its bytes; None where there is none."""

    def read(self, key: str) -> AsyncIterator[bytes]:
        """Yield an object's bytes, a piece at a time; nothing where there is none."""
