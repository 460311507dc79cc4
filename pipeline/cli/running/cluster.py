"""`--engine` on commands whose work is done in pieces: which cluster the user wants for it."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import InputError

NEEDS_ENGINE = "--address is for --engine ray; without it, this process does the work."


class ClusterWanted(NamedTuple):
    """Which cluster the user asked for."""

    address: str | None
    """None for one of this machine's own."""


def cluster_wanted(engine: str | None, address: str | None) -> ClusterWanted | None:
    """Return which cluster the options ask for; None for this process.

    Raises:
        InputError: an address without an engine.
    """
    if engine is None:
        if address is not None:
            raise InputError(NEEDS_ENGINE)
        return None
    return ClusterWanted(address)
