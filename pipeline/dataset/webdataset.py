"""WebDataset: tar shards of each split, three members a clip: `<key>.json`, `<key>.mp4`, `<key>.txt`.

The same rows make the same bytes: members stand in the order of the rows and bear no time, no owner and no name of a
machine. Shards are numbered without gaps. A shard has its name only when it is whole and durable, so that a build that
was cut short goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

from pipeline.dataset.build import READ_BYTES, Build, ClipChanged, Options, Work, pieces
from pipeline.durable import sync_folder, told_as_disk_refused

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from pipeline.dataset.rows import Row, Selection
    from pipeline.effects import Files

LOADING = """```python
import webdataset

dataset = webdataset.WebDataset("{dest}/{split}/clips-{{000000..{last:06}}}.tar", shardshuffle=False)
```

```python
from datasets import load_dataset

dataset = load_dataset("webdataset", data_dir="{dest}")
```"""
BLOCK: Final = 512
NAME_MOST: Final = 100
OLD_SIZE_MOST: Final = 8 << 30
"""What a header of the old format (POSIX ustar) can hold, in characters and in bytes."""
RECORD: Final = 20 * BLOCK
"""Tars end in zeros up to a whole record, as `tar` writes them."""
SYNC_BYTES: Final = 64 << 20
"""Written before the disk is waited for, while more is written."""
NOTHING: Final = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
SIZE_AT, TIME_AT, SUM_AT, TYPE_AT = 124, 136, 148, 156
"""A header of a member without a name, and where its size, its time, its sum and its type begin (POSIX ustar)."""
PLAIN_SUM: Final = sum(NOTHING[NAME_MOST:SIZE_AT] + NOTHING[TIME_AT:SUM_AT] + b" " * 8 + NOTHING[TYPE_AT:])
"""What the parts that all members share add to the sum of a header, for which the sum itself counts as blanks."""
_encode = json.JSONEncoder(ensure_ascii=False).encode


def work(build: Build, selection: Selection, options: Options) -> Iterator[Work]:
    """Yield the pieces of work that make the export, all but its card and its index."""
    for split, rows in selection.splits.items():
        build.folder(split)
        for number, shard in enumerate(shards(rows, options)):
            yield partial(_shard, name=f"{split}/clips-{number:06}.tar", rows=shard)


def shards(rows: Sequence[Row], options: Options) -> Iterator[list[Row]]:
    """Yield the rows of each shard, none of them empty, within the limits on clips and bytes."""
    shard: list[Row] = []
    size_bytes = RECORD
    for row in rows:
        more = sample_bytes(row)
        if shard and (len(shard) == options.shard_clips or size_bytes + more > options.shard_bytes):
            yield shard
            shard, size_bytes = [], RECORD
        shard.append(row)
        size_bytes += more
    if shard:
        yield shard


def sample_bytes(row: Row) -> int:
    """Return how many bytes a row takes in a shard."""
    members = {
        f"{row.key}.json": len(_columns(row)),
        f"{row.key}.mp4": row.size_bytes,
        f"{row.key}.txt": len(row.text.encode()),
    }
    return sum(_header_bytes(name, size) + size + -size % BLOCK for name, size in members.items())


def _header_bytes(name: str, size_bytes: int) -> int:
    is_short = len(name) <= NAME_MOST and size_bytes < OLD_SIZE_MOST
    return BLOCK if is_short else len(_header(name, size_bytes))


def _around(row: Row) -> tuple[bytes, bytes]:
    """Return what stands before and after a clip's own bytes."""
    before = _member(f"{row.key}.json", _columns(row)) + _header(f"{row.key}.mp4", row.size_bytes)
    return before, bytes(-row.size_bytes % BLOCK) + _member(f"{row.key}.txt", row.text.encode())


def _columns(row: Row) -> bytes:
    return _encode(dict(row.columns)).encode()


def _member(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def _header(name: str, size_bytes: int) -> bytes:
    """Return a header; a name or a size that is too long for the old format gets a second one before it (POSIX pax).

    Put together here, because `tarfile` takes 18 us for a header, and a clip has three.
    """
    if len(name) > NAME_MOST or size_bytes >= OLD_SIZE_MOST:
        member = tarfile.TarInfo(name)
        member.size = size_bytes
        return member.tobuf(tarfile.PAX_FORMAT)
    named, size = name.encode().ljust(NAME_MOST, b"\0"), b"%011o\0" % size_bytes
    checksum = b"%06o\0 " % (sum(named) + sum(size) + PLAIN_SUM)
    return named + NOTHING[NAME_MOST:SIZE_AT] + size + NOTHING[TIME_AT:SUM_AT] + checksum + NOTHING[TYPE_AT:]


def _shard(build: Build, name: str, rows: Sequence[Row]) -> int:
    """Write one shard, or take the one that an earlier build has finished."""
    path, files = build.part / name, build.files
    with told_as_disk_refused(f"look at {path}"):
        is_there = files.exists(path)
    if is_there:
        size_bytes, sha256 = _read(build, name)
    else:
        size_bytes, sha256 = _write(build, name, rows)
    build.note(name, size_bytes, sha256, clips=len(rows))
    return sum(row.size_bytes for row in rows)


def _read(build: Build, name: str) -> tuple[int, str]:
    digest, path = hashlib.sha256(), build.part / name
    with told_as_disk_refused(f"read {path}"):
        for piece in pieces(build.files, path, name):
            digest.update(piece)
        return build.files.size(path), digest.hexdigest()


def _write(build: Build, name: str, rows: Sequence[Row]) -> tuple[int, str]:
    files = build.files
    with build.unfinished(name) as path:
        descriptor = files.create(path)
        try:
            with closing(_ahead(_gathered(_ended(_content(build, rows))))) as content:
                size_bytes, sha256 = _pour(files, descriptor, chain.from_iterable(content))
        finally:
            files.close(descriptor)
    sync_folder(files, (build.part / name).parent)
    return size_bytes, sha256


def _pour(files: Files, descriptor: int, content: Iterable[bytes]) -> tuple[int, str]:
    """Write content, durable on return, and return its size and its digest.

    A thread makes durable what is written meanwhile, so that at the end there is little left to wait for.
    """
    digest, size_bytes, synced_bytes = hashlib.sha256(), 0, 0
    syncing: Future[None] | None = None
    with ThreadPoolExecutor(1, "sync") as pool:
        for data in content:
            digest.update(data)
            files.write(descriptor, data)
            size_bytes += len(data)
            if size_bytes - synced_bytes >= SYNC_BYTES and (syncing is None or syncing.done()):
                if syncing is not None:
                    syncing.result()
                syncing, synced_bytes = pool.submit(files.fsync, descriptor), size_bytes
        if syncing is not None:
            syncing.result()
    files.fsync(descriptor)
    return size_bytes, digest.hexdigest()


def _ended(content: Iterable[bytes]) -> Iterator[bytes]:
    """Yield content, and after it the zeros that end a tar."""
    size_bytes = 2 * BLOCK
    for piece in content:
        size_bytes += len(piece)
        yield piece
    yield bytes(2 * BLOCK + -size_bytes % RECORD)


def _ahead(batches: Iterator[list[bytes]]) -> Generator[list[bytes], None, None]:
    """Yield what comes, with the next made in a thread meanwhile: clips are read while others are written."""
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _gathered(content: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield pieces in batches that are large enough for handing them to another thread to cost nothing."""
    batch: list[bytes] = []
    size_bytes = 0
    for piece in content:
        batch.append(piece)
        size_bytes += len(piece)
        if size_bytes >= READ_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _content(build: Build, rows: Sequence[Row]) -> Iterator[bytes]:
    """Yield a shard's members, with every clip held against its digest on the way."""
    last = b""
    for row in rows:
        before, after = _around(row)
        yield last + before
        if row.size_bytes <= READ_BYTES:
            yield build.bytes_of(row)
        else:
            yield from _verified(build, row)
        last = after
    yield last


def _verified(build: Build, row: Row) -> Iterator[bytes]:
    """Yield a large clip's bytes a piece at a time. Raises ClipChanged, at the latest after the last of them."""
    digest = hashlib.sha256()
    left = row.size_bytes
    for piece in pieces(build.files, build.batch / row.source, row.source):
        digest.update(piece)
        left -= len(piece)
        yield piece
    if left or digest.hexdigest() != row.sha256:
        raise ClipChanged(row.source)
