"""Where several workers share a ledger: each renews its lease, and takes up what silent ones and ended ones have left.

What was at a vendor is looked at from then on, and never submitted again; a call that bills and whose answer nobody
wrote down is in doubt, as after any crash; what was only planned waits for whoever takes it. A worker that has nothing
more to do stays for as long as others have something: they may fall silent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.jobs.state import IN_DOUBT, UNSUCCESSFUL, State
from pipeline.runner.planned import Unread
from pipeline.runner.recover import recover

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from pipeline.jobs.job import Job
    from pipeline.ledger.writer import Company
    from pipeline.runner.context import RunContext
    from pipeline.runner.lane import Lane

LOOKS_ROUND_A_LEASE = 3
"""How often a worker looks whether others have fallen silent."""
NEAR_THE_END_S = 1.0
"""How often, once it has nothing more to submit itself."""


@dataclass(kw_only=True)
class Colleagues:
    """One worker's part in keeping company. The mutable state is in its lanes."""

    run: RunContext
    lanes: Mapping[str, Lane]
    chosen: Container[str] | None
    """The ids that may be submitted; None for all."""
    attach: Callable[[Lane, Job], None]
    """Goes on with a job that is at a vendor."""

    async def keep(self) -> None:
        """Look round for ever.

        Raises:
            LeaseLost: this worker was silent for too long itself.
        """
        while True:
            await self.run.effects.clock.sleep(self._pause_s())
            await self.look_round()

    def _pause_s(self) -> float:
        """Return how long to wait before the next look round: not long, where it may be that nothing is left to do."""
        pause_s = self.run.lease_s / LOOKS_ROUND_A_LEASE
        is_busy = any(len(lane.planned) for lane in self.lanes.values() if not lane.closed)
        return pause_s if is_busy else min(pause_s, NEAR_THE_END_S)

    async def look_round(self) -> None:
        """Renew the lease, take up what nobody has any more, and learn whether others are at work."""
        ledger = self.run.ledger
        company = await ledger.keep_company()
        await greet(self.run, company)
        open_lanes = [lane for lane in self.lanes.values() if lane.group is not None]
        capabilities = {name: lane.seat.capabilities for name, lane in self.lanes.items()}
        accounts = {lane.seat.account for lane in open_lanes}
        for job in await recover(self.run, capabilities, accounts, sweep=bool(company.silent)):
            if (lane := self.lanes.get(job.provider)) is not None and lane.group is not None:
                self.attach(lane, job)
        for lane in open_lanes:
            await self._look_for_planned(lane, company)
            lane.keep(company)
        await self._count()

    async def _look_for_planned(self, lane: Lane, company: Company) -> None:
        """Read anew what waits and nobody has; give back what this worker has and will not submit."""
        if lane.closed:
            return
        is_idle = not (lane.live or lane.submitting or len(lane.planned))
        if company.silent or not lane.gave_back:
            waiting = await self.run.ledger.planned_counts(self.chosen)
            counts = Counter({model: count for (provider, model), count in waiting.items() if provider == lane.name})
            lane.planned.expect(counts, Unread(self.run.ledger, lane.name, self.chosen))
        if is_idle and not len(lane.planned) and not company.is_alone and not lane.gave_back:
            # Items whose model is given up, for example. Were they kept, two workers could wait for each other.
            lane.gave_back = True
            await self.run.ledger.give_back(lane.name)

    async def _count(self) -> None:
        progress, counted = self.run.progress, await self.run.ledger.counts()
        progress.items = sum(counted.values())
        progress.done = counted.get(State.DONE, 0)
        progress.failed = sum(counted.get(state, 0) for state in UNSUCCESSFUL)
        progress.in_doubt = sum(counted.get(state, 0) for state in IN_DOUBT)
        progress.spent_usd = await self.run.ledger.committed_usd()


async def greet(run: RunContext, company: Company) -> None:
    """Tell of workers that fell silent, and take in what they could write down nowhere but beside the ledger."""
    for epoch in company.silent:
        run.progress.note(f"Run {epoch} has been silent for longer than its lease; what it had is taken over.")
    if company.silent:
        await run.ledger.take_in(run.progress.note)
