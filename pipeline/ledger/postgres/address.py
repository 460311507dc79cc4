"""Where a shared ledger is: a server's database, and the batch's schema in it. Passwords are kept nowhere.

The batch's folder holds a file that names its ledger, so that every command finds it by the folder alone.
"""

from __future__ import annotations

import json
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pipeline.durable import publish, told_as_disk_refused, write_durably
from pipeline.effects import PRIVATE
from pipeline.errors import InputError
from pipeline.paths import BatchFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.effects import Files

SCHEMES = ("postgresql", "postgres")
SCHEMA_NAME = re.compile(r"[a-z0-9_-]{1,50}")
"""Batch names that can be a schema's; of others a digest is."""
SECRETS = ("password", "sslpassword")
ON_COMMAND_LINE = (
    "The ledger's password is kept nowhere, and on the command line every process of this machine can read it. Set "
    "PGPASSWORD or write it into ~/.pgpass instead: then the other commands find the ledger, too."
)


@dataclass(frozen=True, slots=True)
class Address:
    """One batch's ledger on a server."""

    dsn: str
    """The database, without a password."""
    batch: str

    @property
    def schema(self) -> str:
        """The schema that holds the batch; PostgreSQL cuts names off after 63 bytes, so long ones are digested."""
        if SCHEMA_NAME.fullmatch(self.batch):
            return f"clipmill_{self.batch}"
        plain = re.sub(r"[^a-z0-9_-]", "_", self.batch.lower())[:30]
        return f"clipmill_{plain}_{blake2b(self.batch.encode(), digest_size=8).hexdigest()}"

    def __str__(self) -> str:
        return f"{self.dsn} (batch {self.batch})"


def parted(dsn: str) -> tuple[str, str | None]:
    """Part a `postgresql://` address from its password.

    Raises:
        InputError: it is no such address. The text does not repeat it, for a password may be in it.
    """
    try:
        parts = urlsplit(dsn)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES or "://" not in dsn:
        raise InputError("--ledger takes the address of a PostgreSQL database: postgresql://USER@HOST:PORT/DATABASE")
    account, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = account.partition(":")
    options = parse_qsl(parts.query, keep_blank_values=True)
    secret = {name: value for name, value in options if name in SECRETS}
    if "sslpassword" in secret:
        raise InputError("--ledger does not take an sslpassword; use a client key without one.")
    kept = urlencode([(name, value) for name, value in options if name not in SECRETS], quote_via=quote)
    named = f"postgresql://{user}{at}{hosts}{parts.path}{'?' if kept else ''}{kept}"
    return named, secret.get("password") or (unquote(password) if colon and password else None)


def bind(
    folder: BatchFolder, dsn: str, files: Files, reach: Callable[[Address, str | None], None]
) -> tuple[Address, str | None]:
    """Note in a batch's folder that its ledger is the one of this address; return that, and the password.

    Args:
        folder: it exists. Its name is the batch's: workers whose folders have one name share a ledger.
        dsn: as the user gave it.
        files: the file system.
        reach: tries the address before anything is noted.

    Raises:
        InputError: it is no address, or the folder has a ledger of its own, or another one.
    """
    named, password = parted(dsn)
    address = Address(named, folder.root.resolve().name)
    if files.exists(folder.ledger):
        raise InputError(
            f"{folder.root} has a ledger of its own ({folder.ledger.name}). Go on without --ledger, or use another "
            "-o DIR."
        )
    found = address_beside(folder.ledger, files)
    if found is not None and found.dsn != address.dsn:
        raise InputError(f"The ledger of {folder.root} is {found}. Go on without --ledger, or use another -o DIR.")
    reach(found or address, password)
    if found is None:
        _note(folder, address, files)
        return address_beside(folder.ledger, files) or address, password
    return found, password


def _note(folder: BatchFolder, address: Address, files: Files) -> None:
    """Write down where the ledger is, unless another worker was faster."""
    text = json.dumps({"ledger": address.dsn, "batch": address.batch}) + "\n"
    part = folder.root / f".{folder.shared.name}.{socket.gethostname()}-{os.getpid()}.part"
    with told_as_disk_refused(f"write {folder.shared}"):
        with suppress(FileNotFoundError):
            files.unlink(part)
        write_durably(files, part, text.encode(), PRIVATE)
    try:
        publish(files, part, folder.shared)
    except FileExistsError:
        with told_as_disk_refused(f"remove {part}"):
            files.unlink(part)


def address_beside(ledger: Path, files: Files) -> Address | None:
    """Return the address that a batch's folder names; None where its ledger is the SQLite file.

    Raises:
        InputError: what names it cannot be read.
    """
    path = BatchFolder(ledger.parent).shared
    if not files.exists(path):
        return None
    with told_as_disk_refused(f"read {path}"):
        text = files.read(path)
    try:
        found = json.loads(text)
        return Address(str(found["ledger"]), str(found["batch"]))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not name a ledger. Run the batch with --ledger and another -o DIR.") from None
