"""The plan: every item of a manifest, checked by its provider, with its inputs, fingerprint and price.

Either everything is well and a `Plan` comes out, its warnings in it, or all problems of manifest, tables, inputs and
requests are raised together, each with the place in the file where the user can mend it. Nothing is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain, islice
from typing import TYPE_CHECKING

from pipeline.errors import InputError, Problem, ProblemsFound, Severity
from pipeline.names import Names
from pipeline.planning.cost import cost_of, estimate, quote_key
from pipeline.planning.expand import expand
from pipeline.planning.item import no_items
from pipeline.planning.planner import Planner
from pipeline.planning.problems import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.clips.acceptance import Acceptance
    from pipeline.effects import Effects
    from pipeline.manifest.model import Limits, Manifest, Price
    from pipeline.pages import Pages
    from pipeline.planning.cost import Cost, Estimate
    from pipeline.planning.item import Item
    from pipeline.planning.limits import EffectiveLimits
    from pipeline.providers.base import GenerationRequest, Provider


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a manifest amounts to."""

    name: str
    manifest_path: Path
    """As the user named it."""
    manifest_sha256: str
    folder: Path
    """The manifest's folder, in which the inputs lie."""
    allowed: tuple[Path, ...] = ()
    """Further folders in which they may lie, absolute."""
    items: Sequence[Item]
    """Of a long plan they lie in a temporary file: read them one after the other."""
    limits: Limits
    """The manifest's own; the cap on the cost is here."""
    provider_limits: Mapping[str, EffectiveLimits]
    """What holds for each provider that the items use."""
    prices: Mapping[str, Price]
    accept: Acceptance
    cleanup: bool
    """Whether the providers' copies are deleted once a clip is here."""
    estimate: Estimate
    warnings: tuple[Problem, ...]


def offline_providers(effects: Effects) -> Callable[[str], Provider]:
    """Return a source of providers that check and price, and have no key to send anything with."""
    from pipeline.providers.registry import find_provider

    return lambda name: find_provider(name)(None, effects)


def plan_file(
    path: Path,
    providers: Callable[[str], Provider],
    *,
    quotes: Mapping[str, float] | None = None,
    allowed: Sequence[Path] = (),
) -> Plan:
    """Read a manifest and plan it. Raises ProblemsFound with every problem of the file and of what it refers to."""
    from pipeline.manifest.validate import read_manifest

    manifest, problems = read_manifest(path)
    if manifest is None:
        raise ProblemsFound(list(problems))
    return make_plan(manifest, providers, quotes=quotes, problems=problems, allowed=allowed)


def make_plan(
    manifest: Manifest,
    providers: Callable[[str], Provider],
    *,
    quotes: Mapping[str, float] | None = None,
    problems: Iterable[Problem] = (),
    allowed: Sequence[Path] = (),
) -> Plan:
    """Plan a checked manifest.

    Args:
        manifest: what the user wrote.
        providers: gives a provider by its name, to check and price with; raises InputError for an unknown one.
        quotes: prices in US dollars by `quote_key`.
        problems: what reading the manifest has found already; told with the rest.
        allowed: folders, beside the manifest's, in which its files may lie.

    Raises:
        ProblemsFound: with every problem, warnings among them, if any is an error.
    """
    findings = Findings()
    planner = Planner(manifest, providers, quotes or {}, findings, allowed)
    items = no_items()
    sums = _estimate(_kept(items, planner.items(expand(manifest, findings, allowed))))
    planner.warn_of_cleanup()
    told = [*problems, *findings.told()]
    if any(problem.severity is Severity.ERROR for problem in told):
        raise ProblemsFound(told)
    return Plan(
        name=manifest.name,
        manifest_path=manifest.path,
        manifest_sha256=manifest.text_sha256,
        folder=manifest.folder,
        allowed=tuple(folder.absolute() for folder in allowed),
        items=items.sealed(),
        limits=manifest.limits,
        provider_limits=planner.limits(),
        prices=manifest.prices,
        accept=manifest.accept,
        cleanup=manifest.cleanup,
        estimate=sums,
        warnings=tuple(told),
    )


def select(plan: Plan, *, limit: int | None = None, only: str | None = None) -> Names:
    """Return the ids that match the glob `only`, and of these the first `limit`.

    Letters match in their case. Raises InputError where no id matches.
    """
    ids = (item.id for item in plan.items if only is None or fnmatchcase(item.id, only))
    first = next(ids, None)
    if first is None and plan.items:
        example = plan.items[0].id
        raise InputError(f"No item's id matches {only!r}. Ids look like {example!r}; `*` stands for any text.")
    return Names(islice(chain(() if first is None else (first,), ids), limit))


def unpriced(plan: Plan) -> dict[str, Item]:
    """Return one item for every price that is not known, by its `quote_key`: what there is to ask quotes for."""
    asked: dict[str, Item] = {}
    last: GenerationRequest | None = None
    for item in plan.items:
        request = item.request
        if item.price_usd is None and not (last and _cost_the_same(request, last)):
            last = request
            asked.setdefault(quote_key(item.provider, request), item)
    return asked


def _cost_the_same(one: GenerationRequest, other: GenerationRequest) -> bool:
    """Tell whether two requests certainly cost the same at one provider, without looking into what they share."""
    shared = one.parameters is other.parameters and one.options is other.options and one.files is other.files
    return shared and one.model == other.model


def with_quotes(plan: Plan, quotes: Mapping[str, float]) -> Plan:
    """Return the plan with the prices that quotes (US dollars by `quote_key`) give to items that have none."""
    costs: dict[Cost, Cost] = {}

    def priced(item: Item) -> Item:
        if item.price_usd is not None:
            return item
        fresh = cost_of(item.provider, item.request, seconds=item.cost.seconds, prices=plan.prices, quotes=quotes)
        return replace(item, cost=costs.setdefault(fresh, fresh))

    items = no_items()
    sums = _estimate(_kept(items, map(priced, plan.items)))
    return replace(plan, items=items.sealed(), estimate=sums)


def _estimate(items: Iterable[Item]) -> Estimate:
    return estimate((item.provider, item.request.model, item.cost) for item in items)


def _kept(kept: Pages[Item], items: Iterable[Item]) -> Iterator[Item]:
    """Put items into a list as they go by."""
    for item in items:
        kept.append(item)
        yield item
