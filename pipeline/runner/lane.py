"""One provider's share of a run: what its submit, look and collect tasks have in common.

A lane closes when no more may be submitted (funds, budget, refusals) and still brings home what is paid for; it drains
when claims are refused and only what is claimed can be brought home; it halts when nothing at all can be asked (the key
is refused, the network is gone) and leaves every job as it is.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from pipeline.jobs.codec import failure_to_json
from pipeline.jobs.event import Event
from pipeline.jobs.job import Failure
from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, State
from pipeline.runner.limits import Endpoint, EvenPace, FailureBudget, SlidingLog, Unpaced
from pipeline.runner.planned import Planned
from pipeline.runner.schedule import Live, Schedule
from pipeline.runner.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pipeline.jobs.job import CostIs, Job
    from pipeline.jobs.state import EventKind
    from pipeline.ledger.writer import Company
    from pipeline.providers.answers import Billing
    from pipeline.providers.base import GenerationRequest
    from pipeline.runner.context import RunContext, Seat
    from pipeline.runner.limits import Pace
    from pipeline.runner.progress import Binding


UNDELIVERED_LEAST, UNDELIVERED_SHARE = 10, 0.05
"""Submitting stops after more paid clips than this were not delivered: a number, or a share of the items."""


OFFLINE_S = 120.0
"""For how long calls must have failed to leave before the network counts as gone."""
GONE_TIMES, GONE_OVER_S = 3, 600.0
"""How often, and over how long, a vendor must say that something is gone: a proxy may say so too, or one of its own
machines that lags behind."""
IN_FLIGHT, IN_FLIGHT_LEAST = 100, 8
"""Jobs at a vendor at once: where no rate limits them or nothing is known of their length, and at the least."""
LOOKS_FOR_FINDING = 0.6
"""The share of the looks that may find a finished job; the others find it still running."""
LAG_SHARE = 0.15
"""How long a job stays unseen, as a share of its length."""


@dataclass(eq=False)
class Lane:
    """The mutable state is below; it changes only on the event loop's thread, between awaits."""

    seat: Seat
    run: RunContext
    planned: Planned = field(default_factory=Planned)
    """What is still to be submitted."""
    live: dict[tuple[str, int], Live] = field(default_factory=dict)
    """What the vendor has."""
    delivered: deque[Job] = field(default_factory=deque)
    """Jobs whose clips are all here and whose copies at the vendor are to be deleted."""
    submitting: int = 0
    """Submits under way, their intents and answers included."""
    probing: bool = False
    """Whether the last submit was told "not now", or did not leave: the next goes alone."""
    billing: set[asyncio.Task[None]] = field(default_factory=set)
    """Calls that can cost money and that nobody has heard the end of. They are not cancelled with the lane: their
    answers are written down."""
    closed: str = ""
    """Why no more is submitted."""
    unfinished: str = ""
    """Why some items are left as they are though the lane goes on."""
    drained: str = ""
    """Why nothing more is looked at or claimed; what is claimed is still fetched."""
    halted: str = ""
    """Why nothing more is asked at all."""
    others_at_work: bool = False
    """Whether other workers have items of the batch that may come to be this run's."""
    gave_back: bool = False
    """Whether items that this run would not submit were left to the other workers."""
    workers: int = 1
    """How many share the vendor's places."""
    group: asyncio.TaskGroup | None = None
    """Where tasks that follow more jobs belong; None while nobody looks at this vendor's jobs."""
    leaving: bool = False
    """Whether the run is stopping: no more calls that can cost money begin."""
    looking: int = 0
    """Looks under way."""
    arriving: int = 0
    """Clips that looks found and that wait, their connections open, until there is a slot to download them in."""
    refusals: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By model: the reason of its last refusal (empty where it is the model's), and how often in a row it was that."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """By model: submits without a usable answer since the last one of it that was accepted."""
    unanswered_in_a_row: int = 0
    """The same, of all models together."""
    contested: dict[str, str] = field(default_factory=dict)
    """Vendor's ids that a second item was given as well, and which one that was."""
    not_sent: int = 0
    """Calls in a row that could not be sent."""
    unsent_since: float = 0.0
    """When the first of them was found to be unsent."""
    told_at: float = float("-inf")
    """When a look last told what a job was doing."""
    when_drained: asyncio.Event = field(default_factory=asyncio.Event)
    when_halted: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Set up the limits."""
        limits = self.seat.limits
        self.submits = self._endpoint(
            "submits", SlidingLog(limits.submits_per_minute) if limits.submits_per_minute else Unpaced()
        )
        self.looks = self._endpoint(
            "looks", EvenPace(limits.looks_per_minute) if limits.looks_per_minute else Unpaced()
        )
        self.claims = self._endpoint("claims", Unpaced())
        self.cleanups = self._endpoint(  # one a clip, so that what the submits keep to is enough
            "cleanups", SlidingLog(limits.submits_per_minute) if limits.submits_per_minute else Unpaced()
        )
        self.failures = FailureBudget(limits.failures_per_30_s)
        self.schedule = Schedule(limits.look_spacing_s / limits.speed, limits.speed)
        self.billing_slots = Slots(limits.concurrent_billing)
        self.download_slots = Slots(limits.concurrent_downloads)

    def _endpoint(self, name: str, pace: Pace) -> Endpoint:
        seat = self.seat
        origin = blake2b(seat.base_url.encode(), digest_size=6).hexdigest()
        return Endpoint(pace, self.run.effects.shelf, f"{seat.capabilities.name}-{origin}-{seat.account}-{name}")

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.seat.capabilities.name

    @property
    def cleans_up(self) -> bool:
        """Whether the vendor's copies are deleted once a clip is here."""
        return self.run.cleanup and self.seat.capabilities.cleans_up

    @property
    def in_flight_most(self) -> int:
        """Return how many jobs may be at the vendor at once.

        Where nobody says, by Little's law: what the rates let through, times how long a job takes and stays unseen.
        More would only wait at the vendor, and grow older before they are fetched. Submits leave bunched, so there
        is room for half a window's more than at an even pace, and for a whole window's where jobs are short.
        """
        limits = self.seat.limits
        if limits.in_flight is not None:
            return max(1, limits.in_flight // self.workers)
        rates = [limits.submits_per_minute, limits.looks_per_minute and LOOKS_FOR_FINDING * limits.looks_per_minute]
        rate_per_s = min((rate / 60 for rate in rates if rate), default=None)
        lasting_s = self.schedule.lasting_s(self.now())
        if rate_per_s is None or lasting_s is None:
            return IN_FLIGHT
        bunch = limits.submits_per_minute or 0.0
        evenly = 1.25 * rate_per_s * lasting_s * (1 + LAG_SHARE)
        return max(IN_FLIGHT_LEAST, math.ceil(max(bunch, evenly + bunch / 2) / self.workers))

    def keep(self, company: Company) -> None:
        """Keep to this run's share of what the vendor allows at once, and stay for as long as others have items."""
        self.workers = 1 + company.others.get(self.name, 0)
        most = self.seat.limits.failures_per_30_s
        self.failures.most = most and max(1, most // self.workers)
        self.others_at_work = not company.is_alone
        self.changed()

    def now(self) -> float:
        """Return monotonic seconds."""
        return self.run.effects.clock.monotonic()

    def scaled(self, seconds: float) -> float:
        """Return a wait as long as it is at this run's speed."""
        return seconds / self.seat.limits.speed

    def heard(self, *, sent: bool) -> None:
        """Note whether a call could be sent."""
        if sent:
            self.not_sent = 0
            return
        self.unsent_since = self.unsent_since if self.not_sent else self.now()
        self.not_sent += 1

    def outage_s(self) -> float:
        """Return for how long no call could be sent, at this run's speed; 0 where the last one could.

        It counts from the first call that failed, not from the last that did not: between two looks at slow jobs may
        lie minutes of silence.
        """
        return (self.now() - self.unsent_since) * self.seat.limits.speed if self.not_sent else 0.0

    def of_another_key(self, job: Job) -> str:
        """Return what to tell of a job that this key did not submit, and so cannot know; empty for its own."""
        if job.account == self.seat.account:
            return ""
        return f"{job.item_id} was submitted with another key; resume with that one."

    def changed(self) -> None:
        """Wake whoever waits for something to change."""
        self._changed.set()

    async def wait(self, seconds: float, binding: Binding | None = None) -> None:
        """Wait until something changed, or for `seconds` (infinite for never)."""
        if binding is not None:
            self.run.progress.binding[self.name] = binding
        self._changed.clear()
        if seconds == float("inf"):
            await self._changed.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._changed.wait()

    async def rest(self, seconds: float, *, until: asyncio.Event) -> None:
        """Wait for some seconds, but no longer than until something has ended that makes the waiting pointless."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()

    def close(self, reason: str) -> None:
        """Submit no more; the first reason stays."""
        self.closed = self.closed or reason
        self.run.progress.note(reason)
        self.changed()

    def drain(self, reason: str) -> None:
        """Look at nothing more and claim nothing more; the first reason stays."""
        self.drained = self.drained or reason
        self.when_drained.set()
        self.close(reason)

    def halt(self, reason: str) -> None:
        """Ask nothing more; the first reason stays."""
        self.halted = self.halted or reason
        self.when_halted.set()
        self.drain(reason)

    def leave_planned(self, why: str) -> None:
        """Tell why an item, or all of a model, is not submitted by this run; everything else goes on."""
        self.unfinished = self.unfinished or why
        self.run.progress.note(why)

    def not_delivered(self) -> None:
        """Count a clip that was paid for and cannot be had; too many of them close the lane."""
        progress = self.run.progress
        progress.undelivered += 1
        if progress.undelivered > max(UNDELIVERED_LEAST, UNDELIVERED_SHARE * progress.items):
            self.close(
                f"{progress.undelivered} clips were paid for and not delivered, so nothing more is bought. "
                f"Ask {self.name}'s support with the job ids in results.jsonl, then resume."
            )

    def may_submit(self) -> bool:
        """Tell whether there is, or may again be, something to submit."""
        return not self.closed and (len(self.planned) > 0 or self.submitting > 0 or self.others_at_work)

    def may_submit_later(self) -> bool:
        """Tell whether there may be something to submit before this lane ends: where others may fall silent, what they
        had waiting can be had for as long as this run still brings something home."""
        return self.may_submit() or (self.run.ledger.is_shared and not self.closed and bool(self.live))

    async def record(self, job: Job | None, kind: EventKind, /, **data: Any) -> Job:
        """Write an event of a job down and return the job as it now is, once that is durable."""
        assert job is not None
        event = Event(kind=kind, item_id=job.item_id, revision=job.revision, at=self.run.effects.clock.now(), data=data)
        asked = job.state in {State.SUBMITTING, State.CLAIMING}
        after = await self.run.ledger.record(job, event, partial(self.answered, job) if asked else None)
        self._count(job, after)
        self.run.meter.moved(after, event)
        return after

    def throttled(self) -> None:
        """Count an answer that told this run to wait."""
        self.run.progress.throttled += 1
        self.run.meter.throttled(self.name)

    def answered(self, job: Job) -> None:
        """Let the next call that can bill begin: this one's outcome is on its way to the disk."""
        self.billing_slots.release(job)
        self.changed()

    def _count(self, before: Job, after: Job) -> None:
        progress = self.run.progress
        progress.spent_usd += after.committed_usd - before.committed_usd
        if after.state is before.state:
            return
        progress.done += (after.state is State.DONE) - (before.state is State.DONE)
        progress.failed += (after.state in UNSUCCESSFUL) - (before.state in UNSUCCESSFUL)
        progress.in_doubt += (after.state in IN_DOUBT) - (before.state in IN_DOUBT)

    def follow(self, job: Job, *, look: bool = True) -> Live:
        """Begin to follow a job that the vendor has: to look at it, unless it only needs fetching."""
        clock = self.run.effects.clock
        age_s = (clock.now() - job.submitted_at).total_seconds() if job.submitted_at else 0.0
        live = self.schedule.accept(job, self.now() - max(age_s, 0.0))
        self.live[job.item_id, job.revision] = live
        self.run.progress.at_provider += 1
        if look:
            self.schedule.add(live, self.now())
        self.changed()
        return live

    def found(self, live: Live, now: float) -> None:
        """Learn from a look that found a job finished."""
        if live.found_at is None:
            live.found_at = now
            self.run.progress.found += 1
            unseen_s = self.schedule.finished(live, now)
            self.run.progress.unseen_s += unseen_s
            self.run.meter.found(live.job, unseen_s)
            self.changed()

    def finish(self, live: Live) -> None:
        """Stop following a job: it ended, is held, or its clips are home."""
        if self.live.pop((live.job.item_id, live.job.revision), None) is not None:
            self.run.progress.at_provider -= 1
            if live.job.state is State.DONE and self.cleans_up:
                self.delivered.append(live.job)
        if self.run.decoding is not None:
            self.run.decoding.add(live.job)
        if self.run.uploading is not None:
            self.run.uploading.add(live.job)
        self.run.progress.remaining_s[self.name] = self.remaining_s()
        self.changed()

    def remaining_s(self) -> float | None:
        """Return about how long this lane will take; None while nobody knows how long a job lasts."""
        expected_s = self.schedule.expected_s()
        if expected_s is None:
            return None
        waiting = 0 if self.closed else len(self.planned)
        per_s = self.in_flight_most / max(expected_s * (1 + LAG_SHARE), 1e-3)
        if self.seat.limits.submits_per_minute:
            per_s = min(per_s, self.seat.limits.submits_per_minute / 60)
        last_s = expected_s * (1 + LAG_SHARE) if waiting or self.live else 0.0
        return waiting / per_s + last_s

    def left_behind(self, live: Live, why: str) -> None:
        """Stop following a job that is not at its end: it stays as it is for the next run."""
        self.unfinished = self.unfinished or why
        self.run.progress.note(why)
        self.finish(live)

    async def bill(self, call: Coroutine[Any, Any, None]) -> None:
        """Run a call that can cost money such that cancelling the lane does not cut it off from its answer.

        A call that the lane no longer waits for stays in `billing`, with whatever went wrong with its answer.
        """
        task = asyncio.get_running_loop().create_task(call)
        self.billing.add(task)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.leaving = True
            raise
        except BaseException:
            self.billing.discard(task)
            raise
        self.billing.discard(task)

    async def write_to_the_end(self, writing: Coroutine[Any, Any, None]) -> None:
        """Write down what became of a call, and learn whether that worked, even where the caller is cancelled."""
        task = asyncio.get_running_loop().create_task(writing)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await task
            raise

    async def intend(self, job: Job, intent: EventKind, taken_back: EventKind, /, **data: Any) -> Job:
        """Write down that a call that can cost money is about to leave, and return the job as it now is.

        Raises:
            CancelledError: the run is stopping; the intent was taken back, durably, and the call must not leave.
        """
        writing = asyncio.get_running_loop().create_task(self.record(job, intent, **data))
        try:
            job = await asyncio.shield(writing)
            if self.leaving:
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            await self.record(await writing, taken_back, why="The run was stopped before the call left.")
            raise
        return job

    def price(self, request: GenerationRequest) -> tuple[float | None, CostIs]:
        """Return what one submit of the request costs, and how that is known."""
        return self.run.prices.of(self.name, self.seat.provider, request)


def failure(kind: str, message: str, billing: Billing, **evidence: Any) -> dict[str, Any]:
    """Return a failure as an event carries it."""
    return failure_to_json(Failure(kind=kind, message=message, billing=billing, evidence=evidence))
