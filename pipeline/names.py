"""Which names there are, and when each first came: a million in 40 MB, where a dictionary takes 200.

What is kept of a name is its digest of 128 bits; two names that share one are not to be feared.
"""

from __future__ import annotations

import struct
from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOTS_LEAST: Final = 64
_halves = struct.Struct("QQ").unpack


class Names:
    """An insertion-ordered set of texts that tells the number of each.

    The mutable state is a table of slots, at most half of them taken, that lead to digests in the order of their
    coming.
    """

    __slots__ = ("_highs", "_lows", "_slots")

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Take in the first names."""
        self._slots = array("I", bytes(4 * SLOTS_LEAST))
        """Numbers from 1 on; 0 for none."""
        self._lows = array("Q")
        self._highs = array("Q")
        for name in names:
            self.add(name)

    def add(self, name: str) -> int:
        """Take in a name; return its number: how many others had come before it first came."""
        low, high = _halves(blake2b(name.encode(), digest_size=16).digest())
        slot = self._slot(low, high)
        number = self._slots[slot]
        if number:
            return number - 1
        self._lows.append(low)
        self._highs.append(high)
        self._slots[slot] = count = len(self._lows)
        if 2 * count > len(self._slots):
            self._grow()
        return count - 1

    def __contains__(self, name: object) -> bool:
        """Whether a name has come."""
        if not isinstance(name, str):
            return False
        return self._slots[self._slot(*_halves(blake2b(name.encode(), digest_size=16).digest()))] != 0

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._lows)

    def _slot(self, low: int, high: int) -> int:
        """Return the slot that a digest has, or would have."""
        slots, lows = self._slots, self._lows
        mask = len(slots) - 1
        at = low & mask
        while (number := slots[at]) and (lows[number - 1] != low or self._highs[number - 1] != high):
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        slots = array("I", bytes(4 * 4 * len(self._slots)))
        mask = len(slots) - 1
        for number, low in enumerate(self._lows, start=1):
            at = low & mask
            while slots[at]:
                at = (at + 1) & mask
            slots[at] = number
        self._slots = slots
