"""Taking in what an earlier run could only save in its journal of last resort, before anything else is done.

Each event of the journal ends in one of three ways: it is in the ledger, as itself or as the doubt that it leads to; it
was there already; or the ledger refuses it, and it stays in the journal, where it can be read, and the user is told of
it once. None of them keeps a run from going on, and none is dropped without a word.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from pipeline.errors import LedgerError
from pipeline.jobs.codec import failure_to_json
from pipeline.jobs.job import Failure
from pipeline.jobs.record import IllegalMove, apply
from pipeline.jobs.state import EventKind, State
from pipeline.ledger.writer import DuplicateJob, Write
from pipeline.providers.answers import Billing

if TYPE_CHECKING:
    from pipeline.jobs.event import Event
    from pipeline.ledger.emergency import Emergency
    from pipeline.ledger.writer import Writer

TOLD = "journal_told"
"""The fact about the batch that says which refused events the user was told of: a digest of them."""


def take_in_saved(writer: Writer, emergency: Emergency) -> list[str]:
    """Write an earlier run's saved events into the ledger; return what the user is to be told.

    Raises:
        DiskRefused: the disk still says no; the journal stays as it is.
    """
    sentences: list[str] = []
    refused: list[tuple[Event, str]] = []
    events = emergency.saved()
    for event in events:
        try:
            sentences += _take_in(writer, event)
        except (IllegalMove, LedgerError) as refusal:
            refused.append((event, str(refusal)))
    if not refused:
        if events:
            emergency.clear()
        return sentences
    emergency.keep_only([event for event, _ in refused])
    digest = sha256(repr([event.to_json() for event, _ in refused]).encode()).hexdigest()
    if writer.meta(TOLD) != digest:
        writer.write_meta({TOLD: digest})
        sentences += [_told(event, why, emergency) for event, why in refused]
    return sentences


def _take_in(writer: Writer, event: Event) -> list[str]:
    """Write one event.

    Raises:
        IllegalMove: it does not fit, and is not there already. LedgerError: the ledger refused it.
    """
    if writer.has(event):
        return []
    late = _settles_doubt(writer, event)
    try:
        _write(writer, late or event)
    except DuplicateJob as duplicate:
        told = Failure(
            kind="duplicate_job_id",
            message=str(duplicate),
            billing=Billing.UNKNOWN,
            evidence={"receipt": event.data["receipt"]},
        )
        _write(writer, replace(event, kind=EventKind.SUBMIT_LOST, data={"failure": failure_to_json(told)}))
        return [f"{event.item_id} is in doubt: {duplicate} It is held, and counted as spent."]
    return [f"{event.item_id} is in doubt no more: its answer was saved beside the ledger."] if late else []


def _settles_doubt(writer: Writer, event: Event) -> Event | None:
    """Return the event that a saved acceptance amounts to where another worker has held its submit in doubt meanwhile.

    Only of a first attempt: of a later one nobody could say by the clocks of two machines which it was that answered.
    """
    job = writer.job(event.item_id, event.revision)
    if job is None or event.kind is not EventKind.SUBMIT_ACCEPTED or job.state is not State.SUBMIT_IN_DOUBT:
        return None
    if job.attempt != 1 or job.failure is None or job.failure.kind != "interrupted":
        return None
    priced = {"price_usd": job.reserved_usd or None, "price_is": job.cost_is.value}
    return replace(event, kind=EventKind.DOUBT_ADOPTED, data={**event.data, **priced})


def _write(writer: Writer, event: Event) -> None:
    job = writer.job(event.item_id, event.revision)
    with writer.for_anybody():  # to write it down is not to work on it: whoever looks for what nobody has must find it
        refusals = writer.commit([Write(before=job, after=apply(job, event), event=event)])
    for refusal in refusals.values():
        raise refusal


def _told(event: Event, why: str, emergency: Emergency) -> str:
    return (
        f"An answer for {event.item_id} ({event.kind} at {event.at:%Y-%m-%d %H:%M:%S} UTC) was saved when the disk "
        f"failed, and does not fit into the ledger: {why.rstrip('.')}. It stays in {emergency.path}: read it before "
        f"you settle what became of {event.item_id}."
    )
