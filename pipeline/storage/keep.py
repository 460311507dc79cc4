"""One file into a store: created where nothing is, verified there, or found to be there already.

The same call can be made again after any failure and any crash: an object with the same bytes is taken as what an
earlier call has put there, so that nothing is ever uploaded twice under two names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.storage.base import StoreDown

if TYPE_CHECKING:
    from pipeline.storage.base import Data, Found, ObjectStore

SHA256 = "sha256"
BATCH = "clipmillbatch"
"""The labels of what is ours: its digest, and the id of the ledger that knows it."""
RACES_MOST = 5
"""Workers that share a ledger may renew the same object at the same moment."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """The bytes of a file, with the digest that they are known to have."""

    data: Data
    sha256: str
    media_type: str

    @cached_property
    def md5(self) -> str:
        """What most stores call an object that came in one piece; no matter of security."""
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()


async def keep(store: ObjectStore, key: str, content: Content, batch: str) -> str | None:
    """Have an object of this content under a name.

    Args:
        store: where.
        key: the name.
        content: what.
        batch: the ledger's own id, for the label.

    Returns:
        The object's tag, once what is there was held against what is here; None where something else bears the name.

    Raises:
        StoreDown: it is not known whether it is there. StoreRefused: it is not, and asking again is no use.
    """
    labels = {SHA256: content.sha256, BATCH: batch}
    created = await store.create(key, content.data, labels, content.media_type)
    found = await store.look(key)
    if found is None:
        raise StoreDown(f"{store.url}/{key} is not there, though the store said that it is.")
    is_what_was_put = created is not None and found.e_tag == created and bool(created)
    return found.e_tag if await holds(store, key, found, content, trusted=is_what_was_put) else None


async def holds(store: ObjectStore, key: str, found: Found, content: Content, *, trusted: bool = False) -> bool:
    """Tell whether an object that was found has this very content.

    A tag that is the MD5 of the bytes was made by the store from what it has. Where it is none (encryption, other
    stores), the object is read back, but for one that `trusted` says was just acknowledged under the tag that it bears.

    Raises:
        StoreDown, StoreRefused: it could not be told.
    """
    if found.size_bytes != len(content.data):
        return False
    if found.e_tag.strip('"') == content.md5:
        return True
    if trusted and found.labels.get(SHA256) == content.sha256:
        return True
    return await digest(store, key) == content.sha256


async def renew(store: ObjectStore, key: str, content: Content, batch: str) -> bool:
    """Have an object of this content under a name in the place of whatever this batch had there before.

    Returns:
        False where the name is borne by something that this batch did not put there.

    Raises:
        StoreDown, StoreRefused: as `keep`; also where others renew it again and again meanwhile.
    """
    labels = {SHA256: content.sha256, BATCH: batch}
    for _ in range(RACES_MOST):
        found = await store.look(key)
        if found is not None and found.labels.get(BATCH) != batch:
            return False
        if found is None:
            done = await store.create(key, content.data, labels, content.media_type)
        elif found.labels.get(SHA256) == content.sha256 and found.size_bytes == len(content.data):
            done = found.e_tag
        else:
            done = await store.replace(key, content.data, labels, content.media_type, found)
        if done is not None:
            return True
    raise StoreDown(f"{store.url}/{key} is being renewed by others.")


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of some bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


async def digest(store: ObjectStore, key: str) -> str:
    """Return the SHA-256 of an object, read a piece at a time; that of nothing where there is none.

    Raises:
        StoreDown, StoreRefused: it could not be read.
    """
    total = hashlib.sha256()
    async for piece in store.read(key):
        total.update(piece)
    return total.hexdigest()
