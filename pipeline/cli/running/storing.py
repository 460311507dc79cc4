"""The store that a batch's clips are uploaded to: named once, kept in the ledger, tried before any money is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.runner.turns import Turns
from pipeline.runner.uploading import Uploading
from pipeline.storage.address import parse_store
from pipeline.storage.base import StoreDown, StoreRefused
from pipeline.storage.cloud import open_store
from pipeline.storage.mark import take

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job
    from pipeline.ledger.store import Ledger
    from pipeline.paths import BatchFolder
    from pipeline.runner.meter import Meter
    from pipeline.runner.progress import Progress
    from pipeline.storage.base import ObjectStore

NO_STORE = "none"
"""What the user says for the store to have no more clips uploaded."""
STORE = "store"
"""The ledger's fact: the URL, or nothing."""


def refuse_bad_store(text: str | None, environ: Mapping[str, str]) -> None:
    """Raise InputError where what the user named cannot be a store, before anything is made."""
    if text is not None and text != NO_STORE:
        open_store(parse_store(text), environ)


async def find_store(text: str | None, ledger: Ledger, environ: Mapping[str, str]) -> ObjectStore | None:
    """Return the batch's store: the one that is named now, else the one that it had; None for none.

    A store that the batch did not have before is tried, and made the batch's own; only then the ledger knows it.

    Args:
        text: what the user says now; None for nothing.
        ledger: open for writing.
        environ: where the store's endpoint is.

    Raises:
        InputError: it cannot be used. Nothing was sent to a provider.
    """
    known: str | None = await ledger.read_meta(STORE)
    if text == NO_STORE:
        await ledger.write_meta({STORE: None})
        return None
    if text is None and known is None:
        return None
    address = parse_store(text or known or "")
    store = open_store(address, environ)
    if address.url != known:
        batch, name = await ledger.read_meta("uuid"), await ledger.read_meta("name")
        try:
            await take(store, batch, name or "")
        except (StoreDown, StoreRefused) as refused:
            raise InputError(f"{refused} No clip was submitted.") from refused
        await ledger.write_meta({STORE: address.url})
    return store


async def uploading_to(
    store: ObjectStore | None,
    ledger: Ledger,
    folder: BatchFolder,
    effects: Effects,
    progress: Progress,
    meter: Meter,
    turns: Turns | None,
) -> Uploading | None:
    """Return what brings finished clips into a store; None where there is none.

    Args:
        store: where to.
        ledger: the batch's.
        folder: the batch's.
        effects: what the clips are read with.
        progress: of the run; told of every clip.
        meter: of the run, too.
        turns: those of whoever else writes about finished jobs; None where nobody does.
    """
    if store is None:
        return None

    def uploaded(job: Job, event: Event) -> None:
        progress.uploaded += 1
        meter.moved(job, event)

    return Uploading(
        ledger=ledger,
        folder=folder,
        store=store,
        batch=await ledger.read_meta("uuid"),
        name=await ledger.read_meta("name") or "",
        effects=effects,
        note=progress.note,
        uploaded=uploaded,
        turns=turns or Turns(ledger),
    )
