"""An item before the provider and the disk are asked about it, and where in the user's files each part of it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.planning.problems import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.manifest.model import Entry, Manifest, Pointer


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Settings:
    """What items of one entry have in common: everything but the prompt.

    There is one record for all that are equal, so it is compared, and remembered, by its identity.
    """

    provider: str
    model: str
    parameters: Mapping[str, Any]
    options: Mapping[str, Any]
    from_matrix: Mapping[str, Any]
    """Which of these the matrix set, and to what."""
    from_row: frozenset[str]
    """Which of these a row set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """One item as the manifest and its tables have it."""

    id: str
    entry: Entry
    settings: Settings
    prompt: str
    metadata: Mapping[str, Any]
    source: Source
    """Where it is written: the entry, or the row of its table."""


def source_at(manifest: Manifest, pointer: Pointer, *, key: bool = False) -> Source:
    """Return where a node of the manifest stands; the nearest one around it where it does not exist."""
    line, column = manifest.places.at(pointer, key=key)
    return Source(file=str(manifest.path), line=line, column=column)


def source_of(manifest: Manifest, draft: Draft, field: tuple[str | int, ...]) -> Source:
    """Return where the user wrote what a field of an item's request comes from; the item itself where nobody did.

    `field` is a path such as ("parameters", "duration_seconds"), ("model",), ("prompt",) or ("options", "seed").
    """
    if field[:1] in {("parameters",), ("options",)} and len(field) > 1:
        return _source_of_part(manifest, draft, str(field[0]), str(field[1]), field)
    name = str(field[0]) if field else ""
    if name == "prompt" and draft.entry.rows is not None:
        return draft.source
    if name == "model" and (chosen := _chosen(manifest, draft, name)) is not None:
        return chosen
    if name in {"provider", "model"} and getattr(draft.entry, name) is None:
        return source_at(manifest, (name,))
    return source_at(manifest, ("clips", draft.entry.index, *field))


def _source_of_part(manifest: Manifest, draft: Draft, group: str, name: str, field: tuple[str | int, ...]) -> Source:
    entry = draft.entry
    if group == "options":
        if name in entry.options or name not in draft.settings.options:
            return source_at(manifest, ("clips", entry.index, *field))
        return source_at(manifest, ("providers", draft.settings.provider, *field))
    if (chosen := _chosen(manifest, draft, name)) is not None:
        return chosen
    if name in manifest.parameters and name not in entry.parameters:
        return source_at(manifest, field)
    return source_at(manifest, ("clips", entry.index, *field))


def _chosen(manifest: Manifest, draft: Draft, name: str) -> Source | None:
    """Return where a row or the matrix sets a name; None where neither does."""
    if name in draft.settings.from_row:
        return draft.source
    if name not in draft.settings.from_matrix:
        return None
    value = draft.settings.from_matrix[name]
    index = next((i for i, listed in enumerate(draft.entry.matrix[name]) if listed is value), 0)
    return source_at(manifest, ("clips", draft.entry.index, "matrix", name, index))
