"""What the ledger asks of its database: the narrow interface behind which SQLite and PostgreSQL stand.

Both speak one language here. Statements are written once, in what both understand: `?` and `:name` for values,
`json_extract` and `json_remove`, a `rowid` that grows with every row, `ON CONFLICT`, savepoints. The moves, the money
and the facts are held by triggers of the database's own. What differs, differs in three places: how a connection is
made (`database`, `postgres.connection`), how tables are laid out (`layout`, `postgres.layout`), and who may write
(`writer.Writer`: the one run that is the newest; `postgres.writer.SharedWriter`: every worker that keeps its lease).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

Values = Sequence[Any] | Mapping[str, Any]


class Rows(Protocol):
    """What a statement found."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return the rest."""

    def __iter__(self) -> Any:
        """Yield the rest."""


class Database(Protocol):
    """A connection; a part of what the Python database API (PEP 249) asks of one. `sqlite3.Connection` is one."""

    @property
    def IntegrityError(self) -> type[Exception]:  # noqa: N802 - the database API's name
        """What is raised where a constraint or a trigger refuses a row."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    def execute(self, query: str, values: Values = (), /) -> Rows:
        """Run a statement; outside of a transaction it is durable on return."""

    def executemany(self, query: str, values: Iterable[Values], /) -> Rows:
        """Run a statement once for each of the values."""

    def close(self) -> None:
        """Let it go; what was not committed is undone."""
