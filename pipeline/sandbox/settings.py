"""How the sandbox behaves: one frozen record, the faults it can inject, and the parser of `--fault name=probability`.

Nothing here changes while a sandbox runs. Tables are keyed by `provider/model/resolution` and looked up by the longest
key that begins the name asked for, so that one entry covers a family and a longer one excepts a member.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Provider(StrEnum):
    """The vendors that are emulated."""

    MODELMAX = "modelmax"
    VENICE = "venice"
    OPENAI_VIDEOS = "openai-videos"


class Fault(StrEnum):
    """What can be made to go wrong. Each is drawn for every call (or every job) that it fits, on its own."""

    DROP_BEFORE_ACCEPT = "drop-before-accept"
    """Submit: the connection closes, no job is made, nothing is charged."""
    DROP_AFTER_ACCEPT = "drop-after-accept"
    """Submit: the job is made (charged, but at ModelMax), and the connection closes without an answer."""
    SUBMIT_500 = "submit-500"
    """Submit: the job is made (charged, but at ModelMax), and the answer is 500."""
    SUBMIT_502 = "submit-502"
    """Submit: the job is made (charged, but at ModelMax), and the answer is 502."""
    THROTTLE = "throttle"
    """Any API call: 429 with Retry-After and the reset stamp; nothing else happens."""
    ERROR_5XX = "error-5xx"
    """A call that cannot bill: 500, 502 or 503."""
    LOSE_ANSWER = "lose-answer"
    """A call that cannot bill: the connection closes without an answer."""
    CLAIM_DROP = "claim-drop"
    """ModelMax result: billed, and the connection closes without an answer."""
    CLAIM_502 = "claim-502"
    """ModelMax result: billed, and the answer is 502."""
    CLAIM_EMPTY = "claim-empty"
    """ModelMax result: billed and COMPLETED, with an empty `data`."""
    TRUNCATE = "truncate"
    """A clip: fewer bytes arrive than Content-Length promises."""
    TRUNCATE_SILENTLY = "truncate-silently"
    """A clip: the body ends early and no Content-Length was given, so that only the MP4 itself can tell."""
    DISGUISE = "disguise"
    """A clip: 200 and video/mp4, but the body is an HTML page or a tiny MP4 without a picture."""
    SLOW = "slow"
    """A clip: the body trickles over `slow_s`."""
    EARLY_404 = "early-404"
    """Retrieve (none at ModelMax), drawn once a job: 404 for the first `early_404_s` after the submit."""
    EXPIRED_LINK = "expired-link"
    """Venice download_url, drawn once a job: 410 from the start."""
    GENERATION_FAILURE = "generation-failure"
    """Drawn once a job: it ends as a refusal of content (Venice 422, the others failed)."""
    GENERATION_ERROR = "generation-error"
    """Drawn once a job: it ends as a failure of the vendor's (Venice 500 for ever, the others failed)."""


class ClaimBills(StrEnum):
    """Which ModelMax result calls on a COMPLETED job bill. The documents do not say; `every` is the worst case."""

    EVERY = "every"
    ONCE = "once"


class VeniceCharges(StrEnum):
    """When Venice charges: before the queue call is answered (documented for API keys), or when the clip is found."""

    SUBMIT = "submit"
    COMPLETION = "completion"


class Render(StrEnum):
    """Where clips come from: packaged templates, real encoding, or encoding wherever PyAV and Pillow are installed."""

    AUTO = "auto"
    TEMPLATE = "template"
    FULL = "full"


DURATIONS_S: Mapping[str, float] = {
    "modelmax": 100.0,
    "modelmax/veo-2": 80.0,
    "modelmax/veo-3-fast": 60.0,
    "modelmax/veo-3.1": 120.0,
    "modelmax/veo-3.1-fast": 70.0,
    "openai-videos": 90.0,
    "openai-videos/sora-2-pro": 200.0,
    "venice": 145.0,
    "venice/grok-imagine": 60.0,
    "venice/kling-o3": 300.0,
    "venice/ltx-2": 80.0,
    "venice/veo": 120.0,
}
"""Seconds that a generation takes: the 80th percentile (which Venice reports) for Venice, the mean for the others."""

PRICES_USD_PER_SECOND: Mapping[str, float] = {
    "modelmax": 0.40,
    "modelmax/veo-2": 0.35,
    "modelmax/veo-3-fast": 0.15,
    "modelmax/veo-3.1": 0.40,
    "modelmax/veo-3.1/4k": 0.60,
    "modelmax/veo-3.1-fast": 0.10,
    "modelmax/veo-3.1-fast/1080p": 0.12,
    "modelmax/veo-3.1-fast/4k": 0.30,
    "openai-videos": 0.10,
    "openai-videos/sora-2-pro": 0.30,
    "openai-videos/sora-2-pro/1024x1792": 0.50,
    "openai-videos/sora-2-pro/1792x1024": 0.50,
    "venice": 0.10,
    "venice/grok-imagine": 0.063,
    "venice/kling-2.5": 0.078,
    "venice/kling-2.6": 0.154,
    "venice/kling-o3": 0.14,
    "venice/longcat": 0.05,
    "venice/longcat-distilled": 0.018,
    "venice/ltx-2": 0.18,
    "venice/minimax-h3": 0.16,
    "venice/ovi": 0.044,
    "venice/sora-2": 0.11,
    "venice/sora-2-pro": 0.555,
    "venice/topaz-video-upscale": 0.025,
    "venice/veo3": 0.22,
    "venice/veo3-fast": 0.11,
    "venice/veo3.1": 0.44,
    "venice/veo3.1-fast": 0.165,
    "venice/wan-2.2": 0.012,
    "venice/wan-2.5": 0.056,
    "venice/wan-2-7": 0.11,
    "venice/wan-2-7-text-to-video/1080p": 0.14,
    "venice/wan-2.6": 0.11,
}
"""What a second of clip costs. Observed or upstream prices: enough to rehearse a budget, not a price list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSettings:
    """How one sandbox behaves. Raises `InputError` where a value makes no sense."""

    speed: float = 1.0
    """Divides every emulated wait (generation, block, trickle) and multiplies every emulated limit. The lifetimes of
    ids and links stay as they are: they belong to the user's calendar, and a rehearsal is resumed after lunch."""
    seed: int = 0
    """Decides, with the request itself, every duration and every fault."""
    duration_scale: float = 1.0
    """Multiplies generation times; 0 makes every job finish at once."""
    durations_s: Mapping[str, float] = field(default_factory=lambda: DURATIONS_S)
    prices_usd_per_second: Mapping[str, float] = field(default_factory=lambda: PRICES_USD_PER_SECOND)
    faults: Mapping[Fault, float] = field(default_factory=dict)
    """Probability of each fault, 0 to 1."""
    claim_bills: ClaimBills = ClaimBills.EVERY
    venice_charges: VeniceCharges = VeniceCharges.SUBMIT
    venice_complete_works: bool = True
    """False makes /video/complete answer 400 "invalid id", as the live API was seen to do."""
    balance_usd: float = 100_000.0
    """What each key has to spend."""
    render: Render = Render.AUTO

    limits: bool = True
    venice_queue_per_minute: int = 40
    venice_retrieve_per_minute: int = 120
    venice_failures: int = 20
    """More failed calls than this in `venice_failure_window_s` block the key for `venice_block_s`."""
    venice_failure_window_s: float = 30.0
    venice_block_s: float = 30.0
    modelmax_submits_per_minute: int = 0
    """0 for no limit, which is all that is documented."""
    modelmax_looks_per_minute: int = 0
    """Status, result and content calls together; 0 for no limit."""
    openai_videos_submits_per_minute: int = 0
    """0 for no limit: each server has its own, or none."""
    openai_videos_looks_per_minute: int = 0
    """Retrieve, list, content and delete calls together; 0 for no limit."""

    venice_id_lifetime_s: float = 86_400.0
    venice_link_lifetime_s: float = 86_400.0
    venice_link_downloads: int = 20
    """Downloads of one link after which it answers 429."""
    modelmax_lifetime_s: float = 172_800.0
    openai_videos_lifetime_s: float = 86_400.0
    early_404_s: float = 10.0
    slow_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.speed > 0:
            raise InputError(f"The sandbox's speed is {self.speed:g}; use a number above 0, such as 60.")
        if not self.duration_scale >= 0:
            raise InputError(f"The sandbox's duration scale is {self.duration_scale:g}; use 0 (at once) or more.")
        for fault, probability in self.faults.items():
            if not 0 <= probability <= 1:
                raise InputError(f"The fault {fault} has probability {probability:g}; use a number from 0 to 1.")


def look_up(table: Mapping[str, float], name: str) -> float:
    """Return the value of the longest key that begins `name`, or 0.0 where none does."""
    key = max((key for key in table if name.startswith(key)), key=len, default="")
    return table.get(key, 0.0)


def parse_faults(texts: Iterable[str]) -> dict[Fault, float]:
    """Read `name=probability` pairs; a bare name means always. A later pair replaces an earlier one.

    Raises:
        InputError: an unknown fault, or a probability that is not a number from 0 to 1.
    """
    faults: dict[Fault, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            fault = Fault(name.strip())
        except ValueError:
            raise InputError(f"There is no fault {name.strip()!r}; choose from {', '.join(Fault)}.") from None
        try:
            probability = float(number) if number else 1.0
        except ValueError:
            probability = -1.0
        if not 0 <= probability <= 1:
            raise InputError(f"The fault {fault} needs a probability from 0 to 1, for example {fault}=0.02.")
        faults[fault] = probability
    return faults
