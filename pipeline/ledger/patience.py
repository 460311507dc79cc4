"""Waiting for a stranger who holds the ledger's file: a backup, somebody's `sqlite3`, a program that copies folders.

SQLite waits `BUSY_TIMEOUT_S` at each try. After the first the user is told, in one line; who it is cannot be known.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, TypeVar

from pipeline.ledger.database import BUSY_TIMEOUT_S, LedgerHeld, told_as_our_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

TRIES = 10
"""Where nothing is lost by giving up, about half a minute is enough."""


def patiently(path: Path, tell: Callable[[str], None], work: Callable[[], T], tries: int | None = None) -> T:
    """Do work on the database again and again, for as long as a stranger holds its file.

    Args:
        path: the ledger's.
        tell: given a sentence for the user, once.
        work: what needs the file; done again as a whole.
        tries: how often at the most; None for no end.

    Raises:
        LedgerHeld: it was held at every try. Otherwise as `told_as_our_errors`.
    """
    for number in count(1):
        try:
            with told_as_our_errors(path):
                return work()
        except LedgerHeld:
            if number == tries:
                raise
        if number == 1:
            tell(
                f"Another program has held {path} for {BUSY_TIMEOUT_S} s (a backup? a sqlite3 that is open?). "
                "Nothing more is begun until it lets go."
            )
    raise AssertionError("numbers do not end")
