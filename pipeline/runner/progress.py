"""What a run is doing, for whoever watches: counters that the lanes change and the command reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


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
    """Items that this run is to bring to an end."""
    clips: int = 0
    """Clips of those items."""
    submitted: int = 0
    at_provider: int = 0
    downloaded: int = 0
    """Clips under their final names."""
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
    binding: dict[str, Binding] = field(default_factory=dict)
    """Per provider."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user that are not yet shown."""

    def note(self, sentence: str) -> None:
        """Tell the user something once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
