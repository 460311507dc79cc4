"""A batch against a scripted provider, on stage: items at two dollars each, and what can be read off afterwards."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.jobs.record import apply
from pipeline.jobs.state import EventKind
from pipeline.manifest.model import Price
from pipeline.providers.base import BilledAt
from pipeline.providers.modelmax.provider import ModelMax
from pipeline.providers.venice.provider import Venice
from pipeline.runner.stop import Stop
from tests.support.batches import MODELS, Batch, items
from tests.support.scripted_provider import Script
from tests.support.simulation.simulated_effects import InlineThreads
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job
    from pipeline.planning.item import Item
    from pipeline.runner.batch import Outcome

CAPABILITIES = {"modelmax": ModelMax.capabilities, "venice": Venice.capabilities}
PROVIDERS = tuple(CAPABILITIES)
PRICE_USD = 2.0
PRICES = {f"{name}/{model}": Price(usd_per_clip=PRICE_USD) for name, model in MODELS.items()}

COMMIT_S = 0.02
"""How long every piece of blocking work takes in a run that is stopped, a commit above all."""

INTENTS = {
    BilledAt.SUBMIT: {EventKind.SUBMIT_STARTED},
    BilledAt.CLAIM: {EventKind.CLAIM_STARTED},
}
OUTCOMES = {
    BilledAt.SUBMIT: {
        EventKind.SUBMIT_ACCEPTED,
        EventKind.SUBMIT_DEFERRED,
        EventKind.SUBMIT_LOST,
        EventKind.SUBMIT_REFUSED,
    },
    BilledAt.CLAIM: {EventKind.CLAIM_RECEIVED, EventKind.CLAIM_DEFERRED, EventKind.CLAIM_LOST, EventKind.JOB_FAILED},
}


@contextmanager
def staged(
    provider: str = "venice",
    count: int = 1,
    *,
    seed: int = 1,
    wanted: Sequence[Item] | None = None,
    limits: Mapping[str, Any] | None = None,
    max_cost_usd: float | None = None,
    shuffle: bool = False,
    latency_s: tuple[float, float] = (0.0, 0.0),
    capabilities: Mapping[str, Any] | None = None,
    **tables: Any,
) -> Iterator[tuple[Script, Batch]]:
    """Set a batch up in a world of its own; the tables are those of its script."""
    with World(seed, shuffle=shuffle, latency_s=latency_s, limit_s=30 * 86400) as world:
        script = Script(replace(CAPABILITIES[provider], **(capabilities or {})), **tables)
        batch = Batch(
            world,
            items(count, provider) if wanted is None else wanted,
            prices=dict(PRICES),
            max_cost_usd=max_cost_usd,
            limits=dict(limits or {}),
            factories={provider: script},
        )
        yield script, batch


def stopped(
    batch: Batch, *moments_s: float, number: int = signal.SIGINT, threads: InlineThreads | None = None
) -> Outcome:
    """Run a batch and ask it to stop at some moments, in seconds from its beginning."""
    world = batch.world
    process, stop = world.process("stopped"), Stop()
    effects = world.effects(process, threads=threads or InlineThreads(duration_s=lambda: COMMIT_S))
    began_s = world.loop.time()

    async def ask() -> None:
        for moment_s in moments_s:
            await effects.clock.sleep(began_s + moment_s - world.loop.time())
            stop.ask(number)

    asking = world.start(ask(), process)
    try:
        return world.run(batch.work(effects, stop), process)
    finally:
        asking.cancel()


def fold(events: Iterable[Event]) -> Iterator[tuple[Event, Mapping[tuple[str, int], Job]]]:
    """Yield each event with all jobs as they are after it."""
    jobs: dict[tuple[str, int], Job] = {}
    for event in events:
        key = (event.item_id, event.revision)
        if event.kind is EventKind.ITEM_WITHDRAWN:
            del jobs[key]
        else:
            jobs[key] = apply(jobs.get(key), event)
        yield event, jobs


def committed_most_usd(events: Iterable[Event]) -> float:
    """Return the most that was ever spent, reserved or in doubt, at any moment of a history."""
    return max((sum(job.committed_usd for job in jobs.values()) for _, jobs in fold(events)), default=0.0)


def open_intents_most(events: Iterable[Event], billed_at: BilledAt) -> int:
    """Return how many calls that bill had, at the most, an intent and no outcome, at any moment of a history."""
    most = 0
    begun: set[tuple[str, int]] = set()
    for event in events:
        key = (event.item_id, event.revision)
        if event.kind in INTENTS[billed_at]:
            begun.add(key)
        elif event.kind in OUTCOMES[billed_at]:
            begun.discard(key)
        most = max(most, len(begun))
    return most


def most_within(times: Sequence[float], window_s: float) -> int:
    """Return the largest number of times in any half-open window."""
    most = begin = 0
    for end, time in enumerate(times):
        while time - times[begin] >= window_s:
            begin += 1
        most = max(most, end - begin + 1)
    return most
