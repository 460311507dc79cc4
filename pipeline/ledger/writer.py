"""The synchronous half of the ledger's writing side: what is done in its one thread, with its one connection."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pipeline.errors import LedgerError, Paused, StaleWrite
from pipeline.jobs.state import EventKind, State
from pipeline.ledger import rows
from pipeline.ledger.database import open_writer, told_as_our_errors
from pipeline.ledger.patience import TRIES, patiently
from pipeline.ledger.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job
    from pipeline.ledger.interface import Database

T = TypeVar("T")


class OverBudget(Paused):
    """The next call that can bill would pass the cap; nothing was reserved."""


class DuplicateJob(LedgerError):
    """The vendor gave an id that another item already holds."""


REFUSALS = (StaleWrite, OverBudget, DuplicateJob)
"""What concerns one write and leaves the others of its batch as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Company:
    """Who else works on the batch at this moment."""

    others: Mapping[str, int] = field(default_factory=dict)
    """By provider: how many of them have items that they have not brought to their end."""
    silent: Sequence[int] = ()
    """The epochs of those that were found silent for longer than their lease just now, and were taken over from."""

    @property
    def is_alone(self) -> bool:
        """Whether nobody else has anything."""
        return not self.others


ALONE = Company()
WORKING = frozenset({State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.CLAIMING, State.CLAIMED})
"""In these a run has more to do with an item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    """One event to be written, with the job before and after it."""

    before: Job | None
    after: Job
    event: Event


class Writer(Questions):
    """One connection and one epoch. Used by one thread at a time; every method is one transaction.

    A stranger who holds the file (a backup, somebody's sqlite3) is waited for, and the user is told. To open and to say
    goodbye there is an end to that, since nothing is lost by giving up. To write down what happened there is none: no
    answer is dropped because somebody reads, and no call that bills begins before its intent is down.
    """

    is_shared: ClassVar[bool] = False
    """Whether several runs may be at work at once."""
    _update_item: ClassVar[str] = rows.UPDATE_ITEM

    def __init__(self, path: Path, database: Database, epoch: int, tell: Callable[[str], None]) -> None:
        super().__init__(path, database, tell)
        self.epoch = epoch

    @classmethod
    def begin(cls, path: Path, effects: Effects, about: Mapping[str, Any], tell: Callable[[str], None]) -> Writer:
        """Open or create the ledger and begin an epoch.

        Args:
            path: the ledger's.
            effects: what it is opened with.
            about: the process, for the record.
            tell: given sentences for the user, in the thread of whatever call they come from.

        Raises:
            InputError: not a ledger of ours. DiskRefused: the disk said no, or a stranger held the file for too long.
        """
        database = patiently(path, tell, lambda: open_writer(path, effects, tell), TRIES)
        writer = cls(path, database, 0, tell)
        try:
            with writer._transaction() as opened:
                (last,) = opened.execute("SELECT coalesce(max(epoch), 0) FROM run").fetchone()
                writer.epoch = last + 1
                opened.execute(
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
            goodbye = "UPDATE run SET ended_at = ?, outcome = ? WHERE epoch = ?"
            values = (at.isoformat(), outcome, self.epoch)
            patiently(self.path, self.tell, lambda: self._database.execute(goodbye, values), TRIES)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file without a word."""
        self._database.close()

    def steadily(self, work: Callable[..., T], *args: Any) -> T:
        """Do what may meet a database that is away; for a file there is no such thing."""
        return work(*args)

    @contextmanager
    def _transaction(self) -> Iterator[Database]:
        database = self._database
        patiently(self.path, self.tell, lambda: database.execute("BEGIN IMMEDIATE"))
        with told_as_our_errors(self.path):
            try:
                yield database
                patiently(self.path, self.tell, lambda: database.execute("COMMIT"))
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
        except self._database.IntegrityError as error:
            if "item.job_id" in str(error) or "item_by_job" in str(error):
                raise DuplicateJob(f"{event.item_id}: the vendor's job id {after.job_id} is another item's.") from error
            raise LedgerError(f"{event.item_id}: the ledger refused {event.kind}: {error}.") from error

    def _update(self, before: Job, after: Job, event: Event) -> None:
        row = rows.item_row(after, event, self.epoch, with_request=after.request is not before.request)
        row |= {"state_before": before.state.value, "moves_before": before.moves, **self._keeping()}
        if self._database.execute(self._update_item, row).rowcount != 1:
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

    def write_meta(self, values: Mapping[str, Any]) -> None:
        """Write facts about the batch as a whole."""
        with self._transaction() as database:
            self._check_epoch()
            database.executemany(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [(key, rows.compact(value)) for key, value in values.items()],
            )

    def keep_learned(self, learned: Mapping[str, Any]) -> None:
        """Keep what this run has learned, for the next one."""
        with self._transaction() as database:
            database.executemany(
                "INSERT INTO learned VALUES (?, ?) ON CONFLICT (class) DO UPDATE SET state = excluded.state",
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
            except self._database.IntegrityError as error:
                raise StaleWrite(f"{self.path}: nothing was withdrawn: {error}.") from error
            if gone != len(keys):
                raise StaleWrite(f"{self.path}: nothing was withdrawn, for some of the items are not there.")

    # What there is only where several runs may be at work

    def renew(self) -> None:
        """Renew this run's lease."""

    def keep_company(self) -> Company:
        """Renew this run's lease, and take over from those who did not renew theirs."""
        return ALONE

    def take_over(self, states: Collection[State], accounts: Collection[str] | None) -> list[Job]:  # noqa: ARG002
        """Return the jobs in some states that no run at work has, and make them this run's."""
        return self.jobs(list(states))

    def give_back(self, provider: str) -> None:
        """Let others have all items of a provider that this run has and that wait to be submitted."""

    def release(self, keys: Sequence[tuple[str, int]]) -> None:
        """Let whoever comes first have some items that this run has and that wait to be submitted."""

    @contextmanager
    def for_anybody(self) -> Iterator[None]:
        """Let whoever comes first go on with the items that are written meanwhile and that this run did not have."""
        yield

    def _keeping(self) -> dict[str, Any]:
        """Return what a statement must know of who has an item from now on."""
        return {}

    def at_work(self) -> set[int]:
        """Return the epochs of the runs at work."""
        return {self.epoch}

    def lock(self, purpose: str) -> bool:  # noqa: ARG002
        """Become the only run that does something; tell whether that could be had at once."""
        return True

    def unlock(self, purpose: str) -> None:
        """Let others do it."""

    def uploads_elsewhere(self, store: str) -> int:  # noqa: ARG002
        """Return how many finished jobs with a clip of which a store has no copy other runs see to."""
        return 0
