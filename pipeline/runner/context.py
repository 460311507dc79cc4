"""What a run is given: what all of its lanes share, and each provider, ready to be called within its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.runner.meter import Meter

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.ledger.store import Ledger
    from pipeline.paths import BatchFolder
    from pipeline.providers.base import Capabilities, Provider
    from pipeline.runner.decoding import Decoding
    from pipeline.runner.money import Prices
    from pipeline.runner.progress import Progress
    from pipeline.runner.turns import Turns
    from pipeline.runner.uploading import Uploading


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneLimits:
    """What bounds one provider in this run: the vendor's documented values where the user said nothing."""

    in_flight: int | None
    """None to let Little's law decide."""
    submits_per_minute: float | None
    looks_per_minute: float | None
    failures_per_30_s: int | None
    look_spacing_s: float
    concurrent_billing: int
    concurrent_downloads: int
    speed: float = 1.0
    """How much faster than real a rehearsal runs: waits are divided by it. 1 for real providers."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A provider, ready to be called with one key."""

    provider: Provider
    capabilities: Capabilities
    base_url: str
    account: str
    """Fingerprint of the key."""
    limits: LaneLimits


@dataclass
class Space:
    """What the disk said last. The mutable state: how much is free by that, and when it was asked."""

    free_bytes: int = 0
    asked_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What all lanes of a run share."""

    ledger: Ledger
    folder: BatchFolder
    inputs: Path
    """The folder that local input files are relative to."""
    allowed_inputs: tuple[Path, ...] = ()
    """Further folders in which they may lie."""
    effects: Effects
    prices: Prices
    progress: Progress
    meter: Meter = field(default_factory=Meter)
    """What the run has done, counted for programs that watch it."""
    cleanup: bool = False
    """Whether the vendors' copies are deleted once a clip is here."""
    max_clip_bytes: int = 2 << 30
    space: Space = field(default_factory=Space)
    lease_s: float = 30.0
    """Where several workers share the ledger: for how long each may be silent."""
    decoding: Decoding | None = None
    """Where finished clips are decoded; None where nothing decodes."""
    uploading: Uploading | None = None
    """What brings finished clips into a store; None where there is none."""

    @property
    def turns(self) -> Turns | None:
        """How those who write about finished jobs keep out of each other's way; None where there is but one."""
        beside = self.decoding or self.uploading
        return beside.turns if beside else None
