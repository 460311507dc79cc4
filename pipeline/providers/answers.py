"""Every outcome of a call to a vendor, as a value.

The names say what happened, never what to do: `Ambiguous` means that the call may have been carried out and nobody
can know; `NotSent` that it certainly was not. Only the runner knows which of them costs money.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

EVIDENCE_MAX_BYTES = 64 * 1024
"""How much of an answer that was not understood is kept."""


class Scope(StrEnum):
    """How far a refusal reaches."""

    ITEM = "item"
    MODEL = "model"
    ACCOUNT = "account"


class Billing(StrEnum):
    """What is known of the money of a job that ended without a clip."""

    UNBILLED = "unbilled"
    BILLED = "billed"
    REFUNDED = "refunded"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    """Where the vendor says an unfinished job is; RUNNING also where it does not tell the two apart."""

    QUEUED = "queued"
    RUNNING = "running"


class ByteSource(Protocol):
    """An open body. It is read once and always closed."""

    length: int | None
    """What the vendor promised, in bytes; None where it promised nothing."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come. Raises ConnectionError when the body ends before its time."""

    async def close(self) -> None:
        """Stop reading; safe to call twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """All that a vendor answered on acceptance, kept whole; opaque to everybody but the provider that made it."""

    job_id: str
    model: str
    """The model the vendor says will do it, which can differ from the one asked for."""
    answer: Mapping[str, Any]
    """The whole answer body."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What the provider will want to compare the result with; empty for a job that was adopted by its id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One finished clip at the vendor; opaque to everybody but the provider that made it."""

    index: int
    location: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The vendor took the job."""

    receipt: Receipt
    warnings: tuple[str, ...] = ()
    balance_usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The vendor said a definite no: nothing was accepted and nothing billed by this call."""

    scope: Scope
    kind: str
    """The vendor's own code where it gives one, else our word for the class: invalid_request, insufficient_balance."""
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Throttled:
    """Too fast, or the vendor is full: a definite not-now. It stops the whole endpoint, not one job."""

    wait_s: float | None
    """As the vendor asked, already converted to seconds from now; None where it did not say."""
    locked_out: bool = False
    """The vendor has shut the key out of every endpoint for a while."""
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotSent:
    """The request certainly never left: DNS, connect, TLS, no free descriptor."""

    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Transient:
    """A call that costs nothing did not work this time (5xx, cut connection, nonsense body); it may be made again."""

    message: str
    status: int | None = None
    """The HTTP status, where there was one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ambiguous:
    """A call that can bill left, and what became of it is unknown."""

    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Status, headers and the first 64 kB of the body, where there were any; without secrets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Not finished. A status word that we do not know counts as running."""

    stage: Stage
    word: str
    elapsed_s: float | None = None
    """How long the vendor says it has been at it."""
    usual_s: float | None = None
    """What the vendor says such a job usually takes (Venice: the 80th percentile)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """Finished. Where there is a claim step, `outputs` is empty and the clips are had by claiming."""

    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Streaming:
    """Finished, and here are the bytes: read them now, and close the source."""

    source: ByteSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """The vendor says that the job ended without a clip, for good."""

    kind: str
    message: str
    billing: Billing


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone:
    """The vendor does not know the job, or no longer has the clip. Never a reason to submit again."""

    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """The result of a job, which has now been billed."""

    outputs: tuple[Output, ...]
    """Empty where the vendor billed and named no clip."""
    usage: Mapping[str, Any]
    answer: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """The vendor has deleted its own copies of a job's clips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quoted:
    """A price, in dollars, for one submit of the request."""

    price_usd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """One model of a vendor's catalogue."""

    id: str
    name: str = ""
    kind: str = ""
    """What goes in: text-to-video, image-to-video, ..."""
    durations_s: tuple[float, ...] = ()
    resolutions: tuple[str, ...] = ()
    aspect_ratios: tuple[str, ...] = ()
    audio: str = ""
    """always, never, optional; empty where unknown."""
    needs: tuple[str, ...] = ()
    """The inputs without which it is refused: image, end_image, video, references."""
    refuses: tuple[str, ...] = ()
    """Which of duration_seconds, resolution and aspect_ratio it takes none of; what is in no list is not known."""
    prompt_characters_max: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """The vendor's models."""

    models: tuple[ModelInfo, ...]
    answer: Mapping[str, Any] = field(default_factory=dict)
    """The vendor's own answer, for `take_catalogue` of the same provider to read again; empty where there is none."""


SafeFailure = Refused | Throttled | NotSent | Transient
SubmitAnswer = Accepted | Refused | Throttled | NotSent | Ambiguous
LookAnswer = Running | Ready | Streaming | Failed | Gone | SafeFailure
ClaimAnswer = Claimed | Running | Failed | Refused | Throttled | NotSent | Ambiguous
FetchAnswer = Streaming | Gone | SafeFailure
CleanupAnswer = Deleted | Gone | SafeFailure
QuoteAnswer = Quoted | SafeFailure
ModelsAnswer = Catalogue | SafeFailure
