"""What items cost, as far as anybody says: the manifest's prices, else the provider's quotes, else unknown.

Money in records is in US dollars as floats; it is added up in whole millionths of a dollar, so that the sum over a
hundred thousand items is exact. An unknown price is None and never zero: a budget must not take it for a gift.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.planning.identity import digits_of
from pipeline.providers.base import MEDIA_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.manifest.model import Price
    from pipeline.providers.base import GenerationRequest

MICRO = 1_000_000

PRICELESS_PARAMETERS = frozenset({"negative_prompt"})
"""Texts that no vendor charges for."""
MEASURED_MEDIA = frozenset({"video", "audio", "reference_videos", "reference_audios"})
"""Media whose length or size can decide the price, so that two different files may cost differently."""


class PriceIs(StrEnum):
    """Where a price comes from."""

    COMPUTED = "computed"
    """From the manifest's `prices`."""
    QUOTED = "quoted"
    """By the provider, for this very request."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one item is expected to cost."""

    price_usd: float | None
    price_is: PriceIs
    seconds: float
    """Seconds of video that would be billed, all its clips together; 0 where the provider cannot tell."""
    clips: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEstimate:
    """The sums for one model."""

    provider: str
    model: str
    items: int
    clips: int
    seconds: float
    known_usd: float
    """The sum of the prices that are known."""
    unknown_items: int
    """How many items have no known price."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The sums for a plan."""

    items: int
    clips: int
    seconds: float
    known_usd: float
    unknown_items: int
    models: tuple[ModelEstimate, ...]
    """In the order in which the plan first uses them."""


def cost_of(
    provider: str,
    request: GenerationRequest,
    *,
    seconds: float,
    prices: Mapping[str, Price],
    quotes: Mapping[str, float],
) -> Cost:
    """Return what a request is expected to cost.

    `seconds` is what the provider's `billed_seconds` says; `prices` go by `provider/model`, `quotes` by `quote_key`.
    A price by the second says nothing of a request whose seconds the provider cannot tell (an upscale, say).
    """
    clips = request.sample_count
    price = prices.get(f"{provider}/{request.model}")
    price_usd, price_is = None, PriceIs.UNKNOWN
    if price is not None:
        if price.usd_per_clip is not None:
            price_usd = _product_usd(price.usd_per_clip, clips)
        elif (a_second_usd := price.per_second(resolution_of(request))) is not None and seconds > 0:
            price_usd = _product_usd(a_second_usd, seconds)
        price_is = PriceIs.UNKNOWN if price_usd is None else PriceIs.COMPUTED
    elif quotes:
        price_usd = quotes.get(quote_key(provider, request))
        price_is = PriceIs.UNKNOWN if price_usd is None else PriceIs.QUOTED
    return Cost(price_usd=price_usd, price_is=price_is, seconds=seconds, clips=clips)


def resolution_of(request: GenerationRequest) -> str | None:
    """Return the resolution that a request names; None where it leaves that to the vendor."""
    within = request.options.get("parameters")
    places = (request.options, within if isinstance(within, dict) else {}, request.parameters)
    return next((value for place in places if isinstance(value := place.get("resolution"), str)), None)


def _product_usd(price_usd: float, amount: float) -> float:
    """Multiply as one does on paper, and round to the millionth of a dollar."""
    return round(Decimal(str(price_usd)) * Decimal(str(amount)) * MICRO) / MICRO


def quote_key(provider: str, request: GenerationRequest) -> str:
    """Return a text that is equal for requests that cost the same, so that a large plan needs a few quotes.

    Left out are the prompt and the pictures themselves; their number counts. Videos and sounds count by their content.
    """
    parameters: dict[str, Any] = {
        name: _quoted_medium(name, value, request) if name in MEDIA_PARAMETERS else value
        for name, value in request.parameters.items()
        if name not in PRICELESS_PARAMETERS
    }
    priced = {"options": request.options, "parameters": parameters}
    return f"{provider}/{request.model}/{digits_of(priced, 16)}"


def _quoted_medium(name: str, value: Any, request: GenerationRequest) -> Any:
    if name not in MEASURED_MEDIA:
        return len(value) if isinstance(value, (list, tuple)) else 1
    texts = value if isinstance(value, (list, tuple)) else [value]
    return [request.files[text].sha256 if text in request.files else text for text in texts]


def estimate(costs: Iterable[tuple[str, str, Cost]]) -> Estimate:
    """Add up the costs of items, each with its provider and its model."""
    counted: Counter[tuple[str, str, Cost]] = Counter(costs)
    tables: dict[tuple[str, str], list[tuple[Cost, int]]] = {}
    for (provider, model, cost), count in counted.items():
        tables.setdefault((provider, model), []).append((cost, count))
    models = tuple(_sum_of_model(provider, model, table) for (provider, model), table in tables.items())
    return Estimate(
        items=sum(model.items for model in models),
        clips=sum(model.clips for model in models),
        seconds=sum(model.seconds for model in models),
        known_usd=sum(round(model.known_usd * MICRO) for model in models) / MICRO,
        unknown_items=sum(model.unknown_items for model in models),
        models=models,
    )


def _sum_of_model(provider: str, model: str, table: list[tuple[Cost, int]]) -> ModelEstimate:
    return ModelEstimate(
        provider=provider,
        model=model,
        items=sum(count for _, count in table),
        clips=sum(cost.clips * count for cost, count in table),
        seconds=sum(cost.seconds * count for cost, count in table),
        known_usd=sum(round((cost.price_usd or 0) * MICRO) * count for cost, count in table) / MICRO,
        unknown_items=sum(count for cost, count in table if cost.price_usd is None),
    )
