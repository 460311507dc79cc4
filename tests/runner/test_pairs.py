"""Two things that go wrong at once: a disk that is full when an answer comes, and a run that is told to stop."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.jobs.state import State
from pipeline.paths import BatchFolder
from pipeline.providers.answers import Accepted, Claimed, Output, Throttled
from tests.runner.staged import COMMIT_S, PROVIDERS, staged, stopped
from tests.support.batches import ROOT
from tests.support.scripted_provider import CLIP, After, receipt_of, streaming
from tests.support.simulation.simulated_effects import InlineThreads

if TYPE_CHECKING:
    from tests.support.batches import Batch

FOLDER = BatchFolder(ROOT)
ANSWERS = {
    "venice": ("submits", Accepted(receipt=receipt_of("i0"))),
    "modelmax": ("claims", Claimed(outputs=(Output(index=0, location={}),), usage={}, answer={})),
}
"""The answer of each provider's call that bills, and the table it belongs in."""
HELD = {"venice": State.SUBMIT_IN_DOUBT, "modelmax": State.CLAIM_IN_DOUBT}
ANSWERED = {"venice": State.SUBMITTED, "modelmax": State.CLAIMED}


def fill_the_ledgers_disk(batch: Batch, from_s: float, *, reserve_helps: bool, journal_helps: bool) -> None:
    """Have no commit succeed from a moment on, except into the room that the reserve leaves."""
    world = batch.world

    def refuse_commits(line: str) -> None:
        full = world.loop.time() >= from_s and line.endswith("database: commit")
        if full and not (reserve_helps and world.files.bytes_at(FOLDER.reserve) is None):
            raise sqlite3.OperationalError("database or disk is full")

    def refuse_writes(operation: str, _subject: Any) -> None:
        if world.loop.time() >= from_s and operation == "write" and not journal_helps:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    world.trace.listener = refuse_commits
    world.files.on_call = refuse_writes


def make_room(batch: Batch) -> None:
    batch.world.trace.listener = None
    batch.world.files.on_call = None


def told_of_the_answer(reasons: tuple[str, ...]) -> bool:
    return any("These answers are on no disk; note them down: i0 = i0-1" in reason for reason in reasons)


@pytest.mark.parametrize("helps", ["the reserve", "the journal"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_paid_answer_that_comes_after_sigterm_to_a_full_disk_is_kept(provider: str, helps: str) -> None:
    table, answer = ANSWERS[provider]
    with staged(provider, 3, **{table: {"i0": [After(30.0, answer)]}}) as (script, batch):
        fill_the_ledgers_disk(batch, 25.0, reserve_helps=helps == "the reserve", journal_helps=True)
        outcome = stopped(batch, 20.0, number=signal.SIGTERM)
        assert outcome.signal == signal.SIGTERM
        assert not told_of_the_answer(outcome.paused_because)
        make_room(batch)
        if helps == "the reserve":
            assert batch.job("i0").state is ANSWERED[provider]
        else:
            assert batch.world.files.bytes_at(FOLDER.emergency)
        batch.run()
        assert set(batch.states().values()) == {"done"}
        assert script.count("submit") == 3
        assert script.count("claim", "i0") == (provider == "modelmax")
        assert batch.summary().committed_usd == 6.0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_paid_answer_that_no_disk_takes_after_sigterm_is_told_and_its_item_held(provider: str) -> None:
    table, answer = ANSWERS[provider]
    with staged(provider, 3, **{table: {"i0": [After(30.0, answer)]}}) as (script, batch):
        fill_the_ledgers_disk(batch, 25.0, reserve_helps=False, journal_helps=False)
        assert told_of_the_answer(stopped(batch, 20.0, number=signal.SIGTERM).paused_because)
        make_room(batch)
        batch.run()
        assert batch.job("i0").state is HELD[provider]
        assert (script.count("submit", "i0"), script.count("claim", "i0")) == (1, provider == "modelmax")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_second_stop_during_the_commit_of_an_answer_hears_whether_it_is_on_a_disk(provider: str) -> None:
    table, answer = ANSWERS[provider]
    with staged(provider, 3, **{table: {"i0": [After(30.0, answer)]}}) as (script, batch):
        sent_s = first_s(provider, table)
        fill_the_ledgers_disk(batch, 25.0, reserve_helps=False, journal_helps=False)
        outcome = stopped(batch, 20.0, sent_s + 30.0 + COMMIT_S / 2)
        assert told_of_the_answer(outcome.paused_because)
        make_room(batch)
        batch.run()
        assert batch.job("i0").state is HELD[provider]
        assert script.count("submit", "i0") == 1


def first_s(provider: str, table: str) -> float:
    """Return when the first call of a kind leaves."""
    with staged(provider, 3) as (script, batch):
        stopped(batch)
        return script.times(table.removesuffix("s"))[0]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_that_is_lost_while_the_run_still_cleans_up_is_told(provider: str) -> None:
    """The lanes take five seconds to let go of a download; the answer comes and cannot be written meanwhile."""
    table, answer = ANSWERS[provider]
    slow = [streaming(CLIP[:300], 100.0, CLIP[300:])]
    tables: dict[str, Any] = {table: {"i0": [After(21.0, answer)]}}
    tables["looks" if provider == "venice" else "fetches"] = {"i1": slow}
    with staged(provider, 2, **tables) as (_, batch):
        if provider == "venice":
            batch.items = batch.items[::-1]  # the first submit of a model goes alone: here, that of the download
        work_s = [5.0]

        def duration_s() -> float:
            return work_s.pop() if work_s and batch.world.loop.time() >= 20.0 else 0.0

        fill_the_ledgers_disk(batch, 20.5, reserve_helps=False, journal_helps=False)
        outcome = stopped(batch, 20.0, threads=InlineThreads(duration_s=duration_s))
        assert 25.0 <= batch.world.loop.time() < 26.0
        assert told_of_the_answer(outcome.paused_because)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_that_everybody_throttles_stops_at_once_when_it_is_told_to(provider: str) -> None:
    throttled: Any = [Throttled(wait_s=60.0)] * 500
    script_of = {f"i{number}": throttled for number in range(2, 40)}
    tables: dict[str, Any] = {"submits": script_of, "looks": {"i0": throttled}, "claims": {"i1": throttled}}
    with staged(provider, 40, **tables) as (script, batch):
        outcome = stopped(batch, 200.0)
        assert outcome.signal == signal.SIGINT
        assert batch.world.loop.time() < 201.0
        assert not {State(state) for state in batch.states().values()} - {State.PLANNED, State.SUBMITTED, State.DONE}
        assert max(call.at for call in script.calls) < 200.0
        for table in (script.submits, script.looks, script.claims):
            table.clear()
        script.forget()
        batch.run()
        assert set(batch.states().values()) == {"done"}
        assert batch.summary().committed_usd == 80.0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_clip_that_is_cut_on_a_disk_that_then_fills_up_leaves_no_part_and_is_fetched_for_nothing(
    provider: str,
) -> None:
    bodies = [streaming(CLIP[:300], ConnectionResetError("gone")), streaming(), streaming()]
    with staged(provider, **{"looks" if provider == "venice" else "fetches": {"i0": bodies}}) as (script, batch):

        def fill(operation: str, _subject: Any) -> None:
            if operation == "write" and len(script.bodies) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        batch.world.files.on_call = fill
        (reason,) = batch.run().paused_because
        assert "Free space" in reason
        assert len(script.bodies) == 2
        assert all(body.is_closed for body in script.bodies)
        assert batch.world.files.sizes(FOLDER.clips) == {}
        batch.world.files.on_call = None
        assert not batch.run().paused_because
        assert batch.clip() == CLIP
        assert (script.count("submit"), script.count("claim")) == (1, provider == "modelmax")
        assert batch.summary().committed_usd == 2.0
