"""One connection to a PostgreSQL server that understands the ledger's statements and raises the ledger's errors.

A connection that is lost is told as `ConnectionLost`, whatever it was lost by; `again` makes a new one.
"""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipeline.errors import DiskRefused, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import psycopg

    from pipeline.ledger.interface import Values
    from pipeline.ledger.postgres.address import Address

TOKENS = re.compile(r"'(?:[^']|'')*'|::|:([a-z_][a-z0-9_]*)|\?|%")
GONE_CLASSES, GONE = frozenset({"08"}), frozenset({"57P01", "57P02", "57P03", "53300", "25P03", "57P05"})
"""States of an SQL server that is going, coming, or out of places; and of a session that it has ended."""
AGAIN = frozenset({"40001", "40P01", "55P03", "57014"})
"""States of a transaction that came to nothing and may be tried once more as it was."""
NOT_ALLOWED = frozenset({"28000", "28P01", "3D000", "42501"})
NO_ROOM = "53100"
READ_ONLY = "25006"


class ConnectionLost(DiskRefused):
    """The server cannot be reached, or has ended the transaction; nothing is known of a commit that was under way."""


@lru_cache(maxsize=512)
def translated(query: str) -> str:
    """Return a statement of the ledger's as psycopg wants it: values are `%s` and `%(name)s`."""

    def one(token: re.Match[str]) -> str:
        match token[0]:
            case "?":
                return "%s"
            case "%":
                return "%%"
            case "::":
                return "::"
            case text if text.startswith("'"):
                return text.replace("%", "%%")
            case _:
                return f"%({token[1]})s"

    return TOKENS.sub(one, query)


class PostgresDatabase:
    """A connection to one batch's schema. The mutable state is the connection beneath, which `again` replaces."""

    is_shared = True

    def __init__(
        self, address: Address, connect: Callable[[str], psycopg.Connection[Any]], settings: Sequence[str] = ()
    ) -> None:
        """Connect.

        Args:
            address: the batch's.
            connect: given the database's address, makes a connection in autocommit mode.
            settings: statements that every session begins with.

        Raises:
            ConnectionLost: the server cannot be reached. InputError: it lets nobody in by that name.
        """
        self.address = address
        self._connect = connect
        self._settings = (f"SET search_path = {quoted(address.schema)}", *settings)
        self._connection = self._opened()

    def _opened(self) -> psycopg.Connection[Any]:
        with self._told(None):
            connection = self._connect(self.address.dsn)
            import psycopg

            self.IntegrityError: type[Exception] = psycopg.IntegrityError
            connection.adapters.register_loader("numeric", _loader())
            try:
                for setting in self._settings:
                    connection.execute(setting)
            except BaseException:
                connection.close()
                raise
        return connection

    def again(self) -> None:
        """Make a new connection in place of one that was lost. Raises like the making of the first."""
        self.close()
        self._connection = self._opened()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, a failed one included."""
        from psycopg.pq import TransactionStatus

        return self._connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}

    def execute(self, query: str, values: Values = (), /) -> psycopg.Cursor[Any]:
        """Run a statement; outside of a transaction it is durable on return.

        Raises:
            ConnectionLost, InputError, DiskRefused: as they are told. IntegrityError: the database refused a row.
        """
        with self._told(self._connection):
            if not values:
                return self._connection.execute(query)
            return self._connection.execute(translated(query), values)

    def executemany(self, query: str, values: Iterable[Values], /) -> psycopg.Cursor[Any]:
        """Run a statement once for each of the values."""
        with self._told(self._connection):
            cursor = self._connection.cursor()
            cursor.executemany(translated(query), values)
            return cursor

    def script(self, text: str) -> None:
        """Run many statements that have no values."""
        with self._told(self._connection):
            self._connection.execute(text)

    def close(self) -> None:
        """Let it go; what was not committed is undone."""
        with suppress(Exception):  # it may be gone already, in whatever way
            self._connection.close()

    @contextmanager
    def _told(self, connection: psycopg.Connection[Any] | None) -> Iterator[None]:
        """Turn psycopg's errors into sentences; integrity errors pass, since the caller knows what they mean."""
        try:
            import psycopg
        except ImportError as error:
            raise InputError(
                "A shared ledger needs psycopg: install it with `pip install 'clipmill[postgres]'`."
            ) from error
        try:
            yield
        except psycopg.IntegrityError:
            raise
        except psycopg.Error as error:
            state = error.sqlstate or ""
            says = " ".join(str(error).split())
            if state in NOT_ALLOWED or (connection is None and "no password supplied" in says):
                raise InputError(
                    f"The ledger {self.address} lets nobody in so: {says}. Correct the address; a password belongs "
                    "into PGPASSWORD or ~/.pgpass."
                ) from error
            if state in {NO_ROOM, READ_ONLY}:
                raise DiskRefused(
                    f"The ledger {self.address} cannot be written: {says}. Mend the server, then run the same command."
                ) from error
            if connection is None and isinstance(error, psycopg.ProgrammingError) and not state:
                raise InputError(f"{self.address.dsn} names no PostgreSQL database: {says}.") from None
            lost = state[:2] in GONE_CLASSES or state in GONE | AGAIN
            if lost or (isinstance(error, psycopg.OperationalError) and not state) or self._is_dead(connection):
                raise ConnectionLost(
                    f"The ledger {self.address} cannot be reached: {says}. When it can be again, run the same command."
                ) from error
            raise

    @staticmethod
    def _is_dead(connection: psycopg.Connection[Any] | None) -> bool:
        return connection is None or connection.closed or connection.broken


def quoted(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def _loader() -> Any:
    from psycopg.adapt import Loader

    class Exact(Loader):
        """Sums of whole numbers are `numeric` in PostgreSQL; here they are whole numbers."""

        def load(self, data: Any) -> int | float:
            text = bytes(data).decode()
            return int(text) if text.lstrip("-").isdigit() else float(text)

    return Exact
