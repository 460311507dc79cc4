"""Seeded bugs in the ledger, and in what holds for a run as a whole: limits, signals, secrets, chance."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.jobs import record
from pipeline.jobs.record import apply
from pipeline.jobs.state import EventKind
from pipeline.ledger import rows, store
from pipeline.ledger.store import Ledger
from pipeline.ledger.writer import Writer
from pipeline.providers.http import Call, Wire
from pipeline.runner import collect, limits, looks, submit
from pipeline.runner.lane import Lane
from tests.torture.mutant import ALONE, KILL, STOP, mutant

if TYPE_CHECKING:
    from pipeline.jobs.event import Event
    from pipeline.ledger.emergency import Emergency
    from pipeline.providers.exchange import Lost
    from tests.torture.mutant import Patch


@mutant(
    "A write does not name the state that it believes in, nor its run.", "venice-twins", "modelmax-twins", stores=ALONE
)
def no_compare_and_set(patch: Patch) -> None:
    head, _, _ = rows.UPDATE_ITEM.partition("WHERE")
    patch(rows, "UPDATE_ITEM", head + "WHERE id = :id AND revision = :revision")
    patch(Writer, "_check_epoch", lambda self: None)


@mutant("A write does not ask whether another run has taken over.", "venice-twins", "modelmax-twins", stores=ALONE)
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
    def pass_over(writer: Writer, emergency: Emergency) -> list[str]:
        emergency.clear()
        return []

    patch(store, "take_in_saved", pass_over)


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
        headers = {"Authorization": f"Bearer {self._key}"}
        return await self._exchange(
            Call(method="GET", url=url, deadline_s=15.0, may_be_clip=True, fresh=True, headers=headers)
        )

    patch(Wire, "open_download", open_download)


@mutant("Waits are drawn from a randomness that nobody passed in.", "venice-faults", "modelmax-faults")
def chance_of_its_own(patch: Patch) -> None:
    def backoff_s(failures: int, _random: Any, *, base_s: float = 1.0) -> float:
        return min(60.0, base_s * 2.0 ** (failures - 1)) * random.SystemRandom().uniform(0.5, 1.0)

    for module in (submit, looks, collect):
        patch(module, "backoff_s", backoff_s)
