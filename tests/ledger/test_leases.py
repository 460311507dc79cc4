"""What holds where several workers share a ledger: leases by the server's clock, fences, and who has what."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import Exit, StaleWrite
from pipeline.jobs.state import EventKind, State
from pipeline.ledger.postgres.connection import ConnectionLost
from pipeline.ledger.postgres.writer import LeaseLost
from pipeline.ledger.questions import BEFORE_ALL
from pipeline.ledger.writer import OverBudget
from tests.jobs.histories import BEGAN, HERE
from tests.jobs.histories import told as failed
from tests.ledger.ledgers import accept, move, plan, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.ledger.store import Ledger
    from tests.ledger.shared import SharedMachine

E, S = EventKind, State
ITEMS = [f"i{number}" for number in range(6)]


@asynccontextmanager
async def workers(machine: SharedMachine, count: int = 2) -> AsyncIterator[list[Ledger]]:
    """Let some workers join, each with a thread of its own; those that are still there leave at the end."""
    joined = [await machine.worker() for _ in range(count)]
    try:
        yield joined
    finally:
        for ledger in joined:
            await ledger.close("finished")


async def silence(machine: SharedMachine, ledger: Ledger) -> None:
    """Let a worker fall silent, its lease be at its end, and the server have been there for longer than that."""
    assert ledger._renewing is not None
    if ledger._renewing.cancel():
        await ledger.counts()  # behind whatever its thread was at
    machine.ask(
        "SELECT pg_sleep(greatest(0, extract(epoch FROM pg_postmaster_start_time() - clock_timestamp()) + ?))",
        machine.lease_s + 0.1,
    )
    machine.change(f"UPDATE run SET lease_until = clock_timestamp() - interval '1 second' WHERE epoch = {ledger.epoch}")


async def heads(ledger: Ledger, most: int = 3) -> list[str]:
    return [head.item_id for head in (await ledger.planned_after("modelmax", BEFORE_ALL, most)).heads]


async def test_two_workers_never_lease_the_same_item(shared_machine: SharedMachine) -> None:
    async with workers(shared_machine) as (one, other):
        await one.record_all([plan(name) for name in ITEMS])

        first, second, third, rest = await heads(one), await heads(other), await heads(one), await heads(other)

        assert (first, second) == (["i0", "i1", "i2"], ["i3", "i4", "i5"])
        assert (third, rest) == ([], [])
        assert await one.planned_counts(None) == {}


async def test_only_chosen_items_are_leased(shared_machine: SharedMachine) -> None:
    async with workers(shared_machine) as (one, other):
        await one.record_all([plan(name) for name in ITEMS])

        page = await one.planned_after("modelmax", BEFORE_ALL, 6, {"i1", "i4"})

        assert [head.item_id for head in page.heads] == ["i1", "i4"]
        assert await heads(other, 6) == ["i0", "i2", "i3", "i5"]


async def test_what_one_worker_has_another_cannot_write(shared_machine: SharedMachine) -> None:
    async with workers(shared_machine) as (one, other):
        await one.record_all([plan("fox"), plan("deer")])
        await heads(one, 1)
        job = await other.job("fox", 1)

        with pytest.raises(StaleWrite, match="fox: it is no longer planned"):
            await other.record(*start(job))
        with pytest.raises(StaleWrite, match="another worker has it"):
            await other.withdraw([job], BEGAN)

        assert (await one.record(*start(job))).state is S.SUBMITTING
        assert (await other.record(*start(await other.job("deer", 1)))).state is S.SUBMITTING


async def test_what_is_held_or_ended_can_be_written_by_whoever_settles_it(shared_machine: SharedMachine) -> None:
    async with workers(shared_machine) as (one, operator):
        job = await one.record(*start(await one.record(*plan())))
        held = await one.record(*move(job, E.SUBMIT_LOST, failure=failed()))

        again = await operator.record(*move(held, E.DOUBT_RESUBMITTED))

        assert again.state is S.PLANNED
        assert await heads(one) == ["fox"], "it is nobody's until a worker leases it"


async def test_a_lease_is_renewed_by_every_write_and_every_look_round(shared_machine: SharedMachine) -> None:
    async with workers(shared_machine) as (one, other):
        await silence(shared_machine, one)
        await one.record(*plan())
        assert (await other.keep_company()).silent == []

        await silence(shared_machine, one)
        await one.keep_company()
        assert (await other.keep_company()).silent == []


async def test_who_was_silent_for_too_long_writes_nothing_any_more_and_is_told_so(
    shared_machine: SharedMachine,
) -> None:
    machine = shared_machine
    async with workers(machine) as (one, other):
        planned, asked = await one.record_all([plan("fox"), plan("deer")])
        await heads(one)
        asked = await one.record(*start(asked))
        await silence(machine, one)

        assert (await other.keep_company()).silent == [one.epoch]
        assert (await other.keep_company()).silent == [], "told once"

        with pytest.raises(LeaseLost, match=r"Run 1 was silent for longer than its lease .* Run the same command"):
            await one.record(*start(planned))
        with pytest.raises(LeaseLost):
            await one.record(*plan("owl"))
        await one.record(*accept(asked))
        assert LeaseLost.exit_code is Exit.PAUSED
        assert machine.kinds("deer") == ["item_planned", "submit_started"]
        journal = machine.folder.emergency_of(one.epoch)
        assert '"submit_accepted"' in journal.read_text(), "the answer is kept, for nobody else has it"


async def test_what_a_silent_worker_had_is_taken_over_once(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    async with workers(machine, 3) as (one, two, three):
        jobs = await one.record_all([plan(name) for name in ITEMS[:4]])
        await heads(one, 4)
        a, b, c = await one.record_all([start(job) for job in jobs[:3]])
        await one.record_all([accept(a, "op-a"), accept(b, "op-b")])
        assert await two.take_over([S.SUBMITTED]) == [], "while it is at work, it is its own"
        await silence(machine, one)
        await two.keep_company()

        taken = [
            [job.item_id for job in await ledger.take_over([S.SUBMITTED], {HERE["account"]})] for ledger in (two, three)
        ]
        asked = [[job.item_id for job in await ledger.take_over([S.SUBMITTING])] for ledger in (three, two)]

        assert taken == [["i0", "i1"], []]
        assert asked == [[c.item_id], []]
        assert await heads(two) == ["i3"]


async def test_jobs_of_another_key_are_left_to_whoever_has_it(shared_machine: SharedMachine) -> None:
    async with workers(shared_machine) as (one, other):
        await one.record(*accept(await one.record(*start(await one.record(*plan())))))
        await silence(shared_machine, one)
        await other.keep_company()

        assert await other.take_over([S.SUBMITTED], {"another-key"}) == []
        assert await other.take_over([S.SUBMITTED], set()) == []
        assert len(await other.take_over([S.SUBMITTED], {HERE["account"], "another-key"})) == 1


async def test_who_says_goodbye_leaves_everything_to_the_others_at_once(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    async with workers(machine, 1) as (other,):
        one = await machine.worker()
        await one.record(*start(await one.record(*plan("fox"))))
        await one.record(*plan("deer"))
        await heads(one)
        assert not (await other.keep_company()).is_alone
        await one.close("finished")

        assert (await other.keep_company()).is_alone
        assert [job.item_id for job in await other.take_over([S.SUBMITTING])] == ["fox"]
        assert await heads(other) == ["deer"]


async def test_items_can_be_given_back(shared_machine: SharedMachine) -> None:
    async with workers(shared_machine) as (one, other):
        await one.record_all([plan(name) for name in ITEMS])
        await heads(one, 6)
        await one.give_back("venice")
        assert await heads(other) == []

        await one.give_back("modelmax")

        assert await heads(other) == ["i0", "i1", "i2"]
        await one.record(*plan("last"))
        await one.release([await other.job("i1", 1)])
        assert await heads(one, 9) == ["i3", "i4", "i5", "last"], "nobody gives back what another has"
        await other.release([await other.job("i1", 1)])
        assert await heads(one, 9) == ["i1"]


async def test_the_cap_is_one_for_all_workers(shared_machine: SharedMachine) -> None:
    async with workers(shared_machine) as (one, other):
        await one.write_meta({"max_cost_usd": 3.0})
        a, b, c, d = await one.record_all([plan(name) for name in ITEMS[:4]])
        await one.record(*start(a))
        await other.record(*start(b))
        await one.record(*start(c))

        with pytest.raises(OverBudget, match=r"\$3.00 of the cap of \$3.00"):
            await other.record(*start(d))


async def test_a_lock_is_had_by_one_worker_and_let_go_with_it(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    async with workers(machine, 1) as (other,):
        one = await machine.worker()
        waited = False

        async with one.alone("plan"):
            assert not await other._alone(other._writer.lock, "plan")
            async with other.alone("something else"):
                waited = True
        async with other.alone("plan"):
            pass
        assert waited
        await one.close("finished")


async def test_answers_that_a_dead_worker_saved_are_taken_in_by_the_next(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    one = await machine.worker()
    job = await one.record(*start(await one.record(*plan())))
    machine.server.cut_connections()
    machine.unreachable = True
    await one.record(*accept(job, "op-9"))
    with pytest.raises(ConnectionLost, match=r"cannot be reached: .* When it can be again, run the same command"):
        await one.record(*plan("deer"))
    await one.close("finished")
    machine.unreachable = False
    await silence(machine, one)

    async with workers(machine, 1) as (other,):
        assert (await other.job("fox", 1)).state is S.SUBMITTING, "its worker may still be there"
        await other.keep_company()
        await other.take_in(machine.told.append)

        assert (await other.job("fox", 1)).job_id == "op-9"
        assert not machine.folder.emergency_of(one.epoch).exists()
        assert [job.item_id for job in await other.take_over([S.SUBMITTED])] == ["fox"], "somebody must look at it"


async def test_an_answer_that_comes_after_its_doubt_settles_it(shared_machine: SharedMachine) -> None:
    machine = shared_machine
    async with workers(machine) as (one, other):
        first, again = await one.record_all([start(job) for job in await one.record_all([plan("fox"), plan("deer")])])
        back = await one.record(*move(again, E.SUBMIT_ORPHANED, why="lost", evidence={}))
        again = await one.record(*start(back))
        await silence(machine, one)
        await other.keep_company()
        for job in await other.take_over([S.SUBMITTING]):
            held = {"kind": "interrupted", "message": "", "billing": "unknown", "evidence": {}}
            await other.record(*move(job, E.SUBMIT_LOST, failure=held))
        with pytest.raises(LeaseLost):
            await one.record(*plan("owl"))
        await one.record_all([accept(first, "op-1"), accept(again, "op-2")])

        await other.take_in(machine.told.append)

        assert (await other.job("fox", 1)).job_id == "op-1"
        assert machine.kinds("fox")[-1] == "doubt_adopted"
        assert [job.item_id for job in await other.take_over([S.SUBMITTED])] == ["fox"], "somebody must look at it"
        assert (await other.job("deer", 1)).state is S.SUBMIT_IN_DOUBT, "of two attempts, nobody knows which answered"
        assert "op-2" in machine.folder.emergency_of(one.epoch).read_text()
        assert any(sentence.startswith("fox is in doubt no more") for sentence in machine.told)
