"""A simulated process: the owner of tasks, whose every effect is a step at which it can be killed.

A recorded run counts its steps; running it again with `crash_at` set to each of them in turn visits every crash point.
Once dead, a process can do nothing: each of its effects raises `Crash` again, so that an `except BaseException` or a
`finally` that runs while the crash unwinds the stack changes nothing in the world.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from tests.support.memory_files import Crash
from tests.support.simulation.virtual_loop import OWNER

if TYPE_CHECKING:
    from tests.support.simulation.trace import Trace
    from tests.support.simulation.virtual_loop import VirtualLoop


class Process:
    """Who runs; its mutable state is whether it is dead and how many steps it has taken."""

    def __init__(self, name: str, loop: VirtualLoop, trace: Trace) -> None:
        self.name = name
        self.is_dead = False
        self.steps = 0
        self.crash_at: int | None = None
        """The number of the step (from 1) before which the process is killed."""
        self.power_cut = False
        """Whether its death is the machine's: then what is on the wire is lost, and the provider hears nothing."""
        self.context = copy_context()
        """The context in which its tasks run; it marks them as this process's own."""
        self.context.run(OWNER.set, self)
        self._loop = loop
        self._trace = trace

    def step(self, what: str) -> None:
        """Say that an effect is about to happen.

        Raises:
            Crash: the process is killed at this step, or was dead already.
        """
        self.check(what)
        self.steps += 1
        if self.steps == self.crash_at:
            self.crash(f"before step {self.steps}, {what}")
        self._trace.note(f"{self.name} {what}")

    def check(self, what: str) -> None:
        """Say that something harmless is about to happen: no crash point, but the dead cannot do it.

        Raises:
            Crash: the process is dead.
        """
        if self.is_dead:
            raise Crash(f"{self.name} is dead and cannot: {what}")

    def crash(self, why: str) -> None:
        """Kill the process: at once where it is the one running, otherwise as soon as the running callback returns.

        Raises:
            Crash: the process itself was running.
        """
        crash = Crash(f"{self.name} was killed {why}")
        is_running = self._loop.is_running()
        if not self.is_dead:
            self.is_dead = True
            self._trace.note(str(crash))
            if is_running:
                self._loop.interrupt(crash)
        if OWNER.get() is self or not is_running:
            raise crash
