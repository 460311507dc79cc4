"""One life with one fault in it: a connection cut at a byte, or the disk's refusal of one operation.

The life is first lived without the fault; that tells its exchanges with their bytes, and how often each operation of
the disk is called. A fault is then one of them, and nothing else goes wrong. All is drawn from the scenario and the
seed, so every life is the same up to its fault.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.simulation.world import World
from tests.torture.life import RUNS_TO_REST, hash_free
from tests.torture.scenarios import VENICE_LINKED, Scenario, modelmax, venice
from tests.torture.stage import LATENCY_S, WORLD_MOST_S, Ending, Stage
from tests.torture.trouble import BREAKING, Trouble
from tests.torture.witness import CLAIM, SUBMIT, Blame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.simulation.memory_network import Action, Direction, Exchange, Fault

COMMIT = "commit"
"""Of the ledger: what `fsync` is to a file."""
OPERATIONS = (*sorted(BREAKING), "make_folder", "write the rest", COMMIT)
REASONS = {errno.ENOSPC: "database or disk is full", errno.EIO: "disk I/O error"}
"""What the disk says, and what SQLite makes of it."""

CUT_SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        # The probability is never drawn from; that there is one says that connections may break.
        Scenario(name="cut-modelmax", items=modelmax(1), wire_faults=1.0),
        Scenario(name="cut-venice", items=venice(1), wire_faults=1.0),
        Scenario(name="cut-venice-link", items=venice(1, VENICE_LINKED), wire_faults=1.0),
    )
}
DISK_SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="disk-modelmax", items=modelmax(2), outage="bad-disk"),
        Scenario(name="disk-venice", items=venice(2), outage="bad-disk"),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A connection that breaks."""

    exchange: int
    """Counted over the life, from 1."""
    fault: Fault

    def __str__(self) -> str:
        fault = self.fault
        where = f"--exchange {self.exchange} --direction {fault.direction} --after {fault.after_bytes}"
        return f"{where} --action {fault.action}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A disk that says no."""

    operation: str
    number: int
    """The how-manieth call of the operation, from 1."""
    code: int
    lasts: bool
    """Whether it goes on until somebody mends the disk, or was this once."""

    def __str__(self) -> str:
        lasts = " --lasts" if self.lasts else ""
        return f"--operation '{self.operation}' --number {self.number} --errno {errno.errorcode[self.code]}{lasts}"


class OneFault(Trouble):
    """Makes one thing go wrong. The mutable state is how often each operation was called, and whether all is calm."""

    def __init__(self, stage: Stage, what: Cut | Refusal | None) -> None:
        super().__init__(stage.world, stage.scenario, stage.world.random("nothing"), stage.witness)
        self.calls: Counter[str] = Counter()
        self.struck = 0
        self._what = what
        self._is_over = False

    def begin_outage(self) -> None:
        """Do nothing: the one fault is all."""

    def calm_down(self) -> None:
        """Let nothing go wrong from now on."""
        self._is_over = True
        super().calm_down()

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """Break the one connection."""
        if not isinstance(self._what, Cut) or self._is_over or exchange.number != self._what.exchange:
            return None
        self.struck += 1
        if SUBMIT.fullmatch(exchange.line) or CLAIM.fullmatch(exchange.line):
            self._witness.broken_billing_calls += 1
        return self._what.fault

    def before_file(self, operation: str) -> None:
        """Refuse the one operation."""
        self.calls[operation] += 1
        if self._strikes(operation):
            assert isinstance(self._what, Refusal)
            raise OSError(self._what.code, os.strerror(self._what.code))

    def before_commit(self) -> None:
        """Refuse the one commit."""
        self.calls[COMMIT] += 1
        if self._strikes(COMMIT):
            assert isinstance(self._what, Refusal)
            raise sqlite3.OperationalError(REASONS[self._what.code])

    def _strikes(self, operation: str) -> bool:
        what = self._what
        if not isinstance(what, Refusal) or self._is_over or operation != what.operation:
            return False
        called = self.calls[operation]
        strikes = called == what.number or (what.lasts and called > what.number)
        self.struck += strikes
        return strikes


@dataclass(frozen=True, kw_only=True)
class Story:
    """What became of a life with one fault."""

    blamed: tuple[Blame, ...] = ()
    exchanges: Sequence[tuple[str, Mapping[Direction, int]]] = ()
    """Each exchange's first line, and its bytes each way."""
    operations: Mapping[str, int] = field(default_factory=dict)
    struck: int = 0
    doubts: int = 0
    charges: int = 0
    trace: str = field(default="", repr=False)


def live_with(scenario: Scenario, seed: int, what: Cut | Refusal | None, *, with_trace: bool = False) -> Story:
    """Live one life: a run in which it goes wrong, one more as it is, and then, with all mended, runs to the end."""
    with World(
        seed=hash_free(f"{scenario.name}/{seed}"), shuffle=True, latency_s=LATENCY_S, limit_s=WORLD_MOST_S
    ) as world:
        stage = Stage(world, scenario, seed)
        trouble = stage.trouble = OneFault(stage, what)
        witness = stage.witness
        stage.run()
        if what is not None and not witness.blamed:
            stage.run()
        trouble.calm_down()
        for _ in range(RUNS_TO_REST):
            if witness.blamed or stage.run() is Ending.FINISHED:
                break
        witness.judge(at_rest=True)
        assert witness.vendor is not None
        doubtful = "SELECT count(*) FROM item WHERE state IN ('submit_in_doubt', 'claim_in_doubt')"
        story = Story(
            blamed=tuple(witness.blamed),
            exchanges=[(each.line, dict(each.sent_bytes)) for each in world.network.exchanges],
            operations=dict(trouble.calls),
            struck=trouble.struck,
            doubts=sum(count for (count,) in witness.auditor.rows(doubtful)),
            charges=sum(witness.vendor.billed.values()),
            trace=str(world.trace) if with_trace else "",
        )
        world.loop.before_callback = None
        return story


def actions() -> list[Action]:
    """Return all that can happen to a connection: an end, a reset, silence."""
    from tests.support.simulation.memory_network import Action

    return list(Action)
