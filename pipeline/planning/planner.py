"""From drafts to items: each checked by its provider, with its inputs, fingerprint and price; what is wrong is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.clips.acceptance import contradictions
from pipeline.errors import InputError, Severity
from pipeline.names import Names
from pipeline.pages import Pages
from pipeline.planning.cost import Cost, cost_of
from pipeline.planning.draft import source_at, source_of
from pipeline.planning.identity import fingerprint
from pipeline.planning.inputs import InputRefused, Inputs, media_texts
from pipeline.planning.item import Item
from pipeline.planning.limits import EffectiveLimits, effective_limits
from pipeline.providers.base import GenerationRequest, InputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.manifest.model import Entry, Manifest
    from pipeline.planning.draft import Draft, Settings
    from pipeline.planning.problems import Findings
    from pipeline.providers.base import Provider

MAX_ITEMS = 1_000_000
"""More than this in one manifest is a slip far more often than a wish, and no vendor makes so many in a month."""

SETTINGS_MOST = 1_000
"""Of so many settings of one entry the files and the price are remembered; a table may have others in every row."""

NO_FILES: Mapping[str, InputFile] = {}


class Planner:
    """Turns drafts into items, and what is wrong with them into findings."""

    def __init__(
        self,
        manifest: Manifest,
        providers: Callable[[str], Provider],
        quotes: Mapping[str, float],
        findings: Findings,
        allowed: Sequence[Path] = (),
    ) -> None:
        self._manifest = manifest
        self._find_provider = providers
        self._quotes = quotes
        self._findings = findings
        self._inputs = Inputs(manifest.folder, allowed)
        self._providers: dict[str, Provider | InputError] = {}
        self._entry: Entry | None = None
        """The one whose items are being made. What is remembered of settings is of its own; no other has the same."""
        self._files: dict[Settings, Mapping[str, InputFile]] = {}
        self._costs: dict[Settings, Cost] = {}
        self._equal_costs: dict[Cost, Cost] = {}
        self._ids = Names()
        """All ids, in small letters."""
        self._first: Pages[tuple[str, str, int, int]] = Pages()
        """The first of each: as it is written, and its file, line and column."""

    def items(self, drafts: Iterable[Draft]) -> Iterator[Item]:
        """Yield the items of drafts. What is wrong goes to the findings, and the items it concerns are left out."""
        for count, draft in enumerate(drafts):
            if count >= MAX_ITEMS:
                self._findings.add(f"The manifest makes more than {MAX_ITEMS:,} items. Split it.", draft.source)
                return
            if draft.entry is not self._entry or len(self._files) >= SETTINGS_MOST:
                self._entry = draft.entry
                self._files.clear()
                self._costs.clear()
            item = self._item(draft)
            if item is not None:
                yield item

    def _item(self, draft: Draft) -> Item | None:
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
        """Return what holds for each provider that the items use."""
        return {
            name: effective_limits(self._manifest, name, provider.capabilities.limits)
            for name, provider in self._providers.items()
            if not isinstance(provider, InputError)
        }

    def _check_id(self, draft: Draft) -> bool:
        number = self._ids.add(draft.id.lower())
        if number == len(self._first):
            source = draft.source
            self._first.append((draft.id, source.file, source.line, source.column))
            return True
        known, file, line, column = self._first[number]
        same = "the same id" if known == draft.id else f"the id {known!r}, which differs only in case,"
        remedy = "Give the table a column `id`" if draft.entry.rows is not None else "Rename one"
        self._findings.add(
            f"The id {draft.id!r} is taken: the item at {file}:{line}:{column} has {same} already. {remedy}.",
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
            cost = cost_of(
                settings.provider,
                request,
                seconds=provider.billed_seconds(request),
                prices=self._manifest.prices,
                quotes=self._quotes,
            )
            cost = self._costs[settings] = self._equal_costs.setdefault(cost, cost)
        return cost
