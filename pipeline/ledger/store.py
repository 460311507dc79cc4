"""The writing side of a ledger: one connection, one thread, many writes to a commit.

`record(job, event)` returns when the event is durable, and not before. Writes that arrive while a commit is under way
share the next one, so a thousand jobs in flight cost a few commits a second. Every write names the state it believes
the row to be in and the epoch of its run; a row that has moved on is not written (`StaleWrite`).
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import LedgerError, Paused, StaleWrite
from pipeline.jobs.record import apply
from pipeline.jobs.state import EventKind, State
from pipeline.ledger import rows
from pipeline.ledger.database import open_writer, told_as_our_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job

LANE = "ledger"


class OverBudget(Paused):
    """The next call that can bill would pass the cap; nothing was reserved."""


class DuplicateJob(LedgerError):
    """The vendor gave an id that another item already holds."""


class JobHead(NamedTuple):
    """The least of a job."""

    item_id: str
    revision: int
    state: State
    provider: str
    model: str
    fingerprint: str
    committed_micro_usd: int


@dataclass(kw_only=True, slots=True)
class _Write:
    before: Job | None
    after: Job
    event: Event
    durable: asyncio.Future[None]


class Ledger:
    """The one writer of a batch's history.

    The mutable state is `_waiting` (writes not yet handed to the thread), `_committer` (the task that drains them) and
    `_broken` (the first commit that failed; from then on nothing is written and every write raises it).
    """

    def __init__(self, path: Path, database: sqlite3.Connection, epoch: int, effects: Effects) -> None:
        self.path = path
        self.epoch = epoch
        self._database = database
        self._effects = effects
        self._waiting: list[_Write] = []
        self._committer: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    @classmethod
    async def open(cls, path: Path, effects: Effects, about: Mapping[str, Any]) -> Ledger:
        """Open or create the ledger and begin an epoch. The caller holds the batch's lock.

        Raises:
            InputError: not a ledger of ours. DiskRefused: the disk said no.
        """

        def begin() -> tuple[sqlite3.Connection, int]:
            database = open_writer(path, effects)
            with told_as_our_errors(path):
                started = effects.clock.now().isoformat()
                (epoch,) = database.execute(
                    "INSERT INTO run (epoch, started_at, about) "
                    "SELECT coalesce(max(epoch), 0) + 1, ?, ? FROM run RETURNING epoch",
                    (started, rows.compact(dict(about))),
                ).fetchone()
            return database, epoch

        database, epoch = await effects.threads.run_alone(LANE, begin)
        return cls(path, database, epoch, effects)

    async def close(self, outcome: str) -> None:
        """Write what still waits, say goodbye, and close the file."""
        while self._committer is not None:
            await asyncio.shield(self._committer)

        def end() -> None:
            if self._broken is None:
                with told_as_our_errors(self.path):
                    self._database.execute(
                        "UPDATE run SET ended_at = ?, outcome = ? WHERE epoch = ?",
                        (self._effects.clock.now().isoformat(), outcome, self.epoch),
                    )
            self._database.close()

        await self._effects.threads.run_alone(LANE, end)

    async def record(self, job: Job | None, event: Event, queued: Callable[[], None] | None = None) -> Job:
        """Apply an event and return the job as it now is, once that is durable.

        Args:
            job: as the caller believes it to be.
            event: what happened.
            queued: called as soon as the write has its place in the order of commits: whatever is recorded after it
                becomes durable with it or later, never before.

        Raises:
            IllegalMove: the move is not in the table. StaleWrite: the row has moved on. OverBudget: the cap would be
            passed. DuplicateJob: the vendor's id is taken. DiskRefused: nothing was written, and nothing will be.
        """
        (after,) = await self.record_all([(job, event)], queued)
        return after

    async def record_all(
        self, moves: Iterable[tuple[Job | None, Event]], queued: Callable[[], None] | None = None
    ) -> list[Job]:
        """Apply events to several jobs, durable together or refused one by one; otherwise like `record`."""
        loop = asyncio.get_running_loop()
        writes = [
            _Write(before=job, after=apply(job, event), event=event, durable=loop.create_future())
            for job, event in moves
        ]
        if self._broken is not None:
            raise self._broken
        for write in writes:
            # A caller that was cancelled never asks; without this its refusal would be reported as forgotten.
            write.durable.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting.extend(writes)
        if self._committer is None:
            self._committer = loop.create_task(self._drain())
        if queued is not None:
            queued()
        for write in writes:
            # Shielded: a caller that is cancelled stops waiting, and the commit goes on.
            await asyncio.shield(write.durable)
        return [write.after for write in writes]

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    refusals = await self._effects.threads.run_alone(LANE, self._commit, batch)
                except Exception as error:  # whatever it was, nothing may be written after it
                    self._broken = error
                    refusals = dict.fromkeys(range(len(batch) + len(self._waiting)), error)
                    batch, self._waiting = batch + self._waiting, []
                for place, write in enumerate(batch):
                    _settle(write.durable, refusals.get(place))
        finally:
            self._committer = None

    def _commit(self, batch: Sequence[_Write]) -> Mapping[int, BaseException]:
        """Write a batch in one transaction; return the refused ones by their place."""
        refusals: dict[int, BaseException] = {}
        database = self._database
        with told_as_our_errors(self.path):
            database.execute("BEGIN IMMEDIATE")
            try:
                self._check_epoch()
                for place, write in enumerate(batch):
                    database.execute("SAVEPOINT one")
                    try:
                        self._write(write)
                    except (StaleWrite, OverBudget, DuplicateJob) as refusal:
                        database.execute("ROLLBACK TO one")
                        refusals[place] = refusal
                    database.execute("RELEASE one")
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        return refusals

    def _check_epoch(self) -> None:
        (newest,) = self._database.execute("SELECT max(epoch) FROM run").fetchone()
        if newest != self.epoch:
            raise StaleWrite(f"{self.path}: run {newest} has taken over from run {self.epoch}; this one stops.")

    def _write(self, write: _Write) -> None:
        event, before, after = write.event, write.before, write.after
        if event.kind is EventKind.SUBMIT_STARTED:
            self._check_budget(after)
        self._database.execute(
            "INSERT INTO event (at, epoch, item_id, revision, kind, data) VALUES (?, ?, ?, ?, ?, ?)",
            (
                event.at.isoformat(),
                self.epoch,
                event.item_id,
                event.revision,
                event.kind.value,
                rows.compact(event.data),
            ),
        )
        try:
            if before is None:
                row = rows.item_row(after, event, self.epoch, with_request=True)
                self._database.execute(rows.INSERT_ITEM, row)
            else:
                self._update(before, after, event)
        except sqlite3.IntegrityError as error:
            if "item.job_id" in str(error):
                raise DuplicateJob(f"{event.item_id}: the vendor's job id {after.job_id} is another item's.") from error
            raise LedgerError(f"{event.item_id}: the ledger refused {event.kind}: {error}.") from error

    def _update(self, before: Job, after: Job, event: Event) -> None:
        row = rows.item_row(after, event, self.epoch, with_request=after.request is not before.request)
        row |= {"state_before": before.state.value, "attempt_before": before.attempt}
        if self._database.execute(rows.UPDATE_ITEM, row).rowcount != 1:
            raise StaleWrite(f"{event.item_id}: it is no longer {before.state}, so {event.kind} was not written.")
        self._update_clips(before, after, event)

    def _update_clips(self, before: Job, after: Job, event: Event) -> None:
        known = {clip.index: clip for clip in before.clips}
        remade = event.kind in {EventKind.SUBMIT_STARTED, EventKind.CLAIM_RECEIVED}
        if remade and known:
            self._database.execute(
                "DELETE FROM clip WHERE item_id = ? AND revision = ?", (after.item_id, after.revision)
            )
            known = {}
        for clip in after.clips:
            old = known.get(clip.index)
            if old is clip:
                continue
            row = rows.clip_row(after, clip, event)
            if old is None:
                self._database.execute(rows.INSERT_CLIP, row)
            elif self._database.execute(rows.UPDATE_CLIP, {**row, "state_before": old.state.value}).rowcount != 1:
                raise StaleWrite(f"{event.item_id}: clip {clip.index} is no longer {old.state}.")

    def _check_budget(self, job: Job) -> None:
        cap = self._meta("max_cost_usd")
        if cap is None:
            return
        (committed,) = self._database.execute("SELECT committed_micro_usd FROM money").fetchone()
        reserve = round(job.reserved_usd * rows.MICRO)
        if committed + reserve > round(cap * rows.MICRO):
            raise OverBudget(
                f"The next clip would cost ${job.reserved_usd:.2f} and ${committed / rows.MICRO:.2f} of the cap of "
                f"${cap:.2f} are spent, reserved or in doubt. Raise it with --max-cost to go on."
            )

    def _meta(self, key: str) -> Any:
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    async def write_meta(self, values: Mapping[str, Any]) -> None:
        """Write facts about the batch as a whole: name, settings, cap."""

        def write() -> None:
            with told_as_our_errors(self.path):
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(
                    "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                    [(key, rows.compact(value)) for key, value in values.items()],
                )
                self._database.execute("COMMIT")

        await self._effects.threads.run_alone(LANE, write)

    async def read_meta(self, key: str) -> Any:
        """Return a fact about the batch as a whole, or None."""
        return await self._effects.threads.run_alone(LANE, self._meta, key)

    async def place(self, positions: Iterable[tuple[str, int]]) -> None:
        """Write the order of the items in the manifest."""
        values = [(position, item_id, position) for item_id, position in positions]

        def write() -> None:
            with told_as_our_errors(self.path):
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany("UPDATE item SET position = ? WHERE id = ? AND position <> ?", values)
                self._database.execute("COMMIT")

        await self._effects.threads.run_alone(LANE, write)

    async def withdraw(self, jobs: Iterable[Job], at: datetime) -> None:
        """Forget planned items that cost nothing and are no longer wanted."""
        withdrawn = [(job.item_id, job.revision) for job in jobs]

        def write() -> None:
            with told_as_our_errors(self.path):
                self._database.execute("BEGIN IMMEDIATE")
                self._check_epoch()
                self._database.executemany(
                    "INSERT INTO event (at, epoch, item_id, revision, kind, data) VALUES (?, ?, ?, ?, ?, '{}')",
                    [(at.isoformat(), self.epoch, *key, EventKind.ITEM_WITHDRAWN.value) for key in withdrawn],
                )
                self._database.executemany("DELETE FROM item WHERE id = ? AND revision = ?", withdrawn)
                self._database.execute("COMMIT")

        await self._effects.threads.run_alone(LANE, write)

    async def jobs(self, states: Iterable[State] | None = None) -> list[Job]:
        """Return the jobs in some states (all of them for None), in the manifest's order."""

        def read() -> list[Job]:
            with told_as_our_errors(self.path):
                if states is None:
                    return list(rows.read_jobs(self._database, "ORDER BY position, revision"))
                names = [state.value for state in states]
                marks = ",".join("?" * len(names))
                return list(rows.read_jobs(self._database, f"WHERE state IN ({marks}) ORDER BY position", names))

        return await self._effects.threads.run_alone(LANE, read)

    async def job(self, item_id: str, revision: int) -> Job:
        """Return one job."""

        def read() -> Job:
            with told_as_our_errors(self.path):
                return next(rows.read_jobs(self._database, "WHERE id = ? AND revision = ?", (item_id, revision)))

        return await self._effects.threads.run_alone(LANE, read)

    async def heads(self) -> list[JobHead]:
        """Return the least of every job, in the manifest's order, for a start that does not read all the rest."""

        def read() -> list[JobHead]:
            with told_as_our_errors(self.path):
                query = (
                    "SELECT id, revision, state, provider, model, json_extract(record, '$.fingerprint'), "
                    "committed_micro_usd FROM item ORDER BY position, revision"
                )
                return [JobHead(a, b, State(c), *rest) for a, b, c, *rest in self._database.execute(query)]

        return await self._effects.threads.run_alone(LANE, read)

    async def committed_usd(self) -> float:
        """Return what is spent, reserved or in doubt, over all items."""

        def read() -> float:
            (micro,) = self._database.execute("SELECT committed_micro_usd FROM money").fetchone()
            return float(micro) / rows.MICRO

        return await self._effects.threads.run_alone(LANE, read)


def _settle(durable: asyncio.Future[None], refusal: BaseException | None) -> None:
    if durable.done():
        return
    if refusal is None:
        durable.set_result(None)
    else:
        durable.set_exception(refusal)
