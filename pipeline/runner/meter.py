"""What a run has done since it began, counted by provider and model: for programs that watch many runs.

Events come in as they become durable, and looks and pauses as they happen; `Family` values come out. No prompt, no key
and no address is among them: the labels are names of providers, models, states and limits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.jobs.state import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job

Labels = tuple[tuple[str, str], ...]

SUBMITS = {
    EventKind.SUBMIT_ACCEPTED: "accepted",
    EventKind.SUBMIT_DEFERRED: "deferred",
    EventKind.SUBMIT_ORPHANED: "orphaned",
    EventKind.SUBMIT_REFUSED: "refused",
    EventKind.SUBMIT_LOST: "in_doubt",
}
CLAIMS = {
    EventKind.CLAIM_RECEIVED: "received",
    EventKind.CLAIM_DEFERRED: "deferred",
    EventKind.CLAIM_LOST: "in_doubt",
}


class Type(StrEnum):
    """How a family's numbers behave."""

    COUNTER = "counter"
    """Since the run began; only grows."""
    GAUGE = "gauge"
    """As it is now."""
    SUMMARY = "summary"
    """A sum and how many it is of, since the run began."""


class Among(StrEnum):
    """What the numbers of several workers on one batch are together."""

    ADDED = "added"
    """Each has a part of it."""
    MOST = "most"
    """It is one thing, of which each knows something."""
    EACH = "each"
    """Each one's own, told apart by a label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Numbers of one name."""

    name: str
    """With its unit, and `_total` where it only grows."""
    type: Type
    says: str
    samples: Sequence[tuple[str, Mapping[str, str], float]]
    """Each with what is added to the name, labels and value."""
    among: Among = Among.ADDED
    """What becomes of it where several workers tell theirs."""


COUNTERS = {
    "clipmill_submits_total": "Submits that were about to leave.",
    "clipmill_submit_outcomes_total": "What became of submits, as it was written down.",
    "clipmill_claims_total": "Calls for a result that were about to leave.",
    "clipmill_claim_outcomes_total": "What became of calls for a result, as it was written down.",
    "clipmill_doubts_total": "Calls that may have cost money and whose outcome is not known.",
    "clipmill_looks_total": "Status requests that were answered or failed.",
    "clipmill_throttled_total": "Answers of a provider that told the run to wait.",
    "clipmill_clips_total": "Clips that were given their final names.",
    "clipmill_downloaded_bytes_total": "Bytes of clips that came home whole.",
    "clipmill_uploaded_clips_total": "Clips that came to be in the store.",
    "clipmill_uploaded_bytes_total": "Bytes of clips that came to be in the store.",
}
LAG = "clipmill_detection_lag_seconds"


@dataclass
class Meter:
    """The mutable state is the counts, by name and labels, and the lags."""

    counts: dict[str, Counter[Labels]] = field(default_factory=lambda: {name: Counter() for name in COUNTERS})
    lag_s: Counter[Labels] = field(default_factory=Counter)
    lags: Counter[Labels] = field(default_factory=Counter)

    def moved(self, job: Job, event: Event) -> None:
        """Count an event of a job, which became durable."""
        whose = labels_of(provider=job.provider, model=job.request.model)
        kind, data = event.kind, event.data
        if kind is EventKind.SUBMIT_STARTED:
            self._add("clipmill_submits_total", whose)
        elif kind is EventKind.CLAIM_STARTED:
            self._add("clipmill_claims_total", whose)
        elif kind is EventKind.CLIP_STORED:
            self._add("clipmill_downloaded_bytes_total", whose, data["size_bytes"])
        elif kind is EventKind.CLIP_PUBLISHED:
            self._add("clipmill_clips_total", whose)
        elif kind is EventKind.CLIP_UPLOADED:
            self._add("clipmill_uploaded_clips_total", whose)
            size_bytes = next(clip.size_bytes for clip in job.clips if clip.index == data["index"])
            self._add("clipmill_uploaded_bytes_total", whose, size_bytes)
        if kind in SUBMITS:
            self._add("clipmill_submit_outcomes_total", (*whose, ("outcome", SUBMITS[kind])))
        if kind in CLAIMS:
            self._add("clipmill_claim_outcomes_total", (*whose, ("outcome", CLAIMS[kind])))
        if kind in {EventKind.SUBMIT_LOST, EventKind.CLAIM_LOST}:
            self._add("clipmill_doubts_total", whose)

    def looked(self, job: Job) -> None:
        """Count a look."""
        self._add("clipmill_looks_total", labels_of(provider=job.provider, model=job.request.model))

    def found(self, job: Job, unseen_s: float) -> None:
        """Count a job that a look found finished, and for how long it had been, in expectation."""
        whose = labels_of(provider=job.provider, model=job.request.model)
        self.lag_s[whose] += unseen_s  # type: ignore[assignment]  # a Counter counts in halves as well
        self.lags[whose] += 1

    def throttled(self, provider: str) -> None:
        """Count an answer that told the run to wait."""
        self._add("clipmill_throttled_total", labels_of(provider=provider))

    def _add(self, name: str, labels: Labels, more: int = 1) -> None:
        self.counts[name][labels] += more

    def families(self) -> Iterator[Family]:
        """Yield all that was counted."""
        for name, says in COUNTERS.items():
            samples = [("", dict(labels), float(count)) for labels, count in sorted(self.counts[name].items())]
            yield Family(name=name, type=Type.COUNTER, says=says, samples=samples)
        lags: list[tuple[str, Mapping[str, str], float]] = []
        for labels, seconds in sorted(self.lag_s.items()):
            lags += [("_sum", dict(labels), float(seconds)), ("_count", dict(labels), float(self.lags[labels]))]
        says = "For how long finished jobs stayed unseen, in expectation."
        yield Family(name=LAG, type=Type.SUMMARY, says=says, samples=lags)


def labels_of(**labels: str) -> Labels:
    """Return labels as a key."""
    return tuple(sorted(labels.items()))
