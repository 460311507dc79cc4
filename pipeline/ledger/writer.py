"""The synchronous half of the ledger's writing side: what is done in its one thread, with its one connection."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import LedgerError, Paused, StaleWrite
from pipeline.jobs.state import EventKind, State
from pipeline.ledger import rows
from pipeline.ledger.database import open_writer, told_as_our_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job


class OverBudget(Paused):
    """The next call that can bill would pass the cap; nothing was reserved."""


class DuplicateJob(LedgerError):
    """The vendor gave an id that another item already holds."""


REFUSALS = (StaleWrite, OverBudget, DuplicateJob)
"""What concerns one write and leaves the others of its batch as they are."""


class JobHead(NamedTuple):
    """The least of a job."""

    item_id: str
    revision: int
    state: State
    provider: str
    model: str
    fingerprint: str
    committed_micro_usd: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """One event to be written, with the job before and after it."""

    before: Job | None
    after: Job
    event: Event


class Writer:
    """One connection and one epoch. Used by one thread at a time; every method is one transaction."""

    def __init__(self, path: Path, database: sqlite3.Connection, epoch: int) -> None:
        self.path = path
        self.epoch = epoch
        self._database = database

    @classmethod
    def begin(cls, path: Path, effects: Effects, about: Mapping[str, Any]) -> Writer:
        """Open or create the ledger and begin an epoch.

        Raises:
            InputError: not a ledger of ours. DiskRefused: the disk said no.
        """
        writer = cls(path, open_writer(path, effects), epoch=0)
        try:
            with writer._transaction() as database:
                (last,) = database.execute("SELECT coalesce(max(epoch), 0) FROM run").fetchone()
                writer.epoch = last + 1
                database.execute(
                    "INSERT INTO run (epoch, started_at, about) VALUES (?, ?, ?)",
                    (writer.epoch, effects.clock.now().isoformat(), rows.compact(dict(about))),
                )
        except BaseException:
            writer.close()
            raise
        return writer

    def end(self, at: datetime, outcome: str) -> None:
        """Say goodbye and close the file."""
        try:
            with told_as_our_errors(self.path):
                self._database.execute(
                    "UPDATE run SET ended_at = ?, outcome = ? WHERE epoch = ?", (at.isoformat(), outcome, self.epoch)
                )
        finally:
            self.close()

    def close(self) -> None:
        """Close the file without a word."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._database
        with told_as_our_errors(self.path):
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def commit(self, batch: Sequence[Write]) -> Mapping[int, Exception]:
        """Write a batch in one transaction; return those that were refused, by their place.

        Raises:
            StaleWrite: another run has taken over; nothing was written. DiskRefused: nothing was written.
        """
        try:
            with self._transaction():
                self._check_epoch()
                for write in batch:
                    self._write(write)
        except REFUSALS:  # rare: all of it was undone, and is done again with a way back for each
            return self._commit_one_by_one(batch)
        return {}

    def _commit_one_by_one(self, batch: Sequence[Write]) -> dict[int, Exception]:
        refusals: dict[int, Exception] = {}
        with self._transaction() as database:
            self._check_epoch()
            for place, write in enumerate(batch):
                database.execute("SAVEPOINT one")
                try:
                    self._write(write)
                except REFUSALS as refusal:
                    database.execute("ROLLBACK TO one")
                    refusals[place] = refusal
                database.execute("RELEASE one")
        return refusals

    def _check_epoch(self) -> None:
        (newest,) = self._database.execute("SELECT max(epoch) FROM run").fetchone()
        if newest != self.epoch:
            raise StaleWrite(f"{self.path}: run {newest} has taken over from run {self.epoch}; this one stops.")

    def _write(self, write: Write) -> None:
        event, before, after = write.event, write.before, write.after
        if before is not None and event.kind in {EventKind.SUBMIT_STARTED, EventKind.CLAIM_ALLOWED}:
            self._check_budget(before, after)
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
        row |= {"state_before": before.state.value, "moves_before": before.moves}
        if self._database.execute(rows.UPDATE_ITEM, row).rowcount != 1:
            raise StaleWrite(f"{event.item_id}: it is no longer {before.state}, so {event.kind} was not written.")
        self._update_clips(before, after, event)

    def _update_clips(self, before: Job, after: Job, event: Event) -> None:
        known = {clip.index: clip for clip in before.clips}
        remade = not after.clips or event.kind is EventKind.CLAIM_RECEIVED
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

    def _check_budget(self, before: Job, after: Job) -> None:
        cap = self.meta("max_cost_usd")
        if cap is None:
            return
        (committed,) = self._database.execute("SELECT committed_micro_usd FROM money").fetchone()
        reserve = rows.committed_micro_usd(after) - rows.committed_micro_usd(before)
        if committed + reserve > round(cap * rows.MICRO):
            raise OverBudget(
                f"The next clip would cost ${reserve / rows.MICRO:.2f} and ${committed / rows.MICRO:.2f} of the cap of "
                f"${cap:.2f} are spent, reserved or in doubt. Raise it with --max-cost to go on."
            )

    def meta(self, key: str) -> Any:
        """Return a fact about the batch as a whole, or None."""
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def write_meta(self, values: Mapping[str, Any]) -> None:
        """Write facts about the batch as a whole."""
        with self._transaction() as database:
            self._check_epoch()
            database.executemany(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                [(key, rows.compact(value)) for key, value in values.items()],
            )

    def learned(self) -> dict[str, Any]:
        """Return what earlier runs learned of each class of jobs."""
        with told_as_our_errors(self.path):
            return {name: json.loads(state) for name, state in self._database.execute("SELECT * FROM learned")}

    def keep_learned(self, learned: Mapping[str, Any]) -> None:
        """Keep what this run has learned, for the next one."""
        with self._transaction() as database:
            database.executemany(
                "INSERT INTO learned VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
                [(name, rows.compact(state)) for name, state in learned.items()],
            )

    def place(self, positions: Iterable[tuple[str, int]]) -> None:
        """Write the order of the items in the manifest."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE item SET position = ? WHERE id = ? AND position <> ?",
                [(position, item_id, position) for item_id, position in positions],
            )

    def withdraw(self, keys: Sequence[tuple[str, int]], at: datetime) -> None:
        """Forget planned items that cost nothing and are no longer wanted: all of them, or none.

        Raises:
            StaleWrite: one of them is gone, no longer planned, or may have cost something.
        """
        with self._transaction() as database:
            self._check_epoch()
            database.executemany(
                "INSERT INTO event (at, epoch, item_id, revision, kind, data) VALUES (?, ?, ?, ?, ?, '{}')",
                [(at.isoformat(), self.epoch, *key, EventKind.ITEM_WITHDRAWN.value) for key in keys],
            )
            try:
                gone = database.executemany("DELETE FROM item WHERE id = ? AND revision = ?", keys).rowcount
            except sqlite3.IntegrityError as error:
                raise StaleWrite(f"{self.path}: nothing was withdrawn: {error}.") from error
            if gone != len(keys):
                raise StaleWrite(f"{self.path}: nothing was withdrawn, for some of the items are not there.")

    def jobs(self, states: Sequence[State] | None) -> list[Job]:
        """Return the jobs in some states (all of them for None), in the manifest's order."""
        with told_as_our_errors(self.path):
            if states is None:
                return list(rows.read_jobs(self._database, "ORDER BY position, revision"))
            names = [state.value for state in states]
            marks = ",".join("?" * len(names))
            return list(rows.read_jobs(self._database, f"WHERE state IN ({marks}) ORDER BY position, revision", names))

    def job(self, item_id: str, revision: int) -> Job | None:
        """Return one job, or None where there is no such item."""
        (found,) = self.jobs_at([(item_id, revision)])
        return found

    def jobs_at(self, keys: Sequence[tuple[str, int]]) -> list[Job | None]:
        """Return jobs by id and revision; None in the place of one that is not there."""
        where = "WHERE id = ? AND revision = ?"
        with told_as_our_errors(self.path):
            return [next(rows.read_jobs(self._database, where, key), None) for key in keys]

    def heads(self) -> list[JobHead]:
        """Return the least of every job, in the manifest's order."""
        query = (
            "SELECT id, revision, state, provider, model, json_extract(record, '$.fingerprint'), committed_micro_usd "
            "FROM item ORDER BY position, revision"
        )
        with told_as_our_errors(self.path):
            return [JobHead(a, b, State(c), *rest) for a, b, c, *rest in self._database.execute(query)]

    def committed_usd(self) -> float:
        """Return what is spent, reserved or in doubt, over all items."""
        with told_as_our_errors(self.path):
            (micro,) = self._database.execute("SELECT committed_micro_usd FROM money").fetchone()
        return float(micro) / rows.MICRO

    def last_event(self) -> int:
        """Return the number of the newest event; 0 for none."""
        with told_as_our_errors(self.path):
            (seq,) = self._database.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
        return int(seq)

    def interrupted_doubts(self, epochs: int) -> list[int]:
        """Return how many doubts each of the newest runs, this one first, found left behind by a run that died."""
        query = (
            "SELECT (SELECT count(*) FROM event WHERE event.epoch = run.epoch AND event.kind IN (?, ?) "
            "AND json_extract(event.data, '$.failure.kind') = 'interrupted') FROM run ORDER BY epoch DESC LIMIT ?"
        )
        kinds = (EventKind.SUBMIT_LOST.value, EventKind.CLAIM_LOST.value)
        with told_as_our_errors(self.path):
            return [found for (found,) in self._database.execute(query, (*kinds, epochs))]
