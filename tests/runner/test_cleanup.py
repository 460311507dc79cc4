"""Deleting the vendor's copies of what is here: after the clip is safe, never before, and never at its expense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from pipeline.jobs.job import CleanUp
from pipeline.jobs.state import ClipState, State
from pipeline.paths import BatchFolder
from pipeline.providers.answers import Billing as Money
from pipeline.providers.answers import Failed, Gone, NotSent, Refused, Scope, Throttled, Transient
from pipeline.runner.cleanup import KEPT_MOST, TRIES_MOST
from pipeline.sandbox.settings import Render, SandboxSettings
from tests.runner.staged import PROVIDERS, staged
from tests.support.batches import ROOT, Batch, Vendor, an_item
from tests.support.memory_files import Crash
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from tests.support.scripted_provider import Call

LINKED = "grok-imagine-text-to-video-private"
NOT_NOW = Transient(message="It answered 503.", status=503)
WILL_NOT = Refused(scope=Scope.ITEM, kind="not_deleted", message="Invalid id.")
BAD_KEY = Refused(scope=Scope.ACCOUNT, kind="unauthorized", message="The key is not valid.")


def clean(batch: Batch) -> Batch:
    batch.cleanup = True
    return batch


def test_nothing_is_deleted_where_the_manifest_does_not_ask_for_it() -> None:
    with staged() as (script, batch):
        batch.run()
        assert script.count("cleanup") == 0
        assert batch.job().cleanup is CleanUp.NONE


def test_the_vendor_is_asked_once_when_the_clip_is_durably_done_and_not_before() -> None:
    with staged(count=3) as (script, batch):
        seen: list[tuple[str, str]] = []

        def on_call(call: Call) -> None:
            if call.kind == "cleanup":
                job = clean(batch).job(call.item_id)
                seen.append((job.state.value, batch.kinds(call.item_id)[-1]))
                assert batch.clip(call.item_id)

        script.on_call = on_call
        clean(batch).run()
        assert seen == [("done", "clip_published")] * 3
        assert [batch.job(f"i{n}").cleanup for n in range(3)] == [CleanUp.DONE] * 3
        batch.run()
        assert script.count("cleanup") == 3


def test_a_job_without_a_clip_is_never_cleaned_up() -> None:
    failed = Failed(kind="content_policy", message="No.", billing=Money.REFUNDED)
    with staged(count=2, looks={"i0": [failed]}) as (script, batch):
        clean(batch).run()
        assert (script.count("cleanup", "i0"), script.count("cleanup", "i1")) == (0, 1)


def test_a_copy_that_is_gone_already_counts_as_deleted() -> None:
    with staged(cleanups={"i0": [Gone(message="404")]}) as (_, batch):
        clean(batch).run()
        assert batch.job().cleanup is CleanUp.DONE


@pytest.mark.parametrize("answer", [NOT_NOW, NotSent(message="no route"), Throttled(wait_s=7.0)])
def test_what_did_not_work_is_tried_again(answer: Any) -> None:
    with staged(cleanups={"i0": [answer, answer]}) as (script, batch):
        outcome = clean(batch).run()
        assert not outcome.paused_because
        assert script.count("cleanup") == 3
        assert batch.job().cleanup is CleanUp.DONE


def test_a_copy_that_cannot_be_deleted_leaves_the_clip_done_and_the_run_well() -> None:
    with staged(cleanups={"i0": [NOT_NOW] * 99}) as (script, batch):
        outcome = clean(batch).run()
        assert not outcome.paused_because
        assert (batch.job().state, batch.job().failure) == (State.DONE, None)
        assert script.count("cleanup") == TRIES_MOST
        assert "could not be deleted" in batch.progress.notes[-1]
        script.cleanups = {}
        script.forget()
        batch.run()
        assert batch.job().cleanup is CleanUp.DONE


def test_a_vendor_that_will_not_is_asked_once_for_a_job_and_given_up_after_a_few() -> None:
    with staged(count=6, cleanups={f"i{n}": [WILL_NOT] * 9 for n in range(6)}) as (script, batch):
        clean(batch).run()
        assert script.count("cleanup") == KEPT_MOST
        refused = [job.item_id for job in batch.jobs() if job.cleanup is CleanUp.REFUSED]
        assert len(refused) == KEPT_MOST
        assert set(batch.states().values()) == {"done"}


def test_a_refused_key_is_not_taken_for_a_refused_copy() -> None:
    with staged(cleanups={"i0": [BAD_KEY] * 9}) as (script, batch):
        clean(batch).run()
        assert script.count("cleanup") == 1
        assert batch.job().cleanup is CleanUp.NONE


def test_what_was_delivered_before_the_option_was_set_is_cleaned_up_by_the_next_run() -> None:
    with staged(count=2) as (script, batch):
        batch.run()
        clean(batch).run()
        assert script.count("cleanup") == 2
        assert script.count("submit") == 2


def test_what_the_vendor_no_longer_has_is_not_asked_about() -> None:
    with staged() as (script, batch):
        batch.run()
        batch.world.pass_time(86_401.0)
        clean(batch).run()
        assert script.count("cleanup") == 0


def test_a_clip_that_the_user_has_changed_since_keeps_its_copy() -> None:
    with staged(count=2) as (script, batch):
        batch.run()
        batch.world.files.plant(ROOT / "clips" / "i0.mp4", b"cut by hand")
        clean(batch).run()
        assert [call.item_id for call in script.calls if call.kind == "cleanup"] == ["i1"]


def test_another_keys_jobs_are_left_alone() -> None:
    with staged() as (script, batch):
        batch.run()
        batch.key = "another-key"
        clean(batch).run()
        assert script.count("cleanup") == 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_dies_at_the_clean_up_asks_again_and_loses_nothing(moment: str) -> None:
    with staged() as (script, batch):
        process = batch.world.process("dies")

        def on_call(call: Call) -> None:
            if call.kind == "cleanup" and script.count("cleanup") == 1:
                process.crash_at = process.steps + (1 if moment == "before" else 3)

        script.on_call = on_call
        with pytest.raises(Crash):
            clean(batch).run(process)
        assert batch.states() == {"i0": "done"}
        batch.run()
        assert batch.job().cleanup is CleanUp.DONE
        assert batch.job().clips[0].state is ClipState.DONE
        assert 1 <= script.count("cleanup") <= 2
        assert script.count("submit") == 1


def test_the_vendors_own_calls_are_the_documented_ones_and_a_second_run_makes_none() -> None:
    asked: list[str] = []

    @web.middleware
    async def listen(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked.append(f"{request.method} {request.path.rpartition('/')[0]} {'Authorization' in request.headers}")
        return await handler(request)

    wanted = [an_item("i0", "venice"), an_item("i1", "modelmax"), an_item("linked", "venice", model=LINKED)]
    with World(1) as world:
        settings = SandboxSettings(render=Render.TEMPLATE, durations_s=dict.fromkeys(PROVIDERS, 5.0))
        vendor = Vendor(world, settings, doorkeepers=[listen])
        batch = Batch(world, wanted, cleanup=True)
        batch.run()
        deleted = {job.prompt.rpartition(" ")[2]: job.deleted for job in vendor.state.jobs.values()}
        assert deleted == {"i0": True, "i1": False, "linked": True}
        assert "DELETE /private-share False" in asked
        assert all("delete_media" not in line for line in asked)
        before = len(asked)
        batch.run()
        assert len(asked) == before
        for item in wanted:
            assert world.files.bytes_at(BatchFolder(ROOT).clips / f"{item.id}.mp4")


def test_a_vendor_whose_call_calls_every_id_invalid_loses_us_nothing() -> None:
    with World(1) as world:
        settings = SandboxSettings(
            render=Render.TEMPLATE, durations_s=dict.fromkeys(PROVIDERS, 5.0), venice_complete_works=False
        )
        Vendor(world, settings)
        batch = Batch(world, [an_item("i0", "venice")], cleanup=True)
        outcome = batch.run()
        assert not outcome.paused_because
        assert (batch.job().state, batch.job().cleanup) == (State.DONE, CleanUp.REFUSED)
