"""The batch's folder is tried before anything is sent: can bytes be made durable there, names given, a lock held?

What fails here would fail in the middle of the batch, when something is paid for. What works but promises less than a
local disk does (a network's file system, a folder whose names cannot be synced) is said, and not forbidden.
"""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.durable import NO_FOLDER_SYNC, publish, told_as_disk_refused, write_durably
from pipeline.errors import DiskRefused, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.effects import Effects, Files
    from pipeline.paths import BatchFolder

LOCAL = {"apfs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfs", "jfs", "ntfs3", "overlay", "ramfs"}
LOCAL |= {"tmpfs", "vfat", "xfs", "zfs"}
"""File systems of one machine, whose locks are its kernel's."""
NETWORK = {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"}
"""Those of many machines; so may be what is served by a program (`fuse.sshfs`)."""
NOT_OURS_TO_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.ELOOP}
TRIED = b"This file tells whether clips can be kept here; it may be deleted.\n"


@contextmanager
def told_before_anything_is_sent() -> Iterator[None]:
    """Turn the refusal of a folder that cannot be the user's intention into bad input; other refusals pass.

    Raises:
        InputError: the folder cannot be written to by this user.
    """
    try:
        yield
    except DiskRefused as refused:
        cause = refused.__cause__
        if isinstance(cause, OSError) and cause.errno in NOT_OURS_TO_WRITE:
            raise InputError(f"{refused} Nothing was sent.") from cause
        raise


def try_folder(folder: BatchFolder, effects: Effects, worker: str = "") -> list[str]:
    """Try the folder of a batch; the caller holds its lock, or is one of several workers without one.

    Args:
        folder: the batch's.
        effects: what it is tried with.
        worker: tells this one from others that may try the folder at the same moment; empty where the lock is held.

    Returns:
        What the user should know of it, in sentences.

    Raises:
        InputError: a second process would not be kept out by the lock.
        DiskRefused: a file cannot be written, made durable, named or removed there.
    """
    kind = file_system_of(folder.root, effects.mounts())
    if worker:
        return _try_files(folder.root, effects.files, f".trial-{worker}")
    if kind not in LOCAL and not effects.locks.is_seen(folder.lock):
        raise InputError(
            f"A lock in {folder.root} does not keep a second process out ({kind or 'its file system'}), so two runs "
            "could pay for the same clips. Use a folder on a local disk with -o DIR."
        )
    sentences = []
    if kind in NETWORK or kind.startswith("fuse."):
        sentences.append(
            f"{folder.root} lies on a network or user-space file system ({kind}): run this batch from one machine "
            "only. A local disk keeps its promises better."
        )
    return [*sentences, *_try_files(folder.root, effects.files, ".trial")]


def _try_files(root: Path, files: Files, called: str) -> list[str]:
    part, name = root / f"{called}.part", root / called
    with told_as_disk_refused(f"keep files in {root}"):
        for left_by_a_crash in (part, name):
            with suppress(FileNotFoundError):
                files.unlink(left_by_a_crash)
        write_durably(files, part, TRIED)
        publish(files, part, name)
        if files.read(name) != TRIED:
            raise OSError(errno.EIO, "a file does not hold what was written into it")
        files.unlink(name)
        try:
            files.fsync_folder(root)
        except OSError as error:
            if error.errno not in NO_FOLDER_SYNC:
                raise
            return [f"Names in {root} cannot be made durable: after a power cut, look with: clipmill check {root}"]
    return []


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that a path lies on, by lines of /proc/mounts; empty where unknown."""
    at = path.absolute().resolve()
    found, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
        if at.is_relative_to(point) and len(point.parts) >= depth:  # of two at one place, the later hides the other
            found, depth = fields[2], len(point.parts)
    return found
