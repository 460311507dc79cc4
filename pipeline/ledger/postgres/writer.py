"""The writing side of a shared ledger: what a lease, a fence and a connection that can be lost add to `Writer`.

Every worker is a run with an epoch, and every transaction of its begins by renewing its lease in its own row. Another
worker that finds the lease at its end marks that row as lost: from then on nothing of the silent one is written, and
what it had belongs to nobody, until somebody takes it. Items are had by their `owner`, the epoch of a run at work.

Commits come one after the other (the row of money is locked first), so that the numbers of events are the order in
which they became durable, and the cap is exact however many workers reserve at once.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pipeline.errors import Paused, StaleWrite
from pipeline.jobs.state import ENDED, IN_DOUBT
from pipeline.ledger import rows
from pipeline.ledger.postgres.connection import ConnectionLost, PostgresDatabase
from pipeline.ledger.postgres.layout import open_writer
from pipeline.ledger.questions import Page, PlannedHead
from pipeline.ledger.writer import WORKING, Company, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.job import Job
    from pipeline.jobs.state import State
    from pipeline.ledger.interface import Database
    from pipeline.ledger.postgres.address import Address

T = TypeVar("T")

PATIENCE_LEASES = 4
"""For how many leases a worker tries to reach a server that is away."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
ALONE_PAUSE_S = 0.2
AT_WORK = "(SELECT epoch FROM run WHERE ended_at IS NULL AND NOT lost)"
NOBODYS = f"(owner IS NULL OR owner NOT IN {AT_WORK})"
RENEW = (
    "UPDATE run SET commits = commits + 1, lease_until = clock_timestamp() + make_interval(secs => ?) "
    "WHERE epoch = ? AND ended_at IS NULL AND NOT lost RETURNING commits"
)
# A server that was away let nobody renew: leases are counted from its start at the earliest.
SILENT = (
    "SELECT epoch FROM run WHERE ended_at IS NULL AND NOT lost AND epoch <> ? "
    "AND greatest(lease_until, pg_postmaster_start_time() + make_interval(secs => ?)) < clock_timestamp() "
    "ORDER BY epoch FOR UPDATE SKIP LOCKED"
)


def _listed(states: Collection[State]) -> str:
    return ",".join(f"'{state.value}'" for state in sorted(states))


HAD = f"""CASE WHEN :state = 'planned' THEN CASE WHEN owner = :epoch THEN owner END
              WHEN :state IN ({_listed((WORKING | ENDED) - IN_DOUBT)})
              THEN CASE WHEN owner = :epoch THEN owner ELSE :keeper END END"""
UPDATE_ITEM = f"""
UPDATE item SET state = :state, event = :event, attempt = :attempt, moves = :moves, epoch = :epoch, owner = {HAD},
                provider = :provider, model = :model, job_id = :job_id, committed_micro_usd = :committed_micro_usd,
                record = :record, request = coalesce(:request, request)
WHERE id = :id AND revision = :revision AND state = :state_before AND moves = :moves_before
AND (owner = :epoch OR state NOT IN ({_listed(WORKING)}) OR {NOBODYS})"""  # noqa: S608


class LeaseLost(StaleWrite, Paused):
    """This worker was silent for longer than its lease, and another has taken over what it had."""

    exit_code = Paused.exit_code


class SharedWriter(Writer):
    """One worker's connection to a shared ledger. Used by one thread at a time; every method is one transaction.

    The mutable state beside `Writer`'s: `_is_away`, once the server could not be reached for as long as was waited, and
    `_keeps`, whether it has from then on what it writes about.
    """

    is_shared: ClassVar[bool] = True
    _update_item: ClassVar[str] = UPDATE_ITEM
    _waiting: ClassVar[str] = f"state = 'planned' AND {NOBODYS}"
    _database: PostgresDatabase

    def __init__(
        self,
        path: Path,
        database: PostgresDatabase,
        tell: Callable[[str], None],
        lease_s: float,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(path, database, 0, tell)
        self.lease_s = lease_s
        self._pause = pause
        self._is_away = False
        self._keeps = True

    @classmethod
    def join(
        cls,
        path: Path,
        address: Address,
        effects: Effects,
        about: Mapping[str, Any],
        tell: Callable[[str], None],
        lease_s: float,
    ) -> SharedWriter:
        """Join the workers of a shared ledger, creating it where there is none.

        Args:
            path: what stands for the ledger in the batch's folder.
            address: where it is.
            effects: what it is reached with.
            about: the process, for the record.
            tell: given sentences for the user, in the thread of whatever call they come from.
            lease_s: for how long this worker may be silent before others take over from it.

        Raises:
            InputError: not a ledger of ours. ConnectionLost: the server cannot be reached.
        """
        writer = cls(path, open_writer(address, effects), tell, lease_s)
        try:
            writer._begin_run(effects.clock.now().isoformat(), rows.compact(dict(about)))
        except BaseException:
            writer.close()
            raise
        return writer

    def _begin_run(self, at: str, about: str) -> None:
        database = self._database
        database.execute("BEGIN")
        self._wait_for_turn()
        (last,) = database.execute("SELECT coalesce(max(epoch), 0) FROM run").fetchone()  # type: ignore[misc]
        self.epoch = last + 1
        database.execute(
            "INSERT INTO run (epoch, started_at, about, lease_until) "
            "VALUES (?, ?, ?, clock_timestamp() + make_interval(secs => ?))",
            (self.epoch, at, about, self.lease_s),
        )
        database.execute("COMMIT")

    def end(self, at: Any, outcome: str) -> None:
        """Say goodbye and let the connection go. What this worker still had can be had by the others at once."""
        try:
            goodbye = "UPDATE run SET ended_at = ?, outcome = ? WHERE epoch = ?"
            self.steadily(self._database.execute, goodbye, (at.isoformat(), outcome, self.epoch))
        finally:
            self.close()

    # Connections that are lost

    def steadily(self, work: Callable[..., T], *args: Any) -> T:
        """Do work again and again, for as long as its connection is lost and a new one can be made in time."""
        while True:
            try:
                return work(*args)
            except ConnectionLost as lost:
                self._reach_again(lost)

    def _reach_again(self, lost: ConnectionLost) -> None:
        """Make a new connection, waiting longer each time.

        Raises:
            ConnectionLost: none could be had for as long as others would wait for this worker, several times over.
        """
        if self._is_away:
            raise lost
        waited_s, pause_s = 0.0, FIRST_PAUSE_S
        while waited_s < PATIENCE_LEASES * self.lease_s:
            try:
                self._database.again()
            except ConnectionLost as still:
                lost = still
            else:
                return
            if not waited_s:
                self.tell(f"The ledger {self._database.address} cannot be reached; nothing more is begun until it can.")
            self._pause(pause_s)
            waited_s += pause_s
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        self._is_away = True
        raise lost

    def _patiently(self, work: Callable[[], T]) -> T:
        return work()

    # Transactions

    @contextmanager
    def _transaction(self) -> Iterator[Database]:
        with self._fenced(in_turn=True) as database:
            yield database

    @contextmanager
    def _fenced(self, *, in_turn: bool) -> Iterator[Database]:
        """Write something, if the lease is this worker's still; durable at the end.

        Raises:
            LeaseLost: another worker has taken over; nothing was written.
            ConnectionLost: nothing was written.
        """
        database = self._database
        database.execute("BEGIN")
        try:
            if in_turn:
                self._wait_for_turn()
            number = self._renew()
            yield database
        except BaseException:
            self._undo()
            raise
        try:
            database.execute("COMMIT")
        except ConnectionLost as lost:
            self._reach_again(lost)
            if not self._has_landed(number):
                raise

    def _undo(self) -> None:
        try:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        except ConnectionLost:  # whatever ends a connection ends its transaction
            return

    def _wait_for_turn(self) -> None:
        self._database.execute("SELECT FROM money FOR UPDATE")

    def _renew(self) -> int:
        row = self._database.execute(RENEW, (self.lease_s, self.epoch)).fetchone()
        if row is None:
            raise LeaseLost(
                f"Run {self.epoch} was silent for longer than its lease of {self.lease_s:g} s, and another worker has "
                "taken over what it had. Run the same command to work on."
            )
        return int(row[0])

    def _has_landed(self, number: int) -> bool:
        """Tell what became of a commit that was cut off; its row stays locked until the server knows."""
        query = "SELECT commits FROM run WHERE epoch = ? FOR UPDATE"
        (reached,) = self._database.execute(query, (self.epoch,)).fetchone()  # type: ignore[misc]
        return bool(reached >= number)

    def _check_epoch(self) -> None:
        """Every transaction was let in by its lease already."""

    # Several workers

    def renew(self) -> None:
        """Renew this worker's lease."""
        with self._fenced(in_turn=False):
            pass

    def keep_company(self) -> Company:
        """Renew this worker's lease, and take over from those who did not renew theirs."""
        with self._transaction() as database:
            silent = [epoch for (epoch,) in database.execute(SILENT, (self.epoch, self.lease_s)).fetchall()]
            for epoch in silent:
                database.execute("UPDATE run SET lost = true WHERE epoch = ?", (epoch,))
            others = (
                f"SELECT provider, count(DISTINCT owner) FROM item WHERE state IN ({_listed(WORKING)}) "  # noqa: S608
                f"AND owner <> ? AND owner IN {AT_WORK} GROUP BY provider"
            )
            found = dict(database.execute(others, (self.epoch,)).fetchall())
        return Company(others=found, silent=silent)

    def take_over(self, states: Collection[State], accounts: Collection[str] | None) -> list[Job]:
        """Return the jobs in some states that no worker has, and make them this one's.

        Args:
            states: theirs.
            accounts: the fingerprints of the keys that they may have been submitted with; None for any.
        """
        query = f"SELECT id, revision FROM item WHERE state IN ({_listed(states)}) AND {NOBODYS} "  # noqa: S608
        if accounts is not None:
            if not accounts:
                return []
            query += f"AND json_extract(record, '$.account') IN ({','.join('?' * len(accounts))}) "
        with self._transaction() as database:
            found = database.execute(query + "ORDER BY position, rowid FOR UPDATE", sorted(accounts or ())).fetchall()
            self._have(database, found)
        return [job for job in self.jobs_at(found) if job is not None]

    def planned_after(self, provider: str, at: tuple[int, int], most: int, chosen: Container[str] | None) -> Page:
        """Lease the next items of a provider that wait to be submitted and that nobody has."""
        query = (
            "SELECT id, revision, model, position, rowid FROM item WHERE state = 'planned' AND provider = ? "  # noqa: S608
            f"AND (position > ? OR (position = ? AND rowid > ?)) AND position >= ? AND {NOBODYS} "
            "ORDER BY position, rowid LIMIT ? FOR UPDATE SKIP LOCKED"
        )
        position, row = at
        with self._fenced(in_turn=False) as database:
            found = database.execute(query, (provider, position, position, row, position, most)).fetchall()
            heads = [PlannedHead(item_id, revision, model, (*where,)) for item_id, revision, model, *where in found]
            mine = [head for head in heads if chosen is None or head.item_id in chosen]
            self._have(database, [(head.item_id, head.revision) for head in mine])
        return Page(heads=mine, at=heads[-1].at if heads else at, is_last=len(heads) < most)

    def give_back(self, provider: str) -> None:
        """Let others have all items of a provider that this worker has and that wait to be submitted."""
        query = "UPDATE item SET owner = NULL WHERE state = 'planned' AND owner = ? AND provider = ?"
        with self._transaction() as database:
            database.execute(query, (self.epoch, provider))

    def release(self, keys: Sequence[tuple[str, int]]) -> None:
        """Let whoever comes first have some items that this worker has and that wait to be submitted."""
        query = "UPDATE item SET owner = NULL WHERE state = 'planned' AND owner = ? AND id = ? AND revision = ?"
        with self._transaction() as database:
            database.executemany(query, [(self.epoch, *key) for key in keys])

    @contextmanager
    def for_anybody(self) -> Iterator[None]:
        """Let whoever comes first go on with the items that are written meanwhile and that this worker did not have."""
        self._keeps = False
        try:
            yield
        finally:
            self._keeps = True

    def _keeping(self) -> dict[str, Any]:
        return {"keeper": self.epoch if self._keeps else None}

    def undecoded(self) -> list[tuple[str, int]]:
        """Return the finished jobs with a clip that no decoder has seen, and that no other worker sees to."""
        return self._unseen_to(rows.undecoded)

    def not_uploaded(self, store: str) -> list[tuple[str, int]]:
        """Return the finished jobs with a clip of which a store has no copy, and that no other worker sees to."""
        return self._unseen_to(lambda database: rows.not_uploaded(database, store))

    def uploads_elsewhere(self, store: str) -> int:
        """Return how many finished jobs with a clip of which a store has no copy other workers see to."""
        others = f"SELECT id, revision FROM item WHERE owner <> ? AND owner IN {AT_WORK}"  # noqa: S608
        missing = self._patiently(lambda: rows.not_uploaded(self._database, store))
        return len({*missing} & {*self._ask(others, (self.epoch,))}) if missing else 0

    def _unseen_to(self, find: Callable[[Database], list[tuple[str, int]]]) -> list[tuple[str, int]]:
        """Return those of the finished jobs found that no other worker has; they are this one's from now on."""
        with self._transaction() as database:
            found = find(database)
            free = f"SELECT id, revision FROM item WHERE state IN ({_listed(ENDED)}) AND (owner = ? OR {NOBODYS})"  # noqa: S608
            nobodys = set(database.execute(free, (self.epoch,)).fetchall()) if found else set()
            mine = [key for key in found if key in nobodys]
            self._have(database, mine)
        return mine

    def uncleaned(self) -> list[Job]:
        """Return the done jobs whose vendors were not asked to delete their copies, and that nobody else sees to."""
        free = f"SELECT id, revision FROM item WHERE {rows.UNCLEANED} AND (owner = ? OR {NOBODYS}) ORDER BY position"  # noqa: S608
        with self._transaction() as database:
            mine = database.execute(f"{free}, revision", (self.epoch,)).fetchall()
            self._have(database, mine)
        return [job for job in self.jobs_at(mine) if job is not None]

    def _have(self, database: Database, keys: Sequence[tuple[str, int]]) -> None:
        if keys:
            values = [(self.epoch, *key) for key in keys]
            database.executemany("UPDATE item SET owner = ? WHERE id = ? AND revision = ?", values)

    def at_work(self) -> set[int]:
        """Return the epochs of the runs at work."""
        return {epoch for (epoch,) in self._ask(f"SELECT epoch FROM run WHERE epoch IN {AT_WORK}")}  # noqa: S608

    def lock(self, purpose: str) -> bool:
        """Become the only worker that does something; tell whether that could be had at once.

        The lock is the session's: a worker that dies lets it go.
        """
        (had,) = self._database.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(?, 0))", self._key(purpose)
        ).fetchone()  # type: ignore[misc]
        return bool(had)

    def unlock(self, purpose: str) -> None:
        """Let others do it."""
        self._database.execute("SELECT pg_advisory_unlock(hashtextextended(?, 0))", self._key(purpose))

    def _key(self, purpose: str) -> tuple[str]:
        return (f"{self._database.address.schema}: {purpose}",)

    def withdraw(self, keys: Sequence[tuple[str, int]], at: Any) -> None:
        """Forget planned items that cost nothing and are no longer wanted: all of them, or none.

        Raises:
            StaleWrite: one of them is gone, another worker's, no longer planned, or may have cost something.
        """
        for key in keys:
            query = f"SELECT 1 FROM item WHERE id = ? AND revision = ? AND owner <> ? AND owner IN {AT_WORK}"  # noqa: S608
            if self._ask(query, (*key, self.epoch)):
                raise StaleWrite(f"{key[0]}: another worker has it, so it cannot be withdrawn now.")
        super().withdraw(keys, at)
