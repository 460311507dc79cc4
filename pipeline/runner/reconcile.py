"""The plan meets the ledger: what is new, what is revised, what is reused, and what has changed after it was submitted.

Identity is the id; what it stands for is its fingerprint. An item that was not yet submitted takes the new request. One
that was is the user's decision: keep what was bought, or make a new revision beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.jobs.codec import failure_to_json, request_to_json
from pipeline.jobs.event import Event
from pipeline.jobs.job import Failure
from pipeline.jobs.state import ENDED, IN_DOUBT, EventKind, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from pipeline.jobs.job import Job
    from pipeline.ledger.store import Ledger
    from pipeline.planning.plan import Item

CHUNK = 1000
"""Items written to a transaction."""


class OnChange(StrEnum):
    """What to do with an item whose request changed after it was submitted."""

    KEEP = "keep"
    """Keep what was bought; the change is not made."""
    NEW = "new"
    """Make a new revision beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What running a plan would do to a ledger. Items are in the plan's order."""

    new: Sequence[Item]
    """Not in the ledger."""
    unsubmitted: Sequence[tuple[Job, Item]]
    """Planned and not submitted, with a changed request."""
    changed: Sequence[tuple[Job, Item]]
    """Submitted, held or ended, with a changed request: the user decides."""
    relabelled: Sequence[tuple[Job, Item]]
    """Only their metadata changed."""
    withdrawn: Sequence[Job]
    """Planned, not submitted, and no longer in the manifest."""
    waiting: int
    """In the ledger, still to be submitted."""
    attached: int
    """At the provider; going on with them costs nothing new."""
    reused: int
    """Ended: done, or failed in some way that only `retry` changes."""
    held: int
    """In doubt."""


def compare(items: Iterable[Item], jobs: Iterable[Job]) -> Difference:
    """Hold a plan against the latest revision of every job of a ledger."""
    known = {job.item_id: job for job in jobs}
    new: list[Item] = []
    unsubmitted: list[tuple[Job, Item]] = []
    changed: list[tuple[Job, Item]] = []
    relabelled: list[tuple[Job, Item]] = []
    counts = {"waiting": 0, "attached": 0, "reused": 0, "held": 0}
    for item in items:
        job = known.pop(item.id, None)
        if job is None:
            new.append(item)
            continue
        counts[_standing(job)] += 1
        if job.fingerprint != item.fingerprint:
            (unsubmitted if job.state is State.PLANNED else changed).append((job, item))
        elif dict(job.metadata) != dict(item.metadata):
            relabelled.append((job, item))
    for job in known.values():
        if job.state is not State.PLANNED:
            counts[_standing(job)] += 1
    return Difference(
        new=new,
        unsubmitted=unsubmitted,
        changed=changed,
        relabelled=relabelled,
        withdrawn=[job for job in known.values() if job.state is State.PLANNED],
        **counts,
    )


def _standing(job: Job) -> str:
    if job.state is State.PLANNED:
        return "waiting"
    if job.state in IN_DOUBT:
        return "held"
    return "reused" if job.state in ENDED else "attached"


def refuse_undecided(difference: Difference, on_change: OnChange | None) -> None:
    """Stop where something submitted was changed and the user has not said what to do.

    Raises:
        InputError: with what changed, and the two ways to go on.
    """
    if on_change is not None or not difference.changed:
        return
    told = [line for job, item in difference.changed[:10] for line in _told(job, item)]
    if len(difference.changed) > 10:
        told.append(f"... and {len(difference.changed) - 10} more")
    raise InputError(
        "These items were changed after they were submitted:\n"
        + "\n".join(told)
        + "\nSay --on-change keep to keep what was bought, or --on-change new to make and pay for a new revision "
        "beside it. To try something out, give it an id of its own."
    )


def _told(job: Job, item: Item) -> Iterable[str]:
    yield f"  {job.item_id} ({job.state})"
    before, after = request_to_json(job.request), request_to_json(item.request)
    before["provider"], after["provider"] = job.provider, item.provider
    yield from (f"    {name}: {a} -> {b}" for name, a, b in _differing("", before, after))


def _differing(at: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    for key in sorted({*before, *after}):
        a, b = before.get(key), after.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differing(f"{at}{key}.", a, b)
        elif a != b:
            yield f"{at}{key}", _short(a), _short(b)


def _short(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


async def write_plan(
    ledger: Ledger, difference: Difference, order: Sequence[str], on_change: OnChange | None, now: datetime
) -> None:
    """Write a plan into the ledger, durable before anything is submitted.

    Args:
        ledger: the batch's.
        difference: what `compare` found, and `refuse_undecided` let pass.
        order: the ids of all items, in the manifest's order.
        on_change: what to do with items that were changed after they were submitted.
        now: the wall time.
    """
    fresh: list[tuple[Item, int]] = [(item, 1) for item in difference.new]
    if on_change is OnChange.NEW:
        fresh += [(item, job.revision + 1) for job, item in difference.changed]
    for start in range(0, len(fresh), CHUNK):
        await ledger.record_all(
            [
                (None, _event(EventKind.ITEM_PLANNED, item, revision, now))
                for item, revision in fresh[start : start + CHUNK]
            ]
        )
    moves = [(job, _event(EventKind.ITEM_REVISED, item, job.revision, now)) for job, item in difference.unsubmitted]
    moves += [(job, _event(EventKind.ITEM_RELABELLED, item, job.revision, now)) for job, item in difference.relabelled]
    for start in range(0, len(moves), CHUNK):
        await ledger.record_all(moves[start : start + CHUNK])
    free = [job for job in difference.withdrawn if not job.committed_usd]
    if free:
        await ledger.withdraw(free, now)
    told = failure_to_json(Failure(kind="withdrawn", message="It was removed from the manifest."))
    paid = [job for job in difference.withdrawn if job.committed_usd]
    await ledger.record_all(
        (
            job,
            Event(
                kind=EventKind.ITEM_ABANDONED,
                item_id=job.item_id,
                revision=job.revision,
                at=now,
                data={"failure": told},
            ),
        )
        for job in paid
    )
    await ledger.place((item_id, place) for place, item_id in enumerate(order))


def _event(kind: EventKind, item: Item, revision: int, now: datetime) -> Event:
    data = {
        "fingerprint": item.fingerprint,
        "provider": item.provider,
        "request": request_to_json(item.request),
        "metadata": dict(item.metadata),
    }
    return Event(kind=kind, item_id=item.id, revision=revision, at=now, data=data)
