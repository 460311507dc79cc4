"""The high-water mark: how far each ledger of this user had come, kept outside the batch's folder.

A ledger that was restored from a backup, a checkout or a synchronised copy looks sound and has forgotten what was
bought since. Its last event is then older than the mark, and running it could pay twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.durable import make_folder, write_atomically
from pipeline.errors import DiskRefused, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.effects import Files


def refuse_restored(folder: Path, ledger_id: str, last_event: int, root: Path, files: Files) -> None:
    """Stop where a ledger is older than its mark.

    Raises:
        InputError: it is; the text says how to go on.
    """
    marked = _read(folder / ledger_id, files)
    if last_event < marked:
        raise InputError(
            f"The ledger of {root} is older than it was: it ends at event {last_event}, and this user's runs had "
            f"brought it to event {marked}. It was restored from a copy, and what was bought since is not in it. "
            f"Put the newer ledger back; or accept the loss with: clipmill check {root} --repair  "
            f"which holds every item in doubt that may have been bought since."
        )


def write_mark(folder: Path, ledger_id: str, last_event: int, files: Files) -> None:
    """Move the mark. A mark that cannot be written is no reason to stop: it only warns less well next time."""
    try:
        make_folder(files, folder)
        write_atomically(files, folder / ledger_id, str(last_event).encode())
    except DiskRefused:
        return


def _read(path: Path, files: Files) -> int:
    try:
        return int(files.read(path))
    except (OSError, ValueError):
        return 0
