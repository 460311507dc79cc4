"""Carrying an export out: decode what no decoder has seen, choose the rows, make the export, say what is in it.

The batch may be run meanwhile: finished clips do not change. Only decoding writes into the ledger, and needs its lock.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.console import count, put, put_json, say, usd
from pipeline.clips.decoders import Decoders
from pipeline.clips.probe import can_decode
from pipeline.dataset.export import Exported, Hands, Order, OwnHands, export, refuse_nothing
from pipeline.dataset.rows import Selection, select
from pipeline.dataset.upload import upload_export
from pipeline.dataset.where import Condition, meeting
from pipeline.durable import make_folder, told_as_disk_refused
from pipeline.effects import LockHeld
from pipeline.errors import BatchLocked, Exit, InputError
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder, state_folder
from pipeline.storage.cloud import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pipeline.cli.running.cluster import ClusterWanted
    from pipeline.clips.decoders import Decodes
    from pipeline.dataset.build import Options
    from pipeline.dataset.split import Shares
    from pipeline.effects import Effects
    from pipeline.storage.address import Address


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user wants exported, and how."""

    root: Path
    form: str
    dest: Path | None
    """None for the batch's own folder of exports."""
    remote: Address | None = None
    """Where in a store it goes from there; None for nowhere."""
    shares: Shares
    where: tuple[Condition, ...]
    options: Options
    cluster: ClusterWanted | None = None
    """Whose processes do the work; None for this one's."""
    as_json: bool


async def carry_out(wish: Wish, effects: Effects, environ: Mapping[str, str]) -> Exit:
    """Make an export and say what is in it.

    Raises:
        InputError: no ledger of ours, nothing to export, a destination that is not ours, or a clip that was changed.
        BatchLocked: another export of the batch is under way. DiskRefused: the disk said no.
    """
    folder = BatchFolder(wish.root)
    if not folder.has_ledger():
        raise InputError(f"There is no ledger at {folder.ledger}. Name a batch folder, such as output/quickstart.")
    with _alone(folder, effects), ExitStack() as stack:
        hands: Hands = OwnHands(effects.threads)
        decoders: Callable[[int], AbstractAsyncContextManager[Decodes]] = Decoders
        if wish.cluster is not None:
            from pipeline.scale.ray import connected
            from pipeline.scale.tasks import RayDecoders, RayHands

            stack.enter_context(connected(wish.cluster.address))
            hands, decoders = RayHands(effects, say), RayDecoders
        await _decode(folder, effects, environ, decoders)
        name, uuid, selection = await effects.threads.run(_choose, wish, folder, effects)
        refuse_nothing(selection)
        dest = wish.dest or folder.exports / wish.form
        order = Order(
            batch=folder.root,
            name=name,
            uuid=uuid,
            form=wish.form,
            dest=dest,
            selection=selection,
            options=wish.options,
        )
        store = open_store(wish.remote, environ) if wish.remote else None
        await effects.threads.run(make_folder, effects.files, dest.parent)
        with _shown("export", sum(row.size_bytes for row in selection.rows)) as told:
            exported = await export(order, effects, told, hands)
        if store is not None:
            with _shown("upload", exported.size_bytes) as told:
                fresh = await upload_export(dest, store, uuid, name, effects, told)
            exported = replace(exported, fresh=fresh)
    _tell(wish, order, exported)
    return Exit.DONE


@contextmanager
def _alone(folder: BatchFolder, effects: Effects) -> Iterator[None]:
    try:
        with told_as_disk_refused(f"take the lock {folder.export_lock}"):
            release = effects.locks.acquire(folder.export_lock, json.dumps({"pid": os.getpid()}))
    except LockHeld:
        raise BatchLocked(f"Another export of {folder.root} is under way; wait for it to end.") from None
    try:
        yield
    finally:
        release()


async def _decode(
    folder: BatchFolder,
    effects: Effects,
    environ: Mapping[str, str],
    decoders: Callable[[int], AbstractAsyncContextManager[Decodes]],
) -> None:
    """Decode what is left, unless a run is seeing to that."""
    with reading(folder.ledger, effects) as reader:
        rules, left = reader.acceptance(), reader.undecoded()
    if not left or not rules.wants_decoding or not can_decode():
        return
    # Late: planning and the providers come with them, and take half of what the rest of the command takes to start.
    from pipeline.cli.mending.resolution import refresh_results, rehearsal_speed
    from pipeline.cli.running.decoded import decode_the_rest
    from pipeline.cli.running.epoch import begin_epoch

    marks = None if rehearsal_speed(folder, effects) else state_folder(environ) / "marks"
    try:
        async with begin_epoch(folder, effects, marks, command="export") as epoch:
            epoch.ending = "export: decoded only in part"
            await decode_the_rest(epoch.ledger, folder, rules, effects, decoders)
            await refresh_results(folder, effects)
            epoch.ending = "export: decoded what was left"
    except BatchLocked:
        say(f"{folder.root} is being run now, and the run decodes its clips; this export takes what is finished.")


def _choose(wish: Wish, folder: BatchFolder, effects: Effects) -> tuple[str, str, Selection]:
    with reading(folder.ledger, effects) as reader:
        rules, jobs, items = reader.acceptance(), list(reader.with_clips()), len(reader.item_ids())
        selection = select(jobs, rules, wish.shares, meeting(wish.where), items)
        return reader.meta("name") or folder.root.name, reader.meta("uuid"), selection


@contextmanager
def _shown(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal while the block runs."""
    from tqdm import tqdm

    with tqdm(total=total_bytes, unit="B", unit_scale=True, desc=what, disable=None, file=sys.stderr) as bar:

        def told(more: int) -> None:
            bar.update(more)

        yield told


def _tell(wish: Wish, order: Order, exported: Exported) -> None:
    selection = order.selection
    splits = {split: len(rows) for split, rows in selection.splits.items()}
    if wish.as_json:
        document: dict[str, Any] = {
            "batch": order.name,
            "format": order.form,
            "dest": wish.remote.url if wish.remote else str(order.dest),
            "fresh": exported.fresh,
            "clips": len(selection.rows),
            "splits": splits,
            "bytes": exported.size_bytes,
            "left_out": {
                "rejected": selection.rejected,
                "rejected_usd": selection.rejected_usd,
                "undecided": selection.undecided,
                "where": selection.passed_over,
                "unfinished_items": selection.unfinished,
            },
        }
        put_json(document)
        return
    if selection.rejected:
        again = shlex.join(["clipmill", "retry", str(wish.root), "--rejected-clips"])
        say(
            f"{count(selection.rejected, 'clip')} left out by `accept`; they cost {usd(selection.rejected_usd)} and "
            f"are kept. To buy them again: {again}"
        )
    if selection.undecided:
        say(f"{count(selection.undecided, 'clip')} left out that only decoding can tell of.")
    if selection.unfinished:
        say(f"{count(selection.unfinished, 'item')} without a finished clip.")
    shares = ", ".join(f"{number:,} {split}" for split, number in splits.items())
    word = "is" if exported.fresh else "was there already:"
    if wish.remote:
        say(f"It was built in {order.dest}, and stays there, too.")
    where = wish.remote.url if wish.remote else order.dest
    put(f"{where} {word} {count(len(selection.rows), 'clip')} ({shares}), {exported.size_bytes:,} bytes.")
