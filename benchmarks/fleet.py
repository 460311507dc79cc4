"""Many workers in a small model of events: the real schedule and the real paces, on one shared record a key.

A worker leases a few planned items at a time, submits them, and looks at its own jobs; when it is killed, its jobs go
to others once its lease has ended. Calls take a tenth of a second, and a touch of the shared record nothing: how often
it is touched is counted, which is what a database must bear.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.alone import SPACING_S, Told
from benchmarks.policies import ONE_WAY_S, Account
from benchmarks.vendor import Gate
from pipeline.providers.answers import Running, Stage
from pipeline.providers.base import GenerationRequest
from pipeline.runner.limits import Endpoint, EvenPace, SlidingLog
from pipeline.runner.schedule import Live, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.laws import Law

BITE = 4
"""Planned items leased at once."""
WAKES_LATE_S = 0.01
"""How late a worker wakes at most: who of several that wait for the same moment is first is left to chance."""
RESTART_S = 10.0
"""From a worker's death to the start of its successor."""


@dataclass
class SharedRecords:
    """The records that all workers share, and how often they were touched."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    touches: int = 0

    def update(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change one, with nobody in between."""
        self.touches += 1
        self.records[name] = change(self.records.get(name, {}))


@dataclass(kw_only=True)
class FleetAccount(Account):
    """What became of a batch with many workers."""

    touches: int = 0
    """Of the shared records."""
    killed: int = 0
    taken_over: int = 0
    """Jobs at the vendor whose worker died."""
    idle_s: list[float] = field(default_factory=list)
    """How long each of those was looked at by nobody, from the death on."""
    doubts: int = 0
    """Submits whose worker died before it had the answer."""
    twice: int = 0
    """Items that were submitted twice, doubts apart."""


@dataclass
class Work:
    """What all workers of one key share. The mutable state is what is planned, what is orphaned, and the gate."""

    key: int
    planned: list[int]
    gate: Gate
    orphans: list[tuple[float, float, list[Live], list[int]]] = field(default_factory=list)
    """When their lease ends, when their worker died, its jobs, its planned items."""
    ends: dict[int, float] = field(default_factory=dict)
    left: int = 0


@dataclass(eq=False)
class Worker:
    """One process with one key. The mutable state is what it has leased and what is at the vendor for it."""

    work: Work
    submits: Endpoint
    looks: Endpoint
    schedule: Schedule
    late: random.Random
    leased: list[int] = field(default_factory=list)
    submitting: set[int] = field(default_factory=set)
    jobs: dict[int, Live] = field(default_factory=dict)
    alive: bool = True
    takes_over_at: float = 0.0
    wakes_at: float = 0.0
    """When it is to be called next if no answer comes before; earlier intentions do not count."""


def fleet(
    law: Law,
    seed: int,
    clips: int,
    *,
    workers: int,
    keys: int,
    limits: tuple[float, float],
    kills: int = 0,
    lease_s: float = 30.0,
) -> FleetAccount:
    """Take a batch through many workers.

    Args:
        law: of the durations.
        seed: of the durations and of who is killed when.
        clips: how many, shared out among the keys.
        workers: how many, shared out among the keys.
        keys: accounts, each with limits of its own.
        limits: submits and looks a minute of each key.
        kills: how many workers are killed, spread over the time that the submits take.
        lease_s: how long a dead worker's items stay its own.
    """
    account, shelf = FleetAccount(), SharedRecords()
    tickets = itertools.count()
    events: list[tuple[float, int, Any]] = []
    works = [Work(key, list(range(key, clips, keys))[::-1], Gate(*limits, seed=seed + key)) for key in range(keys)]

    def at(when: float, what: Any) -> None:
        heapq.heappush(events, (when, next(tickets), what))

    def born(work: Work, now: float) -> Worker:
        log = SlidingLog(limits[0])
        log.expect(clips // keys)
        submits = Endpoint(log, shelf, f"submit/{work.key}")
        looks = Endpoint(EvenPace(limits[1]), shelf, f"look/{work.key}")
        late = random.Random(f"late/{seed}/{next(tickets)}")
        worker = Worker(work, submits, looks, Schedule(SPACING_S), late)
        worker.wakes_at = now
        at(now, (worker, None))
        return worker

    for work in works:
        work.left = len(work.planned)
    alive = [born(works[number % keys], 0.0) for number in range(workers)]
    source = random.Random(f"kills/{seed}")
    for _ in range(kills):
        at(source.uniform(0.1, 0.9) * clips / keys / limits[0] * 60.0, (None, None))
    now = 0.0
    while any(work.left for work in works):
        now, _, (worker, answer) = heapq.heappop(events)
        if worker is None:
            victim = alive.pop(source.randrange(len(alive)))
            _die(victim, account, now, now + lease_s)
            alive.append(born(victim.work, now + RESTART_S))
            continue
        if not worker.alive or (answer is None and now != worker.wakes_at):
            continue
        if answer is not None:
            answer(now)
        for when, what in _act(worker, law, seed, account, now, lease_s):
            at(when, (worker, what))
    account.makespan_s, account.touches = now, shelf.touches
    account.refusals = sum(work.gate.refusals for work in works)
    account.lockouts = sum(work.gate.lockouts for work in works)
    return account


def _die(worker: Worker, account: FleetAccount, now: float, lease_ends_at: float) -> None:
    worker.alive = False
    account.killed += 1
    account.doubts += len(worker.submitting)
    worker.work.left -= len(worker.submitting)
    worker.work.orphans.append((lease_ends_at, now, list(worker.jobs.values()), worker.leased))


def _act(
    worker: Worker, law: Law, seed: int, account: FleetAccount, now: float, lease_s: float
) -> Iterator[tuple[float, Callable[[float], None] | None]]:
    """Do all that a worker can do now; yield when it is to be called again, with what it has to take in then."""
    _take_over(worker, account, now, lease_s)
    wake_s = [lease_s / 3]
    while True:
        if not worker.leased and worker.work.planned:
            worker.leased = [worker.work.planned.pop() for _ in range(min(BITE, len(worker.work.planned)))]
        if worker.leased:
            wait_s = worker.submits.wait_s(now) or worker.submits.try_take(now)
            if wait_s <= 0:
                yield _submit(worker, worker.leased.pop(), law, seed, account, now)
                continue
            wake_s.append(wait_s)
        live, due_in_s = (None, 0.0) if worker.looks.wait_s(now) > 0 else worker.schedule.choose(now)
        if live is None:
            wake_s.append(max(worker.looks.wait_s(now), due_in_s))
            break
        wait_s = worker.looks.try_take(now)
        if wait_s > 0:
            worker.schedule.add(live, now, now)
            wake_s.append(wait_s)
            break
        yield _look(worker, live, law, account, now)
    worker.wakes_at = now + max(min(wake_s), 1e-4) + worker.late.uniform(0.0, WAKES_LATE_S)
    yield worker.wakes_at, None


def _submit(
    worker: Worker, number: int, law: Law, seed: int, account: FleetAccount, now: float
) -> tuple[float, Callable[[float], None]]:
    work = worker.work
    arrived = now + ONE_WAY_S
    assert work.gate.admit("submit", arrived) is None, "the workers together passed the limit"
    account.twice += number in work.ends
    work.ends[number] = arrived + law.takes_s(seed, number, arrived)
    worker.submitting.add(number)
    request = GenerationRequest(model=f"model-{number % law.models}", prompt="", parameters={})

    def accepted(at: float) -> None:
        worker.submitting.discard(number)
        worker.jobs[number] = worker.schedule.accept(Told(number, "venice", request), at)  # type: ignore[arg-type]
        worker.schedule.add(worker.jobs[number], at)

    return now + 2 * ONE_WAY_S, accepted


def _look(
    worker: Worker, live: Live, law: Law, account: FleetAccount, now: float
) -> tuple[float, Callable[[float], None]]:
    number, arrived = live.job.number, now + ONE_WAY_S  # type: ignore[attr-defined]
    refused = worker.work.gate.admit("look", arrived)
    account.looks += 1
    live.looks += 1

    def answered(at: float) -> None:
        if refused is not None:
            worker.looks.pause(at, refused[0])
            worker.schedule.add(live, at, at)
        elif arrived >= worker.work.ends[number]:
            worker.schedule.finished(live, at)
            del worker.jobs[number]
            worker.work.left -= 1
            account.lags_s.append(arrived - worker.work.ends[number])
        else:
            told = Running(stage=Stage.RUNNING, word="", usual_s=law.told_s[number % law.models])
            worker.schedule.unfinished(live, told, at)

    return now + 2 * ONE_WAY_S, answered


def _take_over(worker: Worker, account: FleetAccount, now: float, lease_s: float) -> None:
    """Take the items of workers whose lease has ended, as a scan every third of a lease finds them."""
    work = worker.work
    if now < worker.takes_over_at or not work.orphans:
        return
    worker.takes_over_at = now + lease_s / 3
    for orphaned in [each for each in work.orphans if each[0] <= now]:
        work.orphans.remove(orphaned)
        _, died_at, jobs, leased = orphaned
        work.planned.extend(reversed(leased))
        for old in jobs:
            account.taken_over += 1
            account.idle_s.append(now - died_at)
            live = worker.schedule.accept(old.job, old.since)
            worker.jobs[old.job.number] = live  # type: ignore[attr-defined]
            worker.schedule.add(live, now)
