"""What a run counts, held against what the vendor and the store saw."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.jobs.state import State
from pipeline.providers.answers import Ambiguous, Throttled
from pipeline.runner.gauges import totals_families
from pipeline.runner.meter import COUNTERS, Type
from tests.runner.staged import PRICE_USD, PROVIDERS, staged
from tests.support.batches import MODELS, Batch
from tests.support.memory_store import Bucket

if TYPE_CHECKING:
    from pipeline.runner.meter import Family


def counted(batch: Batch) -> dict[str, float]:
    """Return the sum of each counter over all labels."""
    return {name: float(sum(batch.meter.counts[name].values())) for name in COUNTERS}


def labels_of(family: Family) -> list[dict[str, str]]:
    return [dict(labels) for _, labels, _ in family.samples]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_counts_what_its_vendor_and_its_store_saw(provider: str) -> None:
    with staged(provider, 7) as (script, batch):
        batch.bucket = bucket = Bucket()
        batch.run()
        found = counted(batch)
        bills_at_claim = provider == "modelmax"
        assert found["clipmill_submits_total"] == script.count("submit") == 7
        assert found["clipmill_claims_total"] == script.count("claim") == (7 if bills_at_claim else 0)
        assert found["clipmill_looks_total"] == script.count("look")
        assert found["clipmill_clips_total"] == found["clipmill_uploaded_clips_total"] == 7
        size_bytes = sum(clip.size_bytes for job in batch.jobs() for clip in job.clips)
        assert found["clipmill_downloaded_bytes_total"] == found["clipmill_uploaded_bytes_total"] == size_bytes
        assert sum(len(each.data) for key, each in bucket.objects.items() if key.startswith("clips/")) == size_bytes
        assert found["clipmill_doubts_total"] == found["clipmill_throttled_total"] == 0
        for family in batch.meter.families():
            whose = {"provider": provider, "model": MODELS[provider]}
            assert all({**labels, **whose} == labels for labels in labels_of(family)), family.name


def test_each_run_counts_from_nothing() -> None:
    with staged("venice", 3) as (_, batch):
        batch.run()
        batch.run()
        assert counted(batch) == dict.fromkeys(COUNTERS, 0.0)


def test_doubts_and_pauses_are_counted_by_what_became_of_the_calls() -> None:
    answers = iter([Throttled(wait_s=1.0, message="Not so fast."), Ambiguous(message="Cut.")])
    with staged("venice", 3, submits={"i0": answers}) as (_, batch):
        batch.run()
        outcomes = Counter(
            {dict(labels)["outcome"]: n for labels, n in batch.meter.counts["clipmill_submit_outcomes_total"].items()}
        )
        assert outcomes == {"accepted": 2, "deferred": 1, "in_doubt": 1}
        assert counted(batch)["clipmill_doubts_total"] == 1
        assert counted(batch)["clipmill_throttled_total"] == 1


def test_the_totals_are_the_ledgers() -> None:
    with staged("venice", 4, max_cost_usd=100.0) as (_, batch):
        batch.run()
        with batch._reading() as reader:
            totals = reader.totals()
            assert [reader.totals(at_once) for at_once in (1, 2, 3, 4)] == [totals] * 4
        families: dict[str, Any] = {family.name: family for family in totals_families(totals)}
        assert {family.type for family in families.values()} == {Type.GAUGE}
        (items,) = families["clipmill_items"].samples
        assert items == ("", {"provider": "venice", "model": MODELS["venice"], "state": State.DONE.value}, 4.0)
        assert [value for _, _, value in families["clipmill_committed_usd"].samples] == [4 * PRICE_USD]
        assert [value for _, _, value in families["clipmill_in_doubt_usd"].samples] == [0.0]
        assert [value for _, _, value in families["clipmill_cap_usd"].samples] == [100.0]
