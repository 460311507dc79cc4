"""Beginning again: what a run makes of every state that the run before it can have left."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.durable import make_folder
from pipeline.jobs.codec import receipt_to_json
from pipeline.jobs.event import Event
from pipeline.jobs.state import EventKind
from pipeline.ledger.store import Ledger
from pipeline.paths import BatchFolder
from pipeline.providers.answers import Billing, Refused, Scope
from pipeline.runner.lane import failure
from pipeline.runner.reconcile import NothingKnown, write_plan
from tests.runner.staged import PROVIDERS, staged
from tests.support.batches import BASE_URLS, ROOT, Batch, a_vendor, items
from tests.support.memory_files import Crash
from tests.support.scripted_provider import CLIP, receipt_of
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.scripted_provider import Call

E = EventKind
FOLDER = BatchFolder(ROOT)
PART = ROOT / FOLDER.part_name("i0", 0, 1)
FINAL = ROOT / FOLDER.clip_name("i0", 0, 1)
SPARE, SECOND_SPARE = (ROOT / FOLDER.clip_name("i0", 0, 1, spare) for spare in (1, 2))
OTHER = b"something else entirely"
BAD_KEY = Refused(scope=Scope.ACCOUNT, kind="unauthorized", message="The key is not valid.")

ACCOUNT = "0123456789ab"


def begun(provider: str) -> tuple[EventKind, dict[str, Any]]:
    here = {"base_url": BASE_URLS[provider], "account": ACCOUNT}
    return E.SUBMIT_STARTED, {**here, "price_usd": 2.0, "price_is": "computed"}


ACCEPTED = (E.SUBMIT_ACCEPTED, {"receipt": receipt_to_json(receipt_of("i0")), "warnings": []})
CLAIMING = (E.CLAIM_STARTED, {})
CLAIMED = (E.CLAIM_RECEIVED, {"outputs": [{"index": 0, "location": {}}], "usage": {}, "answer": {}, "warnings": []})
STORED = (
    E.CLIP_STORED,
    {
        "index": 0,
        "part": FOLDER.part_name("i0", 0, 1),
        "file": FOLDER.clip_name("i0", 0, 1),
        "sha256": hashlib.sha256(CLIP).hexdigest(),
        "size_bytes": len(CLIP),
        "facts": {"duration_s": 2.0},
        "warnings": [],
    },
)
DOUBT = {"failure": failure("submit_unanswered", "The connection was cut.", Billing.UNKNOWN)}


def left(batch: Batch, *steps: tuple[EventKind, dict[str, Any]], files: Mapping[Path, bytes] | None = None) -> None:
    """Put a batch into the state in which a run left it whose events for `i0` were these, and that then died."""

    async def write() -> None:
        effects = batch.world.effects(process)
        make_folder(effects.files, FOLDER.clips)
        ledger = await Ledger.open(FOLDER.ledger, effects, {"pid": 1})
        now = effects.clock.now()
        await write_plan(ledger, batch.items, NothingKnown(), None, now)
        job = await ledger.job("i0", 1)
        for kind, data in steps:
            job = await ledger.record(job, Event(kind=kind, item_id="i0", revision=1, at=now, data=data))

    process = batch.world.process("the run before")
    batch.world.run(write(), process)
    for path, data in (files or {}).items():
        batch.world.files.plant(path, data)
    batch.world.bury(process)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A state at the start, and what the run makes of it."""

    steps: tuple[tuple[EventKind, dict[str, Any]], ...] = ()
    provider: str = "modelmax"
    files: Mapping[Path, bytes] = field(default_factory=dict)
    state: str = "done"
    usd: float = 2.0
    calls: str = ""
    """What the vendor is asked, in order."""
    file: str = "clips/i0.mp4"
    told: str = ""
    """What the user is told."""


TO_CLAIMED = (begun("modelmax"), ACCEPTED, CLAIMING, CLAIMED)
TO_STORED = (*TO_CLAIMED, STORED)
FOUND = {
    "planned": Found(calls="submit look claim fetch"),
    "submitting, where that bills": Found(
        provider="venice", steps=(begun("venice"),), state="submit_in_doubt", told="i0 is in doubt"
    ),
    "submitting, where that is free": Found(steps=(begun("modelmax"),), calls="submit look claim fetch"),
    "submitted, at Venice": Found(provider="venice", steps=(begun("venice"), ACCEPTED), calls="look"),
    "submitted, at ModelMax": Found(steps=(begun("modelmax"), ACCEPTED), calls="look claim fetch"),
    "claiming": Found(steps=(begun("modelmax"), ACCEPTED, CLAIMING), state="claim_in_doubt", told="i0 is in doubt"),
    "claimed": Found(steps=TO_CLAIMED, calls="fetch"),
    "stored, the part whole": Found(steps=TO_STORED, files={PART: CLIP}),
    "stored, the part torn": Found(steps=TO_STORED, files={PART: CLIP[:-1] + b"!"}, calls="fetch"),
    "stored, the part short": Found(steps=TO_STORED, files={PART: CLIP[:100]}, calls="fetch"),
    "stored, no part": Found(steps=TO_STORED, calls="fetch"),
    "stored, published already": Found(steps=TO_STORED, files={FINAL: CLIP}),
    "stored, both names": Found(steps=TO_STORED, files={PART: CLIP, FINAL: CLIP}),
    "stored, both names, the part torn": Found(steps=TO_STORED, files={PART: CLIP[:9], FINAL: CLIP}),
    "stored, the name taken": Found(
        steps=TO_STORED,
        files={PART: CLIP, FINAL: OTHER},
        file="clips/i0__x1.mp4",
        told="clips/i0.mp4 is not a clip of this batch",
    ),
    "stored, the name taken and the part gone": Found(
        steps=TO_STORED, files={FINAL: OTHER}, calls="fetch", file="clips/i0__x1.mp4"
    ),
    "stored, published under a spare name": Found(
        provider="venice",
        steps=(begun("venice"), ACCEPTED, STORED),
        files={FINAL: OTHER, SPARE: CLIP},
        file="clips/i0__x1.mp4",
    ),
    "stored, published under the second spare name": Found(
        steps=TO_STORED, files={FINAL: OTHER, SPARE: OTHER, SECOND_SPARE: CLIP}, file="clips/i0__x2.mp4"
    ),
    "stored, under a spare name and its own": Found(
        steps=TO_STORED,
        files={PART: CLIP, FINAL: OTHER, SPARE: CLIP},
        file="clips/i0__x1.mp4",
        told="clips/i0.mp4 is not a clip of this batch",
    ),
    "stored, at Venice": Found(provider="venice", steps=(begun("venice"), ACCEPTED, STORED), files={PART: CLIP}),
    "stored, at Venice, no part": Found(provider="venice", steps=(begun("venice"), ACCEPTED, STORED), calls="look"),
    "done": Found(steps=(*TO_STORED, (E.CLIP_PUBLISHED, {"index": 0, "file": "clips/i0.mp4"})), files={FINAL: CLIP}),
    "submit in doubt": Found(
        provider="venice", steps=(begun("venice"), (E.SUBMIT_LOST, DOUBT)), state="submit_in_doubt"
    ),
    "claim in doubt": Found(
        steps=(begun("modelmax"), ACCEPTED, CLAIMING, (E.CLAIM_LOST, DOUBT)), state="claim_in_doubt"
    ),
    "rejected": Found(
        steps=(begun("modelmax"), (E.SUBMIT_REFUSED, {"failure": failure("x", "No.", Billing.UNBILLED)})),
        state="rejected",
        usd=0.0,
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_every_state_found_at_the_start_leads_where_it_must(name: str) -> None:
    found = FOUND[name]
    with staged(found.provider) as (script, batch):
        left(batch, *found.steps, files=found.files)
        outcome = batch.run()
        job = batch.job()
        assert not outcome.paused_because
        assert (job.state, job.committed_usd) == (found.state, found.usd)
        assert " ".join(call.kind for call in script.calls) == found.calls
        assert found.told in " ".join(batch.progress.notes)
        if found.state == "done":
            assert [clip.file for clip in job.clips] == [found.file]
            assert batch.world.files.bytes_at(ROOT / found.file) == CLIP
        foreign = {path: data for path, data in found.files.items() if data == OTHER}
        assert {path: batch.world.files.bytes_at(path) for path in foreign} == foreign
        assert not [path for path in batch.world.files.sizes(FOLDER.clips) if path.name.endswith(".part")]


@pytest.mark.parametrize("name", FOUND)
def test_after_that_another_run_has_nothing_to_do(name: str) -> None:
    found = FOUND[name]
    with staged(found.provider) as (script, batch):
        left(batch, *found.steps, files=found.files)
        batch.run()
        calls, events = len(script.calls), batch.events()
        assert not batch.run().paused_because
        assert len(script.calls) == calls
        assert batch.events() == events


@pytest.mark.parametrize("name", [name for name, found in FOUND.items() if found.steps])
def test_recovering_twice_is_recovering_once_wherever_the_first_was_cut(name: str) -> None:
    found = FOUND[name]

    def recovered(crash_at: int | None) -> tuple[list[str], dict[str, str], int]:
        with staged(found.provider, looks={"i0": [BAD_KEY] * 9}, fetches={"i0": [BAD_KEY] * 9}) as (_, batch):
            left(batch, *found.steps, files=found.files)
            process = batch.world.process("run", crash_at=crash_at)
            try:
                batch.run(process, chosen=frozenset())
            except Crash:
                batch.run(chosen=frozenset())
            return batch.kinds(), batch.states(), process.steps

    kinds, states, steps = recovered(None)
    assert steps > 5
    for step in range(2, steps + 1, 2 if OTHER in found.files.values() else 4):
        assert recovered(step)[:2] == (kinds, states)


def test_part_files_of_earlier_runs_are_removed_and_nothing_else() -> None:
    clips = FOLDER.clips
    stale = {clips / ".i0.0.1.part": b"x", clips / ".zz.2.1.part": b"y", clips / ".i0__r2.0.1.part": b"z"}
    kept = {clips / ".i0.part": b"a", clips / "notes.part": b"b", clips / ".x.0.1.part.mp4": b"c"}
    with staged("venice") as (_, batch):
        left(batch, files=stale | kept)
        batch.run()
        assert [path for path in stale if batch.world.files.bytes_at(path) is not None] == []
        assert {path: batch.world.files.bytes_at(path) for path in kept} == kept


def test_a_job_at_another_address_is_left_as_it_is_with_a_word_on_how_to_reach_it() -> None:
    with staged("modelmax", 2) as (script, batch):
        kind, data = begun("modelmax")
        left(batch, (kind, {**data, "base_url": "https://elsewhere.example"}), ACCEPTED)
        outcome = batch.run()
        assert batch.states() == {"i0": "submitted", "i1": "done"}
        assert not [call for call in script.calls if call.item_id == "i0"]
        assert outcome.paused_because == (
            "i0 was submitted to https://elsewhere.example; set MODELMAX_BASE_URL to it to go on with it.",
        )


def test_what_was_submitted_first_is_looked_at_first() -> None:
    with staged("venice", 12, looks={f"i{number}": [BAD_KEY] for number in range(12)}) as (script, batch):
        batch.limits["looks_per_minute"] = 6
        batch.run()
        asked = len(script.calls)
        batch.world.pass_time(3600.0)
        batch.run()
        again = [call.item_id for call in script.calls[asked:] if call.kind == "look"]
        submitted = [job.item_id for job in sorted(batch.jobs(), key=lambda job: str(job.submitted_at))]
        assert again[0] == submitted[0]


def test_after_three_runs_that_died_and_each_left_a_doubt_nothing_more_is_bought() -> None:
    with staged("venice", 9) as (script, batch):
        for number in range(3):
            process = batch.world.process(f"run {number}")

            def die(call: Call, process: Any = process) -> None:
                process.crash("in the middle of a submit")

            script.on_call = die
            with pytest.raises(Crash):
                batch.run(process)
        script.on_call = lambda call: None
        bought = script.count("submit")
        assert bought == 3
        (reason,) = batch.run().paused_because
        assert "The last 3 runs died" in reason
        assert script.count("submit") == bought
        assert sorted(batch.states().values()) == ["planned"] * 6 + ["submit_in_doubt"] * 3
        assert not batch.run().paused_because
        assert script.count("submit") == 9


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_with_nothing_to_do_makes_no_request(provider: str) -> None:
    with World(1) as world:
        vendor = a_vendor(world, durations_s={provider: 5.0})
        batch = Batch(world, items(4, provider))
        batch.run()
        assert set(batch.states().values()) == {"done"}
        made, events = vendor.calls(), batch.events()
        for _ in range(2):
            assert not batch.run().paused_because
        assert vendor.calls() == made
        assert batch.events() == events
