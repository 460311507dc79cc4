"""What a batch still has to buy, priced before anything is bought; the question where nobody knows or it is much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.cli.console import ask, count, say, usd
from pipeline.cli.price_hints import priced_line
from pipeline.errors import InputError
from pipeline.jobs.state import State
from pipeline.ledger.reader import reading
from pipeline.planning.cost import quote_key
from pipeline.runner.money import Prices, ask_quotes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.cli.settings import BatchSettings
    from pipeline.effects import Effects
    from pipeline.ledger.reader import Reader
    from pipeline.paths import BatchFolder
    from pipeline.providers.base import GenerationRequest
    from pipeline.runner.context import Seat
    from pipeline.runner.money import KeptQuotes

ASKS_ABOVE_USD = 100.0
"""A manifest may be a stranger's, its prices and its cap included: beyond this sum the user is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """What the user said that decides whether there is a question."""

    chosen: frozenset[str] | None
    """The ids that may be submitted; None for all."""
    rehearsal: bool
    yes: bool


async def price_what_is_left(
    asking: Asking,
    settings: BatchSettings,
    seats: Mapping[str, Seat],
    folder: BatchFolder,
    effects: Effects,
    kept: KeptQuotes | None,
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
        listed = Prices(listed=settings.prices)
        unpriced = _unpriced(reader, listed, seats, asking.chosen)
        quotes, why = await ask_quotes(unpriced, quoting, effects, kept) if unpriced else ({}, [])
        now = effects.clock.monotonic()
        quoted_at = {key: now - age_s for key, age_s in kept.ages_s.items()} if kept else {}
        prices = Prices(listed=settings.prices, quotes=quotes, quoted_at=quoted_at)
        fresh_usd, fresh, unknown = _sum(reader, prices, seats, asking.chosen)
    for sentence in why:
        say(sentence)
    attached = before.count(State.SUBMITTING, State.SUBMITTED, State.CLAIMING, State.CLAIMED)
    parts = [
        f"{before.count(State.DONE)} done",
        f"{attached} at the provider, to be brought home" if attached else "",
        f"{before.in_doubt} in doubt ({usd(before.in_doubt_usd)})" if before.in_doubt else "",
        f"{before.failed} failed" if before.failed else "",
        f"{fresh} to submit ({_known(fresh_usd, unknown)})" if fresh else "nothing to submit",
    ]
    say(f"{before.name}: {count(before.total, 'item')}: " + ", ".join(part for part in parts if part) + ".")
    if unknown and cap is not None:
        raise InputError(
            f"There is a cap of {usd(cap)}, and nobody says what {', '.join(sorted(unknown))} costs, so the cap cannot "
            f"be kept. Add what you pay to the manifest's `prices`: {priced_line(min(unknown))}."
        )
    if unknown and not asking.rehearsal and not asking.yes:
        question = f"Nobody says what {', '.join(sorted(unknown))} costs, and there is no --max-cost. Go on?"
        if not ask(question):
            raise InputError("Nothing was submitted.")
    most_usd = fresh_usd if cap is None else min(fresh_usd, cap - before.committed_usd)
    if most_usd > ASKS_ABOVE_USD and users_cap is None and not asking.rehearsal and not asking.yes:
        question = f"This may cost {usd(most_usd)}, and there is no --max-cost. Go on?"
        if not ask(question):
            raise InputError("Nothing was submitted.")
    return prices


def _known(known_usd: float, unknown: Mapping[str, int]) -> str:
    if not unknown:
        return usd(known_usd)
    items = count(sum(unknown.values()), "item")
    return f"{usd(known_usd)} and {items} of unknown price" if known_usd else "price unknown"


def _unpriced(
    reader: Reader, prices: Prices, seats: Mapping[str, Seat], chosen: frozenset[str] | None
) -> dict[str, tuple[str, GenerationRequest]]:
    found: dict[str, tuple[str, GenerationRequest]] = {}
    for job in reader.planned():
        if chosen is not None and job.item_id not in chosen:
            continue
        if prices.of(job.provider, seats[job.provider].provider, job.request)[0] is None:
            found.setdefault(quote_key(job.provider, job.request), (job.provider, job.request))
    return found


def _sum(
    reader: Reader, prices: Prices, seats: Mapping[str, Seat], chosen: frozenset[str] | None
) -> tuple[float, int, dict[str, int]]:
    """Return the known dollars, the number of items to submit, and the items without a price by model."""
    micro = fresh = 0
    unknown: dict[str, int] = {}
    for job in reader.planned():
        if chosen is not None and job.item_id not in chosen:
            continue
        fresh += 1
        price_usd, _ = prices.of(job.provider, seats[job.provider].provider, job.request)
        if price_usd is None:
            model = f"{job.provider}/{job.request.model}"
            unknown[model] = unknown.get(model, 0) + 1
        else:
            micro += round(price_usd * 1_000_000)
    return micro / 1_000_000, fresh, unknown
