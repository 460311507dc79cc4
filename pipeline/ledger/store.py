"""The writing side of a ledger: one connection, one thread, many writes to a commit.

`record(job, event)` returns when the event is durable, and not before. Writes that arrive while a commit is under way
share the next one, so a thousand jobs in flight cost a few commits a second. Every write names the state it believes
the row to be in and the epoch of its run; a row that has moved on is not written (`StaleWrite`).

When a commit fails, nothing new is begun any more, and what was already answered is saved (`emergency`).
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.durable import told_as_disk_refused
from pipeline.errors import DiskRefused, InputError, StaleWrite
from pipeline.jobs.record import apply
from pipeline.ledger.database import unheard
from pipeline.ledger.emergency import BEGINNINGS, Emergency
from pipeline.ledger.opening import LEASE_S, begin
from pipeline.ledger.salvage import take_in_saved
from pipeline.ledger.writer import Write
from pipeline.paths import BatchFolder

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Callable, Collection, Container, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job
    from pipeline.jobs.state import State
    from pipeline.ledger.questions import Page
    from pipeline.ledger.reader import JobHead
    from pipeline.ledger.writer import Company, Writer

T = TypeVar("T")

LANE = "ledger"
LINGER_MOST_S = 0.002
TURN_AGAIN_S = 0.2
"""After this long it is tried once more to be the only one that does something."""
RENEWED_A_LEASE = 3
"""How often a lease is renewed before it would end."""
SAVED_BY = re.compile(r"ledger\.emergency\.([0-9]+)\.jsonl")
"""As `BatchFolder.emergency_of` makes them."""


@dataclass(kw_only=True, slots=True)
class _Waiting:
    write: Write
    durable: asyncio.Future[None]


class Ledger:
    """The one writer of a batch's history.

    The mutable state is `_waiting` (writes not yet handed to the thread), `_committer` (the task that drains them),
    `_asked` and `_asker` (the same for jobs to be read), `_broken` (the first commit that failed; from then on
    nothing is begun, and only outcomes are still written), and `_renewing` (where several share the ledger: the task
    that renews this one's lease while nothing is written).
    """

    def __init__(self, writer: Writer, emergency: Emergency, effects: Effects) -> None:
        self.path = writer.path
        self.epoch = writer.epoch
        self._writer = writer
        self._emergency = emergency
        self._effects = effects
        self._waiting: list[_Waiting] = []
        self._committer: asyncio.Task[None] | None = None
        self._asked: list[tuple[tuple[str, int], asyncio.Future[Job | None]]] = []
        self._asker: asyncio.Task[None] | None = None
        self._broken: Exception | None = None
        self._renewing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        effects: Effects,
        about: Mapping[str, Any],
        tell: Callable[[str], None] = unheard,
        *,
        take_in: bool = True,
        lease_s: float = LEASE_S,
    ) -> Ledger:
        """Open or create the ledger, begin an epoch, and take in what an earlier run had to save elsewhere.

        Args:
            path: the ledger's; the caller holds the batch's lock.
            effects: what it is opened with.
            about: the process, for the record.
            tell: given sentences for the user, on the event loop's thread, for as long as the ledger is open.
            take_in: False where the caller must look first whether this is the ledger that the saved answers belong to.
            lease_s: where several share the ledger, for how long this one may be silent before others take over.

        Raises:
            InputError: not a ledger of ours. DiskRefused: the disk said no, or a stranger held the file for too long.
        """
        loop = asyncio.get_running_loop()

        def tell_from_the_lane(sentence: str) -> None:
            loop.call_soon_threadsafe(tell, sentence)

        writer = await effects.threads.run_alone(LANE, begin, path, effects, about, tell_from_the_lane, lease_s)
        folder = BatchFolder(path.parent)
        own = folder.emergency_of(writer.epoch) if writer.is_shared else None
        emergency = Emergency(folder, effects.files, own)
        ledger = cls(writer, emergency, effects)
        try:
            if take_in:
                await ledger.take_in(tell)
            await effects.threads.run_alone(LANE, emergency.keep_reserve)
        except BaseException:
            await effects.threads.run_alone(LANE, writer.close)
            raise
        if writer.is_shared:
            ledger._renewing = loop.create_task(ledger._renew_now_and_then(lease_s / RENEWED_A_LEASE))
        return ledger

    async def _renew_now_and_then(self, every_s: float) -> None:
        """Keep the lease; whoever writes is told when it is lost."""
        with suppress(StaleWrite, DiskRefused):
            while True:
                await self._effects.clock.sleep(every_s)
                await self._alone(self._writer.renew)

    async def take_in(self, tell: Callable[[str], None]) -> None:
        """Take in what an earlier run had to save elsewhere, before anything is done.

        Raises:
            DiskRefused: the disk still says no.
        """
        async with self.alone("take in what was saved"):
            for emergency in await self._alone(self._journals):
                for sentence in await self._alone(take_in_saved, self._writer, emergency):
                    tell(sentence)

    def _journals(self) -> list[Emergency]:
        """Return the journals that may hold what earlier runs saved; those of other workers at work are theirs."""
        if not self.is_shared:
            return [self._emergency]
        folder, files = BatchFolder(self.path.parent), self._effects.files
        with told_as_disk_refused(f"list {folder.root}"):
            names = files.names(folder.root)
        saved = {int(found[1]) for name in names if (found := SAVED_BY.fullmatch(name))}
        return [
            Emergency(folder, files, folder.emergency_of(epoch)) for epoch in sorted(saved - self._writer.at_work())
        ]

    async def close(self, outcome: str) -> None:
        """Write what still waits, say goodbye, and close the file."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        while self._committer is not None:
            await asyncio.shield(self._committer)
        if self._broken is not None:
            await self._alone(self._writer.close)
        else:
            await self._alone(self._writer.end, self._effects.clock.now(), outcome)

    async def _alone(self, work: Callable[..., Any], *args: Any) -> Any:
        return await self._effects.threads.run_alone(LANE, self._writer.steadily, work, *args)

    @property
    def is_shared(self) -> bool:
        """Whether several runs may be at work at once."""
        return self._writer.is_shared

    @asynccontextmanager
    async def alone(self, purpose: str) -> AsyncIterator[None]:
        """Be the only run that does something; another worker that is at it is waited for."""
        while not await self._alone(self._writer.lock, purpose):
            await self._effects.clock.sleep(TURN_AGAIN_S)
        try:
            yield
        finally:
            await self._alone(self._writer.unlock, purpose)

    async def keep_company(self) -> Company:
        """Renew this run's lease, take over from workers that are silent, and return who else is at work.

        Raises:
            LeaseLost: another worker has taken over from this one.
        """
        company: Company = await self._alone(self._writer.keep_company)
        return company

    async def take_over(self, states: Iterable[State], accounts: Collection[str] | None = None) -> list[Job]:
        """Return the jobs in some states that no run at work has; they are this run's from now on.

        Args:
            states: theirs.
            accounts: the fingerprints of the keys that they may have been submitted with; None for any.
        """
        jobs: list[Job] = await self._alone(self._writer.take_over, list(states), accounts)
        return jobs

    async def give_back(self, provider: str) -> None:
        """Let others have all items of a provider that this run has and that wait to be submitted."""
        await self._alone(self._writer.give_back, provider)

    async def release(self, jobs: Iterable[Job]) -> None:
        """Let whoever comes first have some jobs that this run has and that wait to be submitted."""
        keys = [(job.item_id, job.revision) for job in jobs]
        if keys:
            await self._alone(self._writer.release, keys)

    async def parts_in_use(self) -> tuple[set[int], set[str]]:
        """Return the epochs of the runs at work, and the part files whose clips are not published yet."""
        return await self._alone(self._writer.at_work), await self._alone(self._writer.stored_parts)

    async def record(self, job: Job | None, event: Event, queued: Callable[[], None] | None = None) -> Job:
        """Apply an event and return the job as it now is, once that is durable.

        Args:
            job: as the caller believes it to be.
            event: what happened.
            queued: called as soon as the write has its place in the order of commits: whatever is recorded after it
                becomes durable with it or later, never before.

        Raises:
            IllegalMove: the move is not in the table. StaleWrite: the row has moved on. OverBudget: the cap would be
            passed. DuplicateJob: the vendor's id is taken. DiskRefused: nothing was written, and nothing will be.
        """
        (after,) = await self.record_all([(job, event)], queued)
        return after

    async def record_all(
        self, moves: Iterable[tuple[Job | None, Event]], queued: Callable[[], None] | None = None
    ) -> list[Job]:
        """Apply events to several jobs, durable together or refused one by one; otherwise like `record`."""
        loop = asyncio.get_running_loop()
        fresh = [
            _Waiting(write=Write(before=job, after=apply(job, event), event=event), durable=loop.create_future())
            for job, event in moves
        ]
        if self._broken is not None and any(each.write.event.kind in BEGINNINGS for each in fresh):
            raise self._broken
        for each in fresh:
            # A caller that was cancelled never asks; without this its refusal would be reported as forgotten.
            each.durable.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting.extend(fresh)
        if self._committer is None:
            self._committer = loop.create_task(self._drain())
        if queued is not None:
            queued()
        for each in fresh:
            # A caller that is cancelled cancels this future and no more: its write is in the list, and goes on.
            await each.durable
        return [each.write.after for each in fresh]

    async def _drain(self) -> None:
        try:
            commit_s = 0.0
            while self._waiting:
                # Those that a commit woke have their next write ready in a moment; it is worth waiting for them.
                await self._effects.clock.sleep(min(LINGER_MOST_S, commit_s / 2))
                batch, self._waiting = self._waiting, []
                began = self._effects.clock.monotonic()
                refusals = await self._commit(batch)
                commit_s = self._effects.clock.monotonic() - began
                for place, each in enumerate(batch):
                    _settle(each.durable, None, refusals.get(place))
        finally:
            self._committer = None

    async def _commit(self, batch: Sequence[_Waiting]) -> Mapping[int, Exception]:
        writes = [each.write for each in batch]
        if self._broken is None:
            try:
                return await self._alone(self._writer.commit, writes)  # type: ignore[no-any-return]
            except Exception as error:  # whatever it was, nothing may be begun after it
                self._broken = error
        return await self._alone(self._save_outcomes, writes, self._broken)  # type: ignore[no-any-return]

    def _save_outcomes(self, writes: Sequence[Write], broken: Exception) -> Mapping[int, Exception]:
        """Refuse what would begin something; bring the rest to the disk in whatever way is left."""
        refusals = {place: broken for place, write in enumerate(writes) if write.event.kind in BEGINNINGS}
        outcomes = [write for place, write in enumerate(writes) if place not in refusals]
        places = [place for place in range(len(writes)) if place not in refusals]
        # Who took over from the only writer has settled all of it; of several, nobody else may know what came of it.
        if not outcomes or (isinstance(broken, StaleWrite) and not self.is_shared):
            return dict.fromkeys(range(len(writes)), broken)
        self._emergency.let_go()
        try:
            for place, refusal in self._writer.commit(outcomes).items():
                refusals[places[place]] = refusal
        except Exception as error:  # the ledger itself is beyond help: its journal is next
            try:
                self._emergency.save(write.event for write in outcomes)
            except DiskRefused as last:
                ids = ", ".join(f"{write.after.item_id} = {write.after.job_id}" for write in outcomes)
                lost = f"These answers are on no disk; note them down: {ids}"
                self._writer.tell(lost)  # whoever waits for them may be gone, and of several refusals one is shown
                told = DiskRefused(f"{last} {lost}")
                told.__cause__ = error
                return refusals | dict.fromkeys(places, told)
        return refusals

    async def write_meta(self, values: Mapping[str, Any]) -> None:
        """Write facts about the batch as a whole: name, settings, cap."""
        await self._alone(self._writer.write_meta, values)

    async def read_meta(self, key: str) -> Any:
        """Return a fact about the batch as a whole, or None."""
        return await self._alone(self._writer.meta, key)

    async def learned(self) -> dict[str, Any]:
        """Return what earlier runs learned of each class of jobs."""
        found: dict[str, Any] = await self._alone(self._writer.learned)
        return found

    async def keep_learned(self, learned: Mapping[str, Any]) -> None:
        """Keep what this run has learned, for the next one. On a failing disk that is not worth a word."""
        if learned and self._broken is None:
            await self._alone(self._writer.keep_learned, dict(learned))

    async def place(self, positions: Iterable[tuple[str, int]]) -> None:
        """Write the order of the items in the manifest."""
        moved = list(positions)
        if moved:
            await self._alone(self._writer.place, moved)

    async def withdraw(self, jobs: Iterable[Job | JobHead], at: datetime) -> None:
        """Forget planned items that cost nothing and are no longer wanted."""
        await self._alone(self._writer.withdraw, [(job.item_id, job.revision) for job in jobs], at)

    async def jobs(self, states: Iterable[State] | None = None) -> list[Job]:
        """Return the jobs in some states (all of them for None), in the manifest's order."""
        jobs: list[Job] = await self._alone(self._writer.jobs, None if states is None else list(states))
        return jobs

    async def uncleaned(self) -> list[Job]:
        """Return the done jobs whose vendors were not asked to delete their copies, in the manifest's order."""
        jobs: list[Job] = await self._alone(self._writer.uncleaned)
        return jobs

    async def job(self, item_id: str, revision: int) -> Job:
        """Return one job. Raises InputError where there is none."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Job | None] = loop.create_future()
        found.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._asked.append(((item_id, revision), found))
        if self._asker is None:
            self._asker = loop.create_task(self._read_asked())
        job = await found
        if job is None:
            raise InputError(f"There is no item {item_id} (revision {revision}) in {self.path}.")
        return job

    async def jobs_at(self, keys: Sequence[tuple[str, int]]) -> list[Job]:
        """Return jobs by their ids and revisions. Raises InputError where there is none."""
        found: list[Job | None] = await self._alone(self._writer.jobs_at, keys) if keys else []
        for (item_id, revision), job in zip(keys, found, strict=True):
            if job is None:
                raise InputError(f"There is no item {item_id} (revision {revision}) in {self.path}.")
        return [job for job in found if job is not None]

    async def _read_asked(self) -> None:
        """Read the jobs that callers wait for; those asked for in the meantime share the next reading."""
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                try:
                    jobs = await self._alone(self._writer.jobs_at, [key for key, _ in asked])
                except Exception as error:  # told to whoever asked
                    for _, found in asked:
                        _settle(found, None, error)
                else:
                    for (_, found), job in zip(asked, jobs, strict=True):
                        _settle(found, job, None)
        finally:
            self._asker = None

    async def counts(self) -> dict[State, int]:
        """Return how many jobs there are in each state, all revisions counted."""
        counts: dict[State, int] = await self._alone(self._writer.counts)
        return counts

    async def planned_counts(self, chosen: Container[str] | None) -> Counter[tuple[str, str]]:
        """Return by provider and model how many of the chosen items (of all, for None) wait to be submitted."""
        counts: Counter[tuple[str, str]] = await self._alone(self._writer.planned_counts, chosen)
        return counts

    async def planned_after(
        self, provider: str, at: tuple[int, int], most: int, chosen: Container[str] | None = None
    ) -> Page:
        """Return the next items of a provider that wait to be submitted and that no other worker has.

        Args:
            provider: whose.
            at: where the last one stood that is known already; `BEFORE_ALL` to begin.
            most: how many to look at, at the most; in the manifest's order.
            chosen: the ids that may be submitted; None for all.
        """
        page: Page = await self._alone(self._writer.planned_after, provider, at, most, chosen)
        return page

    async def undecoded(self) -> list[tuple[str, int]]:
        """Return the id and revision of every finished job with a clip that no decoder has seen."""
        found: list[tuple[str, int]] = await self._alone(self._writer.undecoded)
        return found

    async def uploads_elsewhere(self, store: str) -> int:
        """Return how many finished jobs with a clip of which a store has no copy other workers see to."""
        return int(await self._alone(self._writer.uploads_elsewhere, store))

    async def not_uploaded(self, store: str) -> list[tuple[str, int]]:
        """Return the id and revision of every finished job with a clip of which a store (by its URL) has no copy."""
        found: list[tuple[str, int]] = await self._alone(self._writer.not_uploaded, store)
        return found

    async def committed_usd(self) -> float:
        """Return what is spent, reserved or in doubt, over all items."""
        return float(await self._alone(self._writer.committed_usd))

    async def last_event(self) -> int:
        """Return the number of the newest event; 0 for none."""
        return int(await self._alone(self._writer.last_event))

    async def interrupted_doubts(self, epochs: int) -> list[int]:
        """Return how many doubts each of the newest runs, this one first, found left behind by a run that died."""
        found: list[int] = await self._alone(self._writer.interrupted_doubts, epochs)
        return found


def _settle(asked: asyncio.Future[T], result: T, error: Exception | None) -> None:
    if asked.done():
        return
    if error is None:
        asked.set_result(result)
    else:
        asked.set_exception(error)
