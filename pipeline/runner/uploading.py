"""Finished clips, brought into an object store beside the run: nothing that bills waits for it.

A job whose clips are home comes in; for each clip of which the store has no copy the file is read and held against its
digest, put where nothing is, looked at there, and only then is `clip_uploaded` written down. A run that dies at any
moment in between leaves an object that the next one finds, compares, and takes as its own. Like decoding, it writes
about a job only when no lane follows that any more, and in turns with whoever else does.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from pipeline.durable import told_as_disk_refused
from pipeline.errors import DiskRefused, InputError
from pipeline.jobs.codec import remote_to_json
from pipeline.jobs.event import Event
from pipeline.jobs.job import Remote
from pipeline.jobs.state import ClipState, CopyState, EventKind, State
from pipeline.runner.backlog import Backlog
from pipeline.runner.retry import backoff_s
from pipeline.storage.base import StoreDown, StoreRefused
from pipeline.storage.keep import Content, digest_of, keep, renew
from pipeline.storage.mark import take

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import TypeVar

    from pipeline.effects import Effects
    from pipeline.jobs.job import Clip, Job
    from pipeline.ledger.store import Ledger
    from pipeline.paths import BatchFolder
    from pipeline.runner.turns import Turns
    from pipeline.storage.base import ObjectStore

    T = TypeVar("T")

FINISHED = frozenset({State.DONE, State.LOST})
AT_ONCE = 8
BYTES_AT_ONCE = 256 << 20
"""In memory, on their way; a clip that is larger goes alone."""
PATIENCE_S = 60.0
"""For how long a store may be down once nothing else is left to do, before what is missing is left to the next run."""
CLOSING_PAUSE_S = 8.0
"""The longest pause between two tries, once nothing else is left to do."""
MP4 = "video/mp4"
JSON_LINES = "application/jsonl"


class ClipChanged(Exception):
    """A clip's file is not what was published, so it is not uploaded as if it were."""


@dataclass
class Room:
    """How much may be on its way at once. The mutable state is how much is."""

    most: int = BYTES_AT_ONCE
    used: int = 0
    freed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def held(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait for so much room and hold it; what is larger than all of it waits until it has all of it."""
        async with self.freed:
            await self.freed.wait_for(lambda: not self.used or self.used + size_bytes <= self.most)
            self.used += size_bytes
        try:
            yield
        finally:
            self.used -= size_bytes  # at once: whoever is cancelled must not wait here
            async with self.freed:
                self.freed.notify_all()


@dataclass(kw_only=True)
class Uploading:
    """The mutable state is the jobs that wait, since when the store is down, and why nothing is uploaded any more."""

    ledger: Ledger
    folder: BatchFolder
    store: ObjectStore
    batch: str
    """The ledger's own id."""
    name: str
    """The batch's."""
    effects: Effects
    note: Callable[[str], None]
    """Given sentences for the user."""
    uploaded: Callable[[Job, Event], None]
    """Called for every clip that came to be in the store, with the job as it then is."""
    turns: Turns
    at_once: int = AT_ONCE
    stopped: str = ""
    """Why this run uploads no more, as a sentence; empty for as long as it does."""
    closing: bool = False
    """Whether nothing else is left to do than to upload."""
    down_since: float | None = None
    told_of_outage: bool = False
    _backlog: Backlog = field(default_factory=Backlog)
    _room: Room = field(default_factory=Room)

    @property
    def left(self) -> int:
        """Jobs that wait or are being uploaded."""
        return self._backlog.left

    def add(self, job: Job) -> None:
        """Have the clips of a job uploaded, if it has come to an end with any."""
        if job.state in FINISHED and any(self._is_wanted(clip) for clip in job.clips):
            self._backlog.put(job.item_id, job.revision)

    async def add_earlier(self) -> int:
        """Have all clips uploaded that earlier runs left; return of how many jobs."""
        found = await self.ledger.not_uploaded(self.store.url)
        for key in found:
            self._backlog.put(*key)
        return len(found)

    def _is_wanted(self, clip: Clip) -> bool:
        is_there = clip.copy is CopyState.UPLOADED and clip.remote and clip.remote.store == self.store.url
        return clip.state is ClipState.DONE and not is_there

    async def work(self) -> None:
        """Upload what comes, for ever.

        Raises:
            ClipmillError: the ledger can no longer be written.
        """
        await self._patiently(lambda: take(self.store, self.batch, self.name))
        await self._backlog.work(self._deal_with, self.at_once)

    async def drained(self) -> None:
        """Wait until nothing is left, or the store has been down for too long; somebody must be at `work`."""
        self.closing = True
        await self._backlog.drained()

    async def put_results(self) -> None:
        """Put the results beside the clips, in the place of those of an earlier run."""
        if self.stopped:
            return
        key = self.folder.results.name
        data = await self.effects.threads.run(self.effects.files.read, self.folder.results)
        content = Content(data=data, sha256=digest_of(data), media_type=JSON_LINES)
        if await self._patiently(lambda: renew(self.store, key, content, self.batch)) is False:
            self.note(f"{self.store.url}/{key} is not this batch's and stays as it is.")

    async def _deal_with(self, item_id: str, revision: int) -> None:
        if not self.stopped:
            await self._upload_job(await self.ledger.job(item_id, revision))

    async def _upload_job(self, job: Job) -> None:
        for clip in job.clips:
            if not self._is_wanted(clip):
                continue
            try:
                remote = await self._patiently(lambda clip=clip: self._upload(job, clip))  # type: ignore[misc]
            except (ClipChanged, DiskRefused) as refused:
                self.note(f"{clip.file} was not uploaded. {refused}")
                continue
            if remote is None:
                return
            data = {"index": clip.index, "remote": remote_to_json(remote)}
            kind, at = EventKind.CLIP_UPLOADED, self.effects.clock.now()
            event = Event(kind=kind, item_id=job.item_id, revision=job.revision, at=at, data=data)
            async with self.turns.at(job.item_id, job.revision) as now:
                after = await self.ledger.record(now, event)
            self.uploaded(after, event)

    async def _upload(self, job: Job, clip: Clip) -> Remote:
        """Have one clip in the store, under its own name or the next that is free; return where it is."""
        async with self._room.held(clip.size_bytes):
            data = await self.effects.threads.run(self._read, clip)
            content = Content(data=data, sha256=clip.sha256, media_type=MP4)
            for spare in count():
                key = self.folder.clip_name(job.item_id, clip.index, job.revision, spare) if spare else clip.file
                if spare and key == clip.file:
                    continue
                e_tag = await keep(self.store, key, content, self.batch)
                if e_tag is not None:
                    return Remote(store=self.store.url, key=key, e_tag=e_tag)
                self.note(f"{self.store.url}/{key} is something else and stays as it is; the next free name is used.")
        raise AssertionError("numbers do not end")

    def _read(self, clip: Clip) -> bytes:
        """Return a clip's bytes, which are those that were published."""
        path, files = self.folder.root / clip.file, self.effects.files
        with told_as_disk_refused(f"read {path}"):
            is_whole = files.exists(path) and files.size(path) == clip.size_bytes
            data = files.read(path) if is_whole else b""
        if not is_whole or digest_of(data) != clip.sha256:
            raise ClipChanged("It is missing, or not what was published. See: clipmill check DIR")
        return data

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do something with the store until it is done; None where this run uploads no more."""
        clock = self.effects.clock
        for tries in count(1):
            if self.stopped:
                return None
            try:
                done = await work()
            except StoreDown as down:
                if self.down_since is None:
                    self.down_since = clock.monotonic()
                self._tell_of_outage(down)
                if self.closing and clock.monotonic() - self.down_since >= PATIENCE_S:
                    self._stop(str(down))
                    return None
                pause_s = backoff_s(tries, self.effects.random)
                await clock.sleep(min(pause_s, CLOSING_PAUSE_S) if self.closing else pause_s)
            except (StoreRefused, InputError) as refused:
                self._stop(str(refused))
                return None
            else:
                self.down_since = None
                return done
        raise AssertionError("numbers do not end")

    def _tell_of_outage(self, down: StoreDown) -> None:
        """Tell the user once in a run; a store that fails now and then would fill the screen."""
        if not self.told_of_outage:
            self.told_of_outage = True
            self.note(f"{down} It is tried again for as long as clips are made, and for a minute at the end.")

    def _stop(self, reason: str) -> None:
        if not self.stopped:
            self.stopped = reason
            self.note(f"No more clips are uploaded in this run. {reason} All of them are here, and safe.")
