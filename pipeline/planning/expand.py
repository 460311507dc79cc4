"""From entries to items: matrix, rows, repeats and templates, as a stream in a stable order.

What an item sets, the later winning: the manifest's parameters, the entry's, the matrix's, the row's; null removes. The
order of items is the order of the file: entries, then rows, then the matrix with its last name running fastest, then
repeats. An item's id depends on nothing but its own entry's id and its own values (see `ids`).
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import Severity
from pipeline.manifest.template import BadTemplate
from pipeline.planning.columns import Columns
from pipeline.planning.draft import Draft, Settings, source_at
from pipeline.planning.ids import join_id, repeat_id, value_part
from pipeline.planning.inputs import InputRefused
from pipeline.planning.parameters import PARAMETERS, SETTINGS, ValueRefused
from pipeline.planning.problems import Findings, Source
from pipeline.planning.rows import Row, Table, TableRefused, open_table
from pipeline.planning.templates import FROM_PROMPT, NameNotSet, Template, parse_template, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.manifest.model import Entry, Manifest


SETTINGS_MOST = 1_000
"""So many settings of one entry are remembered, to be shared between its items."""


def expand(manifest: Manifest, findings: Findings, allowed: Sequence[Path] = ()) -> Iterator[Draft]:
    """Yield the items of a manifest. What is wrong goes to `findings`, and the items it concerns are left out.

    `allowed` are folders, beside the manifest's, in which its tables may lie.
    """
    inherited = {name: value for name, value in manifest.parameters.items() if value is not None}
    for entry in manifest.entries:
        yield from _EntryExpansion(manifest, inherited, entry, findings, allowed).items()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Combination:
    """One choice of a value for every name of the matrix."""

    values: Mapping[str, Any]
    parts: tuple[str, ...]
    """What it adds to the id."""
    sets: Mapping[str, Any]
    """The values that set a parameter or the model."""


class _EntryExpansion:
    """The expansion of one entry."""

    def __init__(
        self,
        manifest: Manifest,
        inherited: Mapping[str, Any],
        entry: Entry,
        findings: Findings,
        allowed: Sequence[Path],
    ) -> None:
        self._allowed = allowed
        self._manifest = manifest
        self._inherited = inherited
        """The manifest's parameters, one mapping for all entries that change nothing."""
        self._entry = entry
        self._findings = findings
        self._here = ("clips", entry.index)
        self._source = source_at(manifest, self._here)
        self._table = str(manifest.path.parent / (entry.rows or ""))
        self._settings: dict[str, Settings] = {}

    def items(self) -> Iterator[Draft]:
        entry = self._entry
        template = self._template()
        if template is None:
            return
        if entry.rows is not None:
            yield from self._row_items(template, entry.rows)
            return
        if self._tell_unknown_names(template, set(entry.matrix)):
            return
        self._warn_of_unused_names(template)
        for combination in self._combinations():
            settings = self._settings_of(combination.sets, {})
            prompt = self._fill(template, combination.values, self._source)
            if settings is None or prompt is None:
                return
            base = join_id((entry.id, *combination.parts))
            yield from self._repeats(base, settings, prompt, entry.metadata, self._source)

    # --- the prompt ---

    def _template(self) -> Template | None:
        entry = self._entry
        is_template = bool(entry.matrix) or entry.rows is not None
        if entry.prompt is None:
            return FROM_PROMPT if entry.rows is not None or "prompt" in entry.matrix else plain("")
        if not is_template:
            return plain(entry.prompt)
        try:
            return parse_template(entry.prompt)
        except BadTemplate as bad:
            self._tell(str(bad), "prompt")
            return None

    def _fill(self, template: Template, values: Mapping[str, Any], source: Source) -> str | None:
        try:
            return template.fill(values)
        except NameNotSet as missing:
            self._findings.add(str(missing), source, group=(self._entry.index, "unset"))
            return None

    def _tell_unknown_names(self, template: Template, known: set[str]) -> bool:
        unknown = [name for name in dict.fromkeys(template.names) if name not in known]
        for name in unknown:
            if self._entry.prompt is None:
                self._tell(f"The entry has no prompt, and {self._entry.rows} no column `prompt`. Give it either.")
                continue
            near = difflib.get_close_matches(name, known, n=1)
            there_is = ", ".join(sorted(known)) or "nothing"
            hint = f" Did you mean {{{near[0]}}}?" if near else f" What there is: {there_is[:200]}."
            where = "name of the matrix" if self._entry.rows is None else f"column of {self._entry.rows}"
            self._tell(f"The prompt needs {{{name}}}, which is no {where}.{hint}", "prompt")
        return bool(unknown)

    def _warn_of_unused_names(self, template: Template) -> None:
        for name in self._entry.matrix:
            if name not in SETTINGS and name not in template.names:
                self._findings.add(
                    f"`{name}` changes nothing: it is no parameter, and the prompt has no {{{name}}}."
                    + _nearest_parameter(name),
                    source_at(self._manifest, (*self._here, "matrix", name), key=True),
                    severity=Severity.WARNING,
                )

    # --- the matrix ---

    def _combinations(self) -> Iterator[_Combination]:
        matrix = self._entry.matrix
        axes = [[(value, value_part(value)) for value in values] for values in matrix.values()]
        for choice in itertools.product(*axes):
            values = {name: value for name, (value, _) in zip(matrix, choice, strict=True)}
            if any(_matches(excluded, values) for excluded in self._entry.exclude):
                continue
            sets = {name: value for name, value in values.items() if name in SETTINGS}
            yield _Combination(values=values, parts=tuple(part for _, part in choice), sets=sets)

    # --- rows ---

    def _row_items(self, template: Template, name: str) -> Iterator[Draft]:
        table = self._open_table(name)
        if table is None:
            return
        if table.columns is not None and self._tell_unknown_names(template, {*self._entry.matrix, *table.columns}):
            table.close()
            return
        self._warn_of_unused_names(template)
        combinations = list(self._combinations())
        columns = Columns(frozenset(template.names))
        count = 0
        for count, row in enumerate(table.rows, start=1):  # noqa: B007  the count is read below
            yield from self._items_of(row, columns, template, combinations)
        if not count and not self._findings.has_errors:
            self._findings.add("The table has no rows.", self._row_source(1), severity=Severity.WARNING)
        for column, line in columns.unused.items():
            hint = _nearest_parameter(column) or f" Name it `metadata.{column[:80]}` to pass it through."
            message = f"The column `{column[:80]}` changes nothing: it is no parameter, and not in the prompt.{hint}"
            self._findings.add(message, self._row_source(line), severity=Severity.WARNING)

    def _open_table(self, name: str) -> Table | None:
        def tell(line: int, message: str) -> None:
            self._findings.add(message, self._row_source(line), group=(self._entry.index, "row"))

        try:
            table = open_table(self._manifest.folder, name, tell, self._allowed)
        except InputRefused as refused:
            self._tell(str(refused), "rows")
            return None
        except TableRefused as refused:
            self._findings.add(str(refused), self._row_source(1))
            return None
        both = sorted(set(table.columns or ()) & set(self._entry.matrix))
        for column in both:
            self._tell(_BOTH.format(column), "matrix", column)
        if both:
            table.close()
        return None if both else table

    def _items_of(
        self, row: Row, columns: Columns, template: Template, combinations: list[_Combination]
    ) -> Iterator[Draft]:
        source = self._row_source(row.line)
        try:
            meaning = columns.meaning(row)
            if clash := next((name for name in self._entry.matrix if name in row.cells), None):
                raise ValueRefused(_BOTH.format(clash))
        except ValueRefused as refused:
            self._findings.add(str(refused), source, group=(self._entry.index, "row"))
            return
        metadata = {**self._entry.metadata, **meaning.metadata} if meaning.metadata else self._entry.metadata
        parts = (meaning.id,) if meaning.id is not None else (self._entry.id, meaning.part)
        for combination in combinations:
            settings = self._settings_of(combination.sets, meaning.sets)
            prompt = self._fill(template, {**combination.values, **row.cells}, source)
            if settings is None or prompt is None:
                return
            base = join_id((*parts, *combination.parts))
            yield from self._repeats(base, settings, prompt, metadata, source, meaning.occurrence)

    def _row_source(self, line: int) -> Source:
        return Source(file=self._table, line=line)

    # --- items ---

    def _settings_of(self, from_matrix: Mapping[str, Any], from_row: Mapping[str, Any]) -> Settings | None:
        key = repr((from_matrix, from_row)) if from_matrix or from_row else ""
        if key not in self._settings:
            if len(self._settings) >= SETTINGS_MOST:  # rows that are all different: those are not met again
                self._settings.clear()
            settings = self._make_settings(from_matrix, from_row)
            if settings is None:
                return None
            self._settings[key] = settings
        return self._settings[key]

    def _make_settings(self, from_matrix: Mapping[str, Any], from_row: Mapping[str, Any]) -> Settings | None:
        manifest, entry = self._manifest, self._entry
        own = {**entry.parameters, **from_matrix, **from_row}
        model = own.pop("model", entry.model or manifest.model)
        provider = entry.provider or manifest.provider
        if provider is None or model is None:
            name = "provider" if provider is None else "model"
            self._tell(f"The entry has no {name}. Set `{name}:` here, or at the top for all.")
            return None
        parameters = self._inherited
        if own:
            parameters = {name: value for name, value in {**parameters, **own}.items() if value is not None}
        options = manifest.providers[provider].options if provider in manifest.providers else {}
        return Settings(
            provider=provider,
            model=model,
            parameters=parameters,
            options={**options, **entry.options} if options and entry.options else options or entry.options,
            from_matrix=from_matrix,
            from_row=frozenset(from_row),
        )

    def _repeats(
        self, base: str, settings: Settings, prompt: str, metadata: Mapping[str, Any], source: Source, skipped: int = 0
    ) -> Iterator[Draft]:
        """Yield the repeats of an item, counting on after those of `skipped` equal rows."""
        first = skipped * self._entry.repeat + 1
        for number in range(first, first + self._entry.repeat):
            yield Draft(
                id=repeat_id(base, number),
                entry=self._entry,
                settings=settings,
                prompt=prompt,
                metadata=metadata,
                source=source,
            )

    def _tell(self, message: str, *inner: str) -> None:
        self._findings.add(message, source_at(self._manifest, (*self._here, *inner)))


_BOTH = "`{}` is both a column of the table and a name of the matrix. Rename one."


def _nearest_parameter(name: str) -> str:
    near = difflib.get_close_matches(name, PARAMETERS, n=1)
    return f" Did you mean `{near[0]}`?" if near else ""


def _matches(excluded: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(name in values and _is_same(value, values[name]) for name, value in excluded.items())


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same to a user: `8` and `8.0` are, `1` and `true` are not."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
