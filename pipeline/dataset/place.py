"""Where an export lies: its destination, the folder it is built in, and what of an earlier one is there.

Nothing of the user's is overwritten: a destination that is not an export of ours, or one in which something was changed
or added, is refused. An export that is replaced is put aside first and removed last, so that after a power cut the one
or the other is there whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.clips.publish import verify_file
from pipeline.dataset.folders import INDEX, JUNK, clear, tree
from pipeline.durable import make_folder, sync_folder, told_as_disk_refused
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.effects import Files

MARK = "clipmill_export"
"""The key of the index that makes a folder an export of ours; its value is the version of the index."""
SHOWN_MOST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The names of one export, all in one folder."""

    dest: Path
    part: Path
    """Where it is built."""
    aside: Path
    """Where the export lies that it replaces, until that is removed."""

    @classmethod
    def of(cls, dest: Path, batch_uuid: str) -> Place:
        """Return the names for a destination; two batches never build in the same folder."""
        tag = batch_uuid[:8]
        return cls(
            dest=dest,
            part=dest.with_name(f".{dest.name}.{tag}.part"),
            aside=dest.with_name(f".{dest.name}.{tag}.old"),
        )


def earlier_export(files: Files, place: Place) -> Mapping[str, Any] | None:
    """Return the index of the export that lies at the destination; None where nothing does.

    What a run that was cut short had put aside is put back, or removed where its successor is in place.

    Raises:
        InputError: something else lies there, or the export was changed since. DiskRefused: the disk said no.
    """
    make_folder(files, place.dest.parent)
    with told_as_disk_refused(f"look at {place.dest}"):
        is_there = files.exists(place.dest)
        if files.exists(place.aside):
            if is_there:
                clear(files, place.aside)
            else:
                files.replace(place.aside, place.dest)
                sync_folder(files, place.dest.parent)
                is_there = True
    if not is_there:
        return None
    with told_as_disk_refused(f"look at {place.dest}"):
        try:
            names = set(files.names(place.dest)) - JUNK
        except NotADirectoryError:
            raise InputError(f"{place.dest} is no folder. Name another --dest.") from None
    if not names:
        return None
    index = _index(files, place.dest)
    if index is None:
        raise InputError(f"{place.dest} holds something that no export has put there. Name another --dest.")
    changed = list(_changed(files, place.dest, index))
    if changed:
        more = f" and {len(changed) - SHOWN_MOST} more" if len(changed) > SHOWN_MOST else ""
        raise InputError(
            f"{place.dest} was changed since it was exported ({', '.join(changed[:SHOWN_MOST])}{more}). Move it away "
            "to keep that, or name another --dest."
        )
    return index


def put_in_place(files: Files, place: Place, *, replacing: bool) -> None:
    """Give a finished build its name. `replacing` says that an export of ours lies there.

    Raises:
        InputError: something else lies there by now. DiskRefused: the disk said no.
    """
    with told_as_disk_refused(f"put {place.dest} in place"):
        sync_folder(files, place.part)
        if replacing:
            files.replace(place.dest, place.aside)
        elif files.exists(place.dest):
            for name in JUNK & set(files.names(place.dest)):
                files.unlink(place.dest / name)
        files.replace(place.part, place.dest)
        sync_folder(files, place.dest.parent)
    if replacing:
        clear(files, place.aside)


def _index(files: Files, dest: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(files.read(dest / INDEX))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and MARK in found else None


def _changed(files: Files, dest: Path, index: Mapping[str, Any]) -> list[str]:
    """Return the names of files that were changed, added or taken away."""
    with told_as_disk_refused(f"read {dest}"):
        there = {name for name in tree(files, dest) if name.rpartition("/")[2] not in JUNK} - {INDEX}
        ours = {each["name"]: each for each in index["files"]}
        odd = sorted(there ^ ours.keys())
        return odd + [
            name
            for name, each in ours.items()
            if name in there and not verify_file(files, dest / name, each["sha256"], each["bytes"])
        ]
