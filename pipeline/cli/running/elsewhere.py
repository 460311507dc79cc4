"""Which folders a manifest was run into, so that a second one is not bought for without a word.

A manifest may well be run twice, into two folders: then everything is bought twice, and neither ledger knows of the
other. What this user ran on this machine is remembered outside both, by the manifest's path.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.paths import BatchFolder

if TYPE_CHECKING:
    from pipeline.effects import Shelf

REMEMBERED_MOST = 50


def note_folder(manifest: Path, root: Path, shelf: Shelf) -> list[Path]:
    """Remember that a manifest is run into a folder.

    Returns:
        The other folders that it was run into and that still hold a ledger, the latest first.
    """
    here = str(root.resolve())
    found: list[str] = []

    def note(record: dict[str, Any]) -> dict[str, Any]:
        folders = record.get("folders")
        known = [each for each in folders if isinstance(each, str)] if isinstance(folders, list) else []
        found.extend(each for each in known if each != here)
        return {"manifest": str(manifest.resolve()), "folders": [here, *found][:REMEMBERED_MOST]}

    shelf.update(blake2b(str(manifest.resolve()).encode(), digest_size=16).hexdigest(), note)
    return [Path(each) for each in found if BatchFolder(Path(each)).has_ledger()]
