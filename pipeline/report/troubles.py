"""What went wrong, grouped by state and reason, with what to do about each group."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL
from pipeline.providers.redact import redact_text
from pipeline.report.words import STATE_LABELS, Standing, advice, is_about_content, reason, standing_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.jobs.job import Job
    from pipeline.jobs.state import State

Told = tuple["Job", Mapping[str, Any]]
"""An item, and its line of the results."""
NOT_ACCEPTED = "not accepted"
"""The group of the clips that the manifest's `accept` turns down."""
ORDER = (Standing.DOUBT, Standing.FAILED, Standing.DONE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Items that stand in one state for one reason."""

    key: str
    standing: Standing
    state: str
    """The state's label."""
    title: str
    items: int
    committed_usd: float
    message: str
    """What was said most often, without addresses; empty where nothing was."""
    variants: int
    """How many other things were said."""
    advice: str
    command: str


def key_of(job: Job) -> str:
    """Return the group that a job belongs to; empty where nothing is wrong with it."""
    if job.state not in IN_DOUBT | UNSUCCESSFUL:
        return ""
    kind, message = (redact_text(job.failure.kind), job.failure.message) if job.failure else ("", "")
    about = ":content" if is_about_content(kind, message) else ""
    return f"{job.state.value}:{kind}{about}"


def troubles_of(told: Iterable[Told], folder: str) -> tuple[Trouble, ...]:
    """Group what went wrong: doubts first, then by the number of items.

    Args:
        told: the latest revision of every item, and its line of the results.
        folder: the batch's folder as the user names it, for commands.
    """
    groups: dict[str, list[Job]] = {}
    turned_down: list[tuple[Job, list[str]]] = []
    for job, line in told:
        if key := key_of(job):
            groups.setdefault(key, []).append(job)
        reasons = [" ".join(c.get("rejected_because", ())) for c in line["clips"] if c.get("accepted") is False]
        if reasons:
            turned_down.append((job, reasons))
    found = [_trouble(key, group, folder) for key, group in groups.items()]
    if turned_down:
        found.append(_not_accepted(turned_down, folder))
    return tuple(sorted(found, key=lambda trouble: (ORDER.index(trouble.standing), -trouble.items)))


def _trouble(key: str, jobs: list[Job], folder: str) -> Trouble:
    state: State = jobs[0].state
    kind = redact_text(jobs[0].failure.kind) if jobs[0].failure else ""
    message, variants = _mostly(redact_text(job.failure.message) for job in jobs if job.failure)
    sentence, command = advice(state, kind, message, folder, [job.item_id for job in jobs])
    return Trouble(
        key=key,
        standing=standing_of(state),
        state=STATE_LABELS[state],
        title=reason(kind, message),
        items=len(jobs),
        committed_usd=sum(job.committed_usd for job in jobs),
        message=message,
        variants=variants,
        advice=sentence,
        command=command,
    )


def _not_accepted(turned_down: list[tuple[Job, list[str]]], folder: str) -> Trouble:
    message, variants = _mostly(reason for _, reasons in turned_down for reason in reasons)
    return Trouble(
        key=NOT_ACCEPTED,
        standing=Standing.DONE,
        state="Done",
        title="Clips that are not accepted",
        items=len(turned_down),
        committed_usd=sum(job.committed_usd for job, _ in turned_down),
        message=message,
        variants=variants,
        advice="They are paid for and kept, and left out of exports. Loosen the manifest's rules, or buy new ones.",
        command=shlex.join(["clipmill", "retry", folder, "--rejected-clips"]),
    )


def _mostly(texts: Iterable[str]) -> tuple[str, int]:
    """Return what was said most often, and how many other things were said."""
    said = Counter(text for text in texts if text)
    return (said.most_common(1)[0][0] if said else "", max(0, len(said) - 1))
