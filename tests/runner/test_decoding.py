"""Decoding beside the run: what is recorded, what is not waited for, and what is left for the next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from pipeline.clips.probe import DecodeFacts
from pipeline.errors import DiskRefused, LedgerError
from pipeline.jobs.job import CleanUp
from pipeline.jobs.state import EventKind
from pipeline.sandbox.settings import Render, SandboxSettings
from tests.runner.staged import PROVIDERS, staged, stopped
from tests.support.batches import Batch, Vendor, an_item
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from pathlib import Path

SEEN = DecodeFacts(frames=96, corrupt=1, frozen=0.5)
DECODED = EventKind.CLIP_DECODED
DONE = EventKind.CLIP_PUBLISHED


@dataclass
class ScriptedDecoders:
    """Takes a while for a clip, and refuses those that it is told to. The mutable state is what it was asked."""

    at_once: int = 2
    lasts_s: float = 5.0
    refuses: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    running: int = 0
    most: int = 0

    async def decode(self, path: Path) -> DecodeFacts:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.lasts_s)  # noqa: TID251 - virtual
        finally:
            self.running -= 1
        self.asked.append(path.stem)
        if path.stem in self.refuses:
            raise DiskRefused("It cannot be read.")
        return SEEN


def decoded(batch: Batch) -> list[str]:
    return sorted(job.item_id for job in batch.jobs() if all(clip.facts.get("decoded") for clip in job.clips))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_clip_of_a_run_is_decoded_once_and_the_ledger_says_what_was_seen(provider: str) -> None:
    with staged(provider, 5) as (_, batch):
        batch.decoders = decoders = ScriptedDecoders()
        batch.run()
        assert [dict(clip.facts)["decoded"] for job in batch.jobs() for clip in job.clips] == [SEEN.to_json()] * 5
        assert [batch.kinds(job.item_id).count(DECODED) for job in batch.jobs()] == [1] * 5
        assert (sorted(decoders.asked), decoders.most) == ([f"i{number}" for number in range(5)], 2)
        batch.run()
        assert len(decoders.asked) == 5


@pytest.mark.parametrize("provider", PROVIDERS)
def test_nothing_that_a_vendor_is_asked_waits_for_a_decoder(provider: str) -> None:
    def published_at(batch: Batch) -> list[float]:
        return [event.at.timestamp() for event in batch.events() if event.kind is DONE]

    with staged(provider, 8) as (plain, batch):
        batch.run()
        without, calls = published_at(batch), plain.count("look")
    with staged(provider, 8) as (beside, batch):
        batch.decoders = ScriptedDecoders(at_once=1, lasts_s=600.0)
        batch.run()
        assert published_at(batch) == pytest.approx(without, abs=0.01)
        assert beside.count("look") == calls
        assert len(decoded(batch)) == 8


def test_a_job_of_several_clips_is_decoded_when_all_of_them_are_home() -> None:
    wanted = [an_item("i0", sample_count=3), an_item("i1")]
    with staged("modelmax", wanted=wanted) as (_, batch):
        batch.decoders = ScriptedDecoders(lasts_s=0.0)
        batch.run()
        kinds = batch.kinds("i0")
        assert kinds.count(DECODED) == len(batch.job("i0").clips) > 1
        assert all(later == DECODED for earlier, later in pairwise(kinds) if earlier == DECODED)


def test_a_run_that_is_stopped_waits_for_no_decoder_and_the_next_one_goes_on() -> None:
    with staged("venice", 4) as (_, batch):
        batch.decoders = ScriptedDecoders(at_once=1, lasts_s=3600.0)
        outcome = stopped(batch, 1800.0)
        assert outcome.signal
        assert batch.states() == {f"i{number}": "done" for number in range(4)}
        assert decoded(batch) == []
        batch.decoders = ScriptedDecoders()
        batch.run()
        assert len(decoded(batch)) == 4


def test_a_clip_that_cannot_be_read_is_told_and_left_for_the_next_who_wants_to_know() -> None:
    with staged("venice", 2) as (_, batch):
        batch.decoders = ScriptedDecoders(refuses=frozenset({"i1"}))
        assert batch.run().paused_because == ()
        assert decoded(batch) == ["i0"]
        assert "clips/i1.mp4 was not decoded. It cannot be read." in batch.progress.notes
        batch.decoders = ScriptedDecoders()
        batch.run()
        assert decoded(batch) == ["i0", "i1"]


def test_a_bug_in_decoding_ends_the_run_as_any_other() -> None:
    class Broken(ScriptedDecoders):
        async def decode(self, path: Path) -> DecodeFacts:
            raise LedgerError("A bug.")

    with staged("venice", 2) as (_, batch):
        batch.decoders = Broken()
        with pytest.raises(LedgerError, match=r"A bug\."):
            batch.run()


def test_many_that_are_left_when_all_clips_are_home_are_worth_a_word() -> None:
    with staged("venice", 60) as (_, batch):
        batch.decoders = ScriptedDecoders(at_once=1, lasts_s=60.0)
        batch.run()
        assert any("are still being decoded" in note for note in batch.progress.notes)


@pytest.mark.parametrize("lasts_s", [0.0, 0.01, 0.1, 0.5, 2.0])
def test_whoever_cleans_up_after_a_job_and_whoever_decodes_it_take_turns(lasts_s: float) -> None:
    wanted = [an_item(f"i{number}", "venice") for number in range(12)]
    for seed in range(3):
        with World(seed, shuffle=True, limit_s=86400) as world:
            Vendor(world, SandboxSettings(render=Render.TEMPLATE, durations_s={"venice": 5.0}))
            batch = Batch(world, wanted, cleanup=True, decoders=ScriptedDecoders(at_once=4, lasts_s=lasts_s))
            assert batch.run().paused_because == ()
            assert len(decoded(batch)) == 12
            assert [job.cleanup for job in batch.jobs()] == [CleanUp.DONE] * 12
