"""What a run of a plan would do with the ledger as it is: submit, re-attach, reuse, hold; and what that would cost.

A plan and what its ledger knows come in, a record and its text go out. Nothing is written and nothing is sent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.columns import columns
from pipeline.cli.wording.console import count, usd
from pipeline.cli.wording.price_hints import known_line
from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, State
from pipeline.names import Names
from pipeline.planning.cost import estimate
from pipeline.runner.reconcile import Change, change_of, gone, meet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.cli.standing.forecast import Forecast
    from pipeline.ledger.reader import JobHead
    from pipeline.planning.cost import Cost, Estimate
    from pipeline.planning.item import Item
    from pipeline.planning.plan import Plan
    from pipeline.runner.reconcile import Known

DEAREST_SHOWN = 5
SHOWN = 20
"""Items listed; --json lists all."""


class Fate(StrEnum):
    """What a run would do with an item."""

    SUBMIT = "submit"
    REATTACH = "re-attach"
    REUSE = "reuse"
    LEAVE = "leave"
    HOLD = "in doubt"


FATES = tuple(Fate)
FATE_SAYS = {
    Fate.SUBMIT: "new, or not yet submitted",
    Fate.REATTACH: "at the provider already; going on with them buys nothing new",
    Fate.REUSE: "done; no request is made",
    Fate.LEAVE: "ended without a clip, and are not submitted again",
    Fate.HOLD: "held in doubt, and counted as spent",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What a run of the plan would do."""

    plan: Plan
    root: Path
    """The batch's folder."""
    fates: bytes
    """Of every item of the plan, in its order: the place of each in `FATES`."""
    to_come: Mapping[str, int]
    """By provider, how many items are to be submitted or are there."""
    each_usd: Mapping[tuple[str, str], tuple[float, float]]
    """By provider and model, the least and the most that an item costs that would be submitted."""
    dearest: Sequence[Item]
    """Those to submit that cost most, the dearest first; none where all cost the same or nobody says."""
    cost: Estimate
    """Of what would be submitted."""
    changed: Sequence[str]
    """Ids whose request changed after they were submitted: the run asks what to do."""
    withdrawn: Sequence[str]
    """Ids in the ledger, not yet submitted, that the manifest no longer has."""
    orphaned: int
    """Items at the provider that the manifest no longer has; they are finished, since they are paid for."""
    committed_usd: float
    """Spent, reserved or in doubt already."""
    askable: frozenset[str]
    """Providers that quote prices and have not been asked."""

    def count(self, fate: Fate) -> int:
        """Return how many items have a fate."""
        return self.fates.count(FATES.index(fate))

    def rows(self) -> Iterator[tuple[Item, Fate]]:
        """Yield every item with its fate, in the plan's order."""
        for item, fate in zip(self.plan.items, self.fates, strict=True):
            yield item, FATES[fate]


def look_out(
    plan: Plan, known: Known, root: Path, *, committed_usd: float, askable: frozenset[str] = frozenset()
) -> Outlook:
    """Hold a plan against what the ledger has of each item."""
    sorter = _Sorter(known)
    cost = estimate(sorter.fresh(plan))
    left = list(gone(sorter.ids, known, sorter.met))
    return Outlook(
        plan=plan,
        root=root,
        fates=bytes(sorter.fates),
        to_come=sorter.to_come,
        each_usd=sorter.each_usd,
        dearest=sorter.dearest if len(sorter.prices) > 1 else (),
        cost=cost,
        changed=sorter.changed,
        withdrawn=[head.item_id for head in left if head.state is State.PLANNED],
        orphaned=sum(_fate(head) is Fate.REATTACH for head in left),
        committed_usd=committed_usd,
        askable=askable,
    )


class _Sorter:
    """Sorts a plan's items by their fates. The mutable state is what it has found, complete after `fresh`."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.ids = Names()
        self.met = 0
        """Items that the ledger has something of."""
        self.fates = bytearray()
        self.to_come: Counter[str] = Counter()
        self.each_usd: dict[tuple[str, str], tuple[float, float]] = {}
        self.dearest: list[Item] = []
        self.prices: set[float] = set()
        """As many as tell whether all are the same."""
        self.changed: list[str] = []

    def fresh(self, plan: Plan) -> Iterator[tuple[str, str, Cost]]:
        """Yield provider, model and cost of what would be submitted."""
        for item, head in meet(plan.items, self._known):
            fate = _fate(head)
            self.ids.add(item.id)
            self.met += head is not None
            self.fates.append(FATES.index(fate))
            self.to_come[item.provider] += fate in {Fate.SUBMIT, Fate.REATTACH}
            if change_of(item, head) is Change.CHANGED:
                self.changed.append(item.id)
            if fate is Fate.SUBMIT:
                self._note_price(item)
                yield item.provider, item.request.model, item.cost
        self.to_come = +self.to_come

    def _note_price(self, item: Item) -> None:
        if item.price_usd is not None:
            model = (item.provider, item.request.model)
            low, high = self.each_usd.get(model, (item.price_usd, item.price_usd))
            self.each_usd[model] = min(low, item.price_usd), max(high, item.price_usd)
            if len(self.prices) < 2:
                self.prices.add(item.price_usd)
            if len(self.dearest) < DEAREST_SHOWN or item.price_usd > (self.dearest[-1].price_usd or 0.0):
                self.dearest = sorted([*self.dearest, item], key=lambda each: -(each.price_usd or 0.0))[:DEAREST_SHOWN]


def _fate(head: JobHead | None) -> Fate:
    if head is None or head.state is State.PLANNED:
        return Fate.SUBMIT
    if head.state in IN_DOUBT:
        return Fate.HOLD
    if head.state in UNSUCCESSFUL:
        return Fate.LEAVE
    return Fate.REUSE if head.state is State.DONE else Fate.REATTACH


def outlook_text(outlook: Outlook, forecast: Forecast, width: int | None) -> str:
    """Return the outlook as text."""
    plan = outlook.plan
    counts = {fate: outlook.count(fate) for fate in Fate}
    head = f"{plan.name}: {count(len(plan.items), 'item')}, {count(plan.estimate.clips, 'clip')}, in {outlook.root}"
    fates = [(str(fate), f"{counts[fate]:,}", FATE_SAYS[fate]) for fate in Fate if counts[fate] or fate is Fate.SUBMIT]
    parts = [
        head,
        columns(("a run would", "items", "which are"), fates, right={1}, width=width),
        _models_text(outlook.cost, outlook, width) if outlook.cost.items else "",
        _dearest_text(outlook, width),
        "\n".join([_cost_text(outlook), forecast.text, *_notes(outlook)]),
        _items_text(outlook, width),
    ]
    return "\n\n".join(part for part in parts if part)


def _models_text(cost: Estimate, outlook: Outlook, width: int | None) -> str:
    rows = [
        (
            f"{model.provider}/{model.model}",
            f"{model.items:,}",
            f"{model.clips:,}",
            f"{model.seconds:,g}" if model.seconds else "unknown",
            _each(outlook.each_usd.get((model.provider, model.model))),
            _total(model.known_usd, model.unknown_items, model.items),
        )
        for model in cost.models
    ]
    if len(rows) > 1:
        total = _total(cost.known_usd, cost.unknown_items, cost.items)
        rows.append(("together", f"{cost.items:,}", f"{cost.clips:,}", f"{cost.seconds:,g}", "", total))
    header = ("to submit", "items", "clips", "seconds", "price each", "price")
    return columns(header, rows, right=range(1, 6), width=width)


def _each(prices: tuple[float, float] | None) -> str:
    if not prices:
        return "unknown"
    low, high = map(usd, prices)
    return low if low == high else f"{low} to {high}"


def _total(known_usd: float, unknown_items: int, items: int) -> str:
    if unknown_items == items:
        return "unknown"
    return usd(known_usd) + (f" and {unknown_items:,} unknown" if unknown_items else "")


def _dearest_text(outlook: Outlook, width: int | None) -> str:
    rows = [
        (
            item.id,
            f"{item.provider}/{item.request.model}",
            f"{item.cost.seconds:,g}" if item.cost.seconds else "unknown",
            usd(item.price_usd),
            str(item.cost.price_is),
        )
        for item in outlook.dearest
    ]
    header = ("the dearest", "model", "seconds", "price", "which is")
    return columns(header, rows, right={2, 3}, width=width) if rows else ""


def _cost_text(outlook: Outlook) -> str:
    cost, cap = outlook.cost, outlook.plan.limits.max_cost_usd
    hints = ""
    told = (
        f"Cost: {_total(cost.known_usd, cost.unknown_items, cost.items)} to submit" if cost.items else "Cost: nothing"
    )
    if outlook.committed_usd:
        told += f"; {usd(outlook.committed_usd)} is spent, reserved or in doubt already"
    if cost.unknown_items:
        models = ", ".join(f"{model.provider}/{model.model}" for model in cost.models if model.unknown_items)
        told += f".\nNobody says what {models} costs: add it to the manifest's `prices`"
        if any(model.unknown_items and model.provider in outlook.askable for model in cost.models):
            told += ", or ask with --quote"
        known = [known_line(model.provider, model.model) for model in cost.models if model.unknown_items]
        hints = "".join(f"\n  {line}" for line in known if line)
        if cap is not None:
            told += f". With the cap of {usd(cap)}, a run refuses an unknown price"
    elif cap is not None:
        after = outlook.committed_usd + cost.known_usd
        told += f". The cap is {usd(cap)}: " + ("it suffices" if after <= cap else f"{usd(after - cap)} too little")
    return f"{told}.{hints}"


def _notes(outlook: Outlook) -> list[str]:
    told = []
    if outlook.changed:
        told.append(
            f"Changed after they were submitted: {_named(outlook.changed)}. A run stops there and asks for --on-change "
            "keep (what was bought) or --on-change new (a new revision, to be paid for)."
        )
    if outlook.withdrawn:
        told.append(f"No longer in the manifest, and not submitted: {_named(outlook.withdrawn)}.")
    if outlook.orphaned:
        told.append(f"No longer in the manifest, but paid for and brought home: {count(outlook.orphaned, 'item')}.")
    return told


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5:,} more" if len(ids) > 5 else "")


def _items_text(outlook: Outlook, width: int | None) -> str:
    shown = list(islice(outlook.rows(), SHOWN))
    rows = [
        (
            item.id,
            str(fate),
            f"{item.provider}/{item.request.model}",
            usd(item.price_usd),
            item.request.prompt,
        )
        for item, fate in shown
    ]
    text = columns(("id", "would", "model", "price", "prompt"), rows, right={3}, width=width)
    left = len(outlook.plan.items) - len(shown)
    return text + (f"\n... and {count(left, 'more item')}" if left else "")


def outlook_json(outlook: Outlook, forecast: Forecast) -> dict[str, Any]:
    """Return the outlook as plain JSON, with every item."""
    counts = {fate: outlook.count(fate) for fate in Fate}
    cost = outlook.cost
    return {
        "batch": outlook.plan.name,
        "output": str(outlook.root),
        "manifest": str(outlook.plan.manifest_path),
        "items": len(outlook.plan.items),
        "clips": outlook.plan.estimate.clips,
        "submit": counts[Fate.SUBMIT],
        "reattach": counts[Fate.REATTACH],
        "reuse": counts[Fate.REUSE],
        "leave": counts[Fate.LEAVE],
        "in_doubt": counts[Fate.HOLD],
        "changed": list(outlook.changed),
        "withdrawn": list(outlook.withdrawn),
        "models": [
            {
                "provider": model.provider,
                "model": model.model,
                "items": model.items,
                "clips": model.clips,
                "seconds": model.seconds,
                "known_usd": model.known_usd,
                "unknown_items": model.unknown_items,
            }
            for model in cost.models
        ],
        "known_usd": cost.known_usd,
        "unknown_items": cost.unknown_items,
        "dearest": [item.id for item in outlook.dearest],
        "committed_usd": outlook.committed_usd,
        "max_cost_usd": outlook.plan.limits.max_cost_usd,
        "expected_s": round(forecast.seconds, 1),
        "expected_because": forecast.text,
        "plan": [
            {
                "id": item.id,
                "would": fate.value,
                "provider": item.provider,
                "model": item.request.model,
                "prompt": item.request.prompt,
                "clips": item.cost.clips,
                "seconds": item.cost.seconds,
                "price_usd": item.price_usd,
                "price_is": item.cost.price_is.value,
            }
            for item, fate in outlook.rows()
        ],
    }
