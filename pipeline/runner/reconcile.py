"""The plan meets the ledger: what is new, what is revised, what is reused, and what has changed after it was submitted.

Identity is the id; what it stands for is its fingerprint. An item that was not yet submitted takes the new request. One
that was is the user's decision: keep what was bought, or make a new revision beside it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import InputError
from pipeline.jobs.codec import failure_to_json, request_to_json
from pipeline.jobs.event import Event
from pipeline.jobs.job import Failure
from pipeline.jobs.state import ENDED, IN_DOUBT, EventKind, State
from pipeline.names import Names

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pipeline.jobs.job import Job
    from pipeline.ledger.reader import JobHead
    from pipeline.ledger.store import Ledger
    from pipeline.planning.item import Item

CHUNK = 1000
"""Items looked up at once, and written in one transaction."""
TOLD_MOST = 10
"""Changed items that are told with what changed; the others are counted."""


class OnChange(StrEnum):
    """What to do with an item whose request changed after it was submitted."""

    KEEP = "keep"
    """Keep what was bought; the change is not made."""
    NEW = "new"
    """Make a new revision beside it."""


class Known(Protocol):
    """What a ledger has, read piece by piece: its `Reader` is one."""

    def heads(self, item_ids: Sequence[str]) -> Mapping[str, JobHead]:
        """Return the latest revision of those of these items that there are."""

    def total(self) -> int:
        """Return how many items there are."""

    def all_heads(self) -> Iterable[JobHead]:
        """Yield the latest revision of every item."""

    def revisions(self, item_id: str) -> Sequence[Job]:
        """Return every revision of an item, oldest first."""


class NothingKnown:
    """A ledger that is not there yet, or that nothing is in."""

    def heads(self, item_ids: Sequence[str]) -> Mapping[str, JobHead]:  # noqa: ARG002, D102
        return {}

    def total(self) -> int:  # noqa: D102
        return 0

    def all_heads(self) -> Iterable[JobHead]:  # noqa: D102
        return ()

    def revisions(self, item_id: str) -> Sequence[Job]:  # noqa: ARG002, D102
        return ()


class Change(Enum):
    """In what way an item of a plan differs from the ledger."""

    NEW = auto()
    """It is not in the ledger."""
    UNSUBMITTED = auto()
    """Planned and not submitted, with a changed request."""
    CHANGED = auto()
    """Submitted, held or ended, with a changed request: the user decides."""
    RELABELLED = auto()
    """Only its metadata changed."""
    NONE = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What running a plan would do to a ledger, counted."""

    new: int
    unsubmitted: int
    changed: int
    relabelled: int
    withdrawn: int
    """Planned, not submitted, and no longer in the manifest."""
    first_changed: Sequence[tuple[Job, Item]]
    """The first of the changed items, with what the ledger has of them."""
    waiting: int
    """In the ledger, still to be submitted."""
    attached: int
    """At the provider; going on with them costs nothing new."""
    reused: int
    """Ended: done, or failed in some way that only `retry` changes."""
    held: int
    """In doubt."""


def meet(items: Iterable[Item], known: Known) -> Iterator[tuple[Item, JobHead | None]]:
    """Yield every item with the latest revision that the ledger has of it."""
    waiting = iter(items)
    is_new = not known.total()
    while page := list(islice(waiting, CHUNK)):
        heads = {} if is_new else known.heads([item.id for item in page])
        for item in page:
            yield item, heads.get(item.id)


def change_of(item: Item, head: JobHead | None) -> Change:
    """Return in what way an item differs from what the ledger has of it."""
    if head is None:
        return Change.NEW
    if head.fingerprint != item.fingerprint:
        return Change.UNSUBMITTED if head.state is State.PLANNED else Change.CHANGED
    return Change.NONE if head.metadata == item.metadata else Change.RELABELLED


NOTHING_KNOWN_OF = Difference(
    new=0,
    unsubmitted=0,
    changed=0,
    relabelled=0,
    withdrawn=0,
    first_changed=(),
    waiting=0,
    attached=0,
    reused=0,
    held=0,
)


def compare(items: Sequence[Item], known: Known) -> Difference:
    """Hold a plan against the latest revision of every job of a ledger."""
    if not known.total():
        return replace(NOTHING_KNOWN_OF, new=len(items))
    ids = Names()
    changes: Counter[Change] = Counter()
    standing: Counter[str] = Counter()
    first_changed: list[tuple[Job, Item]] = []
    for item, head in meet(items, known):
        ids.add(item.id)
        change = change_of(item, head)
        changes[change] += 1
        if head is not None:
            standing[_standing(head.state)] += 1
        if change is Change.CHANGED and len(first_changed) < TOLD_MOST:
            first_changed.append((known.revisions(item.id)[-1], item))
    withdrawn = 0
    for head in gone(ids, known, standing.total()):
        if head.state is State.PLANNED:
            withdrawn += 1
        else:
            standing[_standing(head.state)] += 1
    return Difference(
        new=changes[Change.NEW],
        unsubmitted=changes[Change.UNSUBMITTED],
        changed=changes[Change.CHANGED],
        relabelled=changes[Change.RELABELLED],
        withdrawn=withdrawn,
        first_changed=first_changed,
        waiting=standing["waiting"],
        attached=standing["attached"],
        reused=standing["reused"],
        held=standing["held"],
    )


def gone(ids: Container[str], known: Known, met: int) -> Iterator[JobHead]:
    """Yield what the ledger has of items that are none of these; `met` says of how many of these it has something."""
    if met < known.total():
        yield from (head for head in known.all_heads() if head.item_id not in ids)


def _standing(state: State) -> str:
    if state is State.PLANNED:
        return "waiting"
    if state in IN_DOUBT:
        return "held"
    return "reused" if state in ENDED else "attached"


def refuse_undecided(difference: Difference, on_change: OnChange | None) -> None:
    """Stop where something submitted was changed and the user has not said what to do.

    Raises:
        InputError: with what changed, and the two ways to go on.
    """
    if on_change is not None or not difference.changed:
        return
    told = [line for job, item in difference.first_changed for line in _told(job, item)]
    if difference.changed > TOLD_MOST:
        told.append(f"... and {difference.changed - TOLD_MOST} more")
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
    ledger: Ledger, items: Iterable[Item], known: Known, on_change: OnChange | None, now: datetime
) -> None:
    """Write a plan into the ledger, durable before anything is submitted.

    It is written piece by piece. Whoever is stopped in the middle has a part of it in the ledger and has sent nothing;
    the next run holds its plan against that, and writes the rest.

    Args:
        ledger: the batch's.
        items: all of the plan, in the manifest's order; `refuse_undecided` let them pass.
        known: what the ledger has.
        on_change: what to do with items that were changed after they were submitted.
        now: the wall time.
    """
    ids = Names()
    met = 0
    meeting = meet(items, known)
    while page := list(islice(meeting, CHUNK)):
        first = len(ids)
        for item, head in page:
            ids.add(item.id)
            met += head is not None
        fresh, moves = _decide(page, on_change, now)
        before = await ledger.jobs_at([(event.item_id, event.revision) for event in moves])
        await ledger.record_all([*((None, event) for event in fresh), *zip(before, moves, strict=True)])
        begun = {event.item_id for event in fresh}
        await ledger.place(
            (item.id, place)
            for place, (item, head) in enumerate(page, start=first)
            if item.id in begun or head is None or head.position != place
        )
    withdrawn = (head for head in gone(ids, known, met) if head.state is State.PLANNED)
    while some := list(islice(withdrawn, CHUNK)):
        await _withdraw(ledger, some, now)


def _decide(
    page: Iterable[tuple[Item, JobHead | None]], on_change: OnChange | None, now: datetime
) -> tuple[list[Event], list[Event]]:
    """Return what makes the ledger say what the plan says: what begins an item or a revision, and what moves one."""
    fresh: list[Event] = []
    moves: list[Event] = []
    for item, head in page:
        revision = head.revision if head else 1
        match change_of(item, head):
            case Change.NEW:
                fresh.append(_event(EventKind.ITEM_PLANNED, item, 1, now))
            case Change.CHANGED if on_change is OnChange.NEW:
                fresh.append(_event(EventKind.ITEM_PLANNED, item, revision + 1, now))
            case Change.UNSUBMITTED:
                moves.append(_event(EventKind.ITEM_REVISED, item, revision, now))
            case Change.RELABELLED:
                moves.append(_event(EventKind.ITEM_RELABELLED, item, revision, now))
    return fresh, moves


async def _withdraw(ledger: Ledger, heads: Sequence[JobHead], now: datetime) -> None:
    """Forget items that were never submitted; what was, and may have cost something, is abandoned."""
    free = [head for head in heads if not head.committed_micro_usd]
    if free:
        await ledger.withdraw(free, now)
    told = failure_to_json(Failure(kind="withdrawn", message="It was removed from the manifest."))
    paid = await ledger.jobs_at([(head.item_id, head.revision) for head in heads if head.committed_micro_usd])
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


def _event(kind: EventKind, item: Item, revision: int, now: datetime) -> Event:
    data = {
        "fingerprint": item.fingerprint,
        "provider": item.provider,
        "request": request_to_json(item.request),
        "metadata": dict(item.metadata),
    }
    return Event(kind=kind, item_id=item.id, revision=revision, at=now, data=data)
