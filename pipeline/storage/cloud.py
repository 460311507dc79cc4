"""S3, Google Cloud Storage and Azure, through obstore (extra `s3`): one HTTP call for each of ours, tried once.

Credentials, region and endpoint come from the environment as obstore reads it (AWS_ACCESS_KEY_ID, AWS_REGION,
AWS_ENDPOINT_URL, ...). Every object goes in one piece, since only then can a store refuse a name that is taken; so
there are no parts of uploads that somebody would have to clear away.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.storage.address import SCHEMES, endpoint_is_loopback
from pipeline.storage.base import Found, StoreDown, StoreRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from pipeline.storage.address import Address
    from pipeline.storage.base import Data

INSTALL = "install it with: pip install 'clipmill[s3]'"
LOOK_S = 30.0
SLOWEST_BYTES_PER_S = 1 << 17
"""A transfer that is slower, on the whole, is given up."""
OBJECT_MAX_BYTES = 5 << 30
"""The most that S3 takes in one piece."""
STATUS = re.compile(r"\b(?:status code: |status |returned )(\d{3})\b")
CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,80})</Code>")
"""What S3 and Azure call an error. Their sentences beside it can repeat parts of the request."""
METADATA_SERVICE = ("169.254.169.254", "metadata.google.internal", "169.254.170.2")
LATER = frozenset({408, 409, 425, 429})
"""Refusals that do not hold for ever."""
WAYS_OUT = {
    301: "The bucket is in another region: set AWS_REGION.",
    400: "Look at AWS_REGION, at the session's token and at the clock of this machine.",
    401: "Look at the credentials in the environment.",
    403: "Look at the credentials in the environment, and at what they may do there.",
    404: "Make the bucket first, or name another.",
}


def open_store(address: Address, environ: Mapping[str, str]) -> CloudStore:
    """Return a store that has not been asked anything yet.

    Args:
        address: where it is.
        environ: what its endpoint is read from here; the rest is read by obstore from the process's own.

    Raises:
        InputError: obstore is not installed, or the environment does not fit the address.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as missing:
        raise InputError(f"{address.url} needs obstore, which is not here; {INSTALL}") from missing
    client: dict[str, Any] = {"connect_timeout": "10s", "timeout": "1d"}
    if address.scheme == "s3" and endpoint_is_loopback(environ):
        client["allow_http"] = True
    try:
        store = from_url(address.url, client_options=client, retry_config={"max_retries": 0})
    except (BaseError, ValueError) as error:
        raise InputError(
            f"{address.url} cannot be used: {_first_line(error)}. Set the {SCHEMES[address.scheme]}... variables that "
            "it needs."
        ) from None
    return CloudStore(address, store)


class CloudStore:
    """See `ObjectStore`."""

    def __init__(self, address: Address, store: Any) -> None:
        """`store` is one of obstore's."""
        self._address = address
        self._store = store

    @property
    def url(self) -> str:  # noqa: D102
        return self._address.url

    async def create(self, key: str, data: Data, labels: Mapping[str, str], media_type: str) -> str | None:  # noqa: D102
        return await self._put(key, data, labels, media_type, "create")

    async def replace(  # noqa: D102
        self, key: str, data: Data, labels: Mapping[str, str], media_type: str, old: Found
    ) -> str | None:
        mode = {name: value for name, value in (("e_tag", old.e_tag), ("version", old.version)) if value}
        return await self._put(key, data, labels, media_type, mode)

    async def _put(self, key: str, data: Data, labels: Mapping[str, str], media_type: str, mode: Any) -> str | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        if len(data) > OBJECT_MAX_BYTES:
            raise StoreRefused(f"{key} has {len(data):,} bytes, and a store takes {OBJECT_MAX_BYTES:,} at the most.")
        with self._told("put", key, missing_is="There is no such bucket. " + WAYS_OUT[404]):
            try:
                async with asyncio.timeout(LOOK_S + len(data) / SLOWEST_BYTES_PER_S):
                    answer = await obstore.put_async(
                        self._store, key, data, attributes={**labels, "Content-Type": media_type}, mode=mode
                    )
            except (AlreadyExistsError, PreconditionError):
                return None
        return answer["e_tag"] or ""

    async def look(self, key: str) -> Found | None:  # noqa: D102
        import obstore

        with self._told("look at", key):
            try:
                async with asyncio.timeout(LOOK_S):
                    answer = await obstore.get_async(self._store, key, options={"head": True})
            except FileNotFoundError:
                return None
        labels = {name: str(value) for name, value in answer.attributes.items()}
        meta = answer.meta
        e_tag, version = meta["e_tag"] or "", meta["version"] or ""
        return Found(size_bytes=meta["size"], e_tag=e_tag, version=version, labels=labels)

    async def read(self, key: str) -> AsyncIterator[bytes]:  # noqa: D102
        import obstore

        with self._told("read", key):
            try:
                async with asyncio.timeout(LOOK_S):
                    answer = await obstore.get_async(self._store, key)
            except FileNotFoundError:
                return
            pieces = answer.stream()
            while True:
                async with asyncio.timeout(LOOK_S):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                yield bytes(piece)

    @contextmanager
    def _told(self, action: str, key: str, missing_is: str = "") -> Iterator[None]:
        """Turn what obstore raises into our own errors, in words that repeat nothing of a request."""
        from obstore.exceptions import BaseError

        where = f"{self.url}/{key}"
        try:
            yield
        except TimeoutError:
            raise StoreDown(f"Could not {action} {where}: the store took too long.") from None
        except FileNotFoundError:
            raise StoreRefused(f"Could not {action} {where}: {missing_is}") from None
        except (BaseError, OSError, ValueError) as error:
            raise told_error(error, action, where, SCHEMES[self._address.scheme]) from None


def told_error(error: Exception, action: str, where: str, variables: str) -> StoreDown | StoreRefused:
    """Return what became of a call, by the text that obstore gives to an error.

    Args:
        error: obstore's.
        action: what was being done, as a verb.
        where: the object's address.
        variables: what the names of the variables with the credentials begin with.
    """
    text = str(error)
    if any(host in text for host in METADATA_SERVICE):
        return StoreRefused(f"Could not {action} {where}: no credentials. Set the {variables}... variables for it.")
    found = STATUS.search(text)
    if "redirect" in text:
        return StoreRefused(f"Could not {action} {where}: it is elsewhere. {WAYS_OUT[301]}")
    if found is None:
        return StoreDown(f"Could not {action} {where}: the store cannot be reached.")
    status, code = int(found[1]), CODE.search(text)
    answer = f"Could not {action} {where}: the store answered {status}" + (f" ({code[1]})." if code else ".")
    if 300 <= status < 500 and status not in LATER:
        way_out = WAYS_OUT.get(status, "")
        return StoreRefused(f"{answer} {way_out}".rstrip())
    return StoreDown(answer)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
