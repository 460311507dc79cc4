"""What went wrong, grouped by state and reason, with what to do about each group."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL
from pipeline.providers.redact import redact_text
from pipeline.report.words import STATE_LABELS, Standing, advice, is_about_content, reason, standing_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.jobs.job import Job
    from pipeline.jobs.state import State

ORDER = {Standing.DOUBT: 0, Standing.FAILED: 1}


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


def troubles_of(jobs: Iterable[Job], folder: str) -> tuple[Trouble, ...]:
    """Group what went wrong: doubts first, then by the number of items.

    Args:
        jobs: the latest revision of every item.
        folder: the batch's folder as the user names it, for commands.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        if key := key_of(job):
            groups.setdefault(key, []).append(job)
    found = [_trouble(key, group, folder) for key, group in groups.items()]
    return tuple(sorted(found, key=lambda trouble: (ORDER[trouble.standing], -trouble.items)))


def _trouble(key: str, jobs: list[Job], folder: str) -> Trouble:
    state: State = jobs[0].state
    kind = redact_text(jobs[0].failure.kind) if jobs[0].failure else ""
    said = Counter(redact_text(job.failure.message) for job in jobs if job.failure and job.failure.message)
    message = said.most_common(1)[0][0] if said else ""
    sentence, command = advice(state, kind, message, folder, [job.item_id for job in jobs])
    return Trouble(
        key=key,
        standing=standing_of(state),
        state=STATE_LABELS[state],
        title=reason(kind, message),
        items=len(jobs),
        committed_usd=sum(job.committed_usd for job in jobs),
        message=message,
        variants=max(0, len(said) - 1),
        advice=sentence,
        command=command,
    )
