"""A run from its first to its last moment: recover, one lane a provider in one task group, the end.

Every way out leads through the same place: calls that can bill are awaited and their answers written down (or, at the
second request to stop, written down as unknown), and only then is the ledger closed by the caller.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.durable import make_folder
from pipeline.errors import Paused
from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, State
from pipeline.ledger.results import rewrite_results
from pipeline.runner.cleanup import clean_up_delivered
from pipeline.runner.collect import fetch_outputs
from pipeline.runner.company import NEAR_THE_END_S, Colleagues, greet
from pipeline.runner.expiry import by_expiry, countdown
from pipeline.runner.lane import Lane
from pipeline.runner.looks import look_at_jobs
from pipeline.runner.planned import Unread
from pipeline.runner.recover import recover
from pipeline.runner.submit import submit_planned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence

    from pipeline.jobs.job import Job
    from pipeline.runner.context import RunContext, Seat
    from pipeline.runner.stop import Stop
    from pipeline.runner.uploading import Uploading

RESULTS_EVERY_S = 30.0
RESULTS_SHARE = 50
"""Between two rewrites of results.jsonl lie at least 30 s, and 50 times what the last one took."""
CRASHES_MOST = 3
DECODING_WORTH_A_WORD = 50
UPLOADS_WORTH_A_WORD = 50
SUSPENSION_CHECK_S = 1.0
SUSPENDED_S = 15.0
GRACE_S = 20.0
"""How long a run that was told to terminate waits for the answers of calls that bill."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a run ended."""

    paused_because: tuple[str, ...] = ()
    """Why it could not go on, in sentences; empty where everything came to its end."""
    signal: int = 0
    """The signal that stopped it, or 0."""
    not_uploaded: str = ""
    """Why clips are not in the store that the user named, though they are here; empty where all of them are."""


@dataclass(kw_only=True)
class BatchRun:
    """One run. The mutable state is in its lanes."""

    run: RunContext
    seats: Mapping[str, Seat]
    """By provider; every provider that has something to do has one."""
    chosen: Container[str] | None
    """The ids that may be submitted; None for all. What is already at a vendor is finished in any case."""
    stop: Stop
    checkpoint: Callable[[], Awaitable[None]] | None = None
    """Called now and then, whenever the results are rewritten."""
    results_every_s: float = RESULTS_EVERY_S
    """The least time between two rewrites of the results."""
    lanes: dict[str, Lane] = field(default_factory=dict)

    async def go(self) -> Outcome:
        """Take the batch as far as it can go.

        Raises:
            ClipmillError: what could not be helped, after all answers under way were written down.
        """
        make_folder(self.run.effects.files, self.run.folder.clips)
        company = await self.run.ledger.keep_company()
        await greet(self.run, company)
        capabilities = {name: seat.capabilities for name, seat in self.seats.items()}
        attached = await recover(self.run, capabilities, {seat.account for seat in self.seats.values()})
        await self._fill_lanes()
        for lane in self.lanes.values():
            lane.keep(company)
            lane.others_at_work = self.run.ledger.is_shared  # for all that is known before the first look round
        if self.run.decoding is not None:
            await self.run.decoding.add_earlier()
        if self.run.uploading is not None:
            await self.run.uploading.add_earlier()
        await self._stop_a_crash_loop()
        problems = await self._until_done_or_stopped(attached)
        problems += await self._finish_billing()
        try:
            await self.rewrite_results()
        except Paused as refused:  # the disk; what ended the run tells more than that its view is stale
            problems = problems or [refused]
        reasons = [str(problem) for problem in problems if isinstance(problem, Paused)]
        bug = next((problem for problem in problems if not isinstance(problem, Paused)), None)
        if bug is not None:
            for reason in reasons:  # it may name answers that are on no disk
                self.run.progress.note(reason)
            raise bug
        reasons += [reason for lane in self.lanes.values() for reason in (lane.closed, lane.unfinished) if reason]
        not_uploaded = await self._upload_results() if not reasons and not self.stop.signal else ""
        return Outcome(paused_because=tuple(dict.fromkeys(reasons)), signal=self.stop.signal, not_uploaded=not_uploaded)

    async def _upload_results(self) -> str:
        """Put the results beside the clips in the store; return why something of the batch is not there."""
        uploading = self.run.uploading
        if uploading is None:
            return ""
        loop = asyncio.get_running_loop()
        results, told = loop.create_task(uploading.put_results()), loop.create_task(self.stop.finish.wait())
        try:
            await asyncio.wait({results, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (results, told):
                task.cancel()
        for problem in await _outcomes({results}):
            raise problem
        return uploading.stopped

    async def _fill_lanes(self) -> None:
        learned = await self.run.ledger.learned()
        for name, seat in self.seats.items():
            lane = self.lanes[name] = Lane(seat=seat, run=self.run)
            lane.schedule.take_up({key: law for key, law in learned.items() if key.startswith(f"{name}/")})
        progress = self.run.progress
        progress.spent_usd = await self.run.ledger.committed_usd()
        planned = await self.run.ledger.planned_counts(self.chosen)
        for name, lane in self.lanes.items():
            counts = Counter({model: count for (provider, model), count in planned.items() if provider == name})
            lane.planned.expect(counts, Unread(self.run.ledger, name, self.chosen))
            if lane.planned.hungry:
                await lane.planned.read_on()
        counted = await self.run.ledger.counts()
        progress.items += planned.total() + sum(counted.values()) - counted.get(State.PLANNED, 0)
        progress.done += counted.get(State.DONE, 0)
        progress.failed += sum(counted.get(state, 0) for state in UNSUCCESSFUL)
        progress.in_doubt += sum(counted.get(state, 0) for state in IN_DOUBT)

    async def _stop_a_crash_loop(self) -> None:
        """Buy nothing after several runs in a row that died and each left a doubt: every one may have cost a clip."""
        found = await self.run.ledger.interrupted_doubts(CRASHES_MOST)
        if len(found) == CRASHES_MOST and all(found):
            for lane in self.lanes.values():
                lane.close(
                    f"The last {CRASHES_MOST} runs died and each left a clip in doubt, so this run only brings home "
                    "what is paid for. Find out what kills them (memory?), then run the same command again."
                )

    async def _watch_for_suspension(self) -> None:
        """Look at everything again after the machine was suspended: timers stood still, the vendor did not."""
        clock = self.run.effects.clock
        gap_s = clock.boottime() - clock.monotonic()
        while True:
            await clock.sleep(SUSPENSION_CHECK_S)
            now_s = clock.boottime() - clock.monotonic()
            if now_s - gap_s > SUSPENDED_S:
                self.run.progress.note(
                    f"The machine was suspended for {now_s - gap_s:.0f} s; every job is looked at anew."
                )
                for lane in self.lanes.values():
                    lane.schedule.all_due(lane.now())
                    self._count_down(lane, [live.job for live in lane.live.values()])
                    lane.changed()
            gap_s = now_s

    async def _until_done_or_stopped(self, attached: Sequence[Job]) -> list[BaseException]:
        """Run the lanes; return what ended them early."""
        loop = asyncio.get_running_loop()
        work = loop.create_task(self._run_lanes(attached))
        told = loop.create_task(self.stop.finish.wait())
        results = loop.create_task(self._rewrite_results_now_and_then())
        watch = loop.create_task(self._watch_for_suspension())
        others = [each for each in (self.run.decoding, self.run.uploading) if each is not None]
        beside = {results, *(loop.create_task(each.work()) for each in others)}
        if self.run.ledger.is_shared:
            colleagues = Colleagues(run=self.run, lanes=self.lanes, chosen=self.chosen, attach=_attach)
            beside.add(loop.create_task(colleagues.keep()))
        try:
            await asyncio.wait({work, told, *beside}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (told, *beside, watch, work):
                task.cancel()
        return await _outcomes({work, *beside, watch})

    async def _run_lanes(self, left_behind: Sequence[Job]) -> None:
        attached = by_expiry(left_behind, self.run.effects.clock.now())
        delivered = await self.run.ledger.uncleaned() if any(lane.cleans_up for lane in self.lanes.values()) else []
        async with asyncio.TaskGroup() as group:
            for lane in self.lanes.values():
                mine = [job for job in attached if job.provider == lane.name]
                lane.delivered.extend(job for job in delivered if job.provider == lane.name)
                self._count_down(lane, mine)
                group.create_task(_run_lane(lane, mine))
        if self.run.decoding is not None:
            if self.run.decoding.left >= DECODING_WORTH_A_WORD:
                self.run.progress.note(
                    f"Every clip that can be had is home; {self.run.decoding.left} items are still being decoded. "
                    "That costs nothing, and can be cut short: what is left is decoded by the next run or export."
                )
            await self.run.decoding.drained()
        if self.run.uploading is not None:
            if self.run.uploading.left >= UPLOADS_WORTH_A_WORD:
                self.run.progress.note(
                    f"Every clip that can be had is home; those of {self.run.uploading.left} items are still being "
                    "uploaded. That can be cut short: what is left is uploaded by the next run."
                )
            await self.run.uploading.drained()
            await self._upload_what_others_leave(self.run.uploading)

    async def _upload_what_others_leave(self, uploading: Uploading) -> None:
        """Stay for two leases while other workers have clips to upload: of one that died, they are this one's then."""
        clock, changed_at = self.run.effects.clock, self.run.effects.clock.monotonic()
        elsewhere = await self.run.ledger.uploads_elsewhere(uploading.store.url)
        while elsewhere and not uploading.stopped and clock.monotonic() - changed_at < 2 * self.run.lease_s:
            await clock.sleep(NEAR_THE_END_S)
            left = await self.run.ledger.uploads_elsewhere(uploading.store.url)
            if left < elsewhere:
                await uploading.add_earlier()
                await uploading.drained()
                changed_at = clock.monotonic()
            elsewhere = left

    def _count_down(self, lane: Lane, jobs: Iterable[Job]) -> None:
        """Tell the user what the vendor will soon keep no longer."""
        says = countdown(jobs, lane.seat.capabilities.id_lifetime_s, self.run.effects.clock.now())
        if says:
            self.run.progress.note(f"Of the clips that {lane.name} is paid for, {says}")

    async def _rewrite_results_now_and_then(self) -> None:
        clock = self.run.effects.clock
        pause_s = self.results_every_s
        while True:
            await clock.sleep(pause_s)
            began = clock.monotonic()
            await self.rewrite_results()
            pause_s = max(self.results_every_s, RESULTS_SHARE * (clock.monotonic() - began))

    async def rewrite_results(self) -> None:
        """Make `results.jsonl` say what the ledger says."""
        for lane in self.lanes.values():
            await self.run.ledger.keep_learned(lane.schedule.to_json())
        told = {"at": self.run.effects.clock.now().isoformat(), **self.run.progress.to_json()}
        await self.run.ledger.write_meta({"progress": told})
        effects = self.run.effects
        async with self.run.ledger.alone(self.run.folder.results.name):
            # Alone here, too: a rewrite that was given up may still be writing.
            await effects.threads.run_alone("results", rewrite_results, self.run.folder, effects)
        if self.checkpoint is not None:
            await self.checkpoint()

    async def _finish_billing(self) -> list[BaseException]:
        """Wait for the answers of calls that can bill; at the second request to stop, write them down as unknown.

        Returns:
            What went wrong with writing them down.
        """
        tasks = {task for lane in self.lanes.values() for task in lane.billing}
        if not tasks:
            return []
        loop = asyncio.get_running_loop()
        leave = loop.create_task(self.stop.leave.wait())
        answers = loop.create_task(asyncio.wait(tasks))
        grace_s = GRACE_S if self.stop.signal == signal.SIGTERM else None
        await asyncio.wait({leave, answers}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        for task in (leave, *tasks):
            task.cancel()
        await answers
        return await _outcomes(tasks)


async def _outcomes(tasks: set[asyncio.Task[None]]) -> list[BaseException]:
    """Wait for tasks and return all that they raised, cancellation apart."""
    await asyncio.wait(tasks)
    raised = [task.exception() for task in tasks if not task.cancelled()]
    return [leaf for error in raised if error is not None for leaf in _leaves(error)]


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


async def _run_lane(lane: Lane, attached: Iterable[Job]) -> None:
    async with asyncio.TaskGroup() as group:
        lane.group = group
        for job in attached:
            _attach(lane, job)
        group.create_task(submit_planned(lane, group))
        group.create_task(_look(lane, group))
        if lane.cleans_up:
            group.create_task(clean_up_delivered(lane))


async def _look(lane: Lane, group: asyncio.TaskGroup) -> None:
    try:
        await look_at_jobs(lane, group)
    finally:
        lane.group = None


def _attach(lane: Lane, job: Job) -> None:
    """Go on with a job that another run submitted."""
    assert lane.group is not None
    if job.base_url != lane.seat.base_url:
        variable = lane.seat.capabilities.base_url_variable
        lane.unfinished = f"{job.item_id} was submitted to {job.base_url}; set {variable} to it to go on with it."
        lane.run.progress.note(lane.unfinished)
        return
    live = lane.follow(job, look=job.state is State.SUBMITTED)
    if job.state is State.CLAIMED:
        lane.group.create_task(fetch_outputs(lane, live, job.outputs))
