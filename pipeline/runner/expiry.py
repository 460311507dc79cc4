"""How long what is paid for can still be fetched: a vendor keeps a job and its clip for a while only.

Pure: jobs and the time come in, their order and a sentence for the user come out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline.jobs.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from pipeline.jobs.job import Job

TOLD_SHARE = 0.5
"""The user is told as soon as less than this share of the time is left."""


def made_at(job: Job, now: datetime) -> datetime:
    """Return when the vendor's clock for a job began, at the latest; a job that was adopted is older than that."""
    return min((at for at in (job.intent_at, job.submitted_at) if at is not None), default=now)


def by_expiry(jobs: Iterable[Job], now: datetime) -> list[Job]:
    """Return jobs in the order in which they should be brought home.

    What is claimed comes first: nobody says how long a claimed clip is kept. Then the oldest, for a vendor keeps all
    for the same time.
    """
    return sorted(jobs, key=lambda job: (job.state is not State.CLAIMED, made_at(job, now)))


def countdown(jobs: Iterable[Job], lifetime_s: float | None, now: datetime) -> str:
    """Say how many jobs will soon be gone at their vendor, and when the first; empty where there is nothing to say."""
    if lifetime_s is None:
        return ""
    left = sorted((made_at(job, now) + timedelta(seconds=lifetime_s) - now).total_seconds() for job in jobs)
    soon = [seconds for seconds in left if 0 < seconds < lifetime_s * TOLD_SHARE]
    late = sum(seconds <= 0 for seconds in left)
    says = []
    if soon:
        hours, minutes = divmod(int(soon[0] // 60), 60)
        says.append(
            f"{len(soon)} can be fetched for less than {lifetime_s * TOLD_SHARE / 3600:g} h more, the first "
            f"for {hours}:{minutes:02} h; those come first."
        )
    if late:
        says.append(
            f"{late} may be gone: they are older than the {lifetime_s / 3600:g} h that they are kept, and are "
            "asked for all the same."
        )
    return " ".join(says)
