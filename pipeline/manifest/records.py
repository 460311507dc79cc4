"""Plain values that were found sound, made into the records of `model`."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from pipeline.clips.acceptance import Acceptance
from pipeline.manifest.model import Entry, Limits, Manifest, Price, ProviderSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.manifest.model import Places

DURATIONS = ("min_duration", "max_duration")


ENTRY_FIELDS: Final = tuple(field.name for field in fields(Entry))
pack_entry: Final = attrgetter(*ENTRY_FIELDS)
"""What is kept of an entry in a page."""


def unpack_entry(values: Sequence[Any]) -> Entry:
    """Make the entry of what `pack_entry` kept."""
    return Entry(**dict(zip(ENTRY_FIELDS, values, strict=True)))


def entry_of(index: int, value: Mapping[str, Any]) -> Entry:
    """Return an entry's record."""
    return Entry(
        index=index,
        id=value["id"],
        prompt=value.get("prompt"),
        provider=value.get("provider"),
        model=value.get("model"),
        parameters=value.get("parameters", {}),
        options=value.get("options", {}),
        matrix={name: tuple(values) for name, values in value.get("matrix", {}).items()},
        exclude=tuple(value.get("exclude", ())),
        rows=value.get("rows"),
        repeat=value.get("repeat", 1),
        metadata=value.get("metadata", {}),
    )


def acceptance_of(value: Mapping[str, Any]) -> Acceptance:
    """Return the record of `accept`."""
    seconds = {f"{name}_s": value[f"{name}_seconds"] for name in DURATIONS if f"{name}_seconds" in value}
    rest = {name: told for name, told in value.items() if not name.endswith("_seconds")}
    return Acceptance(**seconds, **rest)


def manifest_of(
    path: Path, folder: Path, top: Mapping[str, Any], entries: Sequence[Entry], places: Places, digest: str
) -> Manifest:
    """Return the manifest's record."""
    return Manifest(
        path=path,
        folder=folder,
        version=top["version"],
        name=top["name"],
        provider=top.get("provider"),
        model=top.get("model"),
        parameters=top.get("parameters", {}),
        entries=entries,
        limits=Limits(**top.get("limits", {})),
        cleanup=top.get("cleanup", False),
        prices={name: Price(**price) for name, price in top.get("prices", {}).items()},
        providers={
            name: ProviderSettings(limits=Limits(**settings.get("limits", {})), options=settings.get("options", {}))
            for name, settings in top.get("providers", {}).items()
        },
        accept=acceptance_of(top.get("accept", {})),
        places=places,
        text_sha256=digest,
    )
