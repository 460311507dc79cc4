"""What Venice's bill says of submits in doubt: debits that no accepted submit explains, and what they suggest.

Pure: the ledger's events and the rows of the bill come in, one `Evidence` for each doubt comes out. It proposes and
decides nothing, for the account may be used by others. Submits whose charges could be taken for one another are counted
together (a `Cluster`), so that no charge at the edge of a window is counted on one side alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.jobs.state import EventKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from pipeline.jobs.event import Event
    from pipeline.providers.venice.billing import BillRow

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """Submits of one model, each near another in time: any of their debits could be any one's."""

    model: str
    submissions: tuple[Submission, ...]

    @property
    def window(self) -> tuple[datetime, datetime]:
        """Between which moments all their debits are looked for."""
        windows = [each.window for each in self.submissions]
        return min(start for start, _ in windows), max(end for _, end in windows)


class Verdict(StrEnum):
    """What the bill suggests of a submit in doubt."""

    NOT_ACCEPTED = "not_accepted"
    """No debit is left for it."""
    TOO_EARLY = "too_early"
    """No debit is left for it so far, and one may still be entered."""
    PAID = "paid"
    """There is a debit for it that nothing else explains."""
    UNCLEAR = "unclear"
    """The debits could be explained in more than one way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What the bill says of one doubt."""

    doubt: Submission
    verdict: Verdict
    unknown: int
    """Submits whose outcome is unknown, this one included, that the same debits could belong to."""
    unexplained: int
    """Debits that no accepted submit explains; below 0 where there are fewer debits than accepted submits."""
    candidates: tuple[BillRow, ...]
    """The unexplained debits that may be its own; empty where they cannot be told from explained ones."""
    strangers: int
    """Video debits near it for models that nobody knows here; one of them could stand in for the doubt's model."""


ACCEPTED_OR_NOT = frozenset({EventKind.SUBMIT_ACCEPTED, EventKind.SUBMIT_LOST, EventKind.HISTORY_LOST})
"""Events after which a submit was, or may have been, accepted."""


def submissions(events: Iterable[Event], models: Mapping[tuple[str, int], str]) -> list[Submission]:
    """Return every submit that was, or may have been, accepted.

    Args:
        events: a ledger's, oldest first.
        models: of the items that matter, by id and revision; others are passed over.
    """
    found: list[Submission] = []
    began: dict[tuple[str, int], datetime] = {}
    replaced: dict[str, str] = {}
    before: datetime | None = None
    for event in events:
        key = (event.item_id, event.revision)
        if key in models:
            receipt = event.data.get("receipt") or {"job_id": "", "model": models[key]}
            # What a restored ledger has forgotten happened after the last thing that it remembers.
            since = before if event.kind is EventKind.HISTORY_LOST else began.pop(key, None)
            if event.kind is EventKind.SUBMIT_STARTED:
                began[key] = event.at
            elif event.kind is EventKind.DOUBT_ADOPTED or (event.kind is EventKind.SUBMIT_LOST and since is None):
                _rename(found, key, receipt["job_id"])
            elif event.kind in ACCEPTED_OR_NOT:
                found.append(_submission(key, models[key], since or event.at, event.at, receipt["job_id"]))
                if receipt["job_id"]:
                    replaced[models[key]] = receipt["model"]
        if event.kind is not EventKind.HISTORY_LOST:
            before = event.at
    found += [_submission(key, models[key], at, at, "") for key, at in began.items()]
    return [replace(each, model=replaced.get(each.model, each.model)) for each in found]


def _submission(key: tuple[str, int], model: str, began: datetime, ended: datetime, job_id: str) -> Submission:
    return Submission(item_id=key[0], revision=key[1], model=model, began=began, ended=ended, job_id=job_id)


def _rename(found: list[Submission], key: tuple[str, int], job_id: str) -> None:
    """Note that the item's last submit was accepted after all, or that its id may be another's (empty)."""
    for place, each in reversed(list(enumerate(found))):
        if (each.item_id, each.revision) == key:
            found[place] = replace(each, job_id=job_id)
            return


def clusters(submitted: Iterable[Submission]) -> list[Cluster]:
    """Gather submits of one model whose windows overlap, directly or by way of others."""
    found: list[list[Submission]] = []
    for each in sorted(submitted, key=lambda each: (each.model, each.window)):
        last = found[-1] if found else []
        if last and last[0].model == each.model and each.window[0] <= max(other.window[1] for other in last):
            last.append(each)
        else:
            found.append([each])
    return [Cluster(model=group[0].model, submissions=tuple(group)) for group in found]


def spans(wanted: Iterable[Cluster]) -> list[tuple[datetime, datetime]]:
    """Return the times that the bill is to be asked for: the clusters' windows, those that overlap made one."""
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted(cluster.window for cluster in wanted):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def explain(
    doubt: Submission, cluster: Cluster, rows: Iterable[BillRow], models: Collection[str], now: datetime
) -> Evidence:
    """Hold the bill against one doubt.

    Args:
        doubt: a submit in doubt.
        cluster: the one it belongs to.
        rows: the bill, at least of the cluster's window.
        models: every model that is known by name, so that a `veo-3-fast-...` is not taken for a `veo-3`.
        now: until when the bill was read.
    """
    start, end = cluster.window
    here = [row for row in _debits(rows) if start <= row.at < end]
    mine = [row for row in here if _model_of(row.sku, {*models, cluster.model}) == cluster.model]
    accepted = {each.job_id for each in cluster.submissions if each.is_known}
    unknown = [each for each in cluster.submissions if not each.is_known]
    left = [row for row in mine if row.request_id not in accepted]
    if len(left) < len(mine) or not accepted:  # the rows name the jobs, or there are none that they could name
        left = [row for row in left if any(_within(row, each) for each in unknown)]
        unexplained, candidates = len(left), tuple(row for row in left if _within(row, doubt))
    else:
        unexplained, candidates = len(mine) - len(accepted), ()
    strangers = sum("video" in row.sku and not _model_of(row.sku, {*models, cluster.model}) for row in here)
    if unexplained == 0 and not strangers:
        verdict = Verdict.TOO_EARLY if now < doubt.window[1] else Verdict.NOT_ACCEPTED
    else:
        verdict = Verdict.PAID if unexplained == len(unknown) else Verdict.UNCLEAR
    return Evidence(
        doubt=doubt,
        verdict=verdict,
        unknown=len(unknown),
        unexplained=unexplained,
        candidates=candidates,
        strangers=strangers,
    )


def _debits(rows: Iterable[BillRow]) -> list[BillRow]:
    """Return one row a debit: a charge that two balances shared has two, of one request or of one instant."""
    kept: dict[tuple[str, ...], BillRow] = {}
    for row in rows:
        if not row.is_debit:
            continue
        same = [each for each in kept.values() if (each.sku, each.at) == (row.sku, row.at)]
        if row.request_id:
            kept.setdefault((row.sku, row.request_id), row)
        elif all(each.currency == row.currency for each in same):
            kept[row.sku, row.at.isoformat(), row.currency, str(len(same))] = row
    return list(kept.values())


def _model_of(sku: str, models: Iterable[str]) -> str:
    """Return the known model that a sku is of: the longest that begins it; empty for none."""
    return max((model for model in models if sku == model or sku.startswith(f"{model}-")), key=len, default="")


def _within(row: BillRow, submission: Submission) -> bool:
    start, end = submission.window
    return start <= row.at < end
