"""What a sandbox remembers: its jobs, its bill and its counts, kept in SQLite so that a killed rehearsal goes on.

Everything is held in memory and written through. A job or a charge is committed before the call returns, so it is
durable before the answer leaves; counts ride along with the next such commit, or every `COUNTS_HELD` of them. WAL with
synchronous NORMAL survives the kill of the process, which is what is rehearsed; a power cut may take the last answers.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.sandbox.catalogue import Picture
from pipeline.sandbox.settings import Provider

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

VERSION = 1
COUNTS_HELD = 64
"""How many counts may be in memory alone; a kill forgets at most these."""

SCHEMA = """
create table if not exists meta (name text primary key, value text not null) without rowid;
create table if not exists jobs (id text primary key, provider text not null, record text not null) without rowid;
create table if not exists charges (
  number integer primary key, provider text not null, key text not null, job text not null, model text not null,
  kind text not null, amount_usd real not null, at_s real not null
);
create table if not exists counts (
  kind text not null, name text not null, detail text not null, count integer not null, primary key (kind, name, detail)
) without rowid;
"""


class Ending(StrEnum):
    """How a job will end; drawn when it is accepted."""

    COMPLETED = "completed"
    REFUSED = "refused"
    """The content was refused after acceptance."""
    BROKEN = "broken"
    """The vendor's generator failed."""


class ChargeKind(StrEnum):
    """The two directions of money."""

    CHARGE = "charge"
    REFUND = "refund"


class CountKind(StrEnum):
    """What is counted. The comment names what `name` and `detail` hold."""

    ANSWER = "answer"
    """endpoint, status (`dropped` where the connection was closed without one)"""
    JOB = "job"
    """job id, call"""
    SUBMIT = "submit"
    """digest of the request: how often it was submitted"""
    EVENT = "event"
    """`throttled`, `blocked`, `leak`"""
    FAULT = "fault"
    """fault"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One accepted generation. Times are seconds since the epoch, emulated durations already applied."""

    id: str
    provider: Provider
    key: str
    """Fingerprint of the key that made it; other keys cannot see it."""
    occasion: str
    """What the draws for this job depend on: the digest of its request, and which repetition it is."""
    model: str
    prompt: str
    picture: Picture
    resolution: str
    outputs: int
    price_usd: float
    accepted_s: float
    starts_s: float
    ends_s: float
    ending: Ending
    refunds: bool
    token: str
    """ModelMax: the content id. Venice: the secret part of the download_url. Elsewhere unused, and unique."""
    deleted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """One row of the bill; the amount is positive in both directions."""

    provider: Provider
    key: str
    job: str
    model: str
    kind: ChargeKind
    amount_usd: float
    at_s: float


def money(amounts: Iterator[float] | list[float]) -> float:
    """Add up dollars; exact to a millionth, which is finer than any price."""
    return round(math.fsum(amounts), 6)


class State:
    """The memory of one sandbox. Used from one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._dirty: set[tuple[str, str, str]] = set()
        self._held = 0
        self.jobs: dict[str, Job] = {}
        self.tokens: dict[str, Job] = {}
        self.charges: list[Charge] = []
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.billed: Counter[str] = Counter()
        """Charges per job."""
        self.refunded: set[str] = set()
        self.spent_usd: dict[str, float] = {}
        """Net spending per key."""
        self._load()

    def _load(self) -> None:
        for (record,) in self._connection.execute("select record from jobs"):
            fields = json.loads(record)
            fields["picture"] = Picture(**fields["picture"])
            fields |= {"provider": Provider(fields["provider"]), "ending": Ending(fields["ending"])}
            self._remember(Job(**fields))
        rows = self._connection.execute(
            "select provider, key, job, model, kind, amount_usd, at_s from charges order by number"
        )
        for provider, key, job, model, kind, amount_usd, at_s in rows:
            self._enter(
                Charge(
                    provider=Provider(provider),
                    key=key,
                    job=job,
                    model=model,
                    kind=ChargeKind(kind),
                    amount_usd=amount_usd,
                    at_s=at_s,
                )
            )
        for kind, name, detail, count in self._connection.execute("select kind, name, detail, count from counts"):
            self.counts[kind, name, detail] = count

    def _remember(self, job: Job) -> None:
        self.jobs[job.id] = job
        self.tokens[job.token] = job

    def _enter(self, charge: Charge) -> None:
        self.charges.append(charge)
        sign = 1 if charge.kind is ChargeKind.CHARGE else -1
        self.spent_usd[charge.key] = round(self.spent_usd.get(charge.key, 0.0) + sign * charge.amount_usd, 6)
        if charge.kind is ChargeKind.CHARGE:
            self.billed[charge.job] += 1
        else:
            self.refunded.add(charge.job)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
            self._write_counts()
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")
        self._dirty.clear()
        self._held = 0

    def _write_counts(self) -> None:
        self._connection.executemany(
            "insert into counts values (?, ?, ?, ?) on conflict do update set count = excluded.count",
            [(*key, self.counts[key]) for key in self._dirty],
        )

    def _write_job(self, job: Job) -> None:
        self._connection.execute(
            "insert into jobs values (?, ?, ?) on conflict do update set record = excluded.record",
            (job.id, job.provider, json.dumps(asdict(job), separators=(",", ":"))),
        )

    def _write_charge(self, charge: Charge) -> None:
        self._connection.execute(
            "insert into charges (provider, key, job, model, kind, amount_usd, at_s) values (?, ?, ?, ?, ?, ?, ?)",
            (charge.provider, charge.key, charge.job, charge.model, charge.kind, charge.amount_usd, charge.at_s),
        )

    def identity(self, source: random.Random) -> str:
        """Return what tells this sandbox's ids from those of any other; drawn from `source` when first asked for."""
        row = self._connection.execute("select value from meta where name = 'identity'").fetchone()
        if row is None:
            row = (f"{source.getrandbits(64):016x}",)
            self._connection.execute("insert into meta values ('identity', ?)", row)
        return str(row[0])

    def accept(self, job: Job, charge: Charge | None) -> None:
        """Keep a new job and what it cost at once, in one transaction."""
        with self._transaction():
            self._write_job(job)
            if charge is not None:
                self._write_charge(charge)
        self._remember(job)
        if charge is not None:
            self._enter(charge)

    def enter(self, charge: Charge) -> None:
        """Keep a row of the bill."""
        with self._transaction():
            self._write_charge(charge)
        self._enter(charge)

    def delete_media(self, job: Job) -> None:
        """Forget the clip of a job, as the vendor does when told."""
        gone = replace(job, deleted=True)
        with self._transaction():
            self._write_job(gone)
        self._remember(gone)

    def count(self, kind: CountKind, name: str, detail: str = "") -> int:
        """Add one, and return the new count."""
        key = (kind.value, name, detail)
        self.counts[key] += 1
        self._dirty.add(key)
        self._held += 1
        if self._held >= COUNTS_HELD:
            self.flush()
        return self.counts[key]

    def flush(self) -> None:
        """Write the counts that are in memory alone."""
        with self._transaction():
            pass

    def close(self) -> None:
        """Write what is held and let the file go."""
        self.flush()
        self._connection.close()


def open_state(path: Path | None, open_database: Callable[[Path], sqlite3.Connection]) -> State:
    """Open the state file at `path`, creating it; None keeps everything in memory.

    Raises:
        InputError: another sandbox holds the file, or it is not a sandbox's.
    """
    try:
        connection = sqlite3.connect(":memory:", isolation_level=None) if path is None else open_database(path)
    except sqlite3.OperationalError as error:
        raise InputError(f"The sandbox's state file {path} cannot be opened ({error}); name another.") from error
    try:
        # Exclusive: a second sandbox on the same file would keep a second truth in memory.
        connection.execute("pragma locking_mode = exclusive")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute("begin immediate")
        connection.execute("commit")
        connection.executescript(SCHEMA)
        found = connection.execute("pragma user_version").fetchone()[0]
        if found not in {0, VERSION}:
            raise InputError(f"{path} is of another version of the sandbox ({found}); delete it to begin afresh.")
        connection.execute(f"pragma user_version = {VERSION}")
        return State(connection)
    except sqlite3.OperationalError as error:
        connection.close()
        raise InputError(
            f"The sandbox's state file {path} cannot be used ({error}); stop the sandbox that holds it or name another."
        ) from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise InputError(f"{path} is not a sandbox's state file ({error}); delete it or name another.") from error
    except InputError:
        connection.close()
        raise
