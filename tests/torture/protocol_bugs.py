"""Seeded bugs: each a small patch of the real program, of the kind that somebody could write on a Friday.

A mutant is a patched program: this is the one place where the product's code is substituted, for the length of one
life. Each says in a sentence what is wrong with it, and in which scenarios and moments it is to be hunted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pipeline import durable
from pipeline.clips import download, publish
from pipeline.clips.mp4 import ClipFacts
from pipeline.errors import BrokenClip
from pipeline.jobs import record
from pipeline.jobs.event import Event
from pipeline.jobs.record import apply
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.ledger import rows
from pipeline.ledger.store import Ledger
from pipeline.ledger.writer import OverBudget, Writer
from pipeline.paths import BatchFolder
from pipeline.providers import transport, venice
from pipeline.providers.answers import Accepted, Ambiguous, Gone, NotSent, Receipt, Refused, Scope, Throttled
from pipeline.providers.exchange import Lost
from pipeline.providers.http import Wire
from pipeline.runner import batch, collect, limits, looks, recover, submit
from pipeline.runner.lane import Lane, failure
from tests.support.batches import MODELS
from tests.torture.scenarios import SCENARIOS, Flavour

ALL_FLAVOURS = frozenset(Flavour)


class Patch:
    """Puts things in the place of others, and takes them back in the reverse order."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def __call__(self, where: Any, name: str, value: Any) -> Any:
        """Set an attribute that exists, and return what it was."""
        before = vars(where)[name]
        self._undo.append(lambda: setattr(where, name, before))
        setattr(where, name, value)
        return before

    def item(self, where: dict[Any, Any], key: Any, value: Any) -> Any:
        """Set an item that exists, and return what it was."""
        before = where[key]
        self._undo.append(lambda: where.__setitem__(key, before))
        where[key] = value
        return before

    def undo(self) -> None:
        """Take everything back."""
        while self._undo:
            self._undo.pop()()


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One bug."""

    name: str
    about: str
    scenarios: tuple[str, ...]
    seed_it: Callable[[Patch], None]
    flavours: frozenset[Flavour] = ALL_FLAVOURS
    """At which strikes to look for it; where the unstruck life is enough, it is found at once."""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Run the program with the bug in it."""
        patch = Patch()
        try:
            self.seed_it(patch)
            yield
        finally:
            patch.undo()


MUTANTS: dict[str, Mutant] = {}


def mutant(about: str, *scenarios: str, flavours: frozenset[Flavour] = ALL_FLAVOURS) -> Callable[..., Any]:
    """Enter a bug; the scenarios are tried in turn."""
    assert set(scenarios) <= SCENARIOS.keys(), scenarios

    def enter(seed_it: Callable[[Patch], None]) -> Callable[[Patch], None]:
        name = seed_it.__name__
        MUTANTS[name] = Mutant(name=name, about=about, scenarios=scenarios, seed_it=seed_it, flavours=flavours)
        return seed_it

    return enter


KILL = frozenset({Flavour.KILL})
POWER = frozenset({Flavour.POWER})
LEAVE = frozenset({Flavour.LEAVE})
STOP = frozenset({Flavour.STOP})


def in_the_background(call: Any) -> None:
    """Let something go on that nobody waits for."""
    task = asyncio.get_running_loop().create_task(call)
    BACKGROUND.add(task)
    task.add_done_callback(BACKGROUND.discard)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


BACKGROUND: set[asyncio.Task[Any]] = set()


def not_awaited(patch: Patch, *kinds: EventKind) -> None:
    """Have these events written down without waiting until they are durable."""
    original = Ledger.record_all

    async def record_all(self: Ledger, moves: Any, queued: Any = None) -> Any:
        moves = list(moves)
        if all(event.kind in kinds for _, event in moves):
            after = [apply(job, event) for job, event in moves]
            in_the_background(original(self, moves, queued))
            return after
        return await original(self, moves, queued)

    patch(Ledger, "record_all", record_all)


# Submits


@mutant("A submit's intent is written down after the call.", "venice")
def intent_after_the_call(patch: Patch) -> None:
    async def send_first(lane: Any, job: Any, contents: Any) -> None:
        answer = await lane.seat.provider.submit(job.request, contents)
        price_usd, price_is = lane.price(job.request)
        job = await lane.record(
            job,
            EventKind.SUBMIT_STARTED,
            price_usd=price_usd,
            price_is=price_is.value,
            base_url=lane.seat.base_url,
            account=lane.seat.account,
        )
        await submit.settle_submit(lane, job, answer)

    patch(submit, "_intend_and_send", send_first)


@mutant("A submit does not wait until its intent is durable.", "venice")
def intent_not_awaited(patch: Patch) -> None:
    not_awaited(patch, EventKind.SUBMIT_STARTED)


@mutant("A submit whose answer was lost is sent once more.", "venice-faults", "venice-wire")
def post_repeated_on_error(patch: Patch) -> None:
    original = Wire.submit

    async def twice(self: Wire, path: str, body: bytes) -> Any:
        outcome = await original(self, path, body)
        return await original(self, path, body) if isinstance(outcome, Lost) else outcome

    patch(Wire, "submit", twice)


@mutant("A submit that was cut short is planned again at Venice.", "venice", flavours=KILL)
def submitting_resumed_as_planned(patch: Patch) -> None:
    async def put_back(run: Any, job: Any, _capabilities: Any) -> None:
        await recover._record(run, job, EventKind.SUBMIT_DEFERRED, why="It was cut short.")

    patch(recover, "_submit_cut_short", put_back)


def answers_read_as(patch: Patch, read: Callable[[Any], Any]) -> None:
    """Have the answers to submits read otherwise."""
    original = submit.settle_submit

    async def settle(lane: Any, job: Any, answer: Any) -> None:
        await original(lane, job, read(answer))

    patch(submit, "settle_submit", settle)


def is_server_error(answer: Any) -> bool:
    """Tell whether an ambiguous answer is one of 5xx."""
    return isinstance(answer, Ambiguous) and (answer.evidence.get("status") or 0) >= 500


@mutant("An answer 5xx to a submit is read as a refusal.", "venice-faults")
def server_error_is_a_refusal(patch: Patch) -> None:
    refused = Refused(scope=Scope.ITEM, kind="server_error", message="It did not work.")
    answers_read_as(patch, lambda answer: refused if is_server_error(answer) else answer)


@mutant("An answer 5xx to a submit is read as: not now.", "venice-faults")
def server_error_is_not_now(patch: Patch) -> None:
    later = Throttled(wait_s=1.0, message="It did not work.")
    answers_read_as(patch, lambda answer: later if is_server_error(answer) else answer)


@mutant("A submit whose answer was lost is taken for one that never left.", "venice-faults", "venice-wire")
def lost_answer_is_not_sent(patch: Patch) -> None:
    unsent = NotSent(message="The connection broke.")
    answers_read_as(patch, lambda answer: unsent if isinstance(answer, Ambiguous) else answer)


@mutant("A deferred submit is counted as accepted.", "venice-faults", "modelmax-faults")
def deferred_is_accepted(patch: Patch) -> None:
    def read(answer: Any) -> Any:
        if not isinstance(answer, Throttled):
            return answer
        return Accepted(receipt=Receipt(job_id="pending", model=MODELS["venice"], answer={}))

    answers_read_as(patch, read)


@mutant("A refusal of the account rejects the item.", "funds", "revoked")
def account_refusal_rejects_the_item(patch: Patch) -> None:
    def read(answer: Any) -> Any:
        return replace(answer, scope=Scope.ITEM) if isinstance(answer, Refused) else answer

    answers_read_as(patch, read)


@mutant("A job is looked at before its receipt is durable.", "venice", "modelmax")
def receipt_not_awaited(patch: Patch) -> None:
    not_awaited(patch, EventKind.SUBMIT_ACCEPTED)


@mutant("A submit that is cancelled is taken for one that never left.", "venice-signals", flavours=LEAVE)
def cancelled_is_not_sent(patch: Patch) -> None:
    original = submit._write_lost

    async def write_lost(lane: Any, job: Any, answer: Any) -> None:
        if "stopped" in answer.message:
            await lane.record(job, EventKind.SUBMIT_DEFERRED, why=answer.message)
        else:
            await original(lane, job, answer)

    patch(submit, "_write_lost", write_lost)


@mutant("A submit that is slow is given up, and what it accepts later is claimed as well.", "modelmax")
def orphan_is_claimed(patch: Patch) -> None:
    original = submit._intend_and_send

    async def claim_late(lane: Any, sending: Any) -> None:
        answer = await sending
        while isinstance(answer, Accepted):
            await lane.run.effects.clock.sleep(1.0)
            answer = await lane.seat.provider.claim(answer.receipt)

    async def impatient(lane: Any, job: Any, contents: Any) -> None:
        if job.orphans:
            return await original(lane, job, contents)
        job = await lane.intend(
            job,
            EventKind.SUBMIT_STARTED,
            EventKind.SUBMIT_DEFERRED,
            price_usd=None,
            price_is="unknown",
            base_url=lane.seat.base_url,
            account=lane.seat.account,
        )
        sending = asyncio.get_running_loop().create_task(lane.seat.provider.submit(job.request, contents))
        in_the_background(claim_late(lane, sending))
        await submit.settle_submit(lane, job, Ambiguous(message="It took too long."))
        return None

    patch(submit, "_intend_and_send", impatient)


# Claims


@mutant("A claim is made without an intent.", "modelmax")
def claim_without_intent(patch: Patch) -> None:
    async def claim_first(lane: Any, live: Any) -> None:
        answer = await lane.seat.provider.claim(live.job.receipt)
        live.job = await lane.record(live.job, EventKind.CLAIM_STARTED)
        await collect._settle_claim(lane, live, answer)

    patch(collect, "_intend_and_claim", claim_first)


@mutant("A claim does not wait until its intent is durable.", "modelmax")
def claim_intent_not_awaited(patch: Patch) -> None:
    not_awaited(patch, EventKind.CLAIM_STARTED)


@mutant("A claim whose answer was lost is made once more at once.", "modelmax-faults")
def claim_repeated_on_error(patch: Patch) -> None:
    original = Wire.claim

    async def twice(self: Wire, path: str, cap_bytes: int) -> Any:
        outcome = await original(self, path, cap_bytes)
        return await original(self, path, cap_bytes) if isinstance(outcome, Lost) else outcome

    patch(Wire, "claim", twice)


@mutant("A claim whose outcome is unknown is made once more later.", "modelmax-faults")
def claim_doubt_asked_again(patch: Patch) -> None:
    async def ask_again(lane: Any, live: Any, answer: Any) -> None:
        await collect._claim_again_later(lane, live, answer.message, 1.0)

    patch(collect, "_hold_claim", ask_again)


@mutant("A claim that was cut short is made again by the next run.", "modelmax", flavours=KILL)
def claiming_resumed_as_submitted(patch: Patch) -> None:
    original = recover._record

    async def write(run: Any, job: Any, kind: EventKind, /, **data: Any) -> Any:
        if kind is EventKind.CLAIM_LOST:
            return await original(run, job, EventKind.CLAIM_DEFERRED, why="It was cut short.")
        return await original(run, job, kind, **data)

    patch(recover, "_record", write)


@mutant("The library repeats a GET whose connection was dropped.", "modelmax-faults", "modelmax-wire")
def library_repeats_the_get(patch: Patch) -> None:
    async def let_it(request: Any, send: Any) -> Any:
        return await send(request)

    patch(transport, "never_again", let_it)


@mutant("What was claimed is claimed again by the next run.", "modelmax", flavours=KILL)
def claimed_is_claimed_again(patch: Patch) -> None:
    original = batch._attach

    def attach(lane: Any, job: Any, group: Any) -> None:
        if job.state is State.CLAIMED:
            group.create_task(lane.seat.provider.claim(job.receipt))
        original(lane, job, group)

    patch(batch, "_attach", attach)


# Bytes and names


def lenient(read: Any, size_bytes: int) -> ClipFacts:
    """Take anything for a whole clip."""
    return ClipFacts(
        duration_s=8.0, width=1280, height=720, fps=24.0, frames=192, codec="avc1", has_audio=True, fragmented=False
    )


@mutant("The boxes of a clip are not walked.", "modelmax-faults", "venice-faults")
def boxes_not_walked(patch: Patch) -> None:
    patch(download, "walk", lenient)


@mutant("A body that is cut counts as ended, and nothing is checked.", "modelmax-faults", "venice-faults")
def length_not_checked(patch: Patch) -> None:
    original = download._next

    async def until_it_ends(chunks: Any, meter: Any) -> Any:
        try:
            return await original(chunks, meter)
        except BrokenClip:
            return None

    patch(download, "_next", until_it_ends)
    patch(download._Meter, "check_end", lambda self: None)
    patch(download, "walk", lenient)


@mutant("A clip is collected under its final name.", "venice", "modelmax")
def clip_written_in_place(patch: Patch) -> None:
    def final_name(self: BatchFolder, item_id: str, index: int, epoch: int, revision: int = 1) -> str:
        return self.clip_name(item_id, index, revision)

    patch(BatchFolder, "part_name", final_name)
    patch(collect, "publish_clip", lambda *_: publish.Settled.PUBLISHED)


class Without:
    """Files that pretend to have done one thing."""

    def __init__(self, files: Any, name: str) -> None:
        self._files = files
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: None) if name == self._name else getattr(self._files, name)


@mutant("The bytes of a clip are not made durable.", "venice", flavours=POWER)
def clip_not_synced(patch: Patch) -> None:
    original = download._PartFile.finish

    def finish(self: Any, rest: Any) -> Any:
        self._files = Without(self._files, "fsync")
        return original(self, rest)

    patch(download._PartFile, "finish", finish)


@mutant("The names in a folder are not made durable.", "venice", flavours=POWER)
def folder_not_synced(patch: Patch) -> None:
    patch(durable, "sync_folder", lambda files, folder: None)
    patch(publish, "sync_folder", lambda files, folder: None)


@mutant("A clip is written down as done before it has its name.", "venice", "modelmax", flavours=KILL)
def done_before_published(patch: Patch) -> None:
    original = collect.publish_under_free_name

    async def later(run: Any, job: Any, clip: Any) -> str:
        in_the_background(original(run, job, clip))
        return run.folder.clip_name(job.item_id, clip.index, job.revision)

    patch(collect, "publish_under_free_name", later)


@mutant("A final name is given by a rename over whatever is there.", "both")
def foreign_file_overwritten(patch: Patch) -> None:
    def overwrite(files: Any, part: Any, target: Any) -> None:
        files.replace(part, target)
        durable.sync_folder(files, target.parent)

    patch(publish, "publish", overwrite)


@mutant("A part file of a dead run is taken for the clip, unverified.", "venice", "modelmax")
def dead_part_adopted(patch: Patch) -> None:
    original = recover.recover

    async def adopt_and_recover(run: Any, capabilities: Any) -> None:
        files, folder = run.effects.files, run.folder
        names = files.names(folder.clips) if files.exists(folder.clips) else []
        for job in await run.ledger.jobs([State.SUBMITTED, State.CLAIMED]):
            for clip in job.clips:
                part = next((name for name in names if name.startswith(f".{job.item_id}.{clip.index}.")), "")
                if clip.state is not ClipState.WANTED or not part:
                    continue
                path = folder.clips / part
                job = await recover._record(
                    run,
                    job,
                    EventKind.CLIP_STORED,
                    index=clip.index,
                    part=f"clips/{part}",
                    file=folder.clip_name(job.item_id, clip.index, job.revision),
                    sha256=publish.digest(files, path),
                    size_bytes=files.size(path),
                    facts={},
                    warnings=[],
                )
        await original(run, capabilities)

    patch(batch, "recover", adopt_and_recover)


@mutant("The clips of a job are fetched in the wrong order.", "modelmax-samples")
def clips_swapped(patch: Patch) -> None:
    original = collect._fetch

    async def fetch(lane: Any, live: Any, output: Any) -> None:
        other = live.job.outputs[-1 - output.index]
        await original(lane, live, replace(output, location=other.location))

    patch(collect, "_fetch", fetch)


# The ledger


@mutant("A write does not name the state that it believes in, nor its run.", "venice-twins", "modelmax-twins")
def no_compare_and_set(patch: Patch) -> None:
    head, _, _ = rows.UPDATE_ITEM.partition("WHERE")
    patch(rows, "UPDATE_ITEM", head + "WHERE id = :id AND revision = :revision")
    patch(Writer, "_check_epoch", lambda self: None)


@mutant("A write does not ask whether another run has taken over.", "venice-twins", "modelmax-twins")
def epoch_not_checked(patch: Patch) -> None:
    patch(Writer, "_check_epoch", lambda self: None)


@mutant("Group commit says that a write is durable before the commit.", "venice", "modelmax", flavours=KILL)
def acknowledged_before_commit(patch: Patch) -> None:
    original = Ledger._commit

    async def commit(self: Ledger, waiting: Any) -> Any:
        for each in waiting:
            each.durable.set_result(None)
        return await original(self, waiting)

    patch(Ledger, "_commit", commit)


@mutant("The cap is looked at before the transaction, and not in it.", "modelmax-budget", "venice-budget")
def cap_checked_outside(patch: Patch) -> None:
    check = patch(Writer, "_check_budget", lambda self, before, after: None)
    original = Ledger.record_all

    async def record_all(self: Ledger, moves: Any, queued: Any = None) -> Any:
        moves = list(moves)
        for job, event in moves:
            if event.kind is EventKind.SUBMIT_STARTED:
                await self._alone(check, self._writer, job, apply(job, event))
        return await original(self, moves, queued)

    patch(Ledger, "record_all", record_all)


@mutant("Nobody looks at the cap.", "venice-budget")
def cap_not_checked(patch: Patch) -> None:
    patch(Writer, "_check_budget", lambda self, before, after: None)


@mutant("What is in doubt does not count as spent.", "venice-budget", "venice")
def doubt_is_free(patch: Patch) -> None:
    original = record._EFFECTS[EventKind.SUBMIT_LOST]

    def hold(job: Any, event: Event) -> Any:
        return replace(original(job, event), reserved_usd=0.0)

    patch.item(record._EFFECTS, EventKind.SUBMIT_LOST, hold)


@mutant("A row is changed without an event.", "venice")
def row_without_event(patch: Patch) -> None:
    original = Writer._write

    def write(self: Writer, each: Any) -> None:
        if each.event.kind is EventKind.CLIP_PUBLISHED:
            self._update(each.before, each.after, each.event)
        else:
            original(self, each)

    patch(Writer, "_write", write)


@mutant("On a full disk, answers that have arrived are dropped.", "full-ledger", "broken-ledger")
def answers_dropped_on_a_full_disk(patch: Patch) -> None:
    def refuse(self: Ledger, writes: Any, broken: Exception) -> Any:
        return dict.fromkeys(range(len(writes)), broken)

    patch(Ledger, "_save_outcomes", refuse)


@mutant("The journal of last resort is never taken in.", "broken-ledger")
def journal_not_taken_in(patch: Patch) -> None:
    async def pass_over(self: Ledger) -> None:
        await self._alone(self._emergency.clear)

    patch(Ledger, "_take_in_saved", pass_over)


# Looks


@mutant("A job that the vendor does not know once is lost.", "venice-links-faults", "venice-faults")
def gone_once_is_lost(patch: Patch) -> None:
    patch(looks, "YOUNG_S", 0.0)
    patch(looks, "GONE_TIMES", 1)
    patch(looks, "GONE_OVER_S", 0.0)


@mutant("A job that the vendor does not know is submitted again.", "venice-links-faults", "venice-faults")
def gone_is_submitted_again(patch: Patch) -> None:
    async def again(lane: Any, live: Any, answer: Any) -> None:
        told = failure("gone", answer.message, looks.Billing.BILLED)
        job = await lane.record(live.job, EventKind.JOB_LOST, failure=told)
        job = await lane.record(job, EventKind.RETRIED)
        lane.finish(live)
        lane.planned.add(submit.Head(job.item_id, job.revision, job.request.model))
        lane.changed()

    patch(looks, "_gone", again)


@mutant("A look names the model of the manifest, and not that of the receipt.", "both")
def model_of_the_receipt_ignored(patch: Patch) -> None:
    original = venice.retrieve_body
    patch(venice, "retrieve_body", lambda receipt: original(replace(receipt, model=MODELS["venice"])))


@mutant("A look asks the vendor to delete what it sends.", "venice")
def deleted_on_retrieve(patch: Patch) -> None:
    def body(receipt: Receipt) -> bytes:
        told = {"model": receipt.model, "queue_id": receipt.job_id, "delete_media_on_completion": True}
        return venice.encode(told)

    patch(venice, "retrieve_body", body)


@mutant("What is done is looked at again by the next run.", "venice", "modelmax")
def done_is_looked_at_again(patch: Patch) -> None:
    original = Ledger.jobs

    async def jobs(self: Ledger, states: Any = None) -> Any:
        found = await original(self, states)
        if states is not None and State.CLAIMED in states and len(list(states)) == 2:
            found += await original(self, [State.DONE])
        return found

    async def go(self: Any) -> Any:
        return await original_go(self)

    original_go = batch.BatchRun._run_lanes

    async def run_lanes(self: Any) -> None:
        done = await original(self.run.ledger, [State.DONE])
        for lane in self.lanes.values():
            for job in done:
                if job.provider == lane.name:
                    await lane.seat.provider.look(job.receipt)
        await original_go(self)

    patch(batch.BatchRun, "_run_lanes", run_lanes)


# Limits, signals, secrets, chance


@mutant("A slot is free as soon as its call has begun.", "venice", "modelmax")
def slot_released_early(patch: Patch) -> None:
    original = Lane.intend

    async def intend(self: Lane, job: Any, intent: EventKind, taken_back: EventKind, /, **data: Any) -> Any:
        job = await original(self, job, intent, taken_back, **data)
        self.answered(job)
        return job

    patch(Lane, "intend", intend)


@mutant("Calls are not paced.", "venice-limits")
def calls_not_paced(patch: Patch) -> None:
    patch(limits.Endpoint, "wait_s", lambda self, now: 0.0)
    patch(limits.Endpoint, "try_take", lambda self, now: 0.0)


@mutant("Failed calls are not counted.", "venice-limits")
def failures_not_counted(patch: Patch) -> None:
    patch(limits.FailureBudget, "note", lambda self, now: None)


@mutant("The first signal cancels the calls that bill.", "venice-signals", "modelmax-signals", flavours=STOP)
def stop_cancels_billing_calls(patch: Patch) -> None:
    async def bill(self: Lane, call: Any) -> None:
        await call

    patch(Lane, "bill", bill)


@mutant("Calls whose intent is on disk leave after the signal.", "venice-signals", "modelmax-signals", flavours=STOP)
def calls_leave_after_the_signal(patch: Patch) -> None:
    async def intend(self: Lane, job: Any, intent: EventKind, taken_back: EventKind, /, **data: Any) -> Any:
        job = await self.record(job, intent, **data)
        await self.run.effects.clock.sleep(0.3)
        return job

    patch(Lane, "intend", intend)


@mutant("Whoever waits wakes up at once.", "venice")
def waits_are_busy(patch: Patch) -> None:
    async def wait(self: Lane, seconds: float, binding: Any = None) -> None:
        await self.run.effects.clock.sleep(0)

    patch(Lane, "wait", wait)


@mutant("What a lost call is remembered by holds its headers.", "venice-faults", "venice-wire")
def key_in_the_evidence(patch: Patch) -> None:
    original = Wire._lost

    def lost(self: Wire, message: str, response: Any, body: bytearray) -> Lost:
        return original(self, f"{message} (Authorization: Bearer {self._key})", response, body)

    patch(Wire, "_lost", lost)


@mutant("A download link is fetched with the key.", "venice-links")
def key_follows_the_link(patch: Patch) -> None:
    async def open_download(self: Wire, url: str) -> Any:
        return await self.open("GET", url.removeprefix(self._origin.url("").removesuffix("/api/v1")))

    def url(self: Any, path: str) -> str:
        return original_url(self, path).replace("/api/v1/private-share", "/private-share")

    original_url = patch(type_of_origin(), "url", url)
    patch(Wire, "open_download", open_download)


def type_of_origin() -> Any:
    """Return the class of a vendor's origin."""
    from pipeline.providers.origin import Origin

    return Origin


@mutant("Waits are drawn from a randomness that nobody passed in.", "venice-faults", "modelmax-faults")
def chance_of_its_own(patch: Patch) -> None:
    def backoff_s(failures: int, _random: Any, *, base_s: float = 1.0) -> float:
        return min(60.0, base_s * 2.0 ** (failures - 1)) * random.SystemRandom().uniform(0.5, 1.0)

    for module in (submit, looks, collect):
        patch(module, "backoff_s", backoff_s)
