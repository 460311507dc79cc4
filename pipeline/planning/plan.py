"""The plan: every item of a manifest, checked by its provider, with its inputs, fingerprint and price.

Either everything is well and a `Plan` comes out, its warnings in it, or all problems of manifest, tables, inputs and
requests are raised together, each with the place in the file where the user can mend it. Nothing is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pipeline.clips.acceptance import contradictions
from pipeline.errors import InputError, Problem, ProblemsFound, Severity
from pipeline.planning.cost import Cost, Estimate, cost_of, estimate, quote_key
from pipeline.planning.draft import source_at, source_of
from pipeline.planning.expand import expand
from pipeline.planning.identity import fingerprint
from pipeline.planning.inputs import InputRefused, Inputs, media_texts
from pipeline.planning.limits import EffectiveLimits, effective_limits
from pipeline.planning.problems import Findings, Source
from pipeline.providers.base import GenerationRequest, InputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pipeline.clips.acceptance import Acceptance
    from pipeline.effects import Effects
    from pipeline.manifest.model import Limits, Manifest, Price
    from pipeline.planning.draft import Draft, Settings
    from pipeline.providers.base import Provider

MAX_ITEMS = 1_000_000
"""More than this in one manifest is a slip far more often than a wish, and no vendor makes so many in a month."""

NO_FILES: Mapping[str, InputFile] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One wanted generation."""

    id: str
    entry_index: int
    provider: str
    request: GenerationRequest
    """Parameters, options and files are shared between items where they are equal: never change one."""
    metadata: Mapping[str, Any]
    fingerprint: str
    cost: Cost
    source: Source
    """Where the user wrote it: the entry, or the row of its table."""

    @property
    def price_usd(self) -> float | None:
        """What the item is expected to cost; None where nobody says."""
        return self.cost.price_usd


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
    items: tuple[Item, ...]
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
    planner = _Planner(manifest, providers, quotes or {}, findings, allowed)
    items: list[Item] = []
    for count, draft in enumerate(expand(manifest, findings, allowed)):
        if count >= MAX_ITEMS:
            findings.add(f"The manifest makes more than {MAX_ITEMS:,} items. Split it.", draft.source)
            break
        item = planner.item(draft)
        if item is not None:
            items.append(item)
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
        items=tuple(items),
        limits=manifest.limits,
        provider_limits=planner.limits(),
        prices=manifest.prices,
        accept=manifest.accept,
        cleanup=manifest.cleanup,
        estimate=_estimate(items),
        warnings=tuple(told),
    )


def select(plan: Plan, *, limit: int | None = None, only: str | None = None) -> Plan:
    """Return the plan with only the items whose id matches the glob `only`, and of these the first `limit`.

    Letters match in their case. Raises InputError where no id matches.
    """
    items = plan.items
    if only is not None:
        items = tuple(item for item in items if fnmatchcase(item.id, only))
        if plan.items and not items:
            example = plan.items[0].id
            raise InputError(f"No item's id matches {only!r}. Ids look like {example!r}; `*` stands for any text.")
    items = items[:limit]
    return replace(plan, items=items, estimate=_estimate(items))


def unpriced(plan: Plan) -> dict[str, Item]:
    """Return one item for every price that is not known, by its `quote_key`: what there is to ask quotes for."""
    asked: dict[str, Item] = {}
    seen: set[tuple[str, str, int, int]] = set()
    for item in plan.items:
        same = (item.provider, item.request.model, id(item.request.parameters), id(item.request.options))
        if item.price_usd is None and same not in seen:
            seen.add(same)
            asked.setdefault(quote_key(item.provider, item.request), item)
    return asked


def with_quotes(plan: Plan, quotes: Mapping[str, float]) -> Plan:
    """Return the plan with the prices that quotes (US dollars by `quote_key`) give to items that have none."""
    costs: dict[tuple[str, Cost], Cost] = {}
    items: list[Item] = []
    for item in plan.items:
        if item.price_usd is None:
            fresh = cost_of(item.provider, item.request, seconds=item.cost.seconds, prices=plan.prices, quotes=quotes)
            item = replace(item, cost=costs.setdefault((item.provider, fresh), fresh))
        items.append(item)
    return replace(plan, items=tuple(items), estimate=_estimate(items))


def _estimate(items: Iterable[Item]) -> Estimate:
    return estimate((item.provider, item.request.model, item.cost) for item in items)


class _Planner:
    """Turns drafts into items, and what is wrong with them into findings."""

    def __init__(
        self,
        manifest: Manifest,
        providers: Callable[[str], Provider],
        quotes: Mapping[str, float],
        findings: Findings,
        allowed: Sequence[Path],
    ) -> None:
        self._manifest = manifest
        self._find_provider = providers
        self._quotes = quotes
        self._findings = findings
        self._inputs = Inputs(manifest.folder, allowed)
        self._providers: dict[str, Provider | InputError] = {}
        self._files: dict[Settings, Mapping[str, InputFile]] = {}
        self._costs: dict[Settings, Cost] = {}
        self._ids: dict[str, tuple[str, Source]] = {}
        """By the id without regard to case: the id as it is, and where."""

    def item(self, draft: Draft) -> Item | None:
        settings = draft.settings
        is_unique = self._check_id(draft)
        provider = self._provider(draft)
        files = self._files_of(draft)
        if provider is None or files is None:
            return None
        request = GenerationRequest(
            model=settings.model,
            prompt=draft.prompt,
            parameters=settings.parameters,
            options=settings.options,
            files=files,
        )
        if not self._check_request(draft, provider, request) or not is_unique:
            return None
        return Item(
            id=draft.id,
            entry_index=draft.entry.index,
            provider=settings.provider,
            request=request,
            metadata=draft.metadata,
            fingerprint=fingerprint(settings.provider, request),
            cost=self._cost_of(settings, provider, request),
            source=draft.source,
        )

    def warn_of_cleanup(self) -> None:
        """Say which providers have no call for what `cleanup` asks."""
        for name, provider in self._providers.items():
            if self._manifest.cleanup and not isinstance(provider, InputError) and not provider.capabilities.cleans_up:
                told = f"{name} has no call that deletes a clip, so `cleanup` changes nothing there."
                self._findings.add(told, source_at(self._manifest, ("cleanup",)), severity=Severity.WARNING)

    def limits(self) -> dict[str, EffectiveLimits]:
        return {
            name: effective_limits(self._manifest, name, provider.capabilities.limits)
            for name, provider in self._providers.items()
            if not isinstance(provider, InputError)
        }

    def _check_id(self, draft: Draft) -> bool:
        known, source = self._ids.setdefault(draft.id.lower(), (draft.id, draft.source))
        if source is draft.source and known is draft.id:
            return True
        same = "the same id" if known == draft.id else f"the id {known!r}, which differs only in case,"
        remedy = "Give the table a column `id`" if draft.entry.rows is not None else "Rename one"
        self._findings.add(
            f"The id {draft.id!r} is taken: the item at {source.file}:{source.line}:{source.column} has {same} "
            f"already. {remedy}.",
            draft.source,
        )
        return False

    def _provider(self, draft: Draft) -> Provider | None:
        name = draft.settings.provider
        found = self._providers.get(name)
        if found is None:
            try:
                found = self._find_provider(name)
            except InputError as unknown:
                found = unknown
            self._providers[name] = found
        if isinstance(found, InputError):
            self._findings.add(str(found), source_of(self._manifest, draft, ("provider",)), once=True)
            return None
        return found

    def _files_of(self, draft: Draft) -> Mapping[str, InputFile] | None:
        """Return the local files among the media; None where one may not be sent."""
        if draft.settings in self._files:
            return self._files[draft.settings]
        files = self._look_at_media(draft)
        if files is not None:  # where one is refused, every item is looked at, so that it is counted
            self._files[draft.settings] = files
        return files

    def _look_at_media(self, draft: Draft) -> Mapping[str, InputFile] | None:
        files: dict[str, InputFile] = {}
        is_fine = True
        for where, kind, text in media_texts(draft.settings.parameters):
            try:
                file = self._inputs.find(text, kind)
            except InputRefused as refused:
                is_fine = False
                self._tell(draft, ("parameters", *where), str(refused), Severity.ERROR)
                continue
            if file is not None:
                files[text] = file
        return (files or NO_FILES) if is_fine else None

    def _check_request(self, draft: Draft, provider: Provider, request: GenerationRequest) -> bool:
        is_fine = True
        for problem in provider.check(request):
            is_fine &= problem.severity is not Severity.ERROR
            self._tell(draft, problem.field, problem.message, problem.severity)
        for name, message in contradictions(self._manifest.accept, request.parameters):
            is_fine = False
            self._tell(draft, ("parameters", name), message, Severity.ERROR)
        return is_fine

    def _tell(self, draft: Draft, field: tuple[str | int, ...], message: str, severity: Severity) -> None:
        source = source_of(self._manifest, draft, field)
        if field[:1] == ("model",) and severity is Severity.WARNING:
            group = (draft.settings.provider, draft.settings.model)
            self._findings.add(message, source, severity=severity, group=group, once=True)
        else:
            group_of_rows = (
                (draft.entry.index, field) if source is draft.source and draft.entry.rows is not None else None
            )
            self._findings.add(message, source, severity=severity, group=group_of_rows)

    def _cost_of(self, settings: Settings, provider: Provider, request: GenerationRequest) -> Cost:
        cost = self._costs.get(settings)
        if cost is None:
            cost = self._costs[settings] = cost_of(
                settings.provider,
                request,
                seconds=provider.billed_seconds(request),
                prices=self._manifest.prices,
                quotes=self._quotes,
            )
        return cost
