"""`resolve`: the operator's word on items that only a person can move, asked about once and written down.

Everything that was named is decided on before anything is changed: either all of it can be, or nothing is and every
reason is told. Nothing is submitted here; what was settled is taken up by the next run.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.cli.running.epoch import Epoch, begin_epoch
from pipeline.cli.running.seats import whereabouts
from pipeline.cli.running.settings import BatchSettings
from pipeline.cli.standing.history import doubt_lines
from pipeline.cli.wording.console import ask, count, plain, put, put_json, say, usd
from pipeline.cli.wording.doubts import doubt_json
from pipeline.cli.wording.ids import nearest
from pipeline.errors import DiskRefused, Exit, InputError, StaleWrite
from pipeline.jobs.state import IN_DOUBT, State
from pipeline.ledger.reader import reading
from pipeline.ledger.results import rewrite_results
from pipeline.ledger.writer import DuplicateJob
from pipeline.paths import BatchFolder, state_folder
from pipeline.providers.registry import find_provider
from pipeline.runner.money import Prices
from pipeline.runner.settle import UNKNOWN, Answer, Move, Price, over_cap, price_again, settle

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.job import Job
    from pipeline.ledger.reader import Reader
    from pipeline.ledger.store import Ledger

NAMED_MOST = 5
Decide = Callable[["Job", "Reader", Prices], Move | str]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the operator wants done with which items."""

    root: Path
    items: tuple[str, ...]
    """As named; empty for all that can be moved."""
    max_cost_usd: float | None
    yes: bool
    as_json: bool

    @property
    def folder(self) -> BatchFolder:
        """The batch's folder.

        Raises:
            InputError: there is no ledger in it.
        """
        folder = BatchFolder(self.root)
        if not folder.has_ledger():
            raise InputError(f"There is no ledger at {folder.ledger}. Name a batch folder, such as output/quickstart.")
        return folder

    @property
    def resume(self) -> str:
        """The command that takes up what was settled."""
        return shlex.join(["clipmill", "resume", str(self.root)])


def rehearsal_speed(folder: BatchFolder, effects: Effects) -> float:
    """Return how fast the batch's own sandbox is; 0 for a real batch."""
    with reading(folder.ledger, effects) as reader:
        return float(reader.meta("rehearsal_speed") or 0.0)


def every_revision(reader: Reader) -> Iterable[Job]:
    """Yield all revisions of all items, in the manifest's order."""
    for job in reader.jobs():
        if job.revision > 1:
            yield from reader.revisions(job.item_id)
        else:
            yield job


def doubts_of(reader: Reader) -> list[Job]:
    """Return every job in doubt, older revisions included."""
    return [job for job in every_revision(reader) if job.state in IN_DOUBT]


def named_doubts(reader: Reader, items: Sequence[str]) -> list[Job]:
    """Return for each item named the latest revision in doubt, else its latest; for none named, every doubt.

    Raises:
        InputError: some are no items of the batch; all of those are told.
    """
    if not items:
        return doubts_of(reader)
    found = {item: reader.revisions(item) for item in dict.fromkeys(items)}
    refuse_unknown(reader, [item for item, revisions in found.items() if not revisions])
    held = {item: [job for job in revisions if job.state in IN_DOUBT] for item, revisions in found.items()}
    return [(held[item] or revisions)[-1] for item, revisions in found.items()]


def refuse_unknown(reader: Reader, unknown: Sequence[str]) -> None:
    """Stop where ids were named that the batch does not have. Raises InputError with the nearest that it has."""
    if unknown:
        ids = reader.item_ids()
        told = [f"There is no item {item!r}.{nearest(item, ids)}" for item in unknown]
        raise InputError("\n".join([*told, "Nothing was changed."]))


def list_doubts(wish: Wish, effects: Effects) -> Exit:
    """Tell every doubt (or those of the items named): its price, its times, what is known, and the ways out of it."""
    with reading(wish.folder.ledger, effects) as reader:
        remaining = doubts_of(reader)
        jobs = named_doubts(reader, wish.items) if wish.items else remaining
        held = [job for job in jobs if job.state in IN_DOUBT]
        histories = [(job, reader.events(job.item_id)) for job in held]
        states = reader.states()
    for job in jobs:
        if job.state not in IN_DOUBT:
            say(f"{job.item_id} is not in doubt; it is {job.state}.")
    open_calls = sum(state in {State.SUBMITTING, State.CLAIMING} for state in states.values())
    if open_calls:
        say(
            f"{count(open_calls, 'more item')} in the middle of a call: a run is at it, or it was cut short and "
            f"{wish.resume} finds out what became of it."
        )
    if wish.as_json:
        doubts = [doubt_json(wish.root, job, events) for job, events in histories]
        put_json({"output": str(wish.root), "doubts": doubts, "in_doubt": len(remaining), "resume": wish.resume})
    elif held:
        put("\n\n".join("\n".join(_told(wish.root, job, events)) for job, events in histories))
    else:
        say(f"Nothing is in doubt in {wish.root}.")
    return Exit.SOME_IN_DOUBT if remaining else Exit.DONE


def _told(root: Path, job: Job, events: Sequence[Any]) -> Iterable[str]:
    yield f"{name_of(job)}: {plain(job.provider)}/{plain(job.request.model)}, {job.state}"
    yield from doubt_lines(root, job, events)


async def settle_doubts(
    wish: Wish, answer: Answer, adopted_id: str, effects: Effects, environ: Mapping[str, str]
) -> Exit:
    """Settle doubts with one answer.

    Raises:
        InputError: one of them cannot be settled so, or the question was declined; nothing was changed.
        BatchLocked: a run is at it.
    """
    if answer is Answer.ADOPT and len(set(wish.items)) != 1:
        raise InputError("--adopt takes one item, for an id is one job's: clipmill resolve DIR ITEM --adopt ID")

    def decide(job: Job, reader: Reader, prices: Prices) -> Move | str:
        events = reader.events(job.item_id)
        again = price_of_another(job, reader, prices, effects) if answer is Answer.RESUBMIT else UNKNOWN
        forgotten = answer is Answer.ADOPT and not job.base_url
        rehearsal = rehearsal_speed(wish.folder, effects) > 0
        where = whereabouts(job.provider, environ, rehearsal=rehearsal) if forgotten else ("", "")
        by = operator_of(environ)
        return settle(job, answer, events, again, adopted_id=adopted_id, submitted_to=where, by=by)

    def choose(reader: Reader) -> Sequence[Job]:
        return named_doubts(reader, wish.items)

    def question(moves: Sequence[Move]) -> str:
        names, cost = names_of(moves), cost_of(moves)
        if answer is Answer.RESUBMIT:
            return f"{names} may be paid for already. To submit again may cost {cost} more. Go on?"
        return f"{names} may be billed already. To ask for the result again may cost {cost} more. Go on?"

    costs = answer in {Answer.RESUBMIT, Answer.ASK_ONCE}
    moves = await write_down(wish, "resolve", choose, decide, question if costs else None, effects, environ)
    with reading(wish.folder.ledger, effects) as reader:
        remaining = len(doubts_of(reader))
    if not moves:
        say(f"Nothing is in doubt in {wish.root}.")
    else:
        say(f"{names_of(moves)}: {SETTLED_AS[answer]}.")
        if answer is not Answer.ABANDON:
            say(f"To go on: {wish.resume}")
    if wish.as_json:
        settled = [{**told_json(move), "answer": answer.value} for move in moves]
        put_json({"output": str(wish.root), "settled": settled, "in_doubt": remaining, "resume": wish.resume})
    return Exit.SOME_IN_DOUBT if remaining else Exit.DONE


SETTLED_AS = {
    Answer.RESUBMIT: "to be submitted again",
    Answer.ADOPT: "taken to be the provider's job of that id; the next run looks at it",
    Answer.ABANDON: "given up; what it may have cost stays counted as spent",
    Answer.ASK_ONCE: "its result is to be asked for once more",
}


async def write_down(
    wish: Wish,
    command: str,
    choose: Callable[[Reader], Sequence[Job]],
    decide: Decide,
    question: Callable[[Sequence[Move]], str] | None,
    effects: Effects,
    environ: Mapping[str, str],
    first: Callable[[Ledger], Awaitable[None]] | None = None,
) -> list[Move]:
    """Decide on every item, ask once, and write all of it down; under the batch's lock, in an epoch of its own.

    Args:
        wish: what the operator wants.
        command: which command it is, for the record.
        choose: returns the items to decide on.
        decide: returns what becomes of one, or why that cannot be.
        question: what to ask before; None where it costs nothing.
        effects: what the ledger is opened with.
        environ: the environment, without keys being read.
        first: done before anything is chosen.

    Raises:
        InputError: one of them cannot be, or the question was declined; nothing was changed.
        BatchLocked: a run is at it.
    """
    folder = wish.folder
    rehearsal = rehearsal_speed(folder, effects) > 0
    marks = None if rehearsal else state_folder(environ) / "marks"
    async with begin_epoch(folder, effects, marks, command=command) as epoch:
        epoch.ending = f"{command}: nothing was changed"
        if first is not None:
            await first(epoch.ledger)
        settings = await epoch.ledger.read_meta("settings")
        prices = Prices(listed=BatchSettings.from_json(settings).prices if settings else {})
        with reading(folder.ledger, effects) as reader:
            order = reader.item_ids()
            decided = [decide(job, reader, prices) for job in choose(reader)]
        moves = [move for move in decided if isinstance(move, Move)]
        problems = [problem for problem in decided if isinstance(problem, str)]
        problems += await _against_cap(wish, moves, epoch)
        if problems:
            raise InputError("\n".join([*problems, "Nothing was changed."]))
        if moves and question is not None:
            asked = question(moves)
            # A rehearsal costs nothing, so there is nothing to ask.
            if not (wish.yes or rehearsal) and not ask(asked):
                raise InputError("Nothing was changed.")
        await _record(wish, moves, epoch)
        if any(move.before is None for move in moves):
            await epoch.ledger.place((item_id, position) for position, item_id in enumerate(order))
        if moves or first is not None:
            await refresh_results(folder, effects)
        epoch.ending = f"{command}: {count(len(moves), 'item')}"
        return moves


async def _against_cap(wish: Wish, moves: Sequence[Move], epoch: Epoch) -> list[str]:
    cap_usd = await epoch.ledger.read_meta("max_cost_usd") if wish.max_cost_usd is None else wish.max_cost_usd
    why = over_cap(moves, epoch.effects.clock.now(), await epoch.ledger.committed_usd(), cap_usd)
    return [why] if why else []


async def _record(wish: Wish, moves: Sequence[Move], epoch: Epoch) -> None:
    if wish.max_cost_usd is not None:
        cap = wish.max_cost_usd
        await epoch.ledger.write_meta({"max_cost_override_usd": cap, "max_cost_usd": cap})
    now = epoch.effects.clock.now()
    try:
        await epoch.ledger.record_all([(move.before, move.event(now)) for move in moves])
    except DuplicateJob as taken:
        raise InputError(f"{taken} Look for the right id; one clip is never shared between items.") from taken
    except StaleWrite as stale:
        raise InputError(f"Somebody else was faster: {stale} Look again with: clipmill resolve {wish.root}") from stale


async def refresh_results(folder: BatchFolder, effects: Effects) -> None:
    """Make `results.jsonl` say what the ledger says; the caller holds the lock. A stale view is no reason to fail."""
    try:
        await effects.threads.run(rewrite_results, folder, effects)
    except DiskRefused as refused:
        say(f"{folder.results.name} was left as it was. {refused}")


def price_of_another(job: Job, reader: Reader, prices: Prices, effects: Effects) -> Price:
    """Return what one more submit of an item may cost, as far as it can be known without asking anybody."""
    provider = find_provider(job.provider)(None, effects)
    return price_again(job, reader.events(job.item_id), provider, prices)


def cost_of(moves: Iterable[Move]) -> str:
    """Say what moves may cost, all together."""
    prices = [move.price.usd for move in moves]
    known, unknown = sum(price for price in prices if price is not None), prices.count(None)
    if not unknown:
        return usd(known)
    rest = f"an unknown amount for {count(unknown, 'item')}"
    return f"{usd(known)} and {rest}" if known else rest


def names_of(moves: Sequence[Move]) -> str:
    """Return the names of the items that are moved, the first few of them."""
    names = [name_of(move.job) for move in moves]
    more = f" and {len(names) - NAMED_MOST} more" if len(names) > NAMED_MOST else ""
    return ", ".join(names[:NAMED_MOST]) + more


def name_of(job: Job) -> str:
    """Return an item as it is told to people."""
    return job.item_id + (f" (revision {job.revision})" if job.revision > 1 else "")


def told_json(move: Move) -> dict[str, Any]:
    """Return what is told of a move, as plain JSON."""
    job = move.job
    return {"id": job.item_id, "revision": job.revision, "was": job.state.value, "price_usd": move.price.usd}


def operator_of(environ: Mapping[str, str]) -> str:
    """Return who is at the terminal, for the record; empty where nobody says."""
    return environ.get("USER") or environ.get("LOGNAME") or ""
