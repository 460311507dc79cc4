"""WebDataset: tar shards of each split, three members a clip: `<key>.json`, `<key>.mp4`, `<key>.txt`.

The same rows make the same bytes: members stand in the order of the rows and bear no time, no owner and no name of a
machine. Shards are numbered without gaps. A shard has its name only when it is whole and durable, so that a build that
was cut short goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from pipeline.dataset.build import READ_BYTES, Build, ClipChanged, Options, Work, pieces
from pipeline.durable import sync_folder, told_as_disk_refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.dataset.rows import Row, Selection

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


def work(build: Build, selection: Selection, options: Options) -> Iterator[Work]:
    """Yield the pieces of work that make the export, all but its card and its index."""
    for split, rows in selection.splits.items():
        build.folder(split)
        for number, shard in enumerate(shards(rows, options)):
            yield partial(_shard, build, f"{split}/clips-{number:06}.tar", shard)


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
    return json.dumps(dict(row.columns), ensure_ascii=False).encode()


def _member(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def _header(name: str, size_bytes: int) -> bytes:
    """Return a header; a name or a size that is too long for the old format gets a second one before it (POSIX pax)."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o644
    is_short = len(name) <= NAME_MOST and size_bytes < OLD_SIZE_MOST
    return member.tobuf(tarfile.USTAR_FORMAT if is_short else tarfile.PAX_FORMAT)


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
    path, files = build.part / name, build.files
    part = path.with_name(f".{path.name}")
    digest = hashlib.sha256()
    size_bytes = 0
    with told_as_disk_refused(f"write {path}"):
        with suppress(FileNotFoundError):
            files.unlink(part)
        descriptor = files.create(part)
        try:
            for data in _content(build, rows):
                digest.update(data)
                files.write(descriptor, data)
                size_bytes += len(data)
            end = bytes(2 * BLOCK + -(size_bytes + 2 * BLOCK) % RECORD)
            digest.update(end)
            files.write(descriptor, end)
            files.fsync(descriptor)
        finally:
            files.close(descriptor)
        files.replace(part, path)
    sync_folder(files, path.parent)
    return size_bytes + len(end), digest.hexdigest()


def _content(build: Build, rows: Sequence[Row]) -> Iterator[bytes]:
    """Yield a shard's bytes but for its end, with every clip held against its digest on the way."""
    for row in rows:
        before, after = _around(row)
        yield before
        if row.size_bytes <= READ_BYTES:
            yield build.bytes_of(row)
        else:
            digest = hashlib.sha256()
            left = row.size_bytes
            for piece in pieces(build.files, build.batch / row.source, row.source):
                digest.update(piece)
                left -= len(piece)
                yield piece
            if left or digest.hexdigest() != row.sha256:
                raise ClipChanged(row.source)
        yield after
