"""The page's words: what the states are called there, how figures are written, and what to do about what went wrong."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.jobs.state import IN_DOUBT, LIVE, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Standing(StrEnum):
    """How an item stands, as far as whoever looks at the page cares."""

    DONE = "done"
    WORKING = "working"
    DOUBT = "doubt"
    FAILED = "failed"
    PLANNED = "planned"


STANDING_SAYS: Mapping[Standing, str] = {
    Standing.DONE: "Done",
    Standing.WORKING: "At the provider",
    Standing.DOUBT: "In doubt",
    Standing.FAILED: "Ended without a clip",
    Standing.PLANNED: "Planned",
}
STATE_LABELS: Mapping[State, str] = {
    State.PLANNED: "Planned",
    State.SUBMITTING: "Being submitted",
    State.SUBMITTED: "At the provider",
    State.CLAIMING: "Being asked for",
    State.CLAIMED: "Being downloaded",
    State.DONE: "Done",
    State.SUBMIT_IN_DOUBT: "Submit in doubt",
    State.CLAIM_IN_DOUBT: "Result in doubt",
    State.REJECTED: "Rejected",
    State.FAILED: "Failed",
    State.LOST: "Lost",
    State.ABANDONED: "Given up",
}
REASONS: Mapping[str, str] = {
    "submit_unanswered": "The submit's answer was lost",
    "claim_unanswered": "The result's answer was lost",
    "interrupted": "A call that bills was cut short",
    "history_lost": "The ledger was restored from a copy",
    "billed_without_clip": "Billed, and no clip came",
    "clip_gone": "The clip is no longer at the provider",
    "gone": "The job is no longer at the provider",
    "server_error": "The provider's own error",
    "abandoned": "Given up by you",
    "withdrawn": "Taken out of the manifest",
    "failed": "The provider made no clip",
    "not_the_api": "The answer was not the provider's",
}
"""Kinds of our own; a vendor's are shown as it wrote them."""
VAGUE = frozenset({"failed", "bad_request", "BAD_REQUEST", "invalid_request", "inference_failed"})
"""Kinds that do not tell what their message does."""
ABOUT_CONTENT = re.compile(r"content|policy|safety|moderat|sensitive|prohibited|nsfw|\brai\b", re.IGNORECASE)
NAMED_MOST = 12
"""Items that a command names; more, and it says --all."""


def standing_of(state: State) -> Standing:
    """Return the standing that a state belongs to."""
    if state in IN_DOUBT:
        return Standing.DOUBT
    if state in LIVE:
        return Standing.WORKING
    return {State.DONE: Standing.DONE, State.PLANNED: Standing.PLANNED}.get(state, Standing.FAILED)


def is_about_content(kind: str, message: str) -> bool:
    """Tell whether a vendor seems to object to what the clip is to show."""
    return ABOUT_CONTENT.search(f"{kind} {message}") is not None


def reason(kind: str, message: str) -> str:
    """Return a failure's kind as people read it: `content_policy_violation` is a content policy violation."""
    if kind in VAGUE and is_about_content(kind, message):
        return "Refused for its content"
    if kind in REASONS:
        return REASONS[kind]
    text = re.sub(r"[_\s]+", " ", kind).strip()
    text = text.lower() if text.isupper() else text
    return text[:1].upper() + text[1:] or "No reason was given"


def advice(state: State, kind: str, message: str, folder: str, ids: Sequence[str]) -> tuple[str, str]:
    """Say what to do about items that stand in `state` for the same reason.

    Returns:
        A sentence, and the command that it speaks of.
    """
    retry = shlex.join(["clipmill", "retry", folder, *(ids if len(ids) <= NAMED_MOST else ["--all"])])
    if state in IN_DOUBT:
        return (
            "It may have been paid for, and nobody can tell from here. Look for a charge on the provider's bill: this "
            "lists between which moments, and the ways to settle it.",
            shlex.join(["clipmill", "resolve", folder]),
        )
    if state is State.LOST:
        return "It was paid for, and the provider no longer has it. A new attempt is paid for again.", retry
    if state is State.ABANDONED:
        return "If you want it after all, a new attempt is bought like any other item.", retry
    if is_about_content(kind, message):
        return (
            "The same words will most likely be refused again: reword them in the manifest, then run it with the "
            "change taken.",
            "clipmill run MANIFEST --on-change new",
        )
    if state is State.REJECTED:
        return (
            "Change what the message names in the manifest, then run it with the change taken.",
            "clipmill run MANIFEST --on-change new",
        )
    return "Such failures often pass. A new attempt is told its price before anything is sent.", retry


def usd(amount: float) -> str:
    """Return dollars, to the cent, or finer where they are less than one."""
    return f"${amount:,.2f}" if round(amount, 4) == 0 or amount >= 0.01 else f"${amount:.4f}"


def seconds(amount: float) -> str:
    """Return a length of time: 0.4 s, 48 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if amount < 9.95:
        return f"{amount:.1f}".removesuffix(".0") + " s"
    whole = round(amount)
    for size, name, below, rest_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name}" + (f" {rest} {rest_name}" if rest else "")
    return f"{whole} s"


def size(size_bytes: int) -> str:
    """Return a size: 310 kB, 4.2 MB, 1.3 GB."""
    for power, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= power:
            amount = size_bytes / power
            return f"{amount:.1f} {name}" if amount < 10 else f"{amount:,.0f} {name}"
    return f"{size_bytes} bytes"


def count(number: int, thing: str) -> str:
    """Return a number with its noun: 1 clip, 1,200 clips."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
