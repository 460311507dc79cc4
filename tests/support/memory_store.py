"""An object store in memory, as strict as a real one, that fails when it is told to and outlives who uploads to it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

from pipeline.storage.base import Found, StoreDown, StoreRefused
from tests.support.simulation.process import Process
from tests.support.simulation.virtual_loop import OWNER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from pipeline.storage.base import Data

T = TypeVar("T")

URL = "s3://bucket/foxes"


class Fault(Enum):
    """What becomes of one call."""

    LOST = auto()
    """It never arrives."""
    UNANSWERED = auto()
    """It takes effect, and the answer is lost."""
    REFUSED = auto()
    """The store will not, whoever asks how often."""


@dataclass(kw_only=True)
class Stored:
    data: bytes
    labels: Mapping[str, str]
    media_type: str
    e_tag: str


@dataclass(kw_only=True)
class Bucket:
    """What the store has, and what was asked of it. Everything of it is mutable."""

    objects: dict[str, Stored] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    """How often an object came to be, by key: more than once is an object written over."""
    fault: Callable[[str, str], Fault | None] = lambda call, key: None
    """Told the call and the key, says what becomes of it."""
    lasts_s: float = 0.0
    """How long a call takes."""
    busy: int = 0
    most_busy: int = 0
    opaque: bool = False
    """Whether tags say nothing of the bytes, as those of encrypted objects."""
    overwrites: bool = False
    """Whether the store does not keep the condition that a name is free, as some do not."""

    def put(self, key: str, data: bytes, **labels: str) -> None:
        """Put something there that the batch did not."""
        self._write(key, data, labels, "text/plain")

    def _write(self, key: str, data: Data, labels: Mapping[str, str], media_type: str) -> str:
        self.written[key] += 1
        name = f"{key}/{self.written[key]}" if self.opaque else bytes(data)
        tag = hashlib.md5(name.encode() if isinstance(name, str) else name, usedforsecurity=False).hexdigest()
        stored = Stored(data=bytes(data), labels=dict(labels), media_type=media_type, e_tag=f'"{tag}"')
        self.objects[key] = stored
        return stored.e_tag


@dataclass
class MemoryStore:
    """A process's way to the bucket; where there is a simulated process, each call is two steps of it."""

    bucket: Bucket
    url: str = URL

    async def create(self, key: str, data: Data, labels: Mapping[str, str], media_type: str) -> str | None:
        def act() -> str | None:
            if key in self.bucket.objects and not self.bucket.overwrites:
                return None
            return self.bucket._write(key, data, labels, media_type)

        return await self._call("create", key, act)

    async def replace(self, key: str, data: Data, labels: Mapping[str, str], media_type: str, old: Found) -> str | None:
        def act() -> str | None:
            there = self.bucket.objects.get(key)
            if there is None or there.e_tag != old.e_tag:
                return None
            return self.bucket._write(key, data, labels, media_type)

        return await self._call("replace", key, act)

    async def look(self, key: str) -> Found | None:
        def act() -> Found | None:
            there = self.bucket.objects.get(key)
            return there and Found(size_bytes=len(there.data), e_tag=there.e_tag, labels=there.labels)

        return await self._call("look", key, act)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        there = await self._call("read", key, lambda: self.bucket.objects.get(key))
        for first in range(0, len(there.data) if there else 0, 1000):
            yield there.data[first : first + 1000]  # type: ignore[union-attr]

    async def _call(self, call: str, key: str, act: Callable[[], T]) -> T:
        bucket, process = self.bucket, OWNER.get()
        bucket.calls[call] += 1
        bucket.busy += 1
        bucket.most_busy = max(bucket.most_busy, bucket.busy)
        try:
            fault = bucket.fault(call, key)
            if isinstance(process, Process):
                process.step(f"{call} {key}")
            if bucket.lasts_s:
                await asyncio.sleep(bucket.lasts_s)  # noqa: TID251 - virtual
            if fault is Fault.REFUSED:
                raise StoreRefused(f"Could not {call} {key}: the store answered 403.")
            if fault is Fault.LOST:
                raise StoreDown(f"Could not {call} {key}: the store cannot be reached.")
            done = act()
            if isinstance(process, Process):
                process.step(f"hear of {call} {key}")
            if fault is Fault.UNANSWERED:
                raise StoreDown(f"Could not {call} {key}: the store took too long.")
            return done
        finally:
            bucket.busy -= 1
