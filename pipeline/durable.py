"""The only place where bytes are made durable and names are given to files.

Order is everything here: a name that shows promises that the bytes behind it are whole and would survive a power cut.
Every function takes the `Files` effect and raises `DiskRefused` where the disk says no.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pipeline.errors import DiskRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pipeline.effects import Files

NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP}
"""What file systems without a folder sync (some SMB and FUSE) answer; names there are as durable as they get."""


WAYS_OUT = {
    errno.EACCES: "Give yourself the right to write there, or use another folder.",
    errno.EPERM: "Give yourself the right to write there, or use another folder.",
    errno.ENOTDIR: "A file is where a folder is wanted: move it away, or use another folder.",
    errno.EEXIST: "Something else bears that name: move it away, or use another folder.",
    errno.EROFS: "Mount the disk for writing, or use another folder.",
    errno.ENOSPC: "Free space, then run the same command.",
    errno.EDQUOT: "Your quota is used up: free space, then run the same command.",
    errno.EIO: "The disk is failing: mend or replace it, then run the same command.",
    errno.ENODEV: "The disk is gone: bring it back, then run the same command.",
    errno.ENXIO: "The disk is gone: bring it back, then run the same command.",
    errno.ESTALE: "The server's folder is gone: mount it anew, then run the same command.",
}
"""What the user can do about an error of the disk."""


@contextmanager
def told_as_disk_refused(action: str) -> Iterator[None]:
    """Turn an `OSError` into a sentence that says what could not be done, and what to do about it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        way_out = WAYS_OUT.get(error.errno or 0, "Free space or mend the disk, then run the same command.")
        raise DiskRefused(f"Could not {action}: {reason}. {way_out}") from error


def sync_folder(files: Files, folder: Path) -> None:
    """Make the names in `folder` durable, where the file system can."""
    try:
        files.fsync_folder(folder)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise DiskRefused(f"Could not make the names in {folder} durable: {error.strerror}.") from error


def make_folder(files: Files, folder: Path) -> None:
    """Create `folder` and its parents, each name durable in the folder above it before anything is put below it.

    A folder that is there already may be the last one that a killed process made, and not durable yet; so its name is
    made durable too.
    """
    missing: list[Path] = []
    at = folder
    while not files.exists(at):
        missing.append(at)
        at = at.parent
    with suppress(DiskRefused):  # a folder above it that we may not read is none that we put a name into
        sync_folder(files, at.parent)
    for each in reversed(missing or [folder]):  # one that is there may be a file
        with told_as_disk_refused(f"create the folder {folder}"):
            files.make_folder(each)
        if missing:
            sync_folder(files, each.parent)


def write_atomically(files: Files, target: Path, data: bytes | Iterable[bytes], mode: int = 0o666) -> None:
    """Replace the content of `target` such that a reader sees the old or the new bytes, whole, and never less.

    What is long may come in pieces.
    """
    part = target.with_name(f".{target.name}.part")
    with told_as_disk_refused(f"write {target}"):
        with suppress(FileNotFoundError):
            files.unlink(part)
        write_durably(files, part, data, mode)
        files.replace(part, target)
    sync_folder(files, target.parent)


def write_durably(files: Files, path: Path, data: bytes | Iterable[bytes], mode: int = 0o666) -> None:
    """Write a new file, its bytes durable on return; its name is not. Raises OSError."""
    descriptor = files.create(path, mode)
    try:
        for piece in (data,) if isinstance(data, bytes) else data:
            files.write(descriptor, piece)
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


def publish(files: Files, part: Path, target: Path) -> None:
    """Give the already durable file `part` its final name, make the name durable, and drop the old name.

    Raises:
        FileExistsError: the final name is taken; nothing was changed.
        DiskRefused: the disk said no.
    """
    try:
        files.link(part, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV}:
            raise DiskRefused(f"Could not publish {target}: {error.strerror}.") from error
        # A file system without hard links (exFAT, some SMB). The batch's lock makes us the only writer of the folder.
        if files.exists(target):
            raise FileExistsError(errno.EEXIST, "the name is taken", str(target)) from error
        with told_as_disk_refused(f"publish {target}"):
            files.replace(part, target)
        sync_folder(files, target.parent)
        return
    sync_folder(files, target.parent)
    with told_as_disk_refused(f"remove {part}"):
        files.unlink(part)
