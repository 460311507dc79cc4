"""What kind of trouble an item is in, and what its user can do about it.

Six classes cover all that a vendor can answer. Three end or hold an item (`ITEM`, `MODEL`, `AMBIGUOUS`), one costs
money without a clip (`PAID_AND_LOST`), and two seldom end one: a `PROVIDER` that refuses the account pauses the batch,
and what is `TRANSIENT` is tried again, until an item alone is given up for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.jobs.state import IN_DOUBT, State
from pipeline.providers.answers import Billing, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.jobs.job import Job


class Trouble(StrEnum):
    """The class of what went wrong."""

    ITEM = "item"
    """Something in this item: its prompt, its parameters, its inputs, or what came of them."""
    MODEL = "model"
    """The model: unknown, retired, or not for this account or region."""
    PROVIDER = "provider"
    """The account at the vendor: its key, its money, its rights."""
    TRANSIENT = "transient"
    """The vendor or the network did not work for a while; it cost nothing."""
    AMBIGUOUS = "ambiguous"
    """A call that can bill was sent, and nobody knows what became of it."""
    PAID_AND_LOST = "paid-and-lost"
    """It was paid for, and its clip is not to be had."""


WHAT_TO_DO: Mapping[Trouble, str] = {
    Trouble.ITEM: "Change what the message names and run with --on-change new, or try it once more as it is with "
    "clipmill retry.",
    Trouble.MODEL: "Choose another model (clipmill models lists them) and run with --on-change new, or try this one "
    "later with clipmill retry.",
    Trouble.PROVIDER: "Mend the account (key, money, rights), then go on with clipmill resume; nothing is lost by "
    "waiting.",
    Trouble.TRANSIENT: "Nothing was made. Try it again later with clipmill retry.",
    Trouble.AMBIGUOUS: "It may be paid for. Look for a charge in the provider's account, then settle it with clipmill "
    "resolve.",
    Trouble.PAID_AND_LOST: "Ask the provider's support for the clip or the money, with the job id; clipmill retry buys "
    "it once more.",
}

MONEY_SAYS: Mapping[Billing, str] = {
    Billing.UNBILLED: "",
    Billing.BILLED: "The provider kept the charge.",
    Billing.REFUNDED: "The provider gave the money back.",
    Billing.UNKNOWN: "Whether it was charged is not told; it stays counted as spent.",
}
GIVEN_UP = "What it may have cost stays counted; clipmill retry buys it once more."
UNANSWERED = frozenset({"submit_unanswered", "server_error"})
"""Failures that say nothing of the item: the vendor did not answer, or with errors alone."""


def trouble_of(job: Job) -> Trouble | None:
    """Return what kind of trouble a job is in; None where nothing is wrong with it."""
    failure = job.failure
    if failure is None:
        return None
    if job.state in IN_DOUBT or job.state is State.ABANDONED:
        return Trouble.AMBIGUOUS
    if job.state is State.LOST:
        free = failure.billing in {Billing.UNBILLED, Billing.REFUNDED}
        return Trouble.ITEM if free else Trouble.PAID_AND_LOST
    if failure.evidence.get("scope") == Scope.MODEL:
        return Trouble.MODEL
    return Trouble.TRANSIENT if failure.kind in UNANSWERED else Trouble.ITEM


def what_to_do(job: Job) -> str:
    """Return what became of the money, where that is worth a word, and what can be done now; empty for no trouble."""
    trouble = trouble_of(job)
    if trouble is None or job.failure is None:
        return ""
    if job.state is State.ABANDONED:
        return GIVEN_UP
    told = MONEY_SAYS[job.failure.billing] if job.state in {State.FAILED, State.LOST} else ""
    if trouble is Trouble.TRANSIENT and job.failure.billing is not Billing.UNBILLED:
        return f"{told} Try it again later with clipmill retry; that may be paid for once more."
    return " ".join(part for part in (told, WHAT_TO_DO[trouble]) if part)
