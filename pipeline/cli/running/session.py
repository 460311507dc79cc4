"""Carrying a batch out: lock, ledger, keys, prices, the question, the run, the summary, the exit code.

`run` and `resume` differ only in whether there is a plan to write into the ledger first; from there on the ledger alone
says what there is to do.
"""

from __future__ import annotations

import shlex
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.running.decoded import cores, decoding_beside
from pipeline.cli.running.descriptors import make_room, needed
from pipeline.cli.running.elsewhere import note_folder
from pipeline.cli.running.ending import tell_ending
from pipeline.cli.running.epoch import begin_epoch
from pipeline.cli.running.metrics import Metrics, Target, families_of, telling
from pipeline.cli.running.pricing import Wish, price
from pipeline.cli.running.rehearsal import sandbox_child
from pipeline.cli.running.seats import make_seats
from pipeline.cli.running.settings import BatchSettings
from pipeline.cli.running.sharing import budgets_of, share_ledger, told_as_other_plan
from pipeline.cli.running.signals import listen
from pipeline.cli.running.storing import find_store, refuse_bad_store, uploading_to
from pipeline.cli.wording.bars import shown
from pipeline.cli.wording.console import say
from pipeline.clips.decoders import Decoders
from pipeline.durable import make_folder
from pipeline.errors import InputError
from pipeline.ledger.opening import LEASE_S
from pipeline.ledger.reader import reading
from pipeline.ledger.trial import told_before_anything_is_sent
from pipeline.paths import BatchFolder, state_folder
from pipeline.providers.registry import account_from, find_provider
from pipeline.runner.batch import BatchRun
from pipeline.runner.cleanup import vendors_to_ask
from pipeline.runner.context import RunContext
from pipeline.runner.meter import Meter
from pipeline.runner.money import KeptQuotes
from pipeline.runner.progress import Progress
from pipeline.runner.reconcile import OnChange, compare, refuse_undecided, write_plan
from pipeline.runner.stop import Stop
from pipeline.system.locks import SystemShelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from pipeline.cli.running.epoch import Epoch
    from pipeline.clips.decoders import Decodes
    from pipeline.effects import Effects, Shelf
    from pipeline.errors import Exit
    from pipeline.ledger.store import Ledger
    from pipeline.planning.plan import Plan
    from pipeline.providers.base import Capabilities
    from pipeline.runner.batch import Outcome
    from pipeline.runner.context import Seat
    from pipeline.runner.meter import Family


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the user asked for."""

    root: Path
    plan: Plan | None
    """What to write into the ledger first; None to go on from the ledger alone."""
    chosen: Container[str] | None
    """The ids that may be submitted; None for all."""
    on_change: OnChange | None
    max_cost_usd: float | None
    yes: bool
    as_json: bool
    speed: float
    """Of the rehearsal's sandbox; 0 for a real run."""
    allowed: tuple[Path, ...] = ()
    """Folders in which input files may lie, beside those that the ledger knows of."""
    by_list: bool = True
    """Whether the plan was made with what is known of the models."""
    store: str | None = None
    """Where clips are uploaded to; None for where they were so far."""
    metrics: Target | None = None
    """Where the run's figures are told; None for nowhere."""
    ledger: str | None = None
    """The address of a ledger that several workers share; None for what the folder has."""
    lease_s: float = LEASE_S
    """With such a ledger: for how long this worker may be silent before others take over."""

    @property
    def rehearsal(self) -> bool:
        """Whether this is a rehearsal."""
        return self.speed > 0

    @property
    def command(self) -> str:
        """The command that was given."""
        return "resume" if self.plan is None else "run"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A batch that is ready to be taken further: its ledger is open, its plan in it, and its price was agreed to."""

    run: RunContext
    seats: Mapping[str, Seat]
    epoch: Epoch
    order: Order

    async def metrics(self, families: Callable[[], Iterable[Family]]) -> Metrics:
        """Return what tells the batch's figures, of which those at work know these."""
        run = self.run
        name = await run.ledger.read_meta("name") or run.folder.root.name
        path, note = run.folder.ledger, run.progress.note
        return Metrics(batch=name, ledger=path, effects=run.effects, note=note, families=families)

    async def go(self, stop: Stop, tell: Callable[[Callable[[], Iterable[Family]]], None] | None = None) -> Outcome:
        """Take the batch as far as it can go.

        Args:
            stop: asked when it is to stop.
            tell: given what returns the figures of this process as they are when it is called.

        Raises:
            ClipmillError: what could not be helped.
        """
        order, epoch, progress = self.order, self.epoch, self.run.progress
        run = BatchRun(run=self.run, seats=self.seats, chosen=order.chosen, stop=stop, checkpoint=epoch.move_mark)
        families = partial(families_of, run)
        if tell is not None:
            tell(families)
        metrics = await self.metrics(families)
        async with telling(order.metrics, metrics), shown(progress, self.run.effects.clock):
            with epoch.telling(progress.note):
                outcome = await run.go()
        epoch.ending = "; ".join(outcome.paused_because) or ("stopped by a signal" if outcome.signal else "finished")
        return outcome


async def carry_out(order: Order, effects: Effects, environ: Mapping[str, str]) -> Exit:
    """Take a batch as far as it can go, and say how it ended.

    Raises:
        ClipmillError: with the exit code that the command is to return.
    """
    async with begun(order, effects, environ) as batch:
        stop = Stop()
        listen(stop)
        outcome = await batch.go(stop)
    return tell_ending(batch.run.folder, outcome, order.chosen, batch.run.effects, as_json=order.as_json)


@asynccontextmanager
async def begun(
    order: Order,
    effects: Effects,
    environ: Mapping[str, str],
    decoders: Callable[[int], AbstractAsyncContextManager[Decodes]] = Decoders,
) -> AsyncIterator[Begun]:
    """Make a batch ready to be taken further; let its ledger go at the end.

    Args:
        order: what the user asked for.
        effects: what it reaches the world with.
        environ: holds the keys and the base URLs.
        decoders: makes what decodes clips, so many at once.

    Raises:
        ClipmillError: with the exit code that the command is to return.
    """
    if order.plan is not None and not order.rehearsal:
        for name in {model.provider for model in order.plan.estimate.models}:
            account_from(environ, find_provider(name).capabilities)  # a missing key is told before anything is made
    refuse_bad_store(order.store, environ)
    folder = BatchFolder(order.root)
    is_new = not folder.has_ledger()
    if is_new:
        _refuse_orphaned_clips(folder)
    with told_before_anything_is_sent():
        make_folder(effects.files, folder.root)
    if order.ledger is not None:
        effects = share_ledger(folder, order.ledger, effects)
    async with AsyncExitStack() as stack:
        if not order.rehearsal:
            effects = stack.enter_context(budgets_of(folder, effects, environ))
        marks = None if order.rehearsal else state_folder(environ) / "marks"
        epoch = await stack.enter_async_context(
            begin_epoch(folder, effects, marks, command=order.command, lease_s=order.lease_s)
        )
        ledger = epoch.ledger
        async with ledger.alone("plan"):
            settings = await _settle_plan(order, ledger, effects)
        store = await find_store(order.store, ledger, environ)
        if is_new and not ledger.is_shared:
            say(f"{folder.root} is new: nothing in it is paid for yet.")
        if order.plan is not None and not order.rehearsal:
            _tell_of_other_folders(order.plan, folder, SystemShelf(state_folder(environ) / "folders"), is_new=is_new)
        urls = await stack.enter_async_context(sandbox_child(folder, order.speed)) if order.rehearsal else {}
        with reading(folder.ledger, effects) as reader:
            names = {*reader.providers()}
            if settings.cleanup:
                names |= vendors_to_ask(reader.uncleaned(), _capabilities, effects.clock.now())
        seats = make_seats(sorted(names), settings, effects, environ, speed=order.speed, urls=urls)
        for seat in seats.values():
            stack.push_async_callback(seat.provider.close)
        if tight := make_room(needed(seat.limits for seat in seats.values())):
            say(tight)
        wish = Wish(listed=settings.prices, chosen=order.chosen, may_ask=not order.rehearsal and not order.yes)
        where = {name: (seat.base_url, seat.account) for name, seat in seats.items()}
        quotes = SystemShelf(state_folder(environ) / "quotes")
        kept = None if order.rehearsal else KeptQuotes(quotes, effects.clock, where)
        prices = await price(wish, seats, folder, effects, kept)
        progress = Progress()
        decoding = await stack.enter_async_context(
            decoding_beside(ledger, folder, settings.accept, effects, progress.note, max(1, cores() - 1), decoders)
        )
        turns = decoding.turns if decoding else None
        meter = Meter()
        uploading = await uploading_to(store, ledger, folder, effects, progress, meter, turns)
        context = RunContext(
            ledger=ledger,
            folder=folder,
            inputs=Path(settings.inputs),
            allowed_inputs=tuple(map(Path, settings.allowed_inputs)),
            effects=effects,
            prices=prices,
            progress=progress,
            meter=meter,
            decoding=decoding,
            uploading=uploading,
            cleanup=settings.cleanup,
            lease_s=order.lease_s,
        )
        yield Begun(run=context, seats=seats, epoch=epoch, order=order)


def _capabilities(name: str) -> Capabilities:
    return find_provider(name).capabilities


def _tell_of_other_folders(plan: Plan, folder: BatchFolder, shelf: Shelf, *, is_new: bool) -> None:
    """Remember where a manifest is run, and say where it was run before: two folders know nothing of each other."""
    others = note_folder(plan.manifest_path, folder.root, shelf)
    if is_new and others:
        say(
            f"{plan.manifest_path} was run into {others[0]} before; whatever is made here is bought once more. "
            f"To go on there: {shlex.join(['clipmill', 'resume', str(others[0])])}"
        )


def _refuse_orphaned_clips(folder: BatchFolder) -> None:
    """Stop where there are clips and no ledger: they would all be bought again."""
    if folder.clips.is_dir() and any(folder.clips.glob("*.mp4")):
        raise InputError(
            f"{folder.clips} holds clips, and the ledger that says what they are is gone; running now would buy them "
            f"again. Put {folder.ledger.name} back, or use another -o DIR."
        )


async def _settle_plan(order: Order, ledger: Ledger, effects: Effects) -> BatchSettings:
    """Write the plan, if there is one, and the batch's settings into the ledger; return the settings."""
    plan = order.plan
    if plan is None:
        stored = await ledger.read_meta("settings")
        if stored is None:
            raise InputError(f"{order.root} was never planned. Run its manifest first: clipmill run MANIFEST")
        settings = BatchSettings.from_json(stored).allowing(order.allowed)
    else:
        with reading(ledger.path, effects) as reader:
            refuse_undecided(compare(plan.items, reader), order.on_change)
            with told_as_other_plan(ledger):
                await write_plan(ledger, plan.items, reader, order.on_change, effects.clock.now())
        settings = replace(BatchSettings.of_plan(plan), by_list=order.by_list)
        await ledger.write_meta({"name": plan.name})
    await ledger.write_meta({"settings": settings.to_json()})
    cap = order.max_cost_usd
    if cap is not None:
        await ledger.write_meta({"max_cost_override_usd": cap})
    else:
        override = await ledger.read_meta("max_cost_override_usd")
        cap = settings.max_cost_usd if override is None else override
    await ledger.write_meta({"max_cost_usd": cap, "rehearsal_speed": order.speed})
    return settings
