"""The schedule alone, without runner, ledger and network: what it would do were one thing otherwise.

The real schedule and the real paces take jobs through a small model of events, in which a call takes a tenth of a
second. It isolates causes: submits spread evenly or in bursts, laws known from the start, models in turns or not.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from benchmarks.policies import ONE_WAY_S, Account
from pipeline.providers.answers import Running, Stage
from pipeline.providers.base import GenerationRequest
from pipeline.runner.hazard import Law as LearnedLaw
from pipeline.runner.limits import EvenPace, SlidingLog, Unpaced
from pipeline.runner.schedule import Live, Schedule, class_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.laws import Law
    from pipeline.runner.limits import Pace

DRAWS = 4000
SPACING_S = 5.0


class Submits(Enum):
    """How submits leave."""

    AS_THE_RUNNER_SENDS_THEM = auto()
    BURSTS = auto()
    """As many as the limit allows, as early as it allows."""
    EVENLY = auto()


def _pace(submits: float, submits_as: Submits, clips: int) -> Pace:
    if not submits:
        return Unpaced()
    if submits_as is Submits.EVENLY:
        return EvenPace(submits)
    log = SlidingLog(submits)
    if submits_as is Submits.AS_THE_RUNNER_SENDS_THEM:
        log.expect(clips)
    return log


@dataclass(frozen=True)
class Told:
    """As much of a job as the schedule reads."""

    number: int
    provider: str
    request: GenerationRequest


def _told(number: int, law: Law) -> Told:
    model = f"model-{number % law.models}"
    return Told(number, "venice", GenerationRequest(model=model, prompt="", parameters={}))


def _true_law(law: Law, model: int) -> LearnedLaw:
    """Return what a run would have learned that saw thousands of jobs finish at the very moment."""
    learned = LearnedLaw(usual_s=law.told_s[model])
    for number in range(model, DRAWS * law.models, law.models):
        took_s = law.takes_s(-1, number, 0.0)
        learned.unfinished(0.0, took_s)
        learned.finished(took_s, took_s)
    learned.refresh()
    return learned


def alone(
    law: Law,
    seed: int,
    clips: int,
    submits: float,
    looks: float,
    *,
    order: Sequence[int] | None = None,
    submits_as: Submits = Submits.AS_THE_RUNNER_SENDS_THEM,
    told_all: bool = False,
    at_once: int | None = None,
) -> Account:
    """Take a batch through the schedule.

    Args:
        law: of the durations.
        seed: of the durations.
        clips: how many.
        submits: a minute; 0 for no limit.
        looks: a minute; 0 for no limit.
        order: of the submits; that of the clips' numbers where it is None.
        submits_as: how they leave.
        told_all: begin with the laws known.
        at_once: most jobs at the vendor.
    """
    schedule = Schedule(SPACING_S)
    if told_all:
        for number in range(law.models):
            for name in class_names(_told(number, law)):  # type: ignore[arg-type]
                schedule.learned[name] = _true_law(law, number)
    submit_pace = _pace(submits, submits_as, clips)
    look_pace: Pace = EvenPace(looks) if looks else Unpaced()
    waiting = list(range(clips) if order is None else order)[::-1]
    ends: dict[int, float] = {}
    account, now, in_flight = Account(), 0.0, 0
    tickets = itertools.count()
    answers: list[tuple[float, int, Live | None, int, float]] = []
    while waiting or in_flight:
        while answers and answers[0][0] <= now:
            at, _, live, number, arrived = heapq.heappop(answers)
            if live is None:
                schedule.add(schedule.accept(_told(number, law), at), at)  # type: ignore[arg-type]
            elif arrived >= ends[number]:
                schedule.finished(live, at)
                in_flight -= 1
                account.lags_s.append(arrived - ends[number])
                account.makespan_s = at
            else:
                told = Running(stage=Stage.RUNNING, word="", usual_s=law.told_s[number % law.models])
                schedule.unfinished(live, told, at)
        due_s = [answers[0][0] - now if answers else float("inf")]
        if waiting and (at_once is None or in_flight < at_once):
            due_s.append(submit_pace.wait_s(now))
            if due_s[-1] <= 0:
                submit_pace.take(now)
                number = waiting.pop()
                ends[number] = now + ONE_WAY_S + law.takes_s(seed, number, now + ONE_WAY_S)
                heapq.heappush(answers, (now + 2 * ONE_WAY_S, next(tickets), None, number, 0.0))
                in_flight += 1
                continue
        due_s.append(look_pace.wait_s(now))
        if due_s[-1] <= 0:
            chosen, due_s[-1] = schedule.choose(now)
            if chosen is not None:
                look_pace.take(now)
                account.looks += 1
                chosen.looks += 1
                number = chosen.job.number  # type: ignore[attr-defined]
                heapq.heappush(answers, (now + 2 * ONE_WAY_S, next(tickets), chosen, number, now + ONE_WAY_S))
                continue
        now += max(min(due_s), 1e-6)
    return account
