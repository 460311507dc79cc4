"""Who is looked at next: one schedule for all jobs of a provider, under one budget of looks.

Each job waits until the time for which it is expected to have been finished and unseen reaches a floor; of those that
wait no longer, the one with the largest is looked at first. There are no timers and no task a job. The constants scale
with the class: jobs that finish at once are found at once, and jobs of an hour are not asked after every second.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import Running, Stage
from pipeline.runner.hazard import Law

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.jobs.job import Job

UNSEEN_S = 1.0
"""A look is worth its cost when a job is expected to have been done and unseen for this long ..."""
MANY = 50
"""... with this many jobs in flight; with fewer, looks are to be had more cheaply."""
FLOOR_SHARE, SPACING_SHARE = 1 / 20, 1 / 10
"""Neither the floor nor the spacing is more than this share of the class's mean."""
WANTED_FLOOR_SHARE, WANTED_SPACING_SHARE = 1 / 400, 1 / 20
"""The same while others wait for the places that jobs keep: what is unseen then costs throughput."""
LEAST_S = 0.01
SCOUTS, SCOUTING_SHARE = 6, 1 / 3
"""How many jobs of an unknown class are looked at early and often, in turns, and how often: at ages that grow by a
third."""
GUARD_S = 120.0
"""A job not looked at for this long, and for half its age, comes first whatever the law says."""
FIRST_OF_ALL = 1e6
OWN_LAW_AFTER = 20
"""Completions of a class before its own law is believed; until then that of its model is."""
REFRESH_AFTER, REFRESH_SHARE = 5, 50
DEADLINE_LEAST_S, DEADLINE_FACTOR, DEADLINE_KNOWN_AFTER = 1800.0, 10.0, 5
DEADLINE_UNKNOWN_S = 4 * 3600.0
KEPT_SHARE = 0.25
"""How much of what an earlier run learned still counts."""


@dataclass(eq=False)
class Live:
    """A job that the vendor has, and what this run has seen of it. Nothing of this needs to be durable."""

    job: Job
    accepted_at: float
    """Monotonic, as are all times here."""
    since: float
    """When its age begins to count: when it began to run, as far as that is known."""
    laws: tuple[Law, Law] = field(default_factory=lambda: (Law(), Law()))
    """That of its class, and that of its model."""
    followed_at: float = float("inf")
    """When this run began to look at it."""
    looked_at: float = float("-inf")
    """When it was last seen unfinished."""
    due: float = 0.0
    found_at: float | None = None
    """When a look first found it finished."""
    not_before: float = float("-inf")
    """Set after a look that brought no answer."""
    ticket: int = 0
    """Which of its places in the schedule is valid; 0 for none."""
    is_ripe: bool = False
    """Whether it is due."""
    is_scout: bool = False
    """Whether it is looked at often while nothing is known of its class."""
    looks: int = 0
    failures: int = 0
    """Looks in a row that brought no answer."""
    gone_at: list[float] = field(default_factory=list)
    """When the vendor said that it does not know the job."""
    broken_at: list[float] = field(default_factory=list)
    """When a look was answered with a server error."""
    broken: int = 0
    """Downloads that did not arrive whole."""
    refused: int = 0
    """Claims that were refused."""
    unsent_at: list[float] = field(default_factory=list)
    """When a claim could not be sent. Looks do not reset it: they may have a connection that is open still."""

    @property
    def law(self) -> Law:
        """The law that is believed of it."""
        own, pooled = self.laws
        return own if own.completions >= OWN_LAW_AFTER else pooled

    @property
    def last_age_s(self) -> float:
        """Its age when it was last seen unfinished."""
        return max(self.looked_at - self.since, 0.0)


@dataclass
class Schedule:
    """When each job is due, and who is first.

    The mutable state is the heap of those that wait, the list of those that are due, and the laws.
    """

    advised_spacing_s: float
    """The least time between two looks at one job that the vendor advises, at this run's speed."""
    speed: float = 1.0
    places_wanted: bool = False
    """Whether jobs wait to be submitted until others end, because somebody said how many there may be at once."""
    learned: dict[str, Law] = field(default_factory=dict)
    """By class."""
    _waiting: list[tuple[float, int, Live]] = field(default_factory=list)
    _ripe: list[Live] = field(default_factory=list)
    _members: dict[int, Live] = field(default_factory=dict)
    """By valid ticket: every job that is waiting or due."""
    _tickets: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __len__(self) -> int:
        """How many jobs are to be looked at."""
        return len(self._members)

    def accept(self, job: Job, since: float) -> Live:
        """Begin with a job that the vendor has had `since` then."""
        own, pooled = class_names(job)
        for name in (own, pooled):
            if name not in self.learned:
                self.learned[name] = Law()
        laws = (self.learned[own], self.learned[pooled])
        return Live(job=job, accepted_at=since, since=since, laws=laws)

    def add(self, live: Live, now: float, not_before: float = float("-inf")) -> None:
        """Have a job looked at as soon as it is worth it, and not before `not_before`.

        Of a class of which nothing is known, a few jobs are scouts: they are looked at at once and often, and the
        others wait for what those find.
        """
        law = live.law
        if not law.is_known and not live.looks and not live.is_scout and law.scouts < SCOUTS:
            law.scouts += 1
            live.is_scout = True
        live.ticket = next(self._tickets)
        live.not_before = not_before
        live.followed_at = min(live.followed_at, now)
        live.due = max(self._due(live, now), not_before)
        self._members[live.ticket] = live
        heapq.heappush(self._waiting, (live.due, live.ticket, live))

    def _due(self, live: Live, now: float) -> float:
        law = live.law
        last = max(live.looked_at, live.since)
        guard = last + max(GUARD_S / self.speed, last - live.since)
        if not law.is_known and not live.is_scout:
            return guard
        if not law.is_known and live.looks == 0:
            return now
        worth = live.since + law.age_when_unseen_s(live.last_age_s, self._floor_s(law))
        return max(last + self._spacing_s(law), min(worth, guard))

    def _floor_s(self, law: Law) -> float:
        many = min(1.0, (len(self._members) + 1) / MANY)
        share = WANTED_FLOOR_SHARE if self.places_wanted else FLOOR_SHARE
        return max(LEAST_S / 2, min(UNSEEN_S / self.speed * many, law.mean_s * share))

    def _spacing_s(self, law: Law) -> float:
        known_share = WANTED_SPACING_SHARE if self.places_wanted else SPACING_SHARE
        share = known_share if law.is_known else SCOUTING_SHARE
        return max(LEAST_S, min(self.advised_spacing_s, law.mean_s * share))

    def choose(self, now: float) -> tuple[Live | None, float]:
        """Return the job to look at now and 0, or None and the seconds until one is due (infinite for never)."""
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][2].ticket != self._waiting[0][1]):
            _, ticket, live = heapq.heappop(self._waiting)
            if live.ticket == ticket:
                live.is_ripe = True
                self._ripe.append(live)
        if self._ripe:
            place = max(range(len(self._ripe)), key=lambda at: self._priority(self._ripe[at], now))
            live = self._ripe[place]
            self._ripe[place] = self._ripe[-1]
            self._ripe.pop()
            del self._members[live.ticket]
            live.ticket, live.is_ripe = 0, False
            return live, 0.0
        return None, self._waiting[0][0] - now if self._waiting else float("inf")

    def _priority(self, live: Live, now: float) -> float:
        age_s = now - live.since
        unwatched_s = now - max(live.looked_at, live.since)
        starved = unwatched_s >= max(GUARD_S / self.speed, age_s / 2)
        return live.law.unseen_s(live.last_age_s, age_s) + (FIRST_OF_ALL if starved else 0.0)

    def unfinished(self, live: Live, answer: Running, now: float) -> None:
        """Learn from a look that found a job unfinished, and put it back."""
        if answer.usual_s is not None:
            for law in live.laws:
                if law.tell_usual(answer.usual_s):
                    self._reconsider(law, now)
        if answer.stage is Stage.QUEUED:
            for law in live.laws:
                law.survived_s = max(law.survived_s, now - live.accepted_at)
            live.since = now  # it has not begun: its age counts from when that was last known
        else:
            if answer.elapsed_s is not None:
                live.since = min(live.since, now - answer.elapsed_s)
            for law in live.laws:
                law.unfinished(live.last_age_s, now - live.since)
        live.looked_at = now
        if live.is_scout and not live.law.is_known:
            self._relieve(live, now)
        self.add(live, now)

    def _relieve(self, scout: Live, now: float) -> None:
        """Have another job of about its age looked at next in a scout's stead: one that may have finished long ago."""
        age_s = now - scout.since
        others = [
            each
            for each in self._members.values()
            if each.law is scout.law and not each.is_scout and not each.is_ripe and now - each.since >= age_s / 2
        ]
        if others:
            successor, turn = min(others, key=lambda each: (each.looks, each.since)), self._due(scout, now)
            scout.is_scout, successor.is_scout = False, True
            del self._members[successor.ticket]
            self.add(successor, now, turn)

    def finished(self, live: Live, now: float) -> float:
        """Learn from a look that found a job finished; return for how long, in expectation, it had been."""
        delay_s = [law.finished(live.last_age_s, now - live.since) for law in live.laws][live.law is live.laws[1]]
        for law in live.laws:
            if law.unread >= max(REFRESH_AFTER, len(self._members) / REFRESH_SHARE) or law.completions == 1:
                law.refresh()
                self._reconsider(law, now)
        return delay_s

    def ended(self, live: Live, now: float) -> None:
        """Learn from a look that found that a job had failed: it lasted this long, and did not finish."""
        for law in live.laws:
            law.unfinished(live.last_age_s, now - live.since)

    def is_overdue(self, live: Live, now: float) -> bool:
        """Tell whether a job has lasted so much longer than its class that this run waits for it no more.

        Only this run's own waiting counts: a run that is told to go on with such a job waits as long for it again.
        """
        law = live.law
        waited_s = now - live.followed_at
        if law.completions < DEADLINE_KNOWN_AFTER:
            return waited_s > DEADLINE_UNKNOWN_S / self.speed
        return waited_s > max(DEADLINE_LEAST_S / self.speed, DEADLINE_FACTOR * law.quantile_s(0.95))

    def _reconsider(self, law: Law, now: float) -> None:
        """Work out anew when the jobs of a law are due."""
        for live in [each for each in self._members.values() if each.law is law and not each.is_ripe]:
            del self._members[live.ticket]
            self.add(live, now, live.not_before)

    def all_due(self, now: float) -> None:
        """Have everything looked at again: the machine slept, and what was believed of time is stale."""
        for live in self._members.values():
            live.due = now
        self._waiting = [(now, ticket, live) for ticket, live in self._members.items() if not live.is_ripe]
        heapq.heapify(self._waiting)

    def expected_s(self) -> float | None:
        """Return how long a job is expected to last, over the classes that are known; None where none is."""
        known = [law for name, law in self.learned.items() if law.is_known and law.mean_s > 0]
        return max((law.mean_s for law in known), default=None)

    def lasting_s(self, now: float) -> float | None:
        """Return how long jobs seem to last now: as expected, or longer where those at the vendor are too old for that.

        They show a vendor that has slowed down before the first of them is found finished. Jobs met in their course
        are on average half as old as they will be, or a little more where some last longer than others.
        """
        expected_s = self.expected_s()
        if expected_s is None or not self._members:
            return expected_s
        mean_age_s = now - sum(live.since for live in self._members.values()) / len(self._members)
        return max(expected_s, 2 * mean_age_s)

    def to_json(self) -> dict[str, Any]:
        """Return what was learned as plain JSON, by class."""
        return {name: law.to_json() for name, law in self.learned.items() if law.completions}

    def take_up(self, learned: Mapping[str, Any]) -> None:
        """Begin with what earlier runs learned."""
        for name, value in learned.items():
            law = Law.from_json(value, KEPT_SHARE)
            if law is not None:
                self.learned[name] = law


def class_names(job: Job) -> tuple[str, str]:
    """Return the names of a job's class and of the class of all jobs of its model."""
    parameters = job.request.parameters
    shape = [str(parameters.get(name, "")) for name in ("duration_seconds", "resolution", "generate_audio")]
    pooled = f"{job.provider}/{job.request.model}"
    return "/".join([pooled, *shape]), pooled
