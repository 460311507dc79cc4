"""What the batch has cost, what is reserved and what is in doubt; by model, what a clip and a second of it cost."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.jobs.job import CostIs
from pipeline.jobs.state import IN_DOUBT, LIVE, ClipState, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.jobs.job import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCost:
    """What one model made, and what that cost."""

    model: str
    items: int
    clips: int
    clip_seconds: float
    committed_usd: float
    """Spent, reserved and in doubt."""
    unpriced: int
    """Items that may have cost something, and nobody says how much."""
    usd_a_clip: float | None
    """Of the items that are done, each of known price; None where there is none."""
    usd_a_second: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """What the budget counts, taken apart."""

    spent_usd: float
    reserved_usd: float
    in_doubt_usd: float
    cap_usd: float | None
    unpriced: int
    earlier_usd: float
    """Of all that: for earlier revisions of items, which the models' rows leave out."""
    models: tuple[ModelCost, ...]

    @property
    def total_usd(self) -> float:
        """What the cap is held against."""
        return self.spent_usd + self.reserved_usd + self.in_doubt_usd

    def share(self, amount_usd: float) -> float:
        """Return which part of the bar an amount takes, in percent: of the cap, or of all where there is none."""
        whole = max(self.cap_usd or 0.0, self.total_usd)
        return 100 * amount_usd / whole if whole else 0.0


def money_of(jobs: Iterable[Job], committed_usd: Mapping[State, float], cap_usd: float | None, unpriced: int) -> Money:
    """Take the money apart.

    Args:
        jobs: the latest revision of every item.
        committed_usd: what the budget counts for each state, over all revisions.
        cap_usd: the batch's cap.
        unpriced: items of unknown price, over all revisions.
    """
    by_model: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_model[f"{job.provider}/{job.request.model}"].append(job)
    models = tuple(_model_cost(model, of_model) for model, of_model in sorted(by_model.items()))
    total = sum(committed_usd.values())
    reserved = sum(committed_usd.get(state, 0.0) for state in LIVE)
    in_doubt = sum(committed_usd.get(state, 0.0) for state in IN_DOUBT)
    return Money(
        spent_usd=round(total - reserved - in_doubt, 6),
        reserved_usd=round(reserved, 6),
        in_doubt_usd=round(in_doubt, 6),
        cap_usd=cap_usd,
        unpriced=unpriced,
        earlier_usd=round(max(0.0, total - sum(model.committed_usd for model in models)), 6),
        models=models,
    )


def _model_cost(model: str, jobs: list[Job]) -> ModelCost:
    priced = [job for job in jobs if job.state is State.DONE and job.cost_is is not CostIs.UNKNOWN]
    clips, clip_seconds = _made(jobs)
    priced_clips, priced_seconds = _made(priced)
    cost = sum(job.reserved_usd for job in priced)
    return ModelCost(
        model=model,
        items=len(jobs),
        clips=clips,
        clip_seconds=clip_seconds,
        committed_usd=sum(job.committed_usd for job in jobs),
        unpriced=sum(map(_is_unpriced, jobs)),
        usd_a_clip=cost / priced_clips if priced_clips else None,
        usd_a_second=cost / priced_seconds if priced_seconds else None,
    )


def _made(jobs: list[Job]) -> tuple[int, float]:
    clips = [clip for job in jobs for clip in job.clips if clip.state is ClipState.DONE]
    return len(clips), sum(clip.facts.get("duration_s") or 0.0 for clip in clips)


def _is_unpriced(job: Job) -> bool:
    may_have_cost = job.attempt > 0 and job.state not in {State.PLANNED, State.REJECTED, State.FAILED}
    return may_have_cost and job.cost_is is CostIs.UNKNOWN
