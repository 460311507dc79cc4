"""The item: one wanted generation, with its request, its fingerprint, its price and its place; and lists of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.pages import Pages
from pipeline.planning.problems import Source
from pipeline.providers.base import GenerationRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.planning.cost import Cost


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


def no_items() -> Pages[Item]:
    """Return a list to put items into, as many as there may be."""
    return Pages(_pack, _unpack)


def _pack(item: Item) -> tuple[Any, ...]:
    request, source = item.request, item.source
    return (
        (item.id, item.entry_index, item.provider, item.metadata, item.fingerprint),
        (request.model, request.prompt, request.parameters, request.options, request.files),
        item.cost,
        (source.file, source.line, source.column),
    )


def _unpack(kept: tuple[Any, ...]) -> Item:
    (id_, entry_index, provider, metadata, fingerprint_), asked, cost, (file, line, column) = kept
    model, prompt, parameters, options, files = asked
    return Item(
        id=id_,
        entry_index=entry_index,
        provider=provider,
        request=GenerationRequest(model=model, prompt=prompt, parameters=parameters, options=options, files=files),
        metadata=metadata,
        fingerprint=fingerprint_,
        cost=cost,
        source=Source(file=file, line=line, column=column),
    )
