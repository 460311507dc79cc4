"""A finished export, brought into an object store: everything it is made of, and last of all its index.

Whoever finds the index there finds the whole export; without it there is none. Nothing is written over: what is there
with the same bytes is what an earlier call has put there, and anything else ends it.
"""

from __future__ import annotations

import json
import mmap
from itertools import count
from typing import TYPE_CHECKING

from pipeline.clips.publish import verify_file
from pipeline.dataset.folders import INDEX
from pipeline.durable import told_as_disk_refused
from pipeline.errors import InputError
from pipeline.storage.base import StoreDown
from pipeline.storage.keep import Content, digest_of, holds, keep
from pipeline.storage.mark import take
from pipeline.together import some_at_once

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path
    from typing import Any, TypeVar

    from pipeline.effects import Effects
    from pipeline.storage.base import Data, ObjectStore

    T = TypeVar("T")

AT_ONCE = 4
PATIENCE_S = 60.0
"""For how long a store may be down before the upload is left to the next call."""
LONGEST_PAUSE_S = 8.0
IN_MEMORY_BYTES = 16 << 20
"""What is larger is paged in by the system as it is sent."""
MEDIA_TYPES = {"mp4": "video/mp4", "tar": "application/x-tar", "json": "application/json", "md": "text/markdown"}


async def upload_export(
    folder: Path, store: ObjectStore, batch: str, name: str, effects: Effects, told: Callable[[int], None]
) -> bool:
    """Have an export in a store.

    Args:
        folder: where it lies, finished.
        store: the prefix that is to hold it and nothing else.
        batch: the ledger's own id.
        name: the batch's name.
        effects: files, threads and the clock.
        told: called with the number of bytes that came to be there, again and again.

    Returns:
        Whether anything had to be uploaded; False where the very export was there already.

    Raises:
        InputError: another export or something else is there, or the export was changed on disk; nothing was written
            over.
        StoreDown, StoreRefused: it is not whole there, and so has no index. The same call goes on.
        DiskRefused: it cannot be read.
    """
    with told_as_disk_refused(f"read {folder / INDEX}"):
        text = effects.files.read(folder / INDEX)
    index = _content(INDEX, text, digest_of(text))
    await _patiently(lambda: take(store, batch, name, option="--dest"), effects)
    found = await _patiently(lambda: store.look(INDEX), effects)
    if found is not None:
        if await _patiently(lambda: holds(store, INDEX, found, index), effects):
            return False
        raise InputError(
            f"{store.url} holds another export already, and exports in a store are never changed. Name another --dest."
        )
    await _upload_files(folder, json.loads(text)["files"], store, batch, effects, told)
    await _keep(store, index, INDEX, batch, effects)
    return True


async def _upload_files(
    folder: Path,
    written: list[Mapping[str, Any]],
    store: ObjectStore,
    batch: str,
    effects: Effects,
    told: Callable[[int], None],
) -> None:
    """Upload the files that an index names, a few at once; the first that fails ends it."""

    async def upload(each: Mapping[str, Any]) -> None:
        path = folder / each["name"]
        if not await effects.threads.run(verify_file, effects.files, path, each["sha256"], each["bytes"]):
            raise InputError(f"{path} was changed while it was being exported. Run the same command again.")
        data = _bytes_of(path, each["bytes"], effects)
        await _keep(store, _content(each["name"], data, each["sha256"]), each["name"], batch, effects)
        told(each["bytes"])

    await some_at_once(written, upload, AT_ONCE)


async def _keep(store: ObjectStore, content: Content, key: str, batch: str, effects: Effects) -> None:
    if await _patiently(lambda: keep(store, key, content, batch), effects) is None:
        raise InputError(f"{store.url}/{key} is something else, and is not written over. Name another --dest.")


async def _patiently(work: Callable[[], Awaitable[T]], effects: Effects) -> T:
    """Do something with the store, again and again while that is down. Raises StoreDown after a while."""
    clock = effects.clock
    began_s = clock.monotonic()
    for tries in count():
        try:
            return await work()
        except StoreDown as down:
            if clock.monotonic() - began_s >= PATIENCE_S:
                raise StoreDown(f"{down} Run the same command again; it goes on where this one stopped.") from None
            await clock.sleep(min(LONGEST_PAUSE_S, 0.5 * 2**tries))
    raise AssertionError("numbers do not end")


def _content(name: str, data: Data, sha256: str) -> Content:
    media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return Content(data=data, sha256=sha256, media_type=media_type)


def _bytes_of(path: Path, size_bytes: int, effects: Effects) -> Data:
    """Return a file's bytes. What is mapped is let go with the last reference, which may be the store's."""
    with told_as_disk_refused(f"read {path}"):
        if size_bytes <= IN_MEMORY_BYTES:
            return effects.files.read(path)
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
