"""What a run is doing, for whoever watches: counters that the lanes change and the command reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Binding(StrEnum):
    """What the run is waiting for: the limit that binds."""

    NOTHING = "nothing"
    SUBMIT_RATE = "submits a minute"
    LOOK_RATE = "looks a minute"
    IN_FLIGHT = "jobs in flight"
    BILLING_CALLS = "billing calls at once"
    DOWNLOADS = "downloads at once"
    VENDOR = "the provider's work"
    THROTTLED = "a pause the provider asked for"


@dataclass
class Progress:
    """The counters of one run. Only the lanes write them, on the event loop's thread."""

    items: int = 0
    """Items that this run is to bring to an end, or that have come to theirs."""
    submitted: int = 0
    at_provider: int = 0
    downloaded: int = 0
    """Clips under their final names."""
    uploaded: int = 0
    """Clips of which the store has a copy since this run."""
    done: int = 0
    failed: int = 0
    in_doubt: int = 0
    spent_usd: float = 0.0
    """Spent, reserved and in doubt, over the whole batch."""
    undelivered: int = 0
    """Clips that were paid for in this run and cannot be had."""
    looks: int = 0
    found: int = 0
    """Jobs that a look found finished."""
    unseen_s: float = 0.0
    """For how long they had been finished by then, in expectation, all together."""
    throttled: int = 0
    remaining_s: dict[str, float | None] = field(default_factory=dict)
    """Per provider: about how long it will take; None while nobody knows."""
    binding: dict[str, Binding] = field(default_factory=dict)
    """Per provider."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user that are not yet shown."""

    @property
    def looks_a_clip(self) -> float | None:
        """How many looks a finished job took; None before the first."""
        return self.looks / self.found if self.found else None

    @property
    def lag_s(self) -> float | None:
        """For how long finished jobs stayed unseen, in expectation; None before the first."""
        return self.unseen_s / self.found if self.found else None

    @property
    def finishes_in_s(self) -> float | None:
        """About how long the slowest provider will take; None while nobody knows."""
        known = [seconds for seconds in self.remaining_s.values() if seconds is not None]
        return max(known, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return what other processes may want to show, as plain JSON."""
        return {
            "looks_a_clip": self.looks_a_clip,
            "lag_s": self.lag_s,
            "finishes_in_s": self.finishes_in_s,
            "waiting_for": sorted({each.value for each in self.binding.values() if each is not Binding.NOTHING}),
        }

    def note(self, sentence: str) -> None:
        """Tell the user something once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
