"""The provider protocol: what is asked, what a vendor can do, and the record that says so.

`GenerationRequest` comes in, in the field's terms; `answers` come out. `Capabilities` are data, so that the runner and
the conformance suite branch on facts and never on a provider's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.effects import Effects
    from pipeline.providers.answers import (
        ClaimAnswer,
        CleanupAnswer,
        FetchAnswer,
        LookAnswer,
        ModelsAnswer,
        Output,
        QuoteAnswer,
        Receipt,
        SubmitAnswer,
    )
    from pipeline.providers.catalogue import Table

MEDIA_PARAMETERS = {
    "image": "image",
    "end_image": "image",
    "audio": "audio",
    "video": "video",
    "reference_images": "image",
    "reference_videos": "video",
    "reference_audios": "audio",
    "reference_documents": "document",
    "scene_images": "image",
    "elements": "image",
    "keyframes": "image",
}
"""Neutral parameters whose text is a file in the manifest's folder, an http(s) URL or a data URL, and of which kind."""


class BilledAt(StrEnum):
    """The call with which a vendor takes the money."""

    SUBMIT = "submit"
    CLAIM = "claim"


@dataclass(frozen=True, kw_only=True, slots=True)
class DefaultLimits:
    """What the vendor documents; None where it documents nothing."""

    submits_per_minute: float | None = None
    looks_per_minute: float | None = None
    failures_per_30_s: int | None = None
    """How many answers of 4xx and 5xx in any 30 s the vendor tolerates before it locks the key out."""
    in_flight: int | None = None
    look_spacing_s: float = 5.0
    """The least time between two looks at one job that the vendor advises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a vendor's API is like, as data."""

    name: str
    billed_at: BilledAt
    key_variable: str
    """The environment variable that holds the key."""
    base_url_variable: str
    default_base_url: str
    """Empty where there is no one address: the variable has to be set then."""
    limits: DefaultLimits
    tells_queued_from_running: bool
    quotes: bool
    """Has a call that prices a request without buying."""
    lists_models: bool
    outputs_max: int
    """How many clips one job can yield."""
    id_lifetime_s: float | None
    """How long an accepted job can still be collected; None where undocumented."""
    download_hosts: tuple[str, ...] = ()
    """Host suffixes, beside the API's own host, that downloads may come from, without the key."""
    cleans_up: bool = False
    """Has a call that deletes the vendor's own copies of a job's clips."""
    key_is_optional: bool = False
    """Whether there are servers that ask for no key; without one, no `Authorization` is sent."""

    @property
    def has_claim_step(self) -> bool:
        """A finished job must be claimed with a call that bills before its clips can be fetched."""
        return self.billed_at is BilledAt.CLAIM


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFile:
    """A local file that a request refers to, as it was when the plan was made."""

    path: str
    """Relative to the manifest's folder, as the user wrote it."""
    sha256: str
    size_bytes: int
    media_type: str
    """From the file's first bytes, never from its name; for example image/png."""
    width: int | None = None
    """In pixels, of an image or a video; None where the file was not understood so far."""
    height: int | None = None
    duration_s: float | None = None
    """Of a sound or a video; None likewise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """One wanted generation, in the field's terms."""

    model: str
    prompt: str
    parameters: Mapping[str, Any]
    """Neutral parameters (design: duration_seconds, aspect_ratio, ...); media as the text that the user wrote."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The vendor's own fields, put into the request body verbatim, last."""
    files: Mapping[str, InputFile] = field(default_factory=dict)
    """The local files among the media, by the text that names them."""

    @property
    def sample_count(self) -> int:
        """How many clips are asked for."""
        return int(self.parameters.get("sample_count", 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestProblem:
    """What a provider cannot do with a request, before anything is sent."""

    field: tuple[str | int, ...]
    """Where in the request: ("parameters", "duration_seconds"), ("model",), ("prompt",), ("options", "x")."""
    message: str
    """What is wrong, and the nearest thing that works."""
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Where to reach a vendor and as whom. The key is never part of the record's text."""

    key: str = field(repr=False)
    """Empty where the vendor asks for none."""
    base_url: str

    @property
    def fingerprint(self) -> str:
        """Tell keys apart without telling the key: 12 hex digits of a salted digest."""
        import hashlib

        return hashlib.blake2b(self.key.encode(), digest_size=6, person=b"clipmill-account"[:16]).hexdigest()


class Provider(Protocol):
    """One vendor. No method raises for anything that the network or the vendor can do: every outcome is a value.

    `submit` and `claim` send at most one request each, ever; nothing below the runner repeats a call that can bill.
    """

    capabilities: Capabilities

    def check(self, request: GenerationRequest) -> Sequence[RequestProblem]:
        """Say what this vendor or model cannot express. Pure; nothing is sent. Unknown models are warnings."""

    def billed_seconds(self, request: GenerationRequest) -> float:
        """Return for how many seconds of video the request would be billed, all its clips together. Pure."""

    def request_body(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the JSON body of the submit. Pure.

        `contents` maps each key of `request.files` to that file's bytes.
        """

    async def submit(self, request: GenerationRequest, contents: Mapping[str, bytes]) -> SubmitAnswer:
        """Send one submit."""

    async def look(self, receipt: Receipt) -> LookAnswer:
        """Ask once how an accepted job stands. Never bills."""

    async def claim(self, receipt: Receipt) -> ClaimAnswer:
        """Ask once for a finished job's result, which bills. Only where `capabilities.has_claim_step`."""

    async def fetch(self, receipt: Receipt, output: Output) -> FetchAnswer:
        """Open one finished clip for reading. Never bills."""

    async def cleanup(self, receipt: Receipt) -> CleanupAnswer:
        """Ask once to delete the vendor's copies of a job's clips. Only where `capabilities.cleans_up`.

        The runner calls it for jobs alone whose clips all bear their final names, durably; it may be asked twice.
        """

    async def quote(self, request: GenerationRequest) -> QuoteAnswer:
        """Ask once what the request would cost. Only where `capabilities.quotes`."""

    async def models(self) -> ModelsAnswer:
        """Ask once for the catalogue. Only where `capabilities.lists_models`."""

    async def close(self) -> None:
        """Let the connections go."""


class TakesCatalogue(Protocol):
    """A provider that can be given its vendor's list of models, as `Catalogue.answer` had it. Optional."""

    @property
    def catalogue(self) -> Table:
        """What requests are held against: the list that came with the package, or the one that was taken."""

    def take_catalogue(self, answer: Mapping[str, Any] | None, as_of: str) -> bool:
        """Hold requests against this list from now on, and write them by it; None for no list at all, built-in or not.

        `as_of` is the day on which the list was fetched, YYYY-MM-DD. Returns False, and changes nothing, for an answer
        that cannot be read, or is older than the built-in list.
        """


class ProviderFactory(Protocol):
    """What an entry point of the group `clipmill.providers` names: a class with its capabilities as an attribute."""

    capabilities: Capabilities

    def __call__(self, account: Account | None, effects: Effects) -> Provider:
        """Make a provider; without an account it can check and price, and sends nothing."""
