"""What a clip costs, as far as anybody knows before it is bought: the user's price list first, then quotes."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from pipeline.jobs.job import CostIs
from pipeline.planning.cost import cost_of, quote_key, resolution_of
from pipeline.providers.answers import NotSent, Quoted, Refused, Throttled, Transient
from pipeline.runner.retry import backoff_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.effects import Clock, Effects, Shelf
    from pipeline.manifest.model import Price
    from pipeline.providers.answers import QuoteAnswer
    from pipeline.providers.base import GenerationRequest, Provider

QUOTE_TRIES = 4
QUOTE_LIFE_S = 3600.0


@dataclass(kw_only=True)
class Prices:
    """Known prices. The mutable state is the quotes, which are asked for anew when they are an hour old."""

    listed: Mapping[str, Price] = field(default_factory=dict)
    """The manifest's `prices`, by "provider/model"."""
    quotes: dict[str, float] = field(default_factory=dict)
    """Dollars for one submit, by `planning.cost.quote_key`."""
    quoted_at: dict[str, float] = field(default_factory=dict)
    """Monotonic; when each quote was last asked for, which an earlier process may have done."""

    def of(self, name: str, provider: Provider, request: GenerationRequest) -> tuple[float | None, CostIs]:
        """Return the price of one submit of a request in dollars, and how it is known; None for unknown."""
        cost = cost_of(name, request, seconds=provider.billed_seconds(request), prices=self.listed, quotes=self.quotes)
        return cost.price_usd, CostIs(cost.price_is.value)

    def of_usage(self, name: str, request: GenerationRequest, usage: Mapping[str, Any], clips: int) -> float | None:
        """Return what a claimed job cost by what the vendor says it billed; None where that is unknown.

        Where no clip was named, nobody knows for how many of them it was billed. Whether the seconds are those of one
        clip or of all is not documented; they are taken for one's, which counts too much rather than too little.
        """
        listed = self.listed.get(f"{name}/{request.model}")
        seconds = usage.get("video_seconds")
        if listed is None or clips == 0 or isinstance(seconds, bool):
            return None
        if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
            return None
        if listed.usd_per_clip is not None:
            return listed.usd_per_clip * clips
        billed = usage.get("video_resolution")
        a_second_usd = listed.per_second(billed if isinstance(billed, str) else resolution_of(request))
        return None if a_second_usd is None else round(a_second_usd * seconds * clips, 6)


async def refresh_quote(
    prices: Prices, name: str, provider: Provider, request: GenerationRequest, effects: Effects
) -> None:
    """Ask for a request's quote again where the one at hand is an hour old; a vendor that is silent changes nothing.

    A quote that has fallen is taken as it was: the budget counts on the higher of the two.
    """
    key = quote_key(name, request)
    now = effects.clock.monotonic()
    if key not in prices.quotes or now - prices.quoted_at.setdefault(key, now) < QUOTE_LIFE_S:
        return
    prices.quoted_at[key] = now
    answer = await provider.quote(request)
    if isinstance(answer, Quoted):
        prices.quotes[key] = max(answer.price_usd, prices.quotes[key])


class KeptQuotes:
    """Quotes that outlive a process for an hour, so that a plan and the run after it ask once.

    The mutable state is on the shelf, one record for each base URL and key, and `ages_s`, of the quotes taken from it.
    """

    def __init__(self, shelf: Shelf, clock: Clock, whereabouts: Mapping[str, tuple[str, str]]) -> None:
        """Keep quotes on a shelf; `whereabouts` is the base URL and the key's fingerprint of each provider, by name."""
        self._shelf = shelf
        self._clock = clock
        self._names = {
            name: blake2b(f"{name} {base_url} {account}".encode(), digest_size=16).hexdigest()
            for name, (base_url, account) in whereabouts.items()
        }
        self.ages_s: dict[str, float] = {}

    def take(self, name: str, key: str) -> float | None:
        """Return a provider's quote that is younger than an hour, or None."""
        found: list[float] = []

        def look(record: dict[str, Any]) -> dict[str, Any]:
            fresh = self._fresh(record)
            if key in fresh:
                price_usd, at_s = fresh[key]
                found.append(price_usd)
                self.ages_s[key] = self._clock.now().timestamp() - at_s
            return fresh

        self._shelf.update(self._names[name], look)
        return found[0] if found else None

    def keep(self, name: str, key: str, price_usd: float) -> None:
        """Keep a quote that was just given."""
        now_s = self._clock.now().timestamp()
        self._shelf.update(self._names[name], lambda record: {**self._fresh(record), key: [price_usd, now_s]})

    def _fresh(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of a record is a quote of the last hour; a file that somebody wrote into is no reason to stop."""
        now_s = self._clock.now().timestamp()
        return {
            key: value
            for key, value in record.items()
            if isinstance(value, list)
            and len(value) == 2
            and all(isinstance(number, int | float) for number in value)
            and value[0] > 0
            and 0 <= now_s - value[1] < QUOTE_LIFE_S
        }


async def ask_quotes(
    requests: Mapping[str, tuple[str, GenerationRequest]],
    providers: Mapping[str, Provider],
    effects: Effects,
    kept: KeptQuotes | None = None,
) -> tuple[dict[str, float], list[str]]:
    """Ask for the price of each kind of request.

    Args:
        requests: one (provider's name, request) for every `quote_key`.
        providers: those that can quote, by name; others are passed over.
        effects: for waiting where a vendor asks for it.
        kept: quotes of the last hour, which are not asked for again; None to ask for all.

    Returns:
        Dollars by quote key, and a sentence for each that stays unknown.
    """
    quotes: dict[str, float] = {}
    unknown: list[str] = []
    for key, (name, request) in requests.items():
        if name not in providers:
            continue
        known = kept.take(name, key) if kept is not None else None
        if known is not None:
            quotes[key] = known
            continue
        answer = await _ask(providers[name], request, effects)
        if isinstance(answer, Quoted) and answer.price_usd > 0:
            quotes[key] = answer.price_usd
            if kept is not None:
                kept.keep(name, key, answer.price_usd)
        elif isinstance(answer, Quoted):
            unknown.append(f"{name} quotes ${answer.price_usd} for {request.model}, which cannot be the price.")
        else:
            unknown.append(f"{name} gave no quote for {request.model}: {answer.message}")
    return quotes, unknown


async def _ask(provider: Provider, request: GenerationRequest, effects: Effects) -> QuoteAnswer:
    for tries in range(1, QUOTE_TRIES):
        answer = await provider.quote(request)
        match answer:
            case Quoted() | Refused():
                return answer
            case Throttled(wait_s=wait_s) if wait_s is not None:
                await effects.clock.sleep(wait_s)
            case Throttled() | NotSent() | Transient():
                await effects.clock.sleep(backoff_s(tries, effects.random))
    return await provider.quote(request)
