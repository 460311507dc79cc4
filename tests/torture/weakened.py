"""`clipmill` with one of its protections taken away: what a torture must notice, or it proves nothing.

    CLIPMILL_WEAKNESS=no-fsync python -m tests.torture.weakened run manifest.yaml ...

Only this module knows the variable. A weakness that finds nothing to take away is an error, not a healthy command.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.cli.main import main
from pipeline.ledger import database
from pipeline.system.files import SystemFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VARIABLE = "CLIPMILL_WEAKNESS"
SYNCHRONOUS = "PRAGMA synchronous = EXTRA"


def sync_no_file() -> None:
    """Leave every file's bytes to the operating system; the ledger's are SQLite's affair and stay synced."""

    def fsync(self: SystemFiles, descriptor: int) -> None:
        os.fstat(descriptor)

    SystemFiles.fsync = fsync  # type: ignore[method-assign]  # that is what a weakness is


def sync_no_folder() -> None:
    """Leave every name to the operating system; SQLite still syncs the ledger's own folder."""

    def fsync_folder(self: SystemFiles, path: Path) -> None:
        path.stat()

    SystemFiles.fsync_folder = fsync_folder  # type: ignore[method-assign]  # that is what a weakness is


def synchronous(level: str) -> Callable[[], None]:
    """Return what weakens SQLite's commits to a lower level."""

    def weaken() -> None:
        place = database.WRITER_PRAGMAS.index(SYNCHRONOUS)
        pragmas = list(database.WRITER_PRAGMAS)
        pragmas[place] = f"PRAGMA synchronous = {level}"
        database.WRITER_PRAGMAS = tuple(pragmas)  # type: ignore[assignment]  # as many as before

    return weaken


WEAKNESSES: dict[str, Callable[[], None]] = {
    "no-fsync": sync_no_file,
    "no-folder-sync": sync_no_folder,
    "synchronous-off": synchronous("OFF"),
    "synchronous-full": synchronous("FULL"),
}


if __name__ == "__main__":
    WEAKNESSES[os.environ[VARIABLE]]()
    main()
