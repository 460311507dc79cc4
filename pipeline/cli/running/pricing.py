"""What is still to be bought would cost: learned from price lists and quotes, told, and asked about where nobody knows.

There may be a million items and only a few kinds of them: the price is looked up once a kind, and a kind is all of a
request but its prompt, for which no vendor charges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pipeline.cli.wording.console import ask, count, say, usd
from pipeline.cli.wording.price_hints import priced_line
from pipeline.errors import InputError
from pipeline.jobs.codec import request_from_json
from pipeline.jobs.state import State
from pipeline.ledger.reader import reading
from pipeline.planning.cost import MICRO, quote_key
from pipeline.runner.money import KeptQuotes, Prices, ask_quotes

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from pipeline.effects import Effects
    from pipeline.ledger.reader import Reader
    from pipeline.ledger.tallies import Summary
    from pipeline.manifest.model import Price
    from pipeline.paths import BatchFolder
    from pipeline.runner.context import Seat

ASKS_ABOVE_USD = 100.0
"""A manifest may be a stranger's, its prices and its cap included: beyond this sum the user is asked."""
KINDS_MOST = 10_000
"""So many kinds are remembered; in a batch where every item is of its own they are not met again."""


class Wish(NamedTuple):
    """How the user wants to be asked, and about what."""

    listed: Mapping[str, Price]
    """The manifest's `prices`."""
    chosen: Container[str] | None
    """The ids that may be submitted; None for all."""
    may_ask: bool
    """Whether to ask where the price is unknown."""


@dataclass(kw_only=True)
class Unknown:
    """Items that cost the same, and nobody has said how much."""

    provider: str
    item_id: str
    """The first of them, to ask the price of."""
    model: str
    items: int = 0


@dataclass(kw_only=True)
class ToBuy:
    """What is still to be submitted."""

    items: int = 0
    known_micro_usd: int = 0
    unknown: dict[str, Unknown]
    """By `quote_key`."""


async def price(
    wish: Wish, seats: Mapping[str, Seat], folder: BatchFolder, effects: Effects, kept: KeptQuotes | None
) -> Prices:
    """Learn what is still to be bought would cost, say so, and ask where nobody knows.

    Raises:
        InputError: the user said no, could not be asked, or set a cap that an unknown price cannot be held against.
    """
    quoting = {name: seat.provider for name, seat in seats.items() if seat.capabilities.quotes}
    with reading(folder.ledger, effects) as reader:
        cap = reader.meta("max_cost_usd")
        users_cap = reader.meta("max_cost_override_usd")
        before = reader.summary()
        to_buy = _to_buy(reader, wish, seats)
        wanted = {
            key: (each.provider, reader.revisions(each.item_id)[-1].request) for key, each in to_buy.unknown.items()
        }
    quotes, why = await ask_quotes(wanted, quoting, effects, kept) if wanted else ({}, [])
    unknown: dict[str, int] = {}
    fresh_micro = to_buy.known_micro_usd
    for key, each in to_buy.unknown.items():
        if key in quotes:
            fresh_micro += round(quotes[key] * MICRO) * each.items
        else:
            model = f"{each.provider}/{each.model}"
            unknown[model] = unknown.get(model, 0) + each.items
    for sentence in why:
        say(sentence)
    say(_standing(before, to_buy.items, fresh_micro / MICRO, unknown))
    if unknown and cap is not None:
        raise InputError(
            f"There is a cap of {usd(cap)}, and nobody says what {', '.join(sorted(unknown))} costs, so the cap cannot "
            f"be kept. Add what you pay to the manifest's `prices`: {priced_line(min(unknown))}."
        )
    if unknown and wish.may_ask:
        question = f"Nobody says what {', '.join(sorted(unknown))} costs, and there is no --max-cost. Go on?"
        if not ask(question):
            raise InputError("Nothing was submitted.")
    fresh_usd = fresh_micro / MICRO
    most_usd = fresh_usd if cap is None else min(fresh_usd, cap - before.committed_usd)
    if most_usd > ASKS_ABOVE_USD and users_cap is None and wish.may_ask:
        question = f"This may cost {usd(most_usd)}, and there is no --max-cost. Go on?"
        if not ask(question):
            raise InputError("Nothing was submitted.")
    now = effects.clock.monotonic()
    quoted_at = {key: now - age_s for key, age_s in kept.ages_s.items()} if kept else {}
    return Prices(listed=wish.listed, quotes=quotes, quoted_at=quoted_at)


def _to_buy(reader: Reader, wish: Wish, seats: Mapping[str, Seat]) -> ToBuy:
    prices = Prices(listed=wish.listed)
    found = ToBuy(unknown={})
    kinds: dict[tuple[str, str], int | Unknown] = {}
    for item_id, provider, kind in reader.planned_kinds():
        if wish.chosen is not None and item_id not in wish.chosen:
            continue
        costs = kinds.get((provider, kind))
        if costs is None:
            if len(kinds) >= KINDS_MOST:
                kinds.clear()
            request = request_from_json({**json.loads(kind), "prompt": ""})
            price_usd, _ = prices.of(provider, seats[provider].provider, request)
            if price_usd is None:
                key = quote_key(provider, request)
                costs = found.unknown.setdefault(key, Unknown(provider=provider, item_id=item_id, model=request.model))
            else:
                costs = round(price_usd * MICRO)
            kinds[provider, kind] = costs
        found.items += 1
        if isinstance(costs, Unknown):
            costs.items += 1
        else:
            found.known_micro_usd += costs
    return found


def _standing(before: Summary, fresh: int, fresh_usd: float, unknown: Mapping[str, int]) -> str:
    attached = before.count(State.SUBMITTING, State.SUBMITTED, State.CLAIMING, State.CLAIMED)
    parts = [
        f"{before.count(State.DONE)} done",
        f"{attached} at the provider, to be brought home" if attached else "",
        f"{before.in_doubt} in doubt ({usd(before.in_doubt_usd)})" if before.in_doubt else "",
        f"{before.failed} failed" if before.failed else "",
        f"{fresh} to submit ({_known(fresh_usd, unknown)})" if fresh else "nothing to submit",
    ]
    return f"{before.name}: {count(before.total, 'item')}: " + ", ".join(part for part in parts if part) + "."


def _known(known_usd: float, unknown: Mapping[str, int]) -> str:
    if not unknown:
        return usd(known_usd)
    items = count(sum(unknown.values()), "item")
    return f"{usd(known_usd)} and {items} of unknown price" if known_usd else "price unknown"
