"""One life of a batch: begun, struck, left alone for a while, recovered (and struck again), and brought to its end.

    first run -> struck at the point -> the vendor goes on alone -> recovery, in 30 % of lives struck again, some twice
    -> an operator answers, in some lives -> faults stop -> runs until nothing is left
    -> in a fifth of the lives, the power fails once more, and a run finds nothing to do

Whatever is drawn is drawn from the scenario, the seed and the point. Out comes what was blamed, and by whose invariant.
"""

from __future__ import annotations

import random
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, State
from pipeline.ledger.store import Ledger
from pipeline.ledger.writer import OverBudget
from pipeline.runner.settle import Answer, price_at_risk, retry, settle
from tests.support.memory_files import Crash
from tests.support.simulation.world import World
from tests.torture.books import FOLDER
from tests.torture.scenarios import SCENARIOS, VENICE_LINKED, Flavour
from tests.torture.stage import LATENCY_S, LEASE_S, WORLD_MOST_S, Ending, Point, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.jobs.job import Job
    from tests.support.simulation.process import Process
    from tests.torture.scenarios import Scenario
    from tests.torture.witness import Blame

CRASH_AGAIN = 0.3
AGAIN_WITHIN_STEPS = 70
OPERATOR, OPERATOR_WITHIN_STEPS = 0.25, 12
RECOVER_ONLY = 0.15
NOTHING_TO_DO, TWICE = 0.2, 0.5
PAUSES_S = (0.0, 0.05, 0.5, 3.0, 3.0, 40.0)
EXPIRY_PAUSE_S = 100_000.0
FINISHES_WITHIN_S = 5.0
"""What the vendor needs to finish, and to count, what it was answering."""
RUNS_TO_REST = 10
LAID_OUT_ANEW, EARLY = 0.05, 12
"""The share of lives that make a shared ledger's tables, and within how many steps and turns that is done."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What became of a life."""

    steps: int = 0
    """Of the first run."""
    turns: int = 0
    runs: int = 0
    crashes: int = 0
    second_crashes: int = 0
    strikes: int = 0
    """Kills, power cuts and orders to stop: of the first run, while recovering, of the operator, at the end."""
    doubts: int = 0
    items: int = 0
    done: int = 0
    charges: int = 0
    blamed: tuple[Blame, ...] = ()
    trace: str = field(default="", repr=False)


def live(name: str, seed: int, point: Point | None, *, with_trace: bool = False, server: str | None = None) -> Told:
    """Live one life; without a point, nothing strikes the first run and its moments are counted.

    `server` is the address of the PostgreSQL server that its ledger is in; None for SQLite.
    """
    scenario = SCENARIOS[name]
    with (
        World(
            seed=hash_free(f"{name}/{seed}"),
            shuffle=True,
            latency_s=LATENCY_S,
            late=scenario.late,
            limit_s=WORLD_MOST_S,
        ) as world,
        shared_ledger(world, server, anew=is_laid_out_anew(name, seed, point)),
    ):
        told = Life(world, scenario, seed, point).told(with_trace=with_trace)
        world.loop.before_callback = None  # what is left is the world's own end
        return told


def is_laid_out_anew(name: str, seed: int, point: Point | None) -> bool:
    """Tell whether a shared ledger's tables are made in a life: wherever it is struck meanwhile, and in some others.

    The others begin with an empty ledger, as if a run had died as soon as it had laid it out: to make tables takes a
    server as long as a whole life.
    """
    is_early = point is not None and (0 < point.step <= EARLY or 0 < point.turn <= EARLY)
    return is_early or random.Random(f"{name}/{seed}/{point}/anew").random() < LAID_OUT_ANEW


@contextmanager
def shared_ledger(world: World, server: str | None, *, anew: bool) -> Iterator[None]:
    """Have the batch's ledger in a server for a life."""
    if server is None:
        yield
        return
    from tests.support.simulation.sessions import Sessions

    world.sessions = Sessions(server, world.loop.time, anew=anew)
    world.files.plant(FOLDER.shared, world.sessions.note())
    try:
        yield
    finally:
        world.sessions.close()


def hash_free(text: str) -> int:
    """Return a number that depends on the text alone, in every process."""
    return random.Random(text).getrandbits(48)


class Life:
    """The mutable state is the stage's, and how often what happened."""

    def __init__(self, world: World, scenario: Scenario, seed: int, point: Point | None) -> None:
        self._world = world
        self._scenario = scenario
        self._point = point
        self._random = random.Random(f"{scenario.name}/{seed}/{point}")
        self._stage = Stage(world, scenario, seed)
        self._runs = self._second_crashes = self._steps = self._turns = self._last_cuts = 0
        self._orders = int(point is not None and point.flavour not in {Flavour.KILL, Flavour.POWER})
        self._doubts: set[str] = set()

    def told(self, *, with_trace: bool) -> Told:
        """Live it, and tell."""
        witness = self._stage.witness
        self._live()
        books = witness.auditor.books()
        assert witness.vendor is not None
        return Told(
            steps=self._steps,
            turns=self._turns,
            runs=self._runs,
            crashes=witness.crashes,
            second_crashes=self._second_crashes,
            strikes=witness.crashes + self._orders + self._last_cuts,
            doubts=len(self._doubts),
            items=len(books.jobs),
            done=sum(job.state is State.DONE for job in books.jobs.values()),
            charges=sum(witness.vendor.billed.values()),
            blamed=tuple(witness.blamed),
            trace=str(self._world.trace) if with_trace or witness.blamed else "",
        )

    def _live(self) -> None:
        self._first_run()
        if self._point is not None:
            self._recover()
            if self._random.random() < OPERATOR and not self._is_over:
                self._ask_the_operator()
        self._come_to_rest()

    @property
    def _is_over(self) -> bool:
        """Whether something was blamed: the rest of the life would only repeat it."""
        return bool(self._stage.witness.blamed)

    def _first_run(self) -> None:
        stage = self._stage
        self._runs += 1
        if self._scenario.twins:
            self._runs += 1
            stage.run_twins(self._point)
        else:
            stage.run(self._point)
        self._steps, self._turns = stage.first_steps, stage.first_turns
        self._note_doubts()

    def _recover(self) -> None:
        """Run again, and be killed again in some lives, at a moment of the recovery or soon after."""
        while not self._is_over and self._random.random() < CRASH_AGAIN:
            self._leave_alone()
            power_cut = self._random.random() < 0.5
            ending = self._stage.run(crash_at=self._random.randint(1, AGAIN_WITHIN_STEPS), power_cut=power_cut)
            self._runs += 1
            self._note_doubts()
            if ending is not Ending.CRASHED:
                return
            self._second_crashes += 1
        self._leave_alone()
        if not self._is_over and self._random.random() < RECOVER_ONLY:
            self._recover_twice()

    def _recover_twice(self) -> None:
        """Run twice with the order to stop given before the start: all that is done is to recover."""
        witness = self._stage.witness
        self._stage.trouble.end_outage()
        if self._world.sessions is not None:
            self._world.pass_time(LEASE_S)  # what is a silent run's cannot be recovered sooner
        self._stage.run(stopped=True)
        once = witness.auditor.content()
        self._stage.run(stopped=True)
        twice = witness.auditor.content()
        self._runs += 2
        changed = [name for name, was in once.items() if was != twice[name]]
        if changed:
            witness.blame("I8", f"recovering twice changed {', '.join(changed)}")

    def _leave_alone(self) -> None:
        if self._random.random() < 0.5:
            self._stage.trouble.end_outage()
        pauses = (*PAUSES_S, EXPIRY_PAUSE_S) if self._scenario.expires else PAUSES_S
        self._world.pass_time(self._random.choice(pauses))

    def _ask_the_operator(self) -> None:
        """Answer the doubts and try some failures again, as an operator would; some are killed while doing so."""
        process = self._world.process("operator")
        if self._random.random() < CRASH_AGAIN:
            process.crash_at = self._random.randint(1, OPERATOR_WITHIN_STEPS)
        self._stage.trouble.end_outage()
        if not self._stage.witness.auditor.books().jobs:
            return
        with suppress(Crash):
            self._world.run(self._operate(process), process)
            self._world.bury(process)
        self._stage.witness.judge()

    async def _operate(self, process: Process) -> None:
        effects = self._world.effects(process)
        ledger = await Ledger.open(FOLDER.ledger, effects, {"pid": 2}, lease_s=LEASE_S)
        auditor = self._stage.witness.auditor
        auditor.operators.add(ledger.epoch)
        for job in await ledger.jobs(sorted(IN_DOUBT | UNSUCCESSFUL)):
            events = [event for _, event in auditor.books().events if event.item_id == job.item_id]
            if job.state in IN_DOUBT:
                said, adopted_id = self._answer(job)
                move = settle(job, said, events, price_at_risk(job), adopted_id=adopted_id)
            elif self._random.random() < 0.5:
                move = retry(job, price_at_risk(job))
            else:
                continue
            assert not isinstance(move, str), move
            with suppress(OverBudget):
                await ledger.record(job, move.event(effects.clock.now()))
        await ledger.close("settled")

    def _answer(self, job: Job) -> tuple[Answer, str]:
        """Draw what the operator says of one doubt. What the vendor has can be adopted, if its id is found."""
        known = self._stage.witness.auditor.books().accepted_ids
        accepted = self._stage.vendor.state.jobs.values()
        mine = [each.id for each in accepted if each.prompt == job.request.prompt and each.id not in known]
        answers = [Answer.ABANDON, Answer.RESUBMIT]
        if job.state is State.CLAIM_IN_DOUBT:
            answers.append(Answer.ASK_ONCE)
        elif mine and job.request.model != VENICE_LINKED:  # its link was in the answer that was lost
            answers.append(Answer.ADOPT)
        return self._random.choice(answers), mine[-1] if mine else ""

    def _come_to_rest(self) -> None:
        """Run without faults until nothing is left, cut the power, and run once more with nothing to do."""
        stage, witness = self._stage, self._stage.witness
        stage.trouble.calm_down()
        idle = 0
        for _ in range(RUNS_TO_REST):
            if self._is_over:
                return
            if idle and self._world.sessions is not None:
                self._world.pass_time(LEASE_S)  # a run that may buy nothing does not stay until the silent are lost
            asked = self._asked()
            ending = stage.run()
            self._runs += 1
            self._note_doubts()
            # One run may buy nothing because those before it died; when a second one does not either, a cap is why.
            idle = idle + 1 if asked == self._asked() else 0
            if ending is Ending.FINISHED or idle == 2:
                break
        if self._scenario.cleanup and self._world.sessions is not None and not self._is_over:
            self._world.pass_time(LEASE_S)  # nobody waits for a dead worker's clean-ups; the next run sees to them
            stage.run()
            self._runs += 1
        witness.judge(at_rest=True)
        if not self._is_over and (self._point is None or self._random.random() < NOTHING_TO_DO):
            self._cut_power_and_do_nothing()

    def _cut_power_and_do_nothing(self) -> None:
        """Let the machine fail once more, and run with nothing left to do."""
        stage, witness = self._stage, self._stage.witness
        stage.cut_power()
        self._last_cuts += 1
        self._world.pass_time(FINISHES_WITHIN_S)
        before = {"calls": self._asked(), **witness.auditor.content()}
        self._run_with_nothing_to_do()
        if self._random.random() < TWICE:
            before["files"] = witness.files()  # the run before may have swept what the power cut brought back
            self._run_with_nothing_to_do()
        after = {"calls": self._asked(), **witness.auditor.content(), "files": witness.files()}
        changed = [name for name, was in before.items() if was != after[name]]
        if changed:
            witness.blame("I8", f"a run with nothing to do changed {', '.join(changed)}")

    def _run_with_nothing_to_do(self) -> None:
        self._runs += 1
        self._stage.run()

    def _asked(self) -> tuple[int, int]:
        """Return how many requests were made, and how many connections."""
        return self._stage.witness.vendor_calls(), self._world.network.connections

    def _note_doubts(self) -> None:
        query = "SELECT id FROM item WHERE state IN ('submit_in_doubt', 'claim_in_doubt')"
        self._doubts |= {item_id for (item_id,) in self._stage.witness.auditor.rows(query)}


def points_of(name: str, told: Told) -> list[Point]:
    """Return every point of a recorded first run."""
    flavours = SCENARIOS[name].flavours
    deaths = [flavour for flavour in flavours if flavour in {Flavour.KILL, Flavour.POWER}]
    steps = [Point(flavour=flavour, step=step) for step in range(1, told.steps + 1) for flavour in deaths]
    turns = [Point(flavour=flavour, turn=turn) for turn in range(1, told.turns + 1) for flavour in flavours]
    return steps + turns
