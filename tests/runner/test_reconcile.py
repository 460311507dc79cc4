"""The plan meets the ledger: what an edited manifest means for what was planned, bought and finished."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import InputError
from pipeline.jobs.job import Job
from pipeline.jobs.state import ENDED, IN_DOUBT, State
from pipeline.ledger.reader import JobHead
from pipeline.providers.answers import Ambiguous, Refused, Running, Scope, Stage
from pipeline.runner.reconcile import Difference, NothingKnown, OnChange, compare, refuse_undecided
from tests.runner.staged import staged
from tests.support.batches import ROOT, an_item, items

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.planning.item import Item

BAD_KEY = Refused(scope=Scope.ACCOUNT, kind="unauthorized", message="The key is not valid.")
RUNNING = Running(stage=Stage.RUNNING, word="PROCESSING")


def job_of(item: Item, state: State = State.PLANNED, **changes: Any) -> Job:
    job = Job(
        item_id=item.id,
        revision=1,
        fingerprint=item.fingerprint,
        provider=item.provider,
        request=item.request,
        metadata=item.metadata,
        state=state,
    )
    return replace(job, **changes)


class Jobs:
    """The latest revisions of a ledger's jobs."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = {job.item_id: job for job in jobs}

    def total(self) -> int:
        return len(self.jobs)

    def heads(self, item_ids: Sequence[str]) -> dict[str, JobHead]:
        return {head.item_id: head for head in self.all_heads() if head.item_id in item_ids}

    def all_heads(self) -> Iterable[JobHead]:
        for place, job in enumerate(self.jobs.values()):
            micro = round(job.committed_usd * 1_000_000)
            yield JobHead(job.item_id, job.revision, place, job.state, job.fingerprint, job.metadata, micro)

    def revisions(self, item_id: str) -> list[Job]:
        return [self.jobs[item_id]]


def found(difference: Difference) -> list[str]:
    """Return in what ways a plan differs from a ledger."""
    return [name for name in ("new", "unsubmitted", "changed", "relabelled", "withdrawn") if getattr(difference, name)]


def changed(item_id: str, **changes: Any) -> Item:
    return an_item(item_id, duration_seconds=4, **changes)


# compare


def test_against_an_empty_ledger_everything_is_new_in_the_plans_order() -> None:
    plan = items(5)
    difference = compare(plan, NothingKnown())
    assert difference.new == 5
    assert not difference.changed
    assert not difference.withdrawn
    assert (difference.waiting, difference.attached, difference.reused, difference.held) == (0, 0, 0, 0)


@pytest.mark.parametrize("state", State)
def test_an_item_that_did_not_change_is_counted_by_where_it_stands(state: State) -> None:
    item = an_item("i0")
    difference = compare([item], Jobs(job_of(item, state)))
    assert found(difference) == []
    counts = (difference.waiting, difference.attached, difference.reused, difference.held)
    assert counts == (
        state is State.PLANNED,
        state in {State.SUBMITTING, State.SUBMITTED, State.CLAIMING, State.CLAIMED},
        state in ENDED,
        state in IN_DOUBT,
    )


@pytest.mark.parametrize("state", State)
def test_a_changed_item_is_the_users_to_decide_unless_it_was_not_yet_submitted(state: State) -> None:
    before, after = an_item("i0"), changed("i0")
    job = job_of(before, state)
    difference = compare([after], Jobs(job))
    if state is State.PLANNED:
        assert (difference.unsubmitted, difference.changed, list(difference.first_changed)) == (1, 0, [])
    else:
        assert (difference.unsubmitted, difference.changed) == (0, 1)
        assert list(difference.first_changed) == [(job, after)]


@pytest.mark.parametrize("state", State)
def test_changed_metadata_only_relabel_an_item(state: State) -> None:
    before, after = an_item("i0"), an_item("i0", metadata={"split": "train"})
    job = job_of(before, state)
    difference = compare([after], Jobs(job))
    assert difference.relabelled == 1
    assert found(difference) == ["relabelled"]


@pytest.mark.parametrize("state", State)
def test_an_item_that_left_the_manifest_is_withdrawn_only_before_it_was_submitted(state: State) -> None:
    job = job_of(an_item("i0"), state)
    assert compare([], Jobs(job)).withdrawn == (state is State.PLANNED)


def test_the_order_of_the_plan_decides_nothing() -> None:
    plan = items(6)
    jobs = [job_of(item, state) for item, state in zip(plan, State, strict=False)]
    forth, back = compare(plan, Jobs(*jobs)), compare(plan[::-1], Jobs(*jobs[::-1]))
    assert found(back) == []
    assert [forth.waiting, forth.attached, forth.reused, forth.held] == [
        back.waiting,
        back.attached,
        back.reused,
        back.held,
    ]


def test_moving_to_another_provider_is_a_change() -> None:
    before, after = an_item("i0", "modelmax"), an_item("i0", "venice")
    assert [item for _, item in compare([after], Jobs(job_of(before, State.DONE))).first_changed] == [after]


# refuse_undecided


def test_nothing_changed_nothing_refused() -> None:
    plan = items(2)
    refuse_undecided(compare(plan, Jobs(job_of(plan[0], State.DONE))), None)


@pytest.mark.parametrize("decision", OnChange)
def test_a_decision_settles_it(decision: OnChange) -> None:
    difference = compare([changed("i0")], Jobs(job_of(an_item("i0"), State.DONE)))
    refuse_undecided(difference, decision)


def test_without_a_decision_the_run_stops_and_shows_what_changed() -> None:
    before = an_item("i0", negative_prompt="blurry")
    after = an_item("i0", duration_seconds=4, prompt="x" * 200, model="veo-2")
    with pytest.raises(InputError) as refusal:
        refuse_undecided(compare([after], Jobs(job_of(before, State.SUBMITTED))), None)
    told = str(refusal.value).splitlines()
    assert "  i0 (submitted)" in told
    assert "    parameters.duration_seconds: 8 -> 4" in told
    assert '    parameters.negative_prompt: "blurry" -> not set' in told
    assert '    model: "veo-3" -> "veo-2"' in told
    (prompt,) = [line for line in told if "prompt: " in line and "negative" not in line]
    assert prompt.endswith("...")
    assert "--on-change keep" in told[-1]
    assert "--on-change new" in told[-1]


def test_of_many_changed_items_the_first_ten_are_shown_and_the_rest_counted() -> None:
    jobs = [job_of(item, State.DONE) for item in items(25)]
    with pytest.raises(InputError, match="and 15 more") as refusal:
        refuse_undecided(compare([changed(f"i{number}") for number in range(25)], Jobs(*jobs)), None)
    assert str(refusal.value).count("(done)") == 10


# write_plan, and what the run then does


def test_the_same_manifest_again_writes_nothing() -> None:
    with staged("modelmax", 3) as (script, batch):
        batch.run()
        events, calls = batch.events(), len(script.calls)
        batch.items = items(3)
        batch.run()
        batch.items = items(3)[::-1]
        batch.run()
        assert batch.events() == events
        assert len(script.calls) == calls
        assert [job.item_id for job in batch.jobs()] == ["i2", "i1", "i0"]


def test_items_inserted_anywhere_are_made_and_the_others_left_alone() -> None:
    with staged("modelmax", 2) as (script, batch):
        batch.run()
        batch.items = [an_item("first"), *items(2), an_item("last")]
        batch.run()
        assert script.count("submit") == 4
        assert [job.item_id for job in batch.jobs()] == ["first", "i0", "i1", "last"]
        assert set(batch.states().values()) == {"done"}


def test_an_item_changed_before_it_was_submitted_takes_the_new_request() -> None:
    with staged("modelmax", 2, max_cost_usd=0.0) as (script, batch):
        batch.run()
        batch.items = [changed("i0"), an_item("i1", metadata={"split": "train"})]
        batch.max_cost_usd = None
        batch.run()
        assert batch.job("i0").request.parameters["duration_seconds"] == 4
        assert batch.job("i0").revision == 1
        assert batch.job("i1").metadata == {"split": "train"}
        assert batch.kinds("i0")[:2] == ["item_planned", "item_revised"]
        assert batch.kinds("i1")[:2] == ["item_planned", "item_relabelled"]
        assert script.count("submit") == 2


def test_an_item_removed_before_it_was_submitted_is_forgotten_and_one_removed_after_that_is_finished() -> None:
    with staged("modelmax", 3, looks={"i0": [BAD_KEY]}, limits={"in_flight": 1}) as (script, batch):
        batch.run()
        assert batch.states() == {"i0": "submitted", "i1": "planned", "i2": "planned"}
        batch.items = [an_item("i2")]
        batch.run()
        assert batch.states() == {"i0": "done", "i2": "done"}
        assert batch.kinds("i1") == ["item_planned", "item_withdrawn"]
        assert script.count("submit", "i1") == 0


def test_an_item_that_came_back_after_it_was_withdrawn_is_planned_anew() -> None:
    with staged("modelmax", 2, max_cost_usd=0.0) as (_, batch):
        batch.run()
        batch.items = items(1)
        batch.run()
        batch.items, batch.max_cost_usd = items(2), None
        batch.run()
        assert set(batch.states().values()) == {"done"}


@pytest.mark.parametrize("state", ["done", "submitted", "rejected", "submit_in_doubt"])
def test_kept_what_was_bought_stays_and_the_change_is_not_made(state: str) -> None:
    answers: dict[str, Any] = {
        "done": {},
        "submitted": {"looks": {"i0": [BAD_KEY]}},
        "rejected": {"submits": {"i0": [Refused(scope=Scope.ITEM, kind="x", message="No.")]}},
        "submit_in_doubt": {"submits": {"i0": [Ambiguous(message="Cut.")]}},
    }[state]
    with staged("venice", wanted=[an_item("i0", "venice")], **answers) as (script, batch):
        batch.run()
        assert batch.job().state == state
        batch.items = [an_item("i0", "venice", duration_seconds=10)]
        with pytest.raises(InputError):
            batch.run()
        assert script.count("submit") == 1
        batch.run(on_change=OnChange.KEEP)
        job = batch.job()
        assert (job.revision, job.request.parameters["duration_seconds"]) == (1, 5)
        assert job.state == ("done" if state == "submitted" else state)
        assert script.count("submit") == 1


def test_new_revisions_are_made_beside_what_was_bought() -> None:
    with staged("venice", 2, looks={"i1": [RUNNING, BAD_KEY]}) as (script, batch):
        batch.run()
        batch.items = [an_item(f"i{number}", "venice", duration_seconds=10) for number in range(2)]
        batch.run(on_change=OnChange.NEW)
        assert script.count("submit") == 4
        assert [(job.revision, job.state) for job in batch.jobs()] == [(2, "done"), (2, "done")]
        names = sorted(path.name for path in batch.world.files.sizes(ROOT / "clips"))
        assert names == ["i0.mp4", "i0__r2.mp4", "i1.mp4", "i1__r2.mp4"]
        assert batch.summary().committed_usd == 8.0
        batch.run()
        assert script.count("submit") == 4


def test_an_item_changed_twice_and_back_has_three_revisions() -> None:
    with staged("venice", 1) as (script, batch):
        for seconds in (5, 10, 5):
            batch.items = [an_item("i0", "venice", duration_seconds=seconds)]
            batch.run(on_change=OnChange.NEW)
        assert batch.job().revision == 3
        assert script.count("submit") == 3


def test_a_plan_of_thousands_is_written_and_read_back() -> None:
    with staged("modelmax", 2100, max_cost_usd=0.0) as (_, batch):
        batch.run()
        assert [job.item_id for job in batch.jobs()] == [f"i{number}" for number in range(2100)]
        batch.items = [an_item("first"), *items(2050), changed("i2050"), *items(2090)[2060:]]
        batch.run()
        ids = [item.id for item in batch.items]
        assert [job.item_id for job in batch.jobs()] == ids
        assert batch.kinds("i2050") == ["item_planned", "item_revised"]
        assert batch.kinds("i2055") == ["item_planned", "item_withdrawn"]
        assert batch.kinds("i0") == ["item_planned"]
