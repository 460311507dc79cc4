"""What Venice's bill says of submits in doubt: debits that no accepted submit explains, counted, and what that suggests.

Pure: the ledger's events and the rows of the bill come in, one `Finding` for each doubt comes out. It proposes and
decides nothing: the account may be used by others, and a charge may be entered late. Where the count could be read in
two ways, it says so; "not accepted", which invites a second submit, needs that no reading finds a debit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.jobs.state import EventKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from pipeline.jobs.event import Event
    from pipeline.providers.venice_billing import BillRow

BEFORE, AFTER = timedelta(seconds=60), timedelta(seconds=300)
"""How far from a submit its debit is looked for: two clocks differ, and a charge can be entered late."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One submit that may have been charged."""

    item_id: str
    revision: int
    model: str
    began: datetime
    ended: datetime
    """When its answer was written down, or its loss."""
    job_id: str = ""
    """The vendor's id; empty where the outcome is not known."""

    @property
    def window(self) -> tuple[datetime, datetime]:
        """Between which moments its debit is looked for."""
        return self.began - BEFORE, self.ended + AFTER

    @property
    def is_known(self) -> bool:
        """Whether the vendor certainly accepted it."""
        return bool(self.job_id)


class Verdict(StrEnum):
    """What the bill suggests of a submit in doubt."""

    NOT_ACCEPTED = "not_accepted"
    """No debit is left for it."""
    PAID = "paid"
    """There is a debit for it that nothing else explains."""
    UNCLEAR = "unclear"
    """The debits could be explained in more than one way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What the bill suggests of one doubt."""

    doubt: Submission
    verdict: Verdict
    unknown: int
    """Submits of the model whose outcome is unknown, this one included, that the same debits could belong to."""
    debits: int
    """Debits that no accepted submit explains; the most, where it is not certain."""
    candidates: tuple[BillRow, ...]
    """The debits that may be its own; empty where they cannot be told from those of accepted submits."""
    strangers: int
    """Debits in its window for models that nobody knows here; a model that Venice replaced could be one of them."""


def submissions(events: Iterable[Event], models: Mapping[tuple[str, int], str]) -> list[Submission]:
    """Return every submit that was, or may have been, accepted.

    Args:
        events: a ledger's, oldest first.
        models: of the items that matter, by id and revision; others are passed over.
    """
    found: list[Submission] = []
    began: dict[tuple[str, int], datetime] = {}
    before: datetime | None = None
    for event in events:
        key = (event.item_id, event.revision)
        began_at = event.at
        match event.kind:
            case EventKind.SUBMIT_STARTED:
                began[key] = event.at
            case EventKind.SUBMIT_ACCEPTED | EventKind.SUBMIT_LOST if key in began:
                began_at = began.pop(key)
            case EventKind.HISTORY_LOST:
                began_at = before or event.at
            case EventKind.DOUBT_ADOPTED:
                found = [_adopted(each, event) if (each.item_id, each.revision) == key else each for each in found]
        if event.kind in ENDINGS and key in models:
            receipt = event.data.get("receipt", {})
            found.append(
                Submission(
                    item_id=event.item_id,
                    revision=event.revision,
                    model=models[key],
                    began=began_at,
                    ended=event.at,
                    job_id=receipt.get("job_id", ""),
                )
            )
        if event.kind is not EventKind.HISTORY_LOST:
            before = event.at
    return found


ENDINGS = frozenset({EventKind.SUBMIT_ACCEPTED, EventKind.SUBMIT_LOST, EventKind.HISTORY_LOST})
"""Events after which a submit was, or may have been, accepted."""


def _adopted(submission: Submission, event: Event) -> Submission:
    if submission.is_known:
        return submission
    return Submission(
        item_id=submission.item_id,
        revision=submission.revision,
        model=submission.model,
        began=submission.began,
        ended=submission.ended,
        job_id=event.data["receipt"]["job_id"],
    )


def spans(doubts: Iterable[Submission]) -> list[tuple[datetime, datetime]]:
    """Return the windows of doubts, those that overlap made one: what is to be asked of the bill."""
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(doubt.window for doubt in doubts):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def explain(
    doubts: Sequence[Submission], others: Sequence[Submission], rows: Iterable[BillRow], models: Collection[str]
) -> list[Finding]:
    """Hold the bill against the doubts.

    Args:
        doubts: the submits in doubt.
        others: all other submits that were or may have been accepted.
        rows: the bill of all the doubts' windows.
        models: every model that is known by name, so that `veo-3-fast-...` is not taken for a `veo-3`.

    Returns:
        One finding for each doubt, in their order.
    """
    debits = _debits(rows)
    names = {*models, *(each.model for each in (*doubts, *others))}
    charged = {row: _model_of(row.sku, names) for row in debits}
    known_ids = {each.job_id for each in others if each.is_known}
    charged_ids = {row.request_id for row in debits} - {""}
    findings: dict[int, Finding] = {}
    for group in _groups(doubts):
        start = min(doubt.window[0] for doubt in group)
        end = max(doubt.window[1] for doubt in group)
        here = [row for row in debits if start <= row.at < end]
        mine = [row for row in here if charged[row] == group[0].model and row.request_id not in known_ids]
        near = [each for each in others if each.model == group[0].model and _overlap(each.window, (start, end))]
        unnamed = [each for each in near if each.is_known and each.job_id not in charged_ids]
        inside = sum(start <= each.window[0] and each.window[1] <= end for each in unnamed)
        most, least = len(mine) - inside, max(0, len(mine) - len(unnamed))
        unknown = len(group) + sum(not each.is_known for each in near)
        strangers = sum(charged[row] == "" for row in here)
        for doubt in group:
            findings[id(doubt)] = Finding(
                doubt=doubt,
                verdict=_verdict(most, least, unknown),
                unknown=unknown,
                debits=max(most, 0),
                candidates=() if unnamed else tuple(row for row in mine if _within(row, doubt)),
                strangers=strangers,
            )
    return [findings[id(doubt)] for doubt in doubts]


def _verdict(most: int, least: int, unknown: int) -> Verdict:
    if most <= 0:
        return Verdict.NOT_ACCEPTED
    return Verdict.PAID if least == most == unknown else Verdict.UNCLEAR


def _debits(rows: Iterable[BillRow]) -> list[BillRow]:
    """Return one row a debit: a charge that was split between balances has several, of one request or one instant."""
    seen: set[tuple[str, ...]] = set()
    kept: list[BillRow] = []
    for row in rows:
        if not row.is_debit:
            continue
        by_id = (row.sku, row.request_id)
        by_instant = (row.sku, row.at.isoformat(), row.currency)
        split = any(key in seen for key in ([by_id] if row.request_id else _other_currencies(row, kept)))
        if not split:
            kept.append(row)
        seen.update({by_id, by_instant})
    return kept


def _other_currencies(row: BillRow, kept: Iterable[BillRow]) -> list[tuple[str, ...]]:
    same = [each for each in kept if (each.sku, each.at) == (row.sku, row.at) and each.currency != row.currency]
    return [(each.sku, each.at.isoformat(), each.currency) for each in same]


def _model_of(sku: str, models: Iterable[str]) -> str:
    """Return the known model that a sku is of: the longest that begins it; empty for none."""
    return max((model for model in models if sku == model or sku.startswith(f"{model}-")), key=len, default="")


def _groups(doubts: Sequence[Submission]) -> list[list[Submission]]:
    """Return the doubts in groups whose debits cannot be told apart: of one model, in windows that overlap."""
    groups: list[list[Submission]] = []
    for doubt in sorted(doubts, key=lambda each: (each.model, each.window)):
        last = groups[-1] if groups else []
        if last and last[0].model == doubt.model and doubt.window[0] <= max(each.window[1] for each in last):
            last.append(doubt)
        else:
            groups.append([doubt])
    return groups


def _overlap(a: tuple[datetime, datetime], b: tuple[datetime, datetime]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _within(row: BillRow, doubt: Submission) -> bool:
    return doubt.window[0] <= row.at < doubt.window[1]
