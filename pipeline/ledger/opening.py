"""Which ledger a batch has, and how it is opened: its own SQLite file, or the one that several workers share.

The path of the SQLite file stands for the batch's ledger everywhere; a file beside it tells where it is kept instead.
Nothing of PostgreSQL is imported for a batch that does not name it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.ledger import database as sqlite
from pipeline.ledger.postgres.address import address_beside
from pipeline.ledger.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from pipeline.effects import Effects
    from pipeline.ledger.interface import Database

LEASE_S = 30.0
"""How long a worker may be silent before the others take over from it."""


def open_reader(path: Path, effects: Effects) -> Database:
    """Connect to a batch's ledger for short reads, beside whoever writes.

    Raises:
        InputError: there is none, or none of ours. ConnectionLost: its server cannot be reached.
    """
    address = address_beside(path, effects.files)
    if address is None:
        return sqlite.open_reader(path, effects)
    from pipeline.ledger.postgres.layout import open_reader

    return open_reader(address, effects)


def begin(
    path: Path, effects: Effects, about: Mapping[str, Any], tell: Callable[[str], None], lease_s: float = LEASE_S
) -> Writer:
    """Open a batch's ledger for writing, creating it where there is none, and begin an epoch.

    Raises:
        InputError: not a ledger of ours. DiskRefused: the disk or the server said no.
    """
    address = address_beside(path, effects.files)
    if address is None:
        return Writer.begin(path, effects, about, tell)
    from pipeline.ledger.postgres.writer import SharedWriter

    return SharedWriter.join(path, address, effects, about, tell, lease_s)
