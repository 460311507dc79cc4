"""A full disk refuses what would begin something, and costs no receipt of something that is paid for."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from pipeline.errors import DiskRefused
from pipeline.jobs.job import Job
from pipeline.jobs.state import EventKind, State
from pipeline.ledger.emergency import BEGINNINGS, RESERVE_BYTES, Emergency
from pipeline.ledger.store import Ledger
from pipeline.system.files import SystemFiles
from tests.jobs.histories import event, receipt
from tests.ledger.ledgers import Machine, accept, move, plan, start, told

E, S = EventKind, State
BIG = 200_000
"""More than the pages of an almost empty ledger have room for."""


async def test_a_ledger_that_opens_keeps_a_megabyte_in_reserve(machine: Machine) -> None:
    async with machine.ledger():
        assert machine.folder.reserve.stat().st_size == RESERVE_BYTES
    inode = machine.folder.reserve.stat().st_ino

    async with machine.ledger():
        assert machine.folder.reserve.stat().st_ino == inode


async def test_a_ledger_without_room_for_its_reserve_does_not_open(machine: Machine) -> None:
    class Full(SystemFiles):
        def write(self, descriptor: int, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    emergency = Emergency(machine.folder, Full())
    with pytest.raises(DiskRefused, match=r"1 MiB in reserve.*No space left"):
        emergency.keep_reserve()


async def test_answers_go_into_the_room_that_the_reserve_leaves(machine: Machine) -> None:
    machine.reserve_helps = True
    ledger = await machine.open()
    fox, deer = await ledger.record_all([plan("fox"), plan("deer")])
    fox = await ledger.record(*start(fox))
    machine.fill_the_disk()

    async with asyncio.TaskGroup() as group:
        accepted = group.create_task(told(ledger.record(*accept(fox, padding=BIG))))
        begun = group.create_task(told(ledger.record(*start(deer))))

    assert isinstance(accepted.result(), Job)
    assert isinstance(begun.result(), DiskRefused)
    assert dict(machine.ask("SELECT id, state FROM item")) == {"fox": "submitted", "deer": "planned"}
    assert not machine.folder.reserve.exists()
    assert not machine.folder.emergency.exists()
    await ledger.close("finished")


async def test_answers_that_the_ledger_cannot_take_are_taken_in_by_the_next_run(machine: Machine) -> None:
    ledger = await machine.open()
    fox, deer = await ledger.record_all([start(job) for job in await ledger.record_all([plan("fox"), plan("deer")])])
    machine.fill_the_disk()

    await ledger.record(*accept(fox, "öl-1", padding=BIG))
    await ledger.record(*accept(deer, "op-2", padding=BIG))

    assert [json.loads(line)["item_id"] for line in machine.folder.emergency.read_text().splitlines()] == [
        "fox",
        "deer",
    ]
    assert dict(machine.ask("SELECT id, state FROM item")) == {"fox": "submitting", "deer": "submitting"}
    await ledger.close("finished")
    machine.make_room()

    async with machine.ledger() as again:
        assert [(job.state, job.job_id) for job in await again.jobs()] == [
            (S.SUBMITTED, "öl-1"),
            (S.SUBMITTED, "op-2"),
        ]
    assert not machine.folder.emergency.exists()
    assert machine.folder.reserve.exists()


async def test_the_journal_is_left_alone_until_it_is_known_whose_it_is(machine: Machine) -> None:
    ledger = await machine.open()
    fox = await ledger.record(*start(await ledger.record(*plan())))
    machine.fill_the_disk()
    await ledger.record(*accept(fox, "op-1", padding=BIG))
    await ledger.close("finished")
    machine.make_room()
    saved = machine.folder.emergency.read_bytes()

    again = await Ledger.open(machine.path, machine.effects, {"pid": 1}, take_in=False)
    assert machine.folder.emergency.read_bytes() == saved
    assert [job.state for job in await again.jobs()] == [S.SUBMITTING]
    await again.take_in(machine.told.append)
    assert [job.state for job in await again.jobs()] == [S.SUBMITTED]
    assert not machine.folder.emergency.exists()
    await again.close("finished")


async def test_the_journal_stays_as_long_as_the_ledger_cannot_take_it_in(machine: Machine) -> None:
    ledger = await machine.open()
    fox = await ledger.record(*start(await ledger.record(*plan())))
    machine.fill_the_disk()
    await ledger.record(*accept(fox, "op-1", padding=BIG))
    await ledger.close("finished")
    saved = machine.folder.emergency.read_bytes()

    with pytest.raises(DiskRefused, match="database or disk is full"):
        await machine.open()

    assert machine.folder.emergency.read_bytes() == saved
    machine.make_room()
    async with machine.ledger() as again:
        assert (await again.job("fox", 1)).job_id == "op-1"


async def test_what_was_already_taken_in_is_passed_over(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        fox = await ledger.record(*start(await ledger.record(*plan())))
        move = accept(fox, "op-1")
        await ledger.record(*move)
    Emergency(machine.folder, SystemFiles()).save([move[1]])

    async with machine.ledger() as again:
        assert (await again.job("fox", 1)).job_id == "op-1"

    assert machine.kinds().count("submit_accepted") == 1
    assert not machine.folder.emergency.exists()
    assert machine.told == []


async def test_a_saved_answer_with_an_id_that_another_item_holds_becomes_a_doubt_with_its_evidence(
    machine: Machine,
) -> None:
    """As in a run that gets such an answer; what was accepted may have been paid for."""
    async with machine.ledger() as ledger:
        jobs = await ledger.record_all([plan("fox"), plan("deer"), plan("owl")])
        fox, deer, owl = await ledger.record_all([start(job) for job in jobs])
        await ledger.record(*accept(fox, "op-1"))
    Emergency(machine.folder, SystemFiles()).save([accept(deer, "op-1")[1], accept(owl, "op-2")[1]])

    async with machine.ledger() as again:
        held = await again.job("deer", 1)
        assert (held.state, held.committed_usd) == (S.SUBMIT_IN_DOUBT, 1.0)
        assert held.failure is not None
        assert held.failure.kind == "duplicate_job_id"
        assert held.failure.evidence["receipt"]["job_id"] == "op-1"
        assert (await again.job("owl", 1)).job_id == "op-2", "it takes no other answer down"
    assert not machine.folder.emergency.exists()
    assert [sentence.partition(":")[0] for sentence in machine.told] == ["deer is in doubt"]


async def test_a_saved_answer_that_the_ledger_refuses_stays_in_the_journal_and_is_told_of_once(
    machine: Machine,
) -> None:
    async with machine.ledger() as ledger:
        jobs = await ledger.record_all([plan("fox"), plan("deer")])
        fox, deer = await ledger.record_all([start(job) for job in jobs])
    unknown = event(E.SUBMIT_ACCEPTED, "nobody", 1, receipt=receipt("op-9"))
    Emergency(machine.folder, SystemFiles()).save([accept(fox, "op-1")[1], unknown, accept(deer, "op-2")[1]])

    for _ in range(3):
        async with machine.ledger() as again:
            assert [job.job_id for job in await again.jobs()] == ["op-1", "op-2"]

    assert [json.loads(line)["item_id"] for line in machine.folder.emergency.read_text().splitlines()] == ["nobody"]
    (sentence,) = machine.told
    assert sentence.startswith("An answer for nobody (submit_accepted at ")
    assert f"It stays in {machine.folder.emergency}" in sentence

    another = event(E.SUBMIT_ACCEPTED, "nobody", 2, receipt=receipt("op-8"))
    Emergency(machine.folder, SystemFiles()).save([another])
    async with machine.ledger():
        assert len(machine.told) == 3, "what is new is told, with all that is there"


async def test_a_saved_answer_that_the_database_alone_refuses_stays_in_the_journal(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        fox = await ledger.record(*start(await ledger.record(*plan())))
    overdrawn = move(fox, E.SUBMIT_ACCEPTED, receipt=receipt("op-1") | {"answer": {}})
    Emergency(machine.folder, SystemFiles()).save([overdrawn[1]])
    with closing(sqlite3.connect(machine.path, isolation_level=None)) as database:
        database.execute("ALTER TABLE item ADD COLUMN never TEXT CHECK (state <> 'submitted')")

    async with machine.ledger() as again:
        assert (await again.job("fox", 1)).state is S.SUBMITTING

    assert machine.folder.emergency.exists()
    assert len(machine.told) == 1
    assert "the ledger refused submit_accepted" in machine.told[0]


async def test_answers_that_fit_on_no_disk_are_told_with_their_ids(machine: Machine) -> None:
    ledger = await machine.open()
    fox = await ledger.record(*start(await ledger.record(*plan())))
    machine.fill_the_disk()
    machine.files_full = True

    with pytest.raises(DiskRefused, match="These answers are on no disk; note them down: fox = op-1"):
        await ledger.record(*accept(fox, "op-1", padding=BIG))

    assert machine.told == ["These answers are on no disk; note them down: fox = op-1"]
    await ledger.close("finished")


async def test_one_refused_answer_takes_no_other_down_in_an_emergency(machine: Machine) -> None:
    machine.reserve_helps = True
    ledger = await machine.open()
    jobs = await ledger.record_all([start(job) for job in await ledger.record_all([plan("fox"), plan("deer")])])
    planned = await ledger.record(*plan("owl"))
    machine.fill_the_disk()

    async with asyncio.TaskGroup() as group:
        moves = [start(planned), accept(jobs[0], "same", BIG), accept(jobs[1], "same"), accept(jobs[1], "other")]
        tasks = [group.create_task(told(ledger.record(*each))) for each in moves]

    assert [type(task.result()).__name__ for task in tasks] == ["DiskRefused", "Job", "DuplicateJob", "Job"]
    await ledger.close("finished")


def test_a_torn_last_line_of_the_journal_is_ignored(machine: Machine) -> None:
    emergency = Emergency(machine.folder, SystemFiles())
    first, second = (event(E.SUBMIT_ACCEPTED, name, 1, receipt=receipt("\u2028")) for name in ("fox", "deer"))
    emergency.save([first])
    emergency.save([second])
    whole = machine.folder.emergency.read_bytes()

    assert emergency.saved() == [first, second]
    for cut in range(1, 30):
        machine.folder.emergency.write_bytes(whole[:-cut])
        assert emergency.saved() in ([first], [first, second])


def test_a_journal_that_is_not_there_says_nothing_and_is_cleared_in_peace(machine: Machine) -> None:
    emergency = Emergency(machine.folder, SystemFiles())

    emergency.let_go()
    emergency.clear()

    assert emergency.saved() == []


def test_every_event_that_sends_a_call_on_its_way_is_a_beginning() -> None:
    """What is not a beginning is an answer, and answers are written in an emergency."""
    begins = {E.SUBMIT_STARTED, E.CLAIM_STARTED, E.RETRIED, E.DOUBT_RESUBMITTED, E.CLAIM_ALLOWED, E.ITEM_PLANNED}
    answers = {E.SUBMIT_ACCEPTED, E.SUBMIT_LOST, E.CLAIM_RECEIVED, E.CLAIM_LOST, E.JOB_FAILED, E.CLIP_PUBLISHED}

    assert begins <= BEGINNINGS
    assert not answers & BEGINNINGS


async def test_an_answer_saved_on_the_way_down_is_not_doubted_by_a_later_one(machine: Machine) -> None:
    machine.reserve_helps = True
    ledger = await machine.open()
    fox = await ledger.record(*start(await ledger.record(*plan())))
    machine.fill_the_disk()

    accepted = await ledger.record(*accept(fox, "op-1", padding=BIG))
    failed = {"kind": "moderated", "message": "No.", "billing": "refunded", "evidence": {}}
    ended = await ledger.record(*move(accepted, E.JOB_FAILED, failure=failed))

    assert (ended.state, ended.committed_usd) == (S.FAILED, 0.0)
    assert machine.kinds() == ["item_planned", "submit_started", "submit_accepted", "job_failed"]
    await ledger.close("finished")
