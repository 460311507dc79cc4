"""The reading side of a ledger: short reads beside a process that may be writing."""

from __future__ import annotations

import json
from array import array
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.jobs.state import ENDED, IN_DOUBT, State
from pipeline.ledger import rows
from pipeline.ledger.database import told_as_our_errors
from pipeline.ledger.opening import open_reader
from pipeline.ledger.tallies import Tallies

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job

PAGE = 500
"""Jobs read at once, which takes a few hundredths of a second."""
HEAD = (
    "SELECT id, revision, position, state, json_extract(record, '$.fingerprint'), json_extract(record, '$.metadata'), "
    "committed_micro_usd FROM item "
)
LATEST = "WHERE revision = (SELECT max(revision) FROM item AS later WHERE later.id = item.id)"

WITH_CLIPS = """
WHERE EXISTS (SELECT 1 FROM clip WHERE item_id = item.id AND clip.revision = item.revision AND clip.state = 'done')
AND json_extract(record, '$.fingerprint') = (
  SELECT json_extract(later.record, '$.fingerprint') FROM item AS later
  WHERE later.id = item.id ORDER BY later.revision DESC LIMIT 1)
ORDER BY position, revision"""


class JobHead(NamedTuple):
    """What of a job a plan is held against."""

    item_id: str
    revision: int
    position: int
    """In the manifest, as it was when the ledger was last told."""
    state: State
    fingerprint: str
    metadata: Mapping[str, Any]
    committed_micro_usd: int


class Reader(Tallies):
    """Reads of one ledger; use it in a `with reading(path, ...)`."""

    @property
    def is_shared(self) -> bool:
        """Whether several workers share the ledger."""
        return bool(getattr(self._database, "is_shared", False))

    def workers(self) -> list[str]:
        """Return of each worker at work, where several share the ledger, who it is: pid, host, since, as JSON."""
        if not self.is_shared:
            return []
        query = (
            "SELECT about, started_at FROM run WHERE ended_at IS NULL AND NOT lost "
            "AND lease_until > clock_timestamp() ORDER BY epoch"
        )
        found = self._database.execute(query).fetchall()
        return [json.dumps({**json.loads(about), "since": since}) for about, since in found]

    def jobs(self) -> Iterator[Job]:
        """Yield the latest revision of every item, in the manifest's order."""
        return self._jobs(f"{LATEST} ORDER BY position")

    def with_clips(self) -> Iterator[Job]:
        """Yield every job with a finished clip that its item still stands for, in the manifest's order.

        An earlier revision is among them where the latest has the same fingerprint: its clip was paid for too.
        """
        return self._jobs(WITH_CLIPS)

    def planned_kinds(self) -> Iterator[tuple[str, str, str]]:
        """Yield id, provider, and request but for the prompt (as JSON) of what is still to be submitted.

        Read it to its end at once: the writer waits.
        """
        with told_as_our_errors(self.path):
            yield from self._database.execute(
                "SELECT id, provider, json_remove(request, '$.prompt') FROM item WHERE state = 'planned' "
                "ORDER BY position"
            )

    def uncleaned(self) -> Iterator[Job]:
        """Yield the done jobs whose vendors were not asked to delete their copies."""
        return self._jobs(f"WHERE {rows.UNCLEANED} ORDER BY position, revision")

    def _jobs(self, where: str) -> Iterator[Job]:
        """Yield jobs that were read a page at a time: whoever pauses between two of them holds no writer up."""
        for page in self._pages(where):
            with self._snapshot():
                these = f"WHERE rowid IN ({','.join('?' * len(page))}) ORDER BY position, revision"
                jobs = list(rows.read_jobs(self._database, these, page))
            yield from jobs

    def _pages(self, where: str) -> Iterator[Sequence[int]]:
        """Yield the numbers of rows, some at a time."""
        with told_as_our_errors(self.path):
            query = f"SELECT rowid FROM item {where}"  # noqa: S608 - a literal of this module
            found = array("q", (row for (row,) in self._database.execute(query)))
        for first in range(0, len(found), PAGE):
            yield found[first : first + PAGE]

    def heads(self, item_ids: Sequence[str]) -> dict[str, JobHead]:
        """Return the latest revision of those of these items that there are."""
        found: dict[str, JobHead] = {}
        for first in range(0, len(item_ids), PAGE):
            page = item_ids[first : first + PAGE]
            query = f"{HEAD} {LATEST} AND id IN ({','.join('?' * len(page))})"
            with self._snapshot():
                found |= {row[0]: _head(row) for row in self._database.execute(query, page)}
        return found

    def all_heads(self) -> Iterator[JobHead]:
        """Yield the latest revision of every item, in the manifest's order, read a page at a time."""
        for page in self._pages(f"{LATEST} ORDER BY position"):
            with self._snapshot():
                these = f"{HEAD} WHERE rowid IN ({','.join('?' * len(page))}) ORDER BY position"
                heads = [_head(row) for row in self._database.execute(these, page)]
            yield from heads

    def times_taken(self) -> Iterator[tuple[str, float]]:
        """Yield provider and seconds from submit to end of what is done."""
        times = "json_extract(record, '$.submitted_at'), json_extract(record, '$.finished_at')"
        query = f"SELECT provider, {times} FROM item {LATEST} AND state = 'done'"  # noqa: S608 - literals of this module
        with told_as_our_errors(self.path):
            for provider, submitted_at, finished_at in self._database.execute(query):
                if submitted_at and finished_at:
                    took = datetime.fromisoformat(finished_at) - datetime.fromisoformat(submitted_at)
                    yield provider, took.total_seconds()

    def states(self) -> dict[str, State]:
        """Return the state of every item: that of its latest revision."""
        with told_as_our_errors(self.path):
            query = f"SELECT id, state FROM item {LATEST}"  # noqa: S608 - a literal of this module
            return {item_id: State(state) for item_id, state in self._database.execute(query)}

    def states_of(self, chosen: Container[str]) -> set[State]:
        """Return the states in which the latest revisions of some items are."""
        with told_as_our_errors(self.path):
            query = f"SELECT id, state FROM item {LATEST}"  # noqa: S608 - a literal of this module
            found = {state for item_id, state in self._database.execute(query) if item_id in chosen}
        return set(map(State, found))

    def providers(self) -> list[str]:
        """Return the names of the providers that still have something to do or to settle."""
        with told_as_our_errors(self.path):
            going_on = ",".join(f"'{state.value}'" for state in sorted(set(State) - ENDED - IN_DOUBT))
            query = f"SELECT DISTINCT provider FROM item WHERE state IN ({going_on}) ORDER BY provider"  # noqa: S608
            return [name for (name,) in self._database.execute(query)]

    def revisions(self, item_id: str) -> list[Job]:
        """Return every revision of one item, oldest first; empty where there is no such item."""
        with self._snapshot():
            return list(rows.read_jobs(self._database, "WHERE id = ? ORDER BY revision", (item_id,)))

    def events(self, item_id: str | None = None) -> list[Event]:
        """Return the whole history of one item, or of the batch."""
        with told_as_our_errors(self.path):
            query = "SELECT kind, item_id, revision, at, data FROM event "
            if item_id is None:
                return list(rows.read_events(self._database.execute(query + "ORDER BY seq")))
            return list(rows.read_events(self._database.execute(query + "WHERE item_id = ? ORDER BY seq", (item_id,))))

    def item_ids(self) -> list[str]:
        """Return the ids of all items, in the manifest's order."""
        with told_as_our_errors(self.path):
            return [row[0] for row in self._database.execute(f"SELECT id FROM item {LATEST} ORDER BY position")]  # noqa: S608


def _head(row: tuple[Any, ...]) -> JobHead:
    item_id, revision, position, state, fingerprint, metadata, micro = row
    return JobHead(item_id, revision, position, State(state), fingerprint, json.loads(metadata), micro)


@contextmanager
def reading(path: Path, effects: Effects) -> Iterator[Reader]:
    """Open a ledger for reading and close it again.

    Raises:
        InputError: there is no ledger there, or it is not ours.
    """
    database = open_reader(path, effects)
    try:
        yield Reader(path, database)
    finally:
        database.close()
