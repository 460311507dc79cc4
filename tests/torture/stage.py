"""A world for one life of one batch: the vendor, the batch, the trouble of its scenario, and the moments to strike at.

Everything is drawn from the scenario's name and the seed, so that a life can be lived again. Moments are counted in
*steps* (the effects of the first process: each connection, request, file change, and both sides of each commit) and in
*turns* (every time that control passes from one callback to the next and something was seen to happen since: bytes
that arrive, at either end, are among them).
"""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import ClipmillError, DiskRefused, Paused, StaleWrite
from pipeline.providers.modelmax.provider import ModelMax
from pipeline.providers.openai_videos.provider import OpenAIVideos
from pipeline.providers.venice.provider import Venice
from pipeline.runner.stop import Stop
from pipeline.sandbox.settings import ClaimBills, Render, SandboxSettings
from tests.support.batches import Batch, Vendor, an_item
from tests.support.memory_files import Crash
from tests.support.simulation.simulated_effects import InlineThreads
from tests.support.simulation.virtual_loop import BusyLoop, Deadlock, TimeIsUp
from tests.torture.books import FOLDER
from tests.torture.invariants import KEY
from tests.torture.machine import MemoryShelf, thread_s
from tests.torture.scenarios import PRICES, Flavour, Scenario
from tests.torture.trouble import Trouble
from tests.torture.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.providers.base import ProviderFactory
    from pipeline.runner.batch import Outcome
    from tests.support.simulation.memory_network import Exchange, Fault
    from tests.support.simulation.process import Process
    from tests.support.simulation.virtual_loop import OwnedTask
    from tests.support.simulation.world import World

FACTORIES: dict[str, ProviderFactory] = {"modelmax": ModelMax, "venice": Venice, "openai-videos": OpenAIVideos}
"""Looking for them takes longer than a small batch."""
CALLBACKS_MOST = 40_000
"""In one run. A run of three items takes about two thousand."""
RUN_MOST_S = 6 * 3600.0
WORLD_MOST_S = 20 * 86_400.0
LATENCY_S = (0.002, 0.04)
OUTAGE_WITHIN_TURNS = 110
DISK_OUTAGES = frozenset({"disk", "bad-disk", "ledger-reserve", "ledger-journal"})
LEASE_S = 4.0
"""Of a shared ledger: longer than any thread is slow, and shorter than some of the pauses between two runs."""
LEASE_LOST = "was silent for longer than its lease"
SILENT_WITHIN_TURNS, SILENT_LEASES = 90, (0.5, 3.0)
AT_ONCE = 0.1
SECOND_SIGNAL_WITHIN_TURNS = 12
KILL_AFTER_SIGNAL_WITHIN_TURNS = 25


class Ending(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    PAUSED = "paused"
    CRASHED = "crashed"
    STALE = "stale"
    """Another run had taken over."""
    STUCK = "stuck"
    WRONG = "wrong"
    """It ended with an error of ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Where a life is struck: a moment of its first run, and what happens there."""

    flavour: Flavour
    step: int = 0
    turn: int = 0
    """One of the two is 0."""

    def __str__(self) -> str:
        moment = f"--step {self.step}" if self.step else f"--turn {self.turn}"
        return f"{moment} --flavour {self.flavour}"


def is_a_threads(task: OwnedTask) -> bool:
    """Tell whether a task only waits for a thread, which a process lets finish before it exits."""
    return str(getattr(task.get_coro(), "__qualname__", "")).startswith(f"{InlineThreads.__name__}.")


class Stage:
    """The mutable state is the world's, the vendor's faults, the counts, and what is still to happen at which turn."""

    def __init__(self, world: World, scenario: Scenario, seed: int) -> None:
        self.world = world
        self.scenario = scenario
        self.turns = 0
        """Of the present run."""
        self.first_steps = self.first_turns = 0
        """Of the first run, once it has ended."""
        self._random = random.Random(f"{scenario.name}/{seed}/stage")
        self._at_turn: dict[int, Callable[[], None]] = {}
        self._lines = 0
        self._silent_until_s = 0.0
        self._callbacks = 0
        self._runs = self._epoch_before = 0
        self._shelf = MemoryShelf() if self._random.random() < 0.5 else None
        wanted = {f"i{number}": each for number, each in enumerate(scenario.items)}
        items = [
            an_item(
                item_id,
                each.provider,
                prompt=f"A picture of {item_id} {each.prompt}".strip(),
                **({"model": each.model} if each.model else {}),
                **each.parameters,
            )
            for item_id, each in wanted.items()
        ]
        self.witness = Witness(
            world=world,
            scenario=scenario,
            prompts={item.request.prompt: item.id for item in items},
            foreign={FOLDER.root / name: data for name, data in scenario.foreign.items()},
        )
        self.witness.shares_pace = self._shelf is not None
        self.trouble = Trouble(world, scenario, self._random, self.witness)
        self.vendor = self._open_vendor(seed)
        self.batch = Batch(
            world,
            items,
            key=KEY,
            prices=PRICES,
            max_cost_usd=scenario.max_cost_usd,
            limits=dict(scenario.limits),
            cleanup=scenario.cleanup,
            factories=FACTORIES,
            lease_s=LEASE_S,
        )
        for path, data in self.witness.foreign.items():
            world.files.plant(path, data)
        world.files.on_call = self._file_is_called
        world.trace.listener = self._hear
        world.network.fault_for = self._fault_for
        world.loop.before_callback = self._between
        if world.sessions is not None:
            world.sessions.mishap = self.trouble.mishap

    def _open_vendor(self, seed: int) -> Vendor:
        takes_s = self.scenario.takes_s
        settings = SandboxSettings(
            seed=seed,
            render=Render.TEMPLATE,
            claim_bills=ClaimBills.EVERY,
            faults=self.trouble.faults,
            durations_s=dict.fromkeys(FACTORIES, takes_s),
            **self.scenario.settings,
        )
        vendor = Vendor(self.world, settings, doorkeepers=[self.trouble.at_the_door, self.witness.doorkeeper])
        self.witness.vendor = vendor.state
        return vendor

    # Runs

    def run(
        self, point: Point | None = None, *, crash_at: int = 0, power_cut: bool = False, stopped: bool = False
    ) -> Ending:
        """Let one process work on the batch until it ends or is struck.

        Args:
            point: where it is struck, for the first run.
            crash_at: the step before which it is killed; 0 for never.
            power_cut: whether its machine dies with it.
            stopped: whether it is told to stop before it begins.
        """
        process, stop = self._process(), Stop()
        process.crash_at = crash_at or None
        process.power_cut = power_cut
        if stopped:
            stop.ask(signal.SIGINT)
            self.witness.is_told_to_stop(process)
        if point is not None:
            self._strike(point, process, stop)
        main = self.world.start(self._work(process, stop), process)
        ending = self._finish(main, process, stop)
        self._count_first(process)
        return ending

    def run_twins(self, point: Point | None = None) -> list[Ending]:
        """Let a second process take the batch over from the first, which is struck; nobody holds a lock.

        Where the ledger is shared they are two workers, and in half of the lives the first one's threads stand still
        for a while: it may be silent for longer than its lease, and it lives on.
        """
        first = self._process()
        second = self.world.process("run 2")
        self._runs = 2
        stops = Stop(), Stop()
        if point is not None:
            self._strike(point, first, stops[0])
        later_s = self._random.uniform(0.0, 2.0)
        if self.world.sessions is not None:
            chance = random.Random(f"{self.scenario.name}/{self.world.seed}/{point}/company")
            if chance.random() < 0.5:
                self._at_turn.setdefault(chance.randint(1, SILENT_WITHIN_TURNS), self._silence)
            if chance.random() < 0.5:
                later_s *= AT_ONCE
        mains = [
            self.world.start(self._work(first, stops[0], may_be_silent=True), first),
            self.world.start(self._work(second, stops[1], after_s=later_s), second),
        ]
        endings = [self._finish(*each) for each in zip(mains, (first, second), stops, strict=True)]
        self._count_first(first)
        return endings

    def _silence(self) -> None:
        self._silent_until_s = self.world.loop.time() + self._random.uniform(*SILENT_LEASES) * LEASE_S

    def _count_first(self, process: Process) -> None:
        if not self.first_steps:
            self.first_steps, self.first_turns = process.steps, self.turns

    def _process(self) -> Process:
        self._runs += 1
        self._at_turn.clear()
        self._epoch_before = self.witness.epoch
        self.turns = self._callbacks = 0
        if self._runs == 1 and self.scenario.outage:
            self._at_turn[self._random.randint(1, OUTAGE_WITHIN_TURNS)] = self.trouble.begin_outage
        return self.world.process(f"run {self._runs}")

    async def _work(
        self, process: Process, stop: Stop, *, after_s: float = 0.0, may_be_silent: bool = False
    ) -> Outcome:
        draw_s = partial(thread_s, self.world.random(f"{process.name}'s threads"))

        def takes_s() -> float:
            return max(draw_s(), self._silent_until_s - self.world.loop.time()) if may_be_silent else draw_s()

        effects = self.world.effects(process, threads=InlineThreads(duration_s=takes_s))
        effects = replace(effects, shelf=self._shelf and self._shelf.of(process))
        self.trouble.set_clock(effects.clock)
        if after_s:
            await effects.clock.sleep(after_s)
        return await self.batch.work(effects, stop)

    def _finish(self, main: Any, process: Process, stop: Stop) -> Ending:
        began_s = self.world.loop.time()
        error: BaseException | None = None
        outcome: Outcome | None = None
        try:
            outcome = self.world.finish(main)
        except Crash:
            self.witness.crashes += 1
        except (Deadlock, BusyLoop, TimeIsUp) as stuck:
            error = stuck
        except ClipmillError as wrong:
            error = wrong
        except Exception as wrong:  # a bug of ours, in whatever form
            error = wrong
        self._at_turn.clear()
        ending = self._ending(outcome, error)
        if ending is not Ending.CRASHED:
            self._look_at_exit(ending, process)
            process.power_cut = False
            self.world.bury(process)
        if stop.asked > 1 or stop.signal == signal.SIGTERM:
            self.witness.leaves += 1
        if self.world.loop.time() - began_s > RUN_MOST_S:
            self.witness.blame("I7", f"{process.name} took {self.world.loop.time() - began_s:.0f} s")
        if outcome is not None and LEASE_LOST in " ".join(outcome.paused_because) and not self._silent_until_s:
            self.witness.blame("I7", f"{process.name} was taken over from, and was never silent")
        if ending in {Ending.STUCK, Ending.WRONG}:
            self.witness.blame("I7", f"{process.name} ended with {error!r}")
        if process.power_cut:
            self._power_is_back()
        self.witness.judge()
        return ending

    def _ending(self, outcome: Outcome | None, error: BaseException | None) -> Ending:
        if outcome is not None:
            return Ending.PAUSED if outcome.paused_because or outcome.signal else Ending.FINISHED
        match error:
            case None:
                return Ending.CRASHED
            case StaleWrite() if self.scenario.twins and (self.world.sessions is None or self._silent_until_s):
                return Ending.STALE
            case DiskRefused() if self.scenario.outage in DISK_OUTAGES:
                return Ending.PAUSED
            case Paused() if self.trouble.faults:
                return Ending.PAUSED
            case Deadlock() | BusyLoop() | TimeIsUp():
                return Ending.STUCK
            case _:
                return Ending.WRONG

    def _look_at_exit(self, ending: Ending, process: Process) -> None:
        """A run that ends by itself leaves no task behind, and no intent of its own without an outcome."""
        if ending in {Ending.FINISHED, Ending.PAUSED}:
            tasks = [task for task in self.world.loop._tasks() if task.owner is process and not is_a_threads(task)]
            if tasks:
                self.witness.blame("I7", f"{process.name} has ended and left {tasks} behind")
            saved = {event.item_id for event in self.witness.auditor.saved()}
            query = "SELECT id, state FROM item WHERE state IN ('submitting', 'claiming') AND epoch > ?"
            if self.scenario.twins and self.world.sessions is not None:
                query += " AND epoch IN (SELECT epoch FROM run WHERE ended_at IS NOT NULL)"  # the twin may be at work
            left = [row for row in self.witness.auditor.rows(query, self._epoch_before) if row[0] not in saved]
            if left:
                self.witness.blame("I6", f"{process.name} has ended by itself and left {left} without an outcome")

    def _power_is_back(self) -> None:
        # A power cut takes the hook off, and may have taken anything that was not synced.
        if self._shelf is not None and self._random.random() < 0.5:
            self._shelf.records.clear()
        self.world.files.on_call = self._file_is_called
        self.witness.look_anew()

    # Strikes

    def _strike(self, point: Point, process: Process, stop: Stop) -> None:
        process.power_cut = point.flavour is Flavour.POWER
        if point.step:
            assert point.flavour in {Flavour.KILL, Flavour.POWER}, "signals come between callbacks"
            process.crash_at = point.step
            return

        def kill() -> None:
            process.context.run(process.crash, f"at turn {self.turns}")

        def ask(number: int = signal.SIGINT) -> None:
            stop.ask(number)
            self.witness.is_told_to_stop(process)

        def strike() -> None:
            later = self.turns + self._random.randint(1, KILL_AFTER_SIGNAL_WITHIN_TURNS)
            match point.flavour:
                case Flavour.KILL | Flavour.POWER:
                    kill()
                case Flavour.STOP:
                    ask()
                case Flavour.TERMINATE:
                    ask(signal.SIGTERM)
                case Flavour.LEAVE:
                    ask()
                    self._at_turn[self.turns + self._random.randint(1, SECOND_SIGNAL_WITHIN_TURNS)] = ask
                case Flavour.STOP_KILL:
                    ask()
                    self._at_turn[later] = kill

        self._at_turn[point.turn] = strike

    def _between(self) -> None:
        self._callbacks += 1
        if self._callbacks > CALLBACKS_MOST:
            raise BusyLoop(f"a run took more than {CALLBACKS_MOST} callbacks")
        lines = len(self.world.trace.lines)
        if lines == self._lines:
            return
        self._lines = lines
        self.turns += 1
        self.witness.look_at_charges()
        action = self._at_turn.pop(self.turns, None)
        if action is not None:
            action()

    # What is seen

    def _fault_for(self, exchange: Exchange) -> Fault | None:
        self.witness.first_byte_leaves(exchange)
        return self.trouble.fault_for(exchange)

    def _file_is_called(self, operation: str, subject: Path | int) -> None:
        self.witness.file_is_called(operation, subject)
        self.trouble.before_file(operation)

    def _hear(self, line: str) -> None:
        if line.endswith("database: commit"):
            self.trouble.before_commit()
        self.witness.hear(line)

    def cut_power(self) -> None:
        """Let the machine die while nobody runs."""
        self.world.cut_power("the last power cut")
        self._power_is_back()
        self.witness.judge()
