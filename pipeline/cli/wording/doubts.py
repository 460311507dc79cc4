"""What can be said and done about an item in doubt: between which moments it arose, and the commands that settle it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.console import usd
from pipeline.jobs.state import EventKind, State
from pipeline.providers.redact import redact, redact_text
from pipeline.runner.settle import Answer, price_at_risk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job

BEGINS_DOUBT = {EventKind.SUBMIT_LOST, EventKind.CLAIM_LOST, EventKind.HISTORY_LOST}
ID = "ID"
"""Stands for the provider's id, which the operator has to find."""


def window(job: Job, events: Sequence[Event]) -> tuple[datetime | None, datetime | None]:
    """Return the moments between which the call in doubt left: its intent and its loss, as far as they are known.

    Where the ledger was restored from a copy, the first is the last that it remembers.
    """
    lost = [event for event in events if event.kind in BEGINS_DOUBT and event.revision == job.revision]
    if not lost:
        return job.intent_at, None
    last = lost[-1]
    if last.kind is EventKind.HISTORY_LOST:
        before = [event.at for event in events if event.at < last.at]
        return (before[-1] if before else None), last.at
    return job.intent_at, last.at


def ways_out(root: Path, job: Job) -> dict[Answer, tuple[str, str]]:
    """Return the commands that settle a doubt, each with what it means."""
    price = price_at_risk(job)
    cost = "an unknown amount" if price.usd is None else usd(price.usd)
    resubmit = (Answer.RESUBMIT, "submit it again", f"it may cost {cost} once more")
    abandon = (Answer.ABANDON, "give it up", f"{cost} stays counted as spent")
    if job.state is State.CLAIM_IN_DOUBT:
        ways = [(Answer.ASK_ONCE, "ask for its result once more", f"that may bill {cost} again"), resubmit, abandon]
    else:
        found = "the provider has it under an id that you found"
        adopt = (Answer.ADOPT, found, "it is brought home and not bought again")
        ways = [adopt, resubmit, abandon]
    command = {
        answer: shlex.join(["clipmill", "resolve", str(root), job.item_id, f"--{answer}"])
        + (f" {ID}" if answer is Answer.ADOPT else "")
        for answer, _, _ in ways
    }
    return {answer: (command[answer], f"{does}: {costs}") for answer, does, costs in ways}


def doubt_json(root: Path, job: Job, events: Sequence[Event]) -> dict[str, Any]:
    """Return a doubt as plain JSON, without addresses and keys."""
    price = price_at_risk(job)
    start, end = window(job, events)
    failure = job.failure
    return {
        "id": job.item_id,
        "revision": job.revision,
        "state": job.state.value,
        "provider": job.provider,
        "model": job.request.model,
        "price_usd": price.usd,
        "price_is": price.price_is.value,
        "from": start.isoformat() if start else None,
        "to": end.isoformat() if end else None,
        "kind": failure.kind if failure else None,
        "message": redact_text(failure.message) if failure else None,
        "evidence": redact(dict(failure.evidence)) if failure else {},
        "commands": {answer.value: command for answer, (command, _) in ways_out(root, job).items()},
    }
