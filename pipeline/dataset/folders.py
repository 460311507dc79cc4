"""The folders of exports: what they are known by, what is in them, and how they are emptied."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from pipeline.durable import told_as_disk_refused
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.effects import Files

INDEX: Final = "index.json"
"""What tells an export of ours from anything else, and what it holds; written last."""
PLAN: Final = ".plan"
"""What tells a folder in which a build was cut short, and which one it was."""
STAGE, SWEPT = ".unfinished-", ".swept"
"""How the names of folders of unfinished files begin, and what one is called while it is removed."""
JUNK: Final = frozenset({".DS_Store"})
"""What a system leaves behind in folders that somebody looked into."""


def is_same_file(one: Path, other: Path) -> bool:
    """Tell whether two names are of one file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def tree(files: Files, folder: Path, prefix: str = "") -> Iterator[str]:
    """Yield the name of everything below a folder that is no folder itself, relative to it, with slashes.

    Raises:
        OSError: a folder cannot be read.
    """
    for name in files.names(folder):
        if stat.S_ISDIR((folder / name).lstat().st_mode):
            yield from tree(files, folder / name, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}"


def clear(files: Files, folder: Path) -> None:
    """Remove a folder of ours and all that is below it.

    Raises:
        DiskRefused: the disk said no.
    """
    with told_as_disk_refused(f"remove {folder}"):
        for name in sorted(files.names(folder), key=PLAN.__eq__):  # what tells that it is ours goes last
            path = folder / name
            if stat.S_ISDIR(path.lstat().st_mode):
                clear(files, path)
            else:
                files.unlink(path)
        folder.rmdir()


def sweep(files: Files, part: Path) -> None:
    """Take every folder of unfinished files away from whoever may still write there, and remove it.

    Raises:
        DiskRefused: the disk said no.
    """
    swept = part / SWEPT
    with told_as_disk_refused(f"remove what is unfinished in {part}"):
        for name in files.names(part):
            if name == SWEPT:
                clear(files, swept)
            elif name.startswith(STAGE):
                files.replace(part / name, swept)  # at once: nobody finds a file there by its old name
                clear(files, swept)


def is_ours(files: Files, part: Path, plan: str) -> bool:
    """Tell whether a folder is one in which this very build was cut short.

    Raises:
        InputError: it is nothing that a build of ours has left. DiskRefused: the disk said no.
    """
    marker = part / PLAN
    with told_as_disk_refused(f"look at {part}"):
        if not stat.S_ISDIR(part.lstat().st_mode):
            raise InputError(f"{part} is in the way: move it away.")
        if files.exists(marker):
            return files.read(marker).decode(errors="replace") == plan
        names = set(files.names(part)) - JUNK
        if names and INDEX not in names:
            raise InputError(f"{part} holds something that no export has put there: move it away.")
        return not names
