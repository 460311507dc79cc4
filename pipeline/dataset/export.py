"""One export from beginning to end: rows and a destination come in; it is there whole, or as it was before.

The plan of an export is the digest of everything that it will hold. An export at the destination with the same plan is
left as it is; a build with the same plan that was cut short is gone on with.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline import __version__
from pipeline.dataset.build import Build, Options
from pipeline.dataset.card import CARD, card
from pipeline.dataset.folders import INDEX
from pipeline.dataset.formats import format_of
from pipeline.dataset.place import MARK, Place, earlier_export, put_in_place
from pipeline.durable import told_as_disk_refused
from pipeline.errors import DiskRefused, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from pipeline.dataset.build import Work
    from pipeline.dataset.rows import Selection
    from pipeline.effects import Effects, Files, Threads

VERSION = 1
"""Of the index and of what the formats make of the same rows; raise it when either changes."""
AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be exported, and to where."""

    batch: Path
    name: str
    """The batch's."""
    uuid: str
    """The ledger's own id."""
    form: str
    dest: Path
    selection: Selection
    options: Options


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """How an export ended."""

    fresh: bool
    """Whether something was written; else all of it was there already."""
    size_bytes: int
    """Of all of it."""


class Hands(Protocol):
    """Who does the pieces of work, several at once."""

    at_once: int

    async def do(self, work: Work, build: Build) -> int:
        """Do a piece; the build then knows what was written. Return how many bytes of clips it has dealt with.

        Raises:
            InputError: a clip is not what was published. DiskRefused: the disk said no.
        """


class OwnHands:
    """The threads of this process."""

    at_once = AT_ONCE

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def do(self, work: Work, build: Build) -> int:  # noqa: D102
        return await self._threads.run(work, build)


async def export(order: Order, effects: Effects, told: Callable[[int], None], hands: Hands | None = None) -> Exported:
    """Make an export, or find that it is there.

    Args:
        order: what is wanted.
        effects: files, and threads.
        told: called with the number of bytes of clips that were dealt with, again and again.
        hands: who does the pieces of work; None for threads of this process.

    Raises:
        InputError: the destination holds something else, or a clip is not what was published.
        DiskRefused: the disk said no. In each case what was there before is there still.
    """
    files, threads = effects.files, effects.threads
    place = Place.of(order.dest, order.uuid)
    plan = plan_of(order)
    earlier = await threads.run(earlier_export, files, place)
    if earlier is not None and earlier.get("plan") == plan:
        return Exported(fresh=False, size_bytes=_size_bytes(order.dest, earlier["files"], files))
    form = format_of(order.form)
    build = Build(files, order.batch, place.part, effects.random)
    await threads.run(build.begin, plan)
    await _do(form.work(build, order.selection, order.options), build, hands or OwnHands(threads), told)
    first = next(iter(order.selection.splits))
    shards = sum(name.startswith(f"{first}/clips-") for name in build.written)
    loading = form.LOADING.format(dest=order.dest.name, split=first, last=max(shards - 1, 0))
    text = card(order.name, order.form, order.selection, loading)
    build.write(CARD, text.encode())
    splits = {split: len(rows) for split, rows in order.selection.splits.items()}
    index = {MARK: VERSION, "format": order.form, "batch": order.name, "plan": plan, "clips": sum(splits.values())}
    await threads.run(build.finish, {**index, "splits": splits})
    size_bytes = _size_bytes(place.part, [each.to_json() for each in build.written.values()], files)
    await threads.run(lambda: put_in_place(files, place, replacing=earlier is not None))
    return Exported(fresh=True, size_bytes=size_bytes)


def _size_bytes(folder: Path, written: Iterable[Mapping[str, Any]], files: Files) -> int:
    with told_as_disk_refused(f"look at {folder}"):
        total: int = sum(each["bytes"] for each in written)
        return total + files.size(folder / INDEX)


def plan_of(order: Order) -> str:
    """Return the digest of everything that the export will hold."""
    about = {
        "version": [VERSION, __version__],
        "batch": [order.name, order.uuid],
        "format": order.form,
        "dest": order.dest.name,
        "options": asdict(order.options),
        "left_out": [
            *(order.selection.rejected, order.selection.rejected_usd, order.selection.undecided),
            *(order.selection.passed_over, order.selection.unfinished),
        ],
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for row in order.selection.rows:
        digest.update(json.dumps([row.key, row.source, dict(row.columns)]).encode())
    return digest.hexdigest()


async def _do(work: Iterator[Work], build: Build, hands: Hands, told: Callable[[int], None]) -> None:
    """Do pieces of work, a few at once.

    Raises:
        InputError, DiskRefused: what the first of those raised that failed; the others have come to their ends.
    """
    failed: list[Exception] = []

    async def one_after_the_other() -> None:
        for piece in work:
            try:
                told(await hands.do(piece, build))
            except (InputError, DiskRefused) as error:
                failed.append(error)
            if failed:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(hands.at_once):
            group.create_task(one_after_the_other())
    if failed:
        raise failed[0]


def refuse_nothing(selection: Selection) -> None:
    """Stop where there is nothing to export. Raises InputError, with the reason."""
    if selection.rows:
        return
    why = [
        f"{selection.rejected:,} clips are turned down by the manifest's `accept`" if selection.rejected else "",
        f"{selection.undecided:,} clips wait to be decoded" if selection.undecided else "",
        f"{selection.passed_over:,} clips do not meet --where" if selection.passed_over else "",
        f"{selection.unfinished:,} items have no finished clip" if selection.unfinished else "",
    ]
    raise InputError(f"There is nothing to export: {'; '.join(filter(None, why)) or 'the batch has no items'}.")
