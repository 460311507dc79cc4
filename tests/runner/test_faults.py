"""Whole batches while the vendor misbehaves in one way: everything comes to its right end, and the books agree."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.jobs.state import IN_DOUBT, State
from pipeline.manifest.model import Price
from pipeline.providers.registry import find_provider
from pipeline.sandbox.settings import Fault
from tests.runner.staged import open_intents_most
from tests.support.batches import MODELS, Batch, a_vendor, items
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from tests.support.batches import Vendor

SEEDS = range(int(os.environ.get("CLIPMILL_FAULT_SEEDS", "1")))
"""How many batches each fault strikes; set the variable to 5 before a release."""
PROBABILITY = 0.2
LINKED = "grok-imagine-text-to-video-private"
"""A Venice model whose clips come by links."""
PRICES = {
    "modelmax/veo-3": Price(usd_per_second=0.40),
    "venice/wan-2-7-text-to-video": Price(usd_per_second=0.11),
    f"venice/{LINKED}": Price(usd_per_second=0.063),
    "openai-videos/sora-2": Price(usd_per_second=0.10),
}
"""As the sandbox charges."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault at one vendor, and where its victims end."""

    provider: str
    fault: Fault
    model: str = ""
    ends: dict[str, str] = field(default_factory=dict)
    """State and the failure's kind, of all that is not done."""
    items: int = 30

    def __str__(self) -> str:
        return f"{self.provider}-{self.fault}"


ORPHANED = {"failed": "submit_unanswered"}
DOUBTED = {"submit_in_doubt": "submit_unanswered"}
UNCLAIMED = {"claim_in_doubt": "claim_unanswered"}
SUBMIT_FAULTS = (Fault.DROP_BEFORE_ACCEPT, Fault.DROP_AFTER_ACCEPT, Fault.SUBMIT_500, Fault.SUBMIT_502)
PASSING = (
    Fault.THROTTLE,
    Fault.ERROR_5XX,
    Fault.LOSE_ANSWER,
    Fault.TRUNCATE,
    Fault.TRUNCATE_SILENTLY,
    Fault.DISGUISE,
    Fault.SLOW,
)
CASES = (
    *(Case(provider="modelmax", fault=fault, ends=ORPHANED) for fault in SUBMIT_FAULTS),
    *(
        Case(provider=provider, fault=fault, ends=DOUBTED)
        for provider in ("venice", "openai-videos")
        for fault in SUBMIT_FAULTS
    ),
    *(Case(provider=provider, fault=fault, items=25) for provider in MODELS for fault in PASSING),
    Case(provider="modelmax", fault=Fault.CLAIM_DROP, ends=UNCLAIMED),
    Case(provider="modelmax", fault=Fault.CLAIM_502, ends=UNCLAIMED),
    Case(provider="modelmax", fault=Fault.CLAIM_EMPTY, ends={"lost": "billed_without_clip"}),
    Case(provider="modelmax", fault=Fault.GENERATION_FAILURE, ends={"failed": "failed"}),
    Case(provider="modelmax", fault=Fault.GENERATION_ERROR, ends={"failed": "failed"}),
    Case(provider="venice", fault=Fault.GENERATION_FAILURE, ends={"failed": "provider_content_policy"}),
    Case(provider="venice", fault=Fault.GENERATION_ERROR, ends={"failed": "inference_failed"}),
    Case(provider="openai-videos", fault=Fault.GENERATION_FAILURE, ends={"failed": "moderation_blocked"}),
    Case(provider="openai-videos", fault=Fault.GENERATION_ERROR, ends={"failed": "video_generation_failed"}),
    Case(provider="openai-videos", fault=Fault.EARLY_404),
    Case(provider="venice", fault=Fault.EARLY_404),
    Case(provider="venice", fault=Fault.EXPIRED_LINK, model=LINKED, ends={"lost": "clip_gone"}),
)


def bill_by_item(vendor: Vendor) -> dict[str, dict[str, Any]]:
    """Return what each item was charged, net and how often, and how often results of its jobs were asked for."""
    found: defaultdict[str, dict[str, Any]] = defaultdict(lambda: {"net_usd": 0.0, "charges": 0, "results": []})
    for job_id, job in vendor.bill()["jobs"].items():
        mine = found[job["prompt"].rpartition(" ")[2]]
        mine["net_usd"] = round(mine["net_usd"] + job["net_usd"], 6)
        mine["charges"] += job["charges"]
        if job["requests"].get("result"):
            mine["results"].append(job_id)
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_everything_ends_as_it_must_and_the_ledger_says_what_the_bill_says(case: Case) -> None:
    struck = 0
    for seed in SEEDS:
        with World(seed, shuffle=True, latency_s=(0.0, 0.05), limit_s=86400.0) as world:
            changes = {"model": case.model} if case.model else {}
            vendor = a_vendor(
                world, seed=seed, faults={case.fault: PROBABILITY}, durations_s={case.provider: 20.0}, slow_s=10.0
            )
            batch = Batch(world, items(case.items, case.provider, **changes), prices=PRICES)
            outcome = batch.run()
            assert not outcome.paused_because
            struck += vendor.requests()["faults"].get(case.fault, 0)
            check_ends(batch, case)
            check_books(batch, vendor)
            check_limits(batch, vendor)
            made = vendor.calls()
            batch.run()
            assert vendor.calls() == made
    assert struck >= len(SEEDS), "the fault never struck"


def check_ends(batch: Batch, case: Case) -> None:
    for job in batch.jobs():
        if job.state is State.DONE:
            assert batch.clip(job.item_id) is not None
        else:
            assert job.failure is not None
            assert (job.state, job.failure.kind) in case.ends.items(), job.item_id


def check_books(batch: Batch, vendor: Vendor) -> None:
    billed = bill_by_item(vendor)
    for job in batch.jobs():
        mine = billed[job.item_id]
        assert mine["charges"] <= 1, job.item_id
        if job.state in IN_DOUBT:
            assert mine["net_usd"] in {0.0, job.committed_usd}
        else:
            assert mine["net_usd"] == pytest.approx(job.committed_usd), job.item_id
        assert set(mine["results"]) <= {job.job_id}, "an orphan was claimed"
    summary = batch.summary()
    net_usd = vendor.bill()["totals"]["net_usd"]
    assert summary.committed_usd - summary.in_doubt_usd - 1e-6 <= net_usd <= summary.committed_usd + 1e-6


def check_limits(batch: Batch, vendor: Vendor) -> None:
    requests = vendor.requests()
    assert requests["blocked"] == 0
    assert requests["leaks"] == 0
    billed_at = find_provider(batch.items[0].provider).capabilities.billed_at
    assert open_intents_most(batch.events(), billed_at) <= 2
