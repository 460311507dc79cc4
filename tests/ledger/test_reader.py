"""What people's commands read of a ledger."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from pipeline.jobs.state import EventKind, State
from pipeline.ledger.reader import reading
from tests.jobs.histories import HERE, event, outputs, planned, price, receipt, stored, uploaded
from tests.jobs.histories import told as failed
from tests.ledger.ledgers import Machine, follow, names, plan, start
from tests.ledger.shared import BOTH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.ledger.reader import Reader

STORES = BOTH
E, S = EventKind, State
PLANNED = (E.ITEM_PLANNED, planned())
STARTED = (E.SUBMIT_STARTED, HERE | price(3.2))


def accepted(job_id: str) -> tuple[EventKind, dict[str, object]]:
    return E.SUBMIT_ACCEPTED, {"receipt": receipt(job_id)}


@pytest.fixture
async def reader(machine: Machine) -> AsyncIterator[Reader]:
    """A batch with one item of nearly every kind."""
    async with machine.ledger() as ledger:
        await ledger.write_meta({"name": "reefs", "max_cost_usd": 25})
        await follow(ledger, PLANNED, item_id="owl")
        await follow(ledger, PLANNED, STARTED, (E.SUBMIT_LOST, {"failure": failed()}), item_id="doubt")
        claimed = (E.CLAIM_STARTED, {}), (E.CLAIM_RECEIVED, {"outputs": outputs(2), "usage": {}, "cost_usd": 1.5})
        clips = [(kind, stored(index, "fox")) for index in (0, 1) for kind in (E.CLIP_STORED, E.CLIP_PUBLISHED)]
        await follow(ledger, PLANNED, STARTED, accepted("op-1"), *claimed, *clips, item_id="fox")
        await follow(ledger, PLANNED, STARTED, accepted("op-2"), item_id="deer")
        unpriced = (E.SUBMIT_STARTED, HERE | price(None))
        lost = (E.JOB_LOST, {"failure": failed("billed")})
        await follow(ledger, PLANNED, unpriced, accepted("op-3"), lost, item_id="lost")
        await follow(ledger, (E.ITEM_PLANNED, planned(provider="venice")), item_id="leaf")
        await ledger.place((name, place) for place, name in enumerate(["fox", "deer", "owl", "leaf", "doubt", "lost"]))
    with reading(machine.path, machine.effects) as reader:
        yield reader


async def test_money_by_state_adds_up_to_all_that_is_committed(reader: Reader) -> None:
    by_state = reader.committed_usd()
    assert by_state == {S.DONE: 1.5, S.SUBMITTED: 3.2, S.PLANNED: 0, S.SUBMIT_IN_DOUBT: 3.2, S.LOST: 0}
    assert sum(by_state.values()) == pytest.approx(reader.summary().committed_usd)


async def test_totals_add_up_to_the_summary_however_many_rows_are_counted_at_once(reader: Reader) -> None:
    totals, summary = reader.totals(), reader.summary()
    assert {state: sum(row.items for row in totals.rows if row.state is state) for state in summary.items} == dict(
        summary.items
    )
    assert sum(row.committed_micro_usd for row in totals.rows) == round(summary.committed_usd * 1_000_000)
    assert {row.provider for row in totals.rows} == {"modelmax", "venice"}
    assert totals.max_cost_usd == 25
    assert [reader.totals(at_once) for at_once in (1, 2, 5, 100)] == [totals] * 4


async def test_what_a_store_has_no_copy_of_is_told_by_reader_and_writer_alike(machine: Machine) -> None:
    store = "s3://bucket/foxes"

    async def left(url: str = store) -> list[str]:
        found = [item_id for item_id, _ in await ledger.not_uploaded(url)]
        with reading(machine.path, machine.effects) as reader:
            assert reader.not_uploaded(url) == len(found)
        return found

    async with machine.ledger() as ledger:
        claimed = (E.CLAIM_STARTED, {}), (E.CLAIM_RECEIVED, {"outputs": outputs(2), "usage": {}, "cost_usd": 1.5})
        clips = [(kind, stored(index, "fox")) for index in (0, 1) for kind in (E.CLIP_STORED, E.CLIP_PUBLISHED)]
        fox = await follow(ledger, PLANNED, STARTED, accepted("op-1"), *claimed, *clips, item_id="fox")
        await follow(ledger, PLANNED, STARTED, accepted("op-2"), item_id="deer")
        assert await left() == ["fox"]
        for index in (0, 1):
            assert await left() == ["fox"]
            fox = await ledger.record(fox, event(E.CLIP_UPLOADED, index=index, **uploaded(f"{index}.mp4", store)))
        assert await left() == []
        assert await left("s3://elsewhere") == ["fox"]
        assert (await ledger.job("fox", 1)).clips == fox.clips
        await ledger.record(fox, event(E.CLIP_COPY_LOST, index=1))
        assert await left() == ["fox"]
    with reading(machine.path, machine.effects) as reader:
        assert reader.uploaded() == 1


async def test_a_summary_counts_items_clips_and_money(reader: Reader) -> None:
    summary = reader.summary()

    assert summary.name == "reefs"
    assert summary.items == {S.DONE: 1, S.SUBMITTED: 1, S.PLANNED: 2, S.SUBMIT_IN_DOUBT: 1, S.LOST: 1}
    assert (summary.total, summary.failed, summary.in_doubt) == (6, 1, 1)
    assert summary.count(S.DONE, S.PLANNED, S.ABANDONED) == 3
    assert summary.clips_done == 2
    assert (summary.committed_usd, summary.in_doubt_usd, summary.max_cost_usd) == (7.9, 3.2, 25)
    assert summary.unpriced == 1
    assert summary.last_run["epoch"] == 1
    assert summary.last_run["outcome"] == "finished"
    assert set(summary.last_run) == {"epoch", "started_at", "ended_at", "outcome", "about"}


async def test_items_come_in_the_manifests_order(reader: Reader) -> None:
    assert reader.item_ids() == names(list(reader.jobs())) == ["fox", "deer", "owl", "leaf", "doubt", "lost"]
    assert [item_id for item_id, _, _ in reader.planned_kinds()] == ["owl", "leaf"]
    assert reader.states()["doubt"] is S.SUBMIT_IN_DOUBT
    assert len(reader.states()) == 6


async def test_providers_that_have_something_to_do_are_named_once(reader: Reader) -> None:
    assert reader.providers() == ["modelmax", "venice"]


async def test_histories_are_told_from_the_beginning(reader: Reader) -> None:
    assert [event.kind for event in reader.events("doubt")] == [E.ITEM_PLANNED, E.SUBMIT_STARTED, E.SUBMIT_LOST]
    assert reader.events("doubt")[1].data["price_usd"] == 3.2
    assert len(reader.events()) > len(reader.events("fox")) > 5
    assert reader.events("absent") == []
    assert reader.revisions("absent") == []


async def test_facts_about_the_batch_are_read(reader: Reader) -> None:
    assert reader.meta("name") == "reefs"
    assert reader.meta("absent") is None


async def test_of_an_item_with_revisions_the_latest_is_shown(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await follow(ledger, PLANNED, STARTED, (E.SUBMIT_REFUSED, {"failure": failed("unbilled")}))
        await ledger.record(*plan("deer"))
        await ledger.record(*plan("fox", revision=2, prompt="Another fox"))

    with reading(machine.path, machine.effects) as reader:
        assert {(job.item_id, job.revision) for job in reader.jobs()} == {("fox", 2), ("deer", 1)}
        assert reader.states() == {"fox": S.PLANNED, "deer": S.PLANNED}
        assert sorted(reader.item_ids()) == ["deer", "fox"]
        assert [job.revision for job in reader.revisions("fox")] == [1, 2]
        assert reader.revisions("fox")[1].request.prompt == "Another fox"


async def test_a_plan_is_told_of_the_latest_revision_of_what_it_names(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await follow(ledger, PLANNED, STARTED, (E.SUBMIT_REFUSED, {"failure": failed("unbilled")}))
        await ledger.record(*plan("deer"))
        await ledger.record(*plan("fox", revision=2, prompt="Another fox"))
        await ledger.place([("deer", 0), ("fox", 1)])

    with reading(machine.path, machine.effects) as reader:
        heads = reader.heads(["fox", "owl", "deer"])
        assert {name: (head.revision, head.position, head.state) for name, head in heads.items()} == {
            "fox": (2, 1, S.PLANNED),
            "deer": (1, 0, S.PLANNED),
        }
        assert list(reader.all_heads()) == [heads["deer"], heads["fox"]]
        assert heads["fox"].fingerprint == reader.revisions("fox")[1].fingerprint
        assert heads["fox"].metadata == reader.revisions("fox")[1].metadata
        assert reader.total() == 2
        assert reader.summary().items == {S.PLANNED: 2}
        assert reader.states_of({"fox"}) == {S.PLANNED}
        assert reader.states_of(frozenset()) == set()


async def test_an_item_of_unknown_price_counts_as_unpriced_once_it_may_have_cost_something(machine: Machine) -> None:
    unpriced = (E.SUBMIT_STARTED, HERE | price(None))
    async with machine.ledger() as ledger:
        await follow(ledger, PLANNED, item_id="planned")
        refused = (E.SUBMIT_REFUSED, {"failure": failed("unbilled")})
        await follow(ledger, PLANNED, unpriced, refused, item_id="refused")
        await follow(ledger, PLANNED, STARTED, item_id="priced")
        await follow(ledger, PLANNED, unpriced, item_id="unpriced")

    with reading(machine.path, machine.effects) as reader:
        assert reader.summary().unpriced == 1


async def test_a_batch_that_never_began_is_summed_up_as_nothing(machine: Machine) -> None:
    async with machine.ledger():
        pass
    machine.change("DELETE FROM run")

    with reading(machine.path, machine.effects) as reader:
        summary = reader.summary()
        assert (summary.name, summary.total, summary.committed_usd) == ("", 0, 0.0)
        assert (summary.last_run, summary.max_cost_usd) == ({}, None)
        assert reader.providers() == []


async def test_reading_lets_the_file_go_at_its_end(sqlite_machine: Machine) -> None:
    async with sqlite_machine.ledger() as ledger:
        await ledger.record(*start(await ledger.record(*plan())))

    with reading(sqlite_machine.path, sqlite_machine.effects) as reader:
        assert names(list(reader.jobs())) == ["fox"]

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        sqlite_machine.connections[-1].execute("SELECT 1")


async def test_a_reader_that_pauses_between_two_jobs_holds_no_writer_up(sqlite_machine: Machine) -> None:
    async with sqlite_machine.ledger() as ledger:
        await ledger.record_all([plan(f"i{number}") for number in range(1000)])
        sqlite_machine.connections[-1].execute("PRAGMA busy_timeout = 0")
        with reading(sqlite_machine.path, sqlite_machine.effects) as reader:
            jobs = reader.jobs()
            next(jobs)

            await ledger.record(*plan("meanwhile"))

            assert len(list(jobs)) >= 999
