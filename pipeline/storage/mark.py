"""The mark of a batch at its prefix: two ledgers never upload to the same place, and the store keeps its word.

It is put there before anything else, in the way in which everything is put there. So it also tells, before any money
is spent, whether the credentials are good for writing, whether the bucket exists, and whether the store refuses a name
that is taken; one that does not would let an upload be written over.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.storage.keep import BATCH, SHA256, digest_of

if TYPE_CHECKING:
    from pipeline.storage.base import ObjectStore

MARK = "clipmill.json"
MARK_MAX_BYTES = 1 << 16
TRIES = 2


async def take(store: ObjectStore, batch: str, name: str, option: str = "--store") -> None:
    """Make a prefix a batch's own, or find that it is.

    Args:
        store: the prefix.
        batch: the ledger's own id.
        name: the batch's name, for people who look into the bucket.
        option: what the user named the prefix with.

    Raises:
        InputError: another batch has it, or the store does not refuse a name that is taken.
        StoreDown, StoreRefused: the store did not answer, or will not.
    """
    data = (json.dumps({"clipmill_batch": batch, "name": name}, sort_keys=True) + "\n").encode()
    labels = {SHA256: digest_of(data), BATCH: batch}
    for _ in range(TRIES):
        if await store.create(MARK, data, labels, "application/json") is None:
            break
    else:
        raise InputError(
            f"{store.url} lets an object be written over that is asked to be created only (If-None-Match: *). "
            "Uploads would not be safe there; use a store that keeps that condition."
        )
    owner = await _owner(store)
    if owner != batch:
        whose = f"the uploads of another batch ({owner})" if owner else f"something else under the name {MARK}"
        raise InputError(f"{store.url} holds {whose}. Name another prefix with {option}.")


async def _owner(store: ObjectStore) -> str:
    """Return the id of the ledger that a prefix belongs to; empty where that cannot be read."""
    text = b""
    async for piece in store.read(MARK):
        text += piece
        if len(text) > MARK_MAX_BYTES:
            return ""
    try:
        owner = json.loads(text)["clipmill_batch"]
    except (ValueError, KeyError, TypeError):
        return ""
    return owner if isinstance(owner, str) else ""
