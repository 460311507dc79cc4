"""What of a ledger is counted: how a batch stands, and what it has cost, from the reading side."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.clips.acceptance import Acceptance, judge
from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, State
from pipeline.ledger import rows
from pipeline.ledger.database import told_as_our_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.ledger.interface import Database

ROWS_COUNTED = 10_000
"""Rows counted at once, in about as long."""
MAY_HAVE_COST = frozenset(State) - {State.PLANNED, State.REJECTED, State.FAILED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """How a batch stands."""

    name: str
    items: Mapping[State, int]
    clips_done: int
    committed_usd: float
    in_doubt_usd: float
    unpriced: int
    """Items that may have cost something, and nobody says how much."""
    max_cost_usd: float | None
    last_run: Mapping[str, Any]

    def count(self, *states: State) -> int:
        """Return how many items are in these states."""
        return sum(self.items.get(state, 0) for state in states)

    @property
    def total(self) -> int:
        """All items."""
        return sum(self.items.values())

    @property
    def failed(self) -> int:
        """Items that ended without a clip: rejected, failed, lost and abandoned."""
        return self.count(*UNSUCCESSFUL)

    @property
    def in_doubt(self) -> int:
        """Items whose outcome, and cost, is unknown."""
        return self.count(*IN_DOUBT)


class Share(NamedTuple):
    """How many items of one model are in one state, and what they cost."""

    provider: str
    model: str
    state: State
    items: int
    committed_micro_usd: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """How a batch stands, by provider, model and state; every revision counts."""

    rows: Sequence[Share]
    max_cost_usd: float | None


class Tallies:
    """Counts over one ledger, beside whoever writes it."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self._database = database

    def meta(self, key: str) -> Any:
        """Return a fact about the batch as a whole, or None."""
        with told_as_our_errors(self.path):
            row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def acceptance(self) -> Acceptance:
        """Return the rules of the manifest's `accept`, as they now are."""
        return Acceptance.from_json((self.meta("settings") or {}).get("accept", {}))

    def summary(self) -> Summary:
        """Count items, clips and money."""
        with self._snapshot():
            states = self._states()
            (clips,) = self._database.execute("SELECT count(*) FROM clip WHERE state = 'done'").fetchone()
            (committed,) = self._database.execute("SELECT committed_micro_usd FROM money").fetchone()
            marks = ",".join("?" * len(IN_DOUBT))
            (in_doubt,) = self._database.execute(
                f"SELECT coalesce(sum(committed_micro_usd), 0) FROM item WHERE state IN ({marks})",  # noqa: S608
                [state.value for state in sorted(IN_DOUBT)],
            ).fetchone()
            marks = ",".join("?" * len(MAY_HAVE_COST))
            (unpriced,) = self._database.execute(
                f"SELECT count(*) FROM item WHERE attempt > 0 AND state IN ({marks}) "  # noqa: S608
                "AND json_extract(record, '$.cost_is') = 'unknown'",
                [state.value for state in sorted(MAY_HAVE_COST)],
            ).fetchone()
            run = self._database.execute(
                "SELECT epoch, started_at, ended_at, outcome, about FROM run ORDER BY epoch DESC LIMIT 1"
            ).fetchone()
        return Summary(
            name=self.meta("name") or "",
            items={State(state): count for state, count in states.items()},
            clips_done=clips,
            committed_usd=committed / rows.MICRO,
            in_doubt_usd=in_doubt / rows.MICRO,
            unpriced=unpriced,
            max_cost_usd=self.meta("max_cost_usd"),
            last_run=dict(zip(("epoch", "started_at", "ended_at", "outcome", "about"), run, strict=True))
            if run
            else {},
        )

    def totals(self, at_once: int = ROWS_COUNTED) -> Totals:
        """Count items and money by provider, model and state, some rows at once: the writer waits for each reading."""
        query = (
            "SELECT provider, model, state, count(*), sum(committed_micro_usd) FROM item "
            "WHERE rowid >= ? AND rowid < ? GROUP BY provider, model, state"
        )
        counted: Counter[tuple[str, str, str]] = Counter()
        micro: Counter[tuple[str, str, str]] = Counter()
        with told_as_our_errors(self.path):
            first, last = self._database.execute("SELECT min(rowid), max(rowid) FROM item").fetchone()
            for begin in range(first or 0, (last or -1) + 1, at_once):
                for *key, number, sum_micro in self._database.execute(query, (begin, begin + at_once)).fetchall():
                    counted[tuple(key)] += number
                    micro[tuple(key)] += int(sum_micro)
        shares = [Share(*key[:2], State(key[2]), number, micro[key]) for key, number in sorted(counted.items())]
        return Totals(rows=shares, max_cost_usd=self.meta("max_cost_usd"))

    def committed_usd(self) -> dict[State, float]:
        """Return what the budget counts for each state, over all revisions."""
        with told_as_our_errors(self.path):
            query = "SELECT state, sum(committed_micro_usd) FROM item GROUP BY state"
            return {State(state): micro / rows.MICRO for state, micro in self._database.execute(query)}

    def total(self) -> int:
        """Return how many items there are."""
        with self._snapshot():
            return self._states().total()

    def rejected_clips(self) -> int:
        """Return how many finished clips of the latest revisions the manifest's `accept` turns down."""
        rules = self.acceptance()
        query = (
            "SELECT facts, size_bytes FROM clip WHERE state = 'done' "
            "AND (item_id, revision) IN (SELECT id, max(revision) FROM item GROUP BY id)"
        )
        with told_as_our_errors(self.path):
            found = self._database.execute(query).fetchall()
        return sum(judge(rules, json.loads(facts), size_bytes).accepted is False for facts, size_bytes in found)

    def undecoded(self) -> int:
        """Return how many finished jobs have a clip that no decoder has seen."""
        with told_as_our_errors(self.path):
            return len(rows.undecoded(self._database))

    def not_uploaded(self, store: str) -> int:
        """Return how many finished jobs have a clip of which a store (by its URL) has no copy."""
        with told_as_our_errors(self.path):
            return len(rows.not_uploaded(self._database, store))

    def uploaded(self) -> int:
        """Return how many finished clips have a copy in a store."""
        with told_as_our_errors(self.path):
            query = "SELECT count(*) FROM clip WHERE copy = 'uploaded'"
            return int(self._database.execute(query).fetchone()[0])

    def _states(self) -> Counter[str]:
        """Count the items by the state of their latest revision, without a look at the rows: indices hold it all."""
        every = "SELECT state, count(*) FROM item GROUP BY state"
        states = Counter(dict(self._database.execute(every).fetchall()))
        superseded = (
            "SELECT old.state, count(*) FROM item AS old WHERE old.rowid IN (SELECT earlier.rowid FROM item AS later "
            "JOIN item AS earlier ON earlier.id = later.id AND earlier.revision < later.revision "
            "WHERE later.revision > 1) GROUP BY old.state"
        )
        states.subtract(dict(self._database.execute(superseded).fetchall()))
        return +states

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """See one state of the ledger, whatever is committed meanwhile. Be brief: the writer waits."""
        with told_as_our_errors(self.path):
            self._database.execute("BEGIN")
            try:
                yield
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
