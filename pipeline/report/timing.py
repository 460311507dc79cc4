"""How long it took: from the first submit to the last clip, from submit to clip, and how late jobs were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.jobs.state import ClipState, State
from pipeline.report.charts import Chart, finished_over_time, spread_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pipeline.jobs.job import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What is known of time. Lengths are in seconds; what is not known is None."""

    began: datetime | None
    """The first submit of what is there."""
    ended: datetime | None
    """When the last item that is done was done."""
    median_s: float | None
    """From submit to the last clip; of the items that are done."""
    slow_s: float | None
    """Nine in ten items were quicker."""
    longest_s: float | None
    lag_s: float | None
    """For how long finished jobs stayed unseen, in expectation; of the last run."""
    looks_a_clip: float | None
    finished: Chart | None
    waits: Chart | None

    @property
    def whole_s(self) -> float | None:
        """From the first submit to the last clip."""
        return (self.ended - self.began).total_seconds() if self.began and self.ended else None


def timing_of(jobs: Iterable[Job], progress: Mapping[str, Any]) -> Timing:
    """Measure the latest revision of every item; `progress` is what the last run said of itself."""
    submitted: list[datetime] = []
    finished: list[tuple[datetime, int]] = []
    waits: list[float] = []
    for job in jobs:
        if job.submitted_at:
            submitted.append(job.submitted_at)
        if job.state is not State.DONE or not job.finished_at:
            continue
        finished.append((job.finished_at, sum(clip.state is ClipState.DONE for clip in job.clips)))
        if job.submitted_at:
            waits.append(max(0.0, (job.finished_at - job.submitted_at).total_seconds()))
    waits.sort()
    return Timing(
        began=min(submitted, default=None),
        ended=max((at for at, _ in finished), default=None),
        median_s=_at_share(waits, 0.5),
        slow_s=_at_share(waits, 0.9),
        longest_s=waits[-1] if waits else None,
        lag_s=_figure(progress.get("lag_s")),
        looks_a_clip=_figure(progress.get("looks_a_clip")),
        finished=finished_over_time(finished),
        waits=spread_of(waits),
    )


def _at_share(ordered: Sequence[float], share: float) -> float | None:
    """Return the least value that this share of all does not exceed."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else None


def _figure(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
