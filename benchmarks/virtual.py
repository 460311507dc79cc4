"""The real runner, ledger and providers in virtual time, against the light vendor: one batch, one account."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from benchmarks.policies import Account
from benchmarks.vendor import Gate, LightVendor
from tests.support.batches import HOST, PORT, Batch, an_item
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from benchmarks.laws import Law

RESUMED_MOST = 5
RESULTS_EVERY_S = 3600.0
"""A rewrite of the results takes no virtual time, so the runner would never see that it makes too many of them."""
LATENCY_S = (0.03, 0.08)
MODELS = {
    "venice": ("wan-2-7-text-to-video", "wan-2.6-text-to-video", "wan-2.5-preview-text-to-video"),
    "modelmax": ("veo-3", "veo-3-fast", "veo-2"),
}


def run(
    provider: str,
    law: Law,
    clips: int,
    seed: int = 1,
    *,
    hidden: tuple[float, float] | None = None,
    queue_share: float = 0.0,
    **limits: Any,
) -> Account:
    """Run a batch to its end.

    Args:
        provider: venice or modelmax; its documented limits are kept and enforced.
        law: of the durations.
        clips: how many.
        seed: of durations, latencies and jitter.
        hidden: the submits and looks a minute that the vendor truly allows, where they are not the documented ones.
        queue_share: for how large a part of its duration a job is said to be queued.
        limits: of the lane, over the defaults of the command.
    """
    documented = (40.0, 120.0) if provider == "venice" else (0.0, 0.0)
    with World(seed, latency_s=LATENCY_S) as world:
        world.trace.listener = lambda _: world.trace.lines.clear()  # nobody reads that of a long batch
        gate = Gate(*(hidden or documented), seed)
        vendor = LightVendor(law, seed, world.loop.time, gate, queue_share)
        world.serve(vendor.app(), HOST, PORT)
        models = MODELS[provider]
        items = [an_item(f"i{number}", provider, model=models[number % law.models]) for number in range(clips)]
        batch = Batch(world, items, limits={"in_flight": None, **limits}, results_every_s=RESULTS_EVERY_S)
        outcome = batch.run()
        for resumed in range(RESUMED_MOST):  # for stragglers that a run has waited for long enough
            if not outcome.paused_because:
                break
            outcome = batch.run(world.process(f"resume {resumed}"))
        assert not outcome.paused_because, outcome.paused_because
        assert len(vendor.lags_s) == clips, "some clips were not found"
        account = Account(world.loop.time(), vendor.looks, gate.refusals, gate.lockouts, vendor.lags_s)
        account.order = sorted(vendor.jobs, key=lambda number: vendor.jobs[number].submitted_at)
    gc.collect()
    return account
