"""Bringing clips home: whole or not at all, under their own names, and never at the price of a second claim."""

from __future__ import annotations

import re
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from pipeline.paths import BatchFolder
from pipeline.providers.answers import (
    Claimed,
    Gone,
    NotSent,
    Output,
    Ready,
    Refused,
    Running,
    Scope,
    Stage,
    Throttled,
    Transient,
)
from pipeline.runner.collect import BROKEN_MOST, FAILED_MOST
from pipeline.runner.lane import GONE_OVER_S, GONE_TIMES
from pipeline.runner.reconcile import OnChange
from pipeline.sandbox.settings import Render, SandboxSettings
from tests.runner.staged import PROVIDERS, staged
from tests.support.batches import ROOT, Batch, Vendor, an_item, items
from tests.support.mp4s import minimal, track
from tests.support.scripted_provider import CLIP, After, Body, streaming
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from tests.support.scripted_provider import Script

CLIPS = ROOT / "clips"
HALF = len(CLIP) // 2
PORTAL = b"<!DOCTYPE html><html><body>Please sign in to the network.</body></html>"
GONE = Gone(message="410: Expired")
BAD_KEY = Refused(scope=Scope.ACCOUNT, kind="unauthorized", message="The key is not valid.")
LARGE = minimal(data=bytes(700_000))
"""Larger than what is written to the disk at a time."""

BROKEN: dict[str, tuple[bytes | float | Exception, ...]] = {
    "cut with an error": (CLIP[:HALF], ConnectionResetError("the peer is gone")),
    "cut without a word": (CLIP[:HALF],),
    "empty": (b"",),
    "a page in disguise": (PORTAL,),
    "a box short": (CLIP[:-8],),
    "a byte too many": (CLIP, b"\0"),
    "stalled": (CLIP[:HALF], 3600.0, CLIP[HALF:]),
    "a trickle": tuple(piece for byte in CLIP for piece in (bytes([byte]), 1.0)),
}


def bodies(provider: str, answers: Iterable[Any], item_id: str = "i0") -> dict[str, Any]:
    """Return the table that gives an item's bytes: Venice's come with a look, ModelMax's are fetched."""
    return {"looks" if provider == "venice" else "fetches": {item_id: answers}}


def tries(script: Script, provider: str) -> list[float]:
    return script.times("look" if provider == "venice" else "fetch")


def all_closed(script: Script) -> bool:
    return all(body.is_closed for body in script.bodies)


def parts(batch: Any) -> list[Path]:
    return [path for path in batch.world.files.sizes(CLIPS) if path.name.endswith(".part")]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", BROKEN)
def test_a_body_that_is_not_one_whole_clip_is_fetched_again(name: str, provider: str) -> None:
    broken = [streaming(*BROKEN[name]), streaming(*BROKEN[name])]
    with staged(provider, **bodies(provider, broken)) as (script, batch):
        assert not batch.run().paused_because
        assert batch.job().state == "done"
        assert batch.clip() == CLIP
        assert len(tries(script, provider)) == 3
        assert all_closed(script)
        assert parts(batch) == []
        assert (script.count("submit"), script.count("claim")) == (1, provider == "modelmax")
        assert any("fetched again" in note for note in batch.progress.notes)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("promised", "is_kept"), [(len(CLIP), True), (len(CLIP) + 1, False), (len(CLIP) - 1, False)])
def test_a_body_must_have_the_length_that_was_promised(promised: int, is_kept: bool, provider: str) -> None:
    first = [streaming(CLIP, length=promised)]
    with staged(provider, **bodies(provider, first)) as (script, batch):
        batch.run()
        assert len(tries(script, provider)) == (1 if is_kept else 2)
        assert batch.clip() == CLIP


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_slow_body_that_keeps_coming_is_waited_for(provider: str) -> None:
    pieces = [LARGE[start : start + 70_000] for start in range(0, len(LARGE), 70_000)]
    slow = streaming(*(each for piece in pieces for each in (55.0, piece)))
    with staged(provider, **bodies(provider, [slow])) as (script, batch):
        batch.run()
        assert len(tries(script, provider)) == 1
        assert batch.clip() == LARGE
        assert batch.world.loop.time() > 500.0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_clip_that_never_arrives_whole_is_left_for_the_next_run_and_not_bought_again(provider: str) -> None:
    broken = [streaming(PORTAL) for _ in range(BROKEN_MOST)]
    with staged(provider, **bodies(provider, broken)) as (script, batch):
        (reason,) = batch.run().paused_because
        assert "i0" in reason
        assert len(tries(script, provider)) == BROKEN_MOST
        assert batch.job().state == ("submitted" if provider == "venice" else "claimed")
        gaps = [later - earlier for earlier, later in pairwise(tries(script, provider))]
        assert gaps[-1] > gaps[0]
        assert not batch.run().paused_because
        assert batch.clip() == CLIP
        assert (script.count("submit"), script.count("claim")) == (1, provider == "modelmax")
        assert batch.summary().committed_usd == 2.0


# What the vendor answers in the place of bytes.

LATER = {
    "gone, and there again": [GONE] * (GONE_TIMES - 1),
    "refused": [Refused(scope=Scope.ITEM, kind="bad_request", message="What?")] * 3,
    "throttled": [Throttled(wait_s=9.0)] * 2,
    "throttled, untold": [Throttled(wait_s=None)],
    "not sent": [NotSent(message="No route")] * 4,
    "a 502": [Transient(message="Bad gateway", status=502)] * 12,
    "a lost answer": [Transient(message="The connection was cut.")] * 4,
}


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_clip_that_cannot_be_had_now_is_fetched_later(provider: str, name: str) -> None:
    elsewhere = Ready(outputs=(Output(index=0, location={"download_url": "x"}),))
    looks = {"i0": [elsewhere]} if provider == "venice" else {}
    with staged(provider, looks=looks, fetches={"i0": LATER[name]}) as (script, batch):
        assert not batch.run().paused_because
        assert batch.clip() == CLIP
        assert script.count("fetch") == len(LATER[name]) + 1
        assert (script.count("submit"), script.count("look")) == (1, 1)
        assert script.count("claim") == (provider == "modelmax")


def test_a_link_that_was_used_too_often_is_left_alone_for_long_and_then_for_the_next_run() -> None:
    elsewhere = Ready(outputs=(Output(index=0, location={"download_url": "x"}),))
    overused = Transient(message="The download link answered 429, no MP4.", status=429)
    table = {"i0": [overused] * BROKEN_MOST, "i1": [overused] * 2}
    with staged("venice", 2, looks={"i0": [elsewhere] * 2, "i1": [elsewhere]}, fetches=table) as (script, batch):
        (reason,) = batch.run().paused_because
        assert "i0 is paid for" in reason
        assert batch.states() == {"i0": "submitted", "i1": "done"}
        gaps = [later - earlier for earlier, later in pairwise(script.times("fetch", "i0"))]
        assert [round(gap) for gap in gaps] == [300, 900, 3600, 3600, 3600]
        assert script.count("fetch", "i1") == 3
        assert not batch.run().paused_because
        assert batch.clip("i0") == CLIP
        assert script.count("submit") == 2


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_clip_that_is_gone_for_good_is_lost_and_stays_paid_for(provider: str) -> None:
    elsewhere = Ready(outputs=(Output(index=0, location={"download_url": "x"}),))
    looks = {"i0": [elsewhere]} if provider == "venice" else {}
    with staged(provider, looks=looks, fetches={"i0": repeat(GONE)}) as (script, batch):
        assert not batch.run().paused_because
        job = batch.job()
        assert (job.state, job.committed_usd) == ("lost", 2.0)
        assert job.failure is not None
        assert (job.failure.kind, job.failure.message) == ("clip_gone", GONE.message)
        assert script.count("fetch") == GONE_TIMES
        assert script.times("fetch")[-1] - script.times("fetch")[0] >= GONE_OVER_S
        assert (batch.progress.failed, batch.progress.undelivered) == (1, 1)
        batch.run()
        assert (script.count("submit"), script.count("fetch")) == (1, GONE_TIMES)


def test_a_clip_that_another_key_does_not_know_is_left_for_the_key_that_bought_it() -> None:
    with staged("modelmax", fetches={"i0": [BAD_KEY]}) as (script, batch):
        assert batch.run().paused_because
        script.fetches["i0"] = repeat(GONE)
        script.forget()
        batch.key = "another-key"
        assert batch.run().paused_because
        assert batch.states() == {"i0": "claimed"}
        assert any("another key" in note for note in batch.progress.notes)
        batch.key = "test-key"
        script.fetches.clear()
        script.forget()
        assert not batch.run().paused_because
        assert batch.states() == {"i0": "done"}
        assert script.count("claim") == 1


def test_a_download_that_is_throttled_for_ever_is_left_for_the_next_run() -> None:
    throttled = Throttled(message="Too many requests.", wait_s=0.0)
    with staged("modelmax", fetches={"i0": repeat(throttled)}) as (script, batch):
        (reason,) = batch.run().paused_because
        assert "i0 is paid for" in reason
        asked = script.times("fetch")
        assert len(asked) == FAILED_MOST
        assert min(later - earlier for earlier, later in pairwise(asked)) >= 1.0


def test_a_run_that_halts_waits_for_no_link_to_recover() -> None:
    overused = Transient(message="The link answered 429.", status=429)
    looks = {"i1": [Running(stage=Stage.RUNNING, word="PROCESSING"), BAD_KEY]}
    with staged("modelmax", 2, looks=looks, fetches={"i0": repeat(overused)}) as (_, batch):
        assert batch.run().paused_because
        assert batch.states() == {"i0": "claimed", "i1": "submitted"}
        assert batch.world.loop.time() < 300.0


def test_a_refused_key_at_a_download_leaves_the_job_claimed() -> None:
    with staged("modelmax", 2, fetches={"i0": [BAD_KEY]}) as (script, batch):
        (reason, *_) = batch.run().paused_because
        assert reason == "modelmax refuses the key (unauthorized): The key is not valid."
        assert batch.states()["i0"] == "claimed"
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}
        assert script.count("claim") == 2


# Names.


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_of_the_users_is_never_touched_and_the_clip_gets_the_next_free_name(provider: str) -> None:
    mine = {CLIPS / "i0.mp4": b"my own film", CLIPS / "i0__r2.mp4": b"and its sequel", CLIPS / ".i0.part": b"a note"}
    with staged(provider) as (_, batch):
        for path, data in mine.items():
            batch.world.files.plant(path, data)
        assert not batch.run().paused_because
        job = batch.job()
        assert job.state == "done"
        assert job.clips[0].file not in {f"clips/{path.name}" for path in mine}
        assert batch.world.files.bytes_at(ROOT / job.clips[0].file) == CLIP
        assert {path: batch.world.files.bytes_at(path) for path in mine} == mine
        assert any("clips/i0.mp4 is not a clip of this batch" in note for note in batch.progress.notes)


def test_two_revisions_of_an_item_that_come_home_together_do_not_meet() -> None:
    def slow() -> Any:
        return streaming(LARGE[:350_000], 50.0, LARGE[350_000:])

    with staged("modelmax", looks={"i0": [BAD_KEY]}, fetches={"i0": [slow(), slow()]}) as (script, batch):
        batch.run()
        batch.items = [an_item("i0", "modelmax", duration_seconds=4)]
        assert not batch.run(on_change=OnChange.NEW).paused_because
        begun = script.times("fetch")
        assert abs(begun[0] - begun[1]) < 50.0
        assert batch.world.files.bytes_at(CLIPS / "i0.mp4") == LARGE
        assert batch.world.files.bytes_at(CLIPS / "i0__r2.mp4") == LARGE
        assert parts(batch) == []


# Several clips of a job.


def test_every_clip_of_a_job_comes_home_under_its_own_name() -> None:
    with staged("modelmax", wanted=[an_item("i0", sample_count=3)]) as (script, batch):
        script.fetches["i0"] = [streaming(minimal(data=bytes([number]) * 100)) for number in range(3)]
        assert not batch.run().paused_because
        assert batch.job().state == "done"
        names = ["i0.mp4", "i0__1.mp4", "i0__2.mp4"]
        assert [clip.file for clip in batch.job().clips] == [f"clips/{name}" for name in names]
        for number, name in enumerate(names):
            assert batch.world.files.bytes_at(CLIPS / name) == minimal(data=bytes([number]) * 100)
        assert (script.count("claim"), script.count("fetch")) == (1, 3)
        assert batch.summary().clips_done == 3


def test_a_job_of_which_one_clip_is_gone_is_lost_and_its_other_clips_are_kept() -> None:
    with staged("modelmax", wanted=[an_item("i0", sample_count=3)]) as (script, batch):
        script.fetches["i0"] = [streaming(), GONE, GONE, GONE, streaming()]
        batch.run()
        job = batch.job()
        assert job.state == "lost"
        assert [clip.state.value for clip in job.clips] == ["done", "lost", "done"]
        assert sorted(path.name for path in batch.world.files.sizes(CLIPS)) == ["i0.mp4", "i0__2.mp4"]
        batch.run()
        assert (script.count("submit"), script.count("claim"), script.count("fetch")) == (1, 1, 5)


def test_of_a_job_that_is_half_at_home_only_the_rest_is_fetched() -> None:
    with staged("modelmax", wanted=[an_item("i0", sample_count=3)]) as (script, batch):
        script.fetches["i0"] = [streaming(), streaming(), BAD_KEY]
        assert batch.run().paused_because
        assert [clip.state.value for clip in batch.job().clips] == ["done", "done", "wanted"]
        assert not batch.run().paused_because
        assert batch.job().state == "done"
        assert (script.count("claim"), script.count("fetch")) == (1, 4)


def test_indices_that_the_vendor_chose_are_kept() -> None:
    outputs = tuple(Output(index=index, location={}) for index in (3, 1))
    with staged("modelmax", claims={"i0": [Claimed(outputs=outputs, usage={}, answer={})]}) as (_, batch):
        batch.run()
        assert sorted(path.name for path in batch.world.files.sizes(CLIPS)) == ["i0__1.mp4", "i0__3.mp4"]


# The disk.


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_disk_that_fills_up_pauses_the_run_and_costs_nothing(provider: str) -> None:
    with staged(provider, 3, **bodies(provider, [After(5.0, streaming(LARGE))])) as (script, batch):

        def fill(operation: str, subject: Any) -> None:
            if operation == "write" and script.bodies:
                raise OSError(28, "No space left on device")

        batch.world.files.on_call = fill
        outcome = batch.run()
        assert "Free space" in " ".join(outcome.paused_because)
        assert "done" not in batch.states().values()
        assert parts(batch) == []
        batch.world.files.on_call = None
        assert not batch.run().paused_because
        assert set(batch.states().values()) == {"done"}
        assert script.count("submit") == 3
        assert script.count("claim") == (3 if provider == "modelmax" else 0)
        assert batch.summary().committed_usd == 6.0
        assert all_closed(script)


def test_a_clip_that_cannot_be_made_durable_is_not_published() -> None:
    with staged("modelmax") as (script, batch):
        failed: list[Any] = []

        def fail_once(operation: str, subject: Any) -> None:
            if operation == "fsync" and script.bodies and not failed:
                failed.append(subject)
                raise OSError(5, "Input/output error")

        batch.world.files.on_call = fail_once
        assert batch.run().paused_because
        assert batch.clip() is None
        assert not batch.run().paused_because
        assert batch.clip() == CLIP
        assert script.count("claim") == 1


# What is asked of a vendor.

SUBMIT_LOOK_FETCH = re.compile(
    r"POST /api/v1/video/(?:queue|retrieve)|GET /private-share/[^/]+"
    r"|POST /v1/queue/[^/]+|GET /v1/queue/[^/]+/requests/[^/]+(?:/status|/content/[0-9]+)?"
)


def test_nothing_is_ever_deleted_at_a_vendor() -> None:
    asked: list[tuple[str, str]] = []

    @web.middleware
    async def listen(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked.append((f"{request.method} {request.path}", (await request.read()).decode()))
        return await handler(request)

    linked = an_item("linked", "venice", model="grok-imagine-text-to-video-private")
    with World(1) as world:
        settings = SandboxSettings(render=Render.TEMPLATE, durations_s=dict.fromkeys(PROVIDERS, 5.0))
        Vendor(world, settings, doorkeepers=[listen])
        batch = Batch(world, [an_item("i0", "venice"), an_item("i1", "modelmax"), linked])
        batch.run()
        assert set(batch.states().values()) == {"done"}
        world.pass_time(3600.0)
        batch.run()
    assert len({line.partition("?")[0] for line, _ in asked}) >= 6
    assert [line for line, _ in asked if not SUBMIT_LOOK_FETCH.fullmatch(line)] == []
    assert [body for _, body in asked if "delete" in body] == []


# What goes on at once.


def most_open(script: Script) -> list[int]:
    """Return a list whose one number is the most bodies that were ever open; to be called before the run."""
    most = [0]

    class Watched(list[Body]):
        def append(self, body: Body) -> None:
            super().append(body)
            most[0] = max(most[0], sum(not each.is_closed for each in self))

    script.bodies = Watched()
    return most


def test_no_more_clips_are_downloaded_at_once_than_allowed() -> None:
    slow = {f"i{number}": [streaming(CLIP[:HALF], 40.0, CLIP[HALF:])] for number in range(20)}
    with staged("modelmax", 20, fetches=slow, limits={"concurrent_downloads": 3}) as (script, batch):
        most = most_open(script)
        batch.run()
        assert set(batch.states().values()) == {"done"}
        assert most == [3]


def test_clips_that_looks_find_do_not_pile_up_with_their_connections_open() -> None:
    slow = {f"i{number}": [streaming(CLIP[:HALF], 40.0, CLIP[HALF:])] for number in range(60)}
    limits = {"concurrent_downloads": 4, "submits_per_minute": 1000, "looks_per_minute": 600}
    with staged("venice", 60, looks=slow, limits=limits) as (script, batch):
        most = most_open(script)
        batch.run()
        assert set(batch.states().values()) == {"done"}
        assert most[0] <= 4 + 2  # two looks may leave together
        assert script.count("look") == 60


def test_looking_goes_on_while_there_are_free_downloads() -> None:
    running = [Running(stage=Stage.RUNNING, word="PROCESSING")] * 5
    looks: dict[str, Any] = {"i0": [streaming(CLIP[:HALF], 50.0, CLIP[HALF:])], "i1": running}
    with staged("venice", 2, looks=looks) as (script, batch):
        batch.run()
        assert script.times("look", "i1")[-1] < 50.0


# What is written down.


def test_a_clip_is_published_only_after_its_bytes_are_written_down_and_done_only_after_that() -> None:
    with staged("venice") as (_, batch):
        batch.run()
        steps = [line for _, line in batch.world.trace.lines if line.startswith("run files") or "database" in line]
        part = BatchFolder(ROOT).part_name("i0", 0, 1)
        created = next(n for n, line in enumerate(steps) if f"create {ROOT / part}" in line)
        linked = next(n for n, line in enumerate(steps) if "files: link" in line)
        between = steps[created:linked]
        synced = next(n for n, line in enumerate(between) if "fsync" in line)
        assert any("committed" in line for line in between[synced:])
        after = steps[linked:]
        named = next(n for n, line in enumerate(after) if "fsync_folder" in line)
        assert any("committed" in line for line in after[named:])
        assert batch.kinds()[-2:] == ["clip_stored", "clip_published"]


def test_what_a_clip_says_of_itself_is_written_down_and_held_against_what_was_asked_for() -> None:
    portrait = minimal(track(width=720, height=1280))
    with staged("venice", wanted=items(1, "venice"), looks={"i0": [streaming(portrait)]}) as (_, batch):
        batch.run()
        (clip,) = batch.job().clips
        assert (clip.facts["width"], clip.facts["height"], clip.facts["duration_s"]) == (720, 1280, 2.0)
        assert clip.size_bytes == len(portrait)
        length, shape, size = clip.warnings
        assert ("5 s were asked for" in length, "16:9 was asked for" in shape) == (True, True)
        assert "refusal in disguise" in size
