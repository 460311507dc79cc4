"""How hard to press each provider: the manifest's limits over the vendor's documented ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pipeline.manifest.model import Limits

if TYPE_CHECKING:
    from pipeline.manifest.model import Manifest
    from pipeline.providers.base import DefaultLimits

CONCURRENT_BILLING = 2
"""It bounds what one crash can leave in doubt."""
CONCURRENT_DOWNLOADS = 8

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectiveLimits:
    """What holds for one provider; None where nobody sets a limit, and the runner finds its own."""

    in_flight: int | None
    submits_per_minute: float | None
    looks_per_minute: float | None
    concurrent_billing: int
    concurrent_downloads: int


def effective_limits(manifest: Manifest, provider: str, documented: DefaultLimits) -> EffectiveLimits:
    """Return the limits for a provider: its own in the manifest, else the manifest's, else the documented ones."""
    own = manifest.providers[provider].limits if provider in manifest.providers else Limits()
    common = manifest.limits
    return EffectiveLimits(
        in_flight=_first(own.in_flight, common.in_flight, documented.in_flight),
        submits_per_minute=_first(own.submits_per_minute, common.submits_per_minute, documented.submits_per_minute),
        looks_per_minute=_first(own.looks_per_minute, common.looks_per_minute, documented.looks_per_minute),
        concurrent_billing=_first(own.concurrent_billing, common.concurrent_billing) or CONCURRENT_BILLING,
        concurrent_downloads=_first(own.concurrent_downloads, common.concurrent_downloads) or CONCURRENT_DOWNLOADS,
    )


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)
