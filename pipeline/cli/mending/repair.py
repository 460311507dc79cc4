"""`check`, and what it repairs: missing clips are fetched again where that is free, a restored ledger is accepted.

Repairing buys nothing: nothing is submitted, and no lane runs while a job waits whose claim would bill. What the user
changed is never touched.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.mending.resolution import doubts_of, price_of_another, rehearsal_speed
from pipeline.cli.running.epoch import begin_epoch
from pipeline.cli.running.rehearsal import sandbox_child
from pipeline.cli.running.seats import make_seats
from pipeline.cli.running.settings import BatchSettings
from pipeline.cli.running.sharing import budgets_of
from pipeline.cli.running.signals import listen
from pipeline.cli.wording.console import count, plain, put, put_json, say
from pipeline.errors import Exit, InputError
from pipeline.jobs.event import Event
from pipeline.jobs.job import CleanUp
from pipeline.jobs.state import LIVE, UNSUCCESSFUL, EventKind, State
from pipeline.ledger.lock import only_process
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder, state_folder
from pipeline.providers.answers import Billing
from pipeline.providers.base import BilledAt
from pipeline.providers.registry import find_provider
from pipeline.runner.batch import BatchRun, Outcome
from pipeline.runner.context import RunContext
from pipeline.runner.copies import copied, forget_copies, inspect_copies
from pipeline.runner.inspection import Finding, Inspection, Kind, inspect
from pipeline.runner.lane import failure
from pipeline.runner.money import Prices
from pipeline.runner.progress import Progress
from pipeline.runner.settle import after_restore
from pipeline.runner.stop import Stop
from pipeline.storage.address import parse_store
from pipeline.storage.cloud import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pipeline.cli.running.epoch import Epoch
    from pipeline.effects import Effects
    from pipeline.jobs.job import Job
    from pipeline.ledger.store import Ledger
    from pipeline.runner.context import Seat

CHUNK = 1000
"""Items written to a transaction."""
PASSES_MOST = 8
"""A job has up to four clips, and one of them is fetched in a pass; more passes would be somebody deleting them."""


@dataclass(kw_only=True)
class Repair:
    """What a repair has done so far."""

    said: list[str] = field(default_factory=list)
    """What was done, in sentences."""
    items: set[str] = field(default_factory=set)
    """The items of which a clip was missing."""
    outcome: Outcome = field(default_factory=Outcome)
    """How the last run of the lanes ended."""

    def say(self, sentence: str) -> None:
        """Tell what was done, and keep it."""
        self.said.append(sentence)
        say(sentence)


def check_batch(root: Path, effects: Effects, environ: Mapping[str, str], *, store: bool, as_json: bool) -> Exit:
    """Inspect a batch, and the store that it was uploaded to if that is wanted, and tell every difference.

    Raises:
        InputError: no ledger of ours. BatchLocked: the batch is being run. Paused: the store does not answer, or will
            not.
    """
    folder = _folder(root)
    # Workers that share a ledger go on: what they do meanwhile makes no difference between it and the files.
    with nullcontext() if folder.shared.is_file() else only_process(folder, effects):
        found = inspect(folder, effects, _marks(folder, effects, environ))
        if not found.of_kind(Kind.UNSOUND):
            found = asyncio.run(_with_copies(found, folder, effects, environ, store=store))
    _tell(root, found, as_json=as_json)
    if any(finding.kind in {Kind.MISSING, Kind.PART_GONE} for finding in found.findings):
        say(f"To fetch again what is missing: {shlex.join(['clipmill', 'check', str(root), '--repair'])}")
    return Exit.SOME_FAILED if found.findings else Exit.DONE


async def repair_batch(root: Path, effects: Effects, environ: Mapping[str, str], *, store: bool, as_json: bool) -> Exit:
    """Inspect a batch, repair what can be repaired without paying, inspect it again, and tell what is left.

    Raises:
        InputError: no ledger of ours, or a key is missing. BatchLocked: the batch is being run.
    """
    folder = _folder(root)
    marks = _marks(folder, effects, environ)
    repair = Repair()
    async with AsyncExitStack() as stack:
        epoch = await stack.enter_async_context(
            begin_epoch(folder, effects, marks, command="check", restored=True, alone=True)
        )
        epoch.ending = "check: stopped by an error"
        found = await effects.threads.run(inspect, folder, effects, marks)
        if not found.of_kind(Kind.UNSOUND):
            if found.of_kind(Kind.RESTORED):
                await _accept_restored(folder, epoch, effects, repair)
            await epoch.move_mark()
            stack.push_async_callback(epoch.move_mark)
            if found.of_kind(Kind.MISSING, Kind.PART_GONE):
                await _bring_home(folder, epoch, found, effects, environ, repair)
                found = await effects.threads.run(inspect, folder, effects, marks)
            found = replace(found, findings=tuple(f for f in found.findings if f.kind is not Kind.RESTORED))
            found = await _with_copies(found, folder, effects, environ, store=store)
            if lost_copies := await forget_copies(found.findings, epoch.ledger, effects.clock.now()):
                repair.say(f"{count(lost_copies, 'clip')} to be uploaded again, by the next run: {_resume(root)}")
        epoch.ending = f"check: {count(len(found.findings), 'difference')} left"
    with reading(folder.ledger, effects) as reader:
        doubts = len(doubts_of(reader))
        states = reader.states()
    lost = sorted(item for item in repair.items if states[item] in UNSUCCESSFUL)
    for item in lost:
        repair.say(
            f"{item} is {states[item]}: its clip is no longer to be had. A new one is bought with clipmill retry."
        )
    _tell(root, found, as_json=as_json, repair=repair, doubts=doubts)
    return _exit_code(repair.outcome, doubts=doubts, left=bool(found.findings or lost))


async def _with_copies(
    found: Inspection, folder: BatchFolder, effects: Effects, environ: Mapping[str, str], *, store: bool
) -> Inspection:
    """Return an inspection with what was found in the store; where that is not wanted, say that it was not."""
    with reading(folder.ledger, effects) as reader:
        clips = copied(reader.jobs()) if store else []
        unseen = 0 if store else reader.uploaded()
    if unseen:
        say(f"{count(unseen, 'uploaded clip')} in the store not looked at; to do so, add --store.")
    there = await inspect_copies(clips, lambda url: open_store(parse_store(url), environ), effects)
    return replace(found, findings=(*found.findings, *there))


def _resume(root: Path) -> str:
    return shlex.join(["clipmill", "resume", str(root)])


def _exit_code(outcome: Outcome, *, doubts: int, left: bool) -> Exit:
    if outcome.signal:
        return Exit.INTERRUPTED if outcome.signal == signal.SIGINT else Exit.TERMINATED
    if outcome.paused_because:
        return Exit.PAUSED
    if doubts:
        return Exit.SOME_IN_DOUBT
    return Exit.SOME_FAILED if left else Exit.DONE


def _folder(root: Path) -> BatchFolder:
    folder = BatchFolder(root)
    if not folder.has_ledger():
        raise InputError(f"There is no ledger at {folder.ledger}. Name a batch folder, such as output/quickstart.")
    return folder


def _marks(folder: BatchFolder, effects: Effects, environ: Mapping[str, str]) -> Path | None:
    return None if rehearsal_speed(folder, effects) else state_folder(environ) / "marks"


async def _accept_restored(folder: BatchFolder, epoch: Epoch, effects: Effects, repair: Repair) -> None:
    """Hold in doubt whatever may have been bought since the copy was made."""
    ledger = epoch.ledger
    stored = await ledger.read_meta("settings")
    prices = Prices(listed=BatchSettings.from_json(stored).prices if stored else {})
    now = effects.clock.now()
    held: list[tuple[Job | None, Event]] = []
    for job in await ledger.jobs([State.PLANNED, State.SUBMITTING, State.SUBMITTED]):
        with reading(folder.ledger, effects) as reader:
            again = price_of_another(job, reader, prices, effects)
        moves = after_restore(job, find_provider(job.provider).capabilities, again)
        for move in moves[:-1]:
            job = await ledger.record(job, move.event(now))
        held += [(job, move.event(now)) for move in moves[-1:]]
    for start in range(0, len(held), CHUNK):
        await ledger.record_all(held[start : start + CHUNK])
    repair.say(
        f"The older ledger is accepted. {count(len(held), 'item')} that may have been bought since it was copied "
        "are held in doubt."
    )


async def _bring_home(
    folder: BatchFolder,
    epoch: Epoch,
    found: Inspection,
    effects: Effects,
    environ: Mapping[str, str],
    repair: Repair,
) -> None:
    """Fetch again what is missing, one clip of a job at a time, for as long as that gets any further."""
    ledger = epoch.ledger
    stored = await ledger.read_meta("settings")
    if stored is None:
        raise InputError(f"{folder.root} was never planned. Run its manifest first: clipmill run MANIFEST")
    settings = BatchSettings.from_json(stored)
    speed = rehearsal_speed(folder, effects)
    live = await ledger.jobs(LIVE)
    missing = await _missing(ledger, found)
    names = {job.provider for job in live} | {job.provider for job, _ in missing}
    async with AsyncExitStack() as stack:
        if not speed:
            effects = stack.enter_context(budgets_of(folder, effects, environ))
        urls = await stack.enter_async_context(sandbox_child(folder, speed)) if speed else {}
        seats = make_seats(sorted(names), settings, effects, environ, speed=speed, urls=urls)
        for seat in seats.values():
            stack.push_async_callback(seat.provider.close)
        stop = Stop()
        listen(stop)
        for _ in range(PASSES_MOST):
            await _mark_missing(missing, ledger, effects, repair)
            if reason := await _would_bill(folder, ledger, seats):
                say(reason)
                repair.outcome = Outcome(paused_because=(reason,))
                return
            repair.outcome = await _run_lanes(folder, epoch, settings, seats, effects, stop)
            found = await effects.threads.run(inspect, folder, effects, None)
            missing = await _missing(ledger, found)
            if repair.outcome.paused_because or repair.outcome.signal or not missing:
                return


async def _missing(ledger: Ledger, found: Inspection) -> list[tuple[Job, Finding]]:
    """Return one missing clip of every finished job, with the job."""
    first = {(finding.item_id, finding.revision): finding for finding in reversed(found.of_kind(Kind.MISSING))}
    chosen = [(await ledger.job(*key), finding) for key, finding in first.items()]
    return [(job, finding) for job, finding in chosen if job.state is State.DONE]


async def _mark_missing(
    missing: Sequence[tuple[Job, Finding]], ledger: Ledger, effects: Effects, repair: Repair
) -> None:
    now = effects.clock.now()
    moves: list[tuple[Job | None, Event]] = []
    for job, finding in missing:
        data = {"index": finding.clip_index}
        kind = EventKind.CLIP_MISSING
        event = Event(kind=kind, item_id=job.item_id, revision=job.revision, at=now, data=data)
        moves.append((job, event))
    for start in range(0, len(moves), CHUNK):
        marked = await ledger.record_all(moves[start : start + CHUNK])
        deleted = [
            (after, finding)
            for (job, _), (_, finding), after in zip(moves[start:], missing[start:], marked, strict=False)
            if job is not None and job.cleanup is CleanUp.DONE
        ]
        await ledger.record_all([(after, _lost(after, finding, now)) for after, finding in deleted])
    repair.items |= {job.item_id for job, _ in missing}
    for job, finding in missing:
        if job.cleanup is CleanUp.DONE:
            repair.say(f"{finding.file} is missing, and {job.provider} was told to delete its copy once it was here.")
        else:
            repair.say(f"{finding.file} is missing and is fetched again.")


def _lost(job: Job, finding: Finding, at: datetime) -> Event:
    """Return the event that a clip is gone for good: its last copy was the one that is missing."""
    told = failure("cleaned_up", "The provider's copy was deleted after the clip had come home.", Billing.BILLED)
    data = {"index": finding.clip_index, "failure": told}
    return Event(kind=EventKind.CLIP_LOST, item_id=job.item_id, revision=job.revision, at=at, data=data)


async def _would_bill(folder: BatchFolder, ledger: Ledger, seats: Mapping[str, Seat]) -> str:
    """Return why running the lanes would cost something; empty where it would not."""
    waiting = [
        job
        for job in await ledger.jobs([State.SUBMITTED])
        if seats[job.provider].capabilities.billed_at is BilledAt.CLAIM
    ]
    if not waiting:
        return ""
    resume = shlex.join(["clipmill", "resume", str(folder.root)])
    return (
        f"{count(len(waiting), 'item')} at the provider must still be claimed, which bills, so nothing is fetched now. "
        f"What is missing comes home with the rest: {resume}"
    )


async def _run_lanes(
    folder: BatchFolder,
    epoch: Epoch,
    settings: BatchSettings,
    seats: Mapping[str, Seat],
    effects: Effects,
    stop: Stop,
) -> Outcome:
    """Run the batch with nothing that may be submitted."""
    progress = Progress()
    context = RunContext(
        ledger=epoch.ledger,
        folder=folder,
        inputs=Path(settings.inputs),
        effects=effects,
        prices=Prices(listed=settings.prices),
        progress=progress,
    )
    run = BatchRun(run=context, seats=seats, chosen=frozenset(), stop=stop, checkpoint=epoch.move_mark)
    outcome = await run.go()
    for note in progress.notes:
        say(note)
    for reason in outcome.paused_because:
        say(f"Paused: {reason}")
    return outcome


def _tell(
    root: Path, found: Inspection, *, as_json: bool, repair: Repair | None = None, doubts: int | None = None
) -> None:
    findings = found.findings
    looked = f"{count(found.items, 'item')}, {count(found.clips, 'finished clip')}, {found.size_bytes:,} bytes"
    if as_json:
        document: dict[str, Any] = {
            "output": str(root),
            "items": found.items,
            "clips": found.clips,
            "bytes": found.size_bytes,
            "differences": [
                {"kind": f.kind.value, "id": f.item_id or None, "file": f.file or None, "says": f.says}
                for f in findings
            ],
        }
        if repair is not None:
            reason = " ".join(repair.outcome.paused_because) or None
            document |= {"repaired": repair.said, "in_doubt": doubts, "paused_because": reason}
        put_json(document)
        return
    for finding in findings:
        put(plain(finding.says))
    if doubts:
        say(f"{count(doubts, 'item')} in doubt; see: {shlex.join(['clipmill', 'resolve', str(root)])}")
    state = f"{count(len(findings), 'difference')}" if findings else "all as the ledger says"
    put(f"{root}: {looked}: {state}.")
