"""The job record: everything that is known of getting one item made.

Money in a job: `reserved_usd` is what the present attempt may cost or has cost; `settled_usd` is what earlier attempts
may have cost (a doubt that was resubmitted stays counted). Their sum is what the budget counts, at every moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.jobs.state import ClipState, CopyState, State
from pipeline.providers.answers import Billing, Output, Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pipeline.providers.base import GenerationRequest


class CostIs(StrEnum):
    """Where a cost comes from."""

    REPORTED = "reported"
    QUOTED = "quoted"
    COMPUTED = "computed"
    REFUNDED = "refunded"
    UNKNOWN = "unknown"


class CleanUp(StrEnum):
    """What became of the vendor's own copies of a job's clips, as far as this program had a part in it."""

    NONE = "none"
    """Nothing: they are the vendor's affair."""
    DONE = "done"
    """They were deleted after the clips had come home."""
    REFUSED = "refused"
    """The vendor would not delete them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a job is held or ended without a clip."""

    kind: str
    message: str
    billing: Billing = Billing.UNKNOWN
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """Where a clip's second copy is, and as what the store knows it."""

    store: str
    """The URL of the store, as the user named it."""
    key: str
    """The object's name, relative to that."""
    e_tag: str = ""
    """What the store called these very bytes, so that a later look tells whether they are still the same."""

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.store}/{self.key}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One clip of a job."""

    index: int
    state: ClipState = ClipState.WANTED
    part: str = ""
    """The part name it is stored under, relative to the batch folder."""
    file: str = ""
    """The final name, relative to the batch folder."""
    sha256: str = ""
    size_bytes: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of itself: duration_s, width, height, fps, has_audio, ..."""
    warnings: tuple[str, ...] = ()
    copy: CopyState = CopyState.NONE
    """Whether there is a second copy in a store."""
    remote: Remote | None = None
    """Where that is; None where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that is known of getting one item made."""

    item_id: str
    revision: int
    fingerprint: str
    provider: str
    request: GenerationRequest
    metadata: Mapping[str, Any] = field(default_factory=dict)
    state: State = State.PLANNED
    attempt: int = 0
    """How many submissions were made, the present one included; a deferred one does not count."""
    moves: int = 0
    """How many events made the job what it is; the ledger writes the next one only onto this very one."""
    orphans: int = 0
    """How many of them the vendor left unanswered where a submit costs nothing. Their jobs are never claimed."""
    claims_allowed: int = 1
    """How many claims may be made of this attempt; the operator's `--ask-once` adds one."""
    claims_made: int = 0
    base_url: str = ""
    account: str = ""
    """Fingerprint of the key that the job was submitted with."""
    receipt: Receipt | None = None
    outputs: tuple[Output, ...] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    clips: tuple[Clip, ...] = ()
    reserved_usd: float = 0.0
    settled_usd: float = 0.0
    cost_is: CostIs = CostIs.UNKNOWN
    expected_usd: float | None = None
    """What the present attempt was said to cost before it was submitted; None where nobody said."""
    expected_is: CostIs = CostIs.UNKNOWN
    cleanup: CleanUp = CleanUp.NONE
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    intent_at: datetime | None = None
    """When the present attempt's last call that can bill was about to leave."""
    submitted_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def committed_usd(self) -> float:
        """What the budget counts for this job: spent, reserved and in doubt, over all attempts."""
        return self.reserved_usd + self.settled_usd

    @property
    def job_id(self) -> str:
        """The vendor's id, or empty before acceptance."""
        return self.receipt.job_id if self.receipt else ""
