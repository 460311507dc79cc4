"""The counters that people watch: at the end of a run they say what the ledger says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.providers.answers import Ambiguous, Billing, Failed, Refused, Running, Scope, Stage, Throttled
from pipeline.runner.progress import Binding, Progress
from tests.runner.staged import PROVIDERS, staged
from tests.support.batches import an_item

if TYPE_CHECKING:
    from tests.support.batches import Batch

LOST = Ambiguous(message="Cut.")
NO = Refused(scope=Scope.ITEM, kind="x", message="No.")
BAD_KEY = Refused(scope=Scope.ACCOUNT, kind="unauthorized", message="The key is not valid.")
FAILED = Failed(kind="policy", message="No.", billing=Billing.UNBILLED)
RUNNING = Running(stage=Stage.RUNNING, word="PROCESSING")


def agrees(batch: Batch) -> bool:
    progress, summary = batch.progress, batch.summary()
    return (progress.done, progress.failed, progress.in_doubt, round(progress.spent_usd, 6)) == (
        summary.items.get("done", 0),  # type: ignore[call-overload]
        summary.failed,
        summary.in_doubt,
        summary.committed_usd,
    )


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_kind_of_end_is_counted_once(provider: str) -> None:
    doubts = {"claims": {"i1": [LOST]}} if provider == "modelmax" else {}
    submits = {"i1": [LOST], "i2": [NO]} if provider == "venice" else {"i2": [NO]}
    with staged(provider, 6, submits=submits, looks={"i3": [FAILED], "i4": [RUNNING] * 3}, **doubts) as (script, batch):
        batch.run()
        progress = batch.progress
        assert (progress.items, progress.done, progress.failed, progress.in_doubt) == (6, 3, 2, 1)
        assert agrees(batch)
        assert (progress.at_provider, progress.downloaded) == (0, 3)
        assert progress.submitted == script.count("submit") - len(submits)
        assert progress.looks == script.count("look")
        assert progress.found == script.count("claim") + (3 if provider == "venice" else 0)
        batch.run()
        assert agrees(batch)
        assert batch.progress.items == 6


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_an_earlier_run_did_counts_and_what_goes_on_is_counted_when_it_ends(provider: str) -> None:
    with staged(provider, 4, looks={"i2": [BAD_KEY], "i3": [NO, NO]}, limits={"in_flight": 1}) as (_, batch):
        batch.run()
        assert agrees(batch)
        assert (batch.progress.done, batch.progress.at_provider) == (2, 1)
        batch.run()
        assert agrees(batch)
        assert (batch.progress.done, batch.progress.items) == (4, 4)


def test_of_a_batch_of_which_only_some_were_chosen_no_more_is_done_than_there_is() -> None:
    with staged("venice", 8) as (_, batch):
        batch.run(chosen=frozenset({"i0", "i1", "i2"}))
        assert (batch.progress.done, batch.progress.items) == (3, 3)
        batch.run(chosen=frozenset({"i5"}))
        assert (batch.progress.done, batch.progress.items) == (4, 4)
        assert agrees(batch)
        assert list(batch.states().values()).count("planned") == 4


def test_the_clips_of_a_job_are_counted_one_by_one() -> None:
    with staged("modelmax", wanted=[an_item("i0", sample_count=4)]) as (_, batch):
        batch.run()
        assert (batch.progress.downloaded, batch.progress.done) == (4, 1)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_throttled_answers_are_counted(provider: str) -> None:
    slow = Throttled(wait_s=1.0)
    with staged(provider, 1, submits={"i0": [slow]}, looks={"i0": [slow, slow]}) as (_, batch):
        batch.run()
        assert batch.progress.throttled == 3


def test_the_limit_that_binds_is_named() -> None:
    with staged("venice", 60, limits={"in_flight": 1000}) as (_, batch):
        seen: list[Binding] = []

        def listen(line: str) -> None:
            seen.extend(batch.progress.binding.values())

        batch.world.trace.listener = listen
        batch.run()
        assert Binding.SUBMIT_RATE in seen


def test_looks_a_clip_and_lag_are_known_from_the_first_clip_on() -> None:
    assert Progress().looks_a_clip is None
    assert Progress().lag_s is None
    progress = Progress(looks=9, found=3, unseen_s=6.0)
    assert (progress.looks_a_clip, progress.lag_s) == (3.0, 2.0)


def test_the_slowest_provider_says_when_all_is_finished() -> None:
    assert Progress().finishes_in_s is None
    assert Progress(remaining_s={"a": None}).finishes_in_s is None
    assert Progress(remaining_s={"a": 5.0, "b": 90.0, "c": None}).finishes_in_s == 90.0


def test_a_sentence_is_told_once() -> None:
    progress = Progress()
    for _ in range(3):
        progress.note("Once.")
    assert progress.notes == ["Once."]


def test_what_others_may_show_is_plain_json() -> None:
    progress = Progress(looks=4, found=2, binding={"venice": Binding.VENDOR, "modelmax": Binding.NOTHING})
    told = json.loads(json.dumps(progress.to_json()))
    assert told["looks_a_clip"] == 2.0
    assert told["waiting_for"] == ["the provider's work"]
