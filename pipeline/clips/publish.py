"""The last step: a verified part file becomes a clip under its final name, once, whatever happened before.

Paths, digests and sizes come in; what became of the names comes out as a `Settled`. What always holds: a final name is
never overwritten, never bears less than a whole clip, and is durable before the part's name goes. All of it blocks, and
is meant to run in threads.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.durable import publish, sync_folder, told_as_disk_refused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from pipeline.effects import Files

READ_BYTES = 1 << 20

PART_NAME = re.compile(
    r"\.[A-Za-z0-9][A-Za-z0-9_-]{0,99}(?:__r[1-9][0-9]*)?\.(?:0|[1-9][0-9]*)\.(?P<epoch>0|[1-9][0-9]*)\.part"
)
"""As `BatchFolder.part_name` makes them: item and revision, index, epoch."""


class Settled(StrEnum):
    """What became of a stored clip's names."""

    PUBLISHED = "published"
    """The part was given its final name."""
    ADOPTED = "adopted"
    """The final name already bore the same bytes."""
    MISSING = "missing"
    """No file holds the bytes any more; the clip must be fetched again."""
    TAKEN = "taken"
    """The final name is borne by something that is not ours. It was left alone, and the part was kept."""


def publish_clip(files: Files, part: Path, final: Path, sha256: str, size_bytes: int) -> Settled:
    """Give a durable, verified part file its final name, and make that name durable.

    Calling it again after any failure or crash is safe.

    Raises:
        DiskRefused: the disk said no; nothing is lost, and the same call can be made again.
    """
    if not _exists(files, part):
        return _adopt(files, final, sha256, size_bytes) or Settled.MISSING
    try:
        publish(files, part, final)
    except FileExistsError:
        adopted = _adopt(files, final, sha256, size_bytes)
        if adopted is None:
            return Settled.TAKEN
        _remove(files, part)
        return adopted
    return Settled.PUBLISHED


def settle_stored(files: Files, part: Path, final: Path, sha256: str, size_bytes: int) -> Settled:
    """Finish, at the start of a run, what an earlier run began for a clip in the state `stored`.

    A part file with the right bytes is published, one with wrong bytes is removed; without a part, a final file with
    the right bytes is adopted. MISSING means that neither has them.

    Raises:
        DiskRefused: the disk said no; nothing is lost, and the same call can be made again.
    """
    if _exists(files, part) and not verify_file(files, part, sha256, size_bytes):
        _remove(files, part)
    return publish_clip(files, part, final, sha256, size_bytes)


def digest(files: Files, path: Path) -> str:
    """Return a file's SHA-256 as 64 hex digits, reading a piece at a time.

    Raises:
        DiskRefused: the file is missing or cannot be read.
    """
    total = hashlib.sha256()
    with told_as_disk_refused(f"read {path}"):
        for piece in _pieces(files, path):
            total.update(piece)
    return total.hexdigest()


def verify_file(files: Files, path: Path, sha256: str, size_bytes: int) -> bool:
    """Tell whether `path` is a regular file of this size and digest. A missing file, a folder or a link is not.

    Raises:
        DiskRefused: the file is there and cannot be read.
    """
    with told_as_disk_refused(f"look at {path}"):
        if _regular_size(files, path) != size_bytes:
            return False
    return digest(files, path) == sha256


def sweep_parts(files: Files, folder: Path, epochs: Collection[int], *, keep: Collection[str]) -> tuple[str, ...]:
    """Remove the part files that earlier runs left in `folder`, and return their names.

    Args:
        files: the file system.
        folder: where the clips lie; it need not exist.
        epochs: those of the runs at work, whose parts stay.
        keep: names of parts that stay too: those of clips that are `stored` and not yet settled.

    Raises:
        DiskRefused: the disk said no.
    """
    swept: list[str] = []
    with told_as_disk_refused(f"sweep old part files out of {folder}"):
        if not files.exists(folder):
            return ()
        for name in files.names(folder):
            match = PART_NAME.fullmatch(name)
            if match is None or int(match["epoch"]) in epochs or name in keep:
                continue
            if _regular_size(files, folder / name) is not None:
                files.unlink(folder / name)
                swept.append(name)
    return tuple(swept)


def _adopt(files: Files, final: Path, sha256: str, size_bytes: int) -> Settled | None:
    """Take a final file that already has the right bytes; its name may not be durable yet."""
    if not verify_file(files, final, sha256, size_bytes):
        return None
    sync_folder(files, final.parent)
    return Settled.ADOPTED


def _remove(files: Files, path: Path) -> None:
    with told_as_disk_refused(f"remove {path}"), suppress(FileNotFoundError):
        files.unlink(path)


def _exists(files: Files, path: Path) -> bool:
    with told_as_disk_refused(f"look at {path}"):
        return files.exists(path)


def _regular_size(files: Files, path: Path) -> int | None:
    """Return the size of a regular file; None for anything else, nothing included."""
    try:
        return files.size(path)
    except FileNotFoundError:
        return None


def _pieces(files: Files, path: Path) -> Iterator[bytes]:
    offset = 0
    while piece := files.read(path, offset, READ_BYTES):
        yield piece
        offset += len(piece)
