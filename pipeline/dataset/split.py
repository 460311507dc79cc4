"""Train, validation and test: shared out by the item's id alone, so that a batch that grows moves nothing.

An item's place is the digest of its id, read as a number from 0 to 1. All clips of an item are in one split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from pipeline.errors import InputError

SPLITS: Final = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = SPLITS
SHARES: Final = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """How much of the items each split gets, of 1; the rest is for training."""

    validation: float = 0.0
    test: float = 0.0

    def split_of(self, item_id: str) -> str:
        """Return the split of an item."""
        place = int.from_bytes(sha256(item_id.encode()).digest()[:8]) / (1 << 64)
        if place < self.test:
            return TEST
        return VALIDATION if place < self.test + self.validation else TRAIN

    @classmethod
    def parse(cls, text: str) -> Shares:
        """Read shares in percent: `90/5/5` is train, validation, test.

        Raises:
            InputError: it is not three numbers that add up to 100.
        """
        match = SHARES.fullmatch(text.strip())
        parts = [float(part) for part in match.groups()] if match else []
        if not parts or abs(sum(parts) - 100) > 1e-6:
            raise InputError(
                f"--split {text!r} is not three shares in percent that add up to 100; say for example 90/5/5 for 90 % "
                "of the items to train, 5 % to validate and 5 % to test with."
            )
        return cls(validation=parts[1] / 100, test=parts[2] / 100)


ALL_TRAIN: Final = Shares()
