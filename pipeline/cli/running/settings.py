"""The settings of a batch that a run from the ledger alone needs: limits, prices, and where the inputs lie."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.clips.acceptance import Acceptance
from pipeline.manifest.model import Price
from pipeline.planning.limits import CONCURRENT_BILLING, CONCURRENT_DOWNLOADS, EffectiveLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pipeline.planning.plan import Plan
    from pipeline.providers.base import DefaultLimits


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What the manifest said beside its items, as the ledger keeps it."""

    manifest: str
    inputs: str
    """The folder that local input files are relative to, absolute."""
    allowed_inputs: tuple[str, ...] = ()
    """Further folders in which they may lie, absolute."""
    by_list: bool = True
    """Whether requests are held to what is known of the models, and written by it."""
    max_cost_usd: float | None
    prices: Mapping[str, Price]
    limits: Mapping[str, EffectiveLimits]
    """By provider."""
    accept: Acceptance = field(default_factory=Acceptance)
    """Which clips are wanted in a dataset; `ledger.reader` reads it."""
    cleanup: bool = False
    """Whether the providers' copies are deleted once a clip is here."""

    @classmethod
    def of_plan(cls, plan: Plan) -> BatchSettings:
        """Take the settings out of a plan."""
        return cls(
            manifest=str(plan.manifest_path.absolute()),
            inputs=str(plan.folder),
            allowed_inputs=tuple(map(str, plan.allowed)),
            max_cost_usd=plan.limits.max_cost_usd,
            prices=plan.prices,
            limits=plan.provider_limits,
            accept=plan.accept,
            cleanup=plan.cleanup,
        )

    def allowing(self, folders: Iterable[Path]) -> BatchSettings:
        """Return the settings with input files allowed in these folders, too."""
        more = (str(folder.absolute()) for folder in folders)
        return replace(self, allowed_inputs=tuple(dict.fromkeys((*self.allowed_inputs, *more))))

    def limits_of(self, name: str, documented: DefaultLimits) -> EffectiveLimits:
        """Return a provider's limits; the documented ones where the manifest no longer uses it."""
        return self.limits.get(name) or EffectiveLimits(
            in_flight=documented.in_flight,
            submits_per_minute=documented.submits_per_minute,
            looks_per_minute=documented.looks_per_minute,
            concurrent_billing=CONCURRENT_BILLING,
            concurrent_downloads=CONCURRENT_DOWNLOADS,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BatchSettings:
        """Read what `to_json` wrote."""
        return cls(
            manifest=value["manifest"],
            inputs=value["inputs"],
            allowed_inputs=tuple(value.get("allowed_inputs", ())),
            by_list=value.get("by_list", True),
            max_cost_usd=value["max_cost_usd"],
            prices={name: Price(**price) for name, price in value["prices"].items()},
            limits={name: EffectiveLimits(**limits) for name, limits in value["limits"].items()},
            accept=Acceptance.from_json(value.get("accept", {})),
            cleanup=value.get("cleanup", False),
        )
