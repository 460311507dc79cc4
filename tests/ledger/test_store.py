"""What the writing side promises: durable on return, many to a commit, refused one by one, nothing after a failure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DiskRefused, InputError, StaleWrite
from pipeline.jobs.job import Job
from pipeline.jobs.record import IllegalMove
from pipeline.jobs.state import EventKind, State
from pipeline.ledger.questions import BEFORE_ALL
from pipeline.ledger.writer import DuplicateJob, OverBudget
from tests.jobs.histories import BEGAN, HERE, outputs, planned, price, receipt, stored
from tests.jobs.histories import told as failed
from tests.ledger.ledgers import accept, follow, move, names, plan, start, told
from tests.ledger.shared import BOTH

if TYPE_CHECKING:
    from pipeline.ledger.store import Ledger
    from tests.ledger.ledgers import Machine

STORES = BOTH
E, S = EventKind, State


async def together(ledger: Ledger, *moves: tuple[Job | None, object]) -> list[Job | Exception]:
    """Record moves at once, each by a caller of its own, and return what each was told."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(told(ledger.record(job, what))) for job, what in moves]  # type: ignore[arg-type]
    return [task.result() for task in tasks]


# Durability


async def test_what_was_recorded_is_there_for_another_connection_when_record_returns(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*plan())
        assert machine.kinds() == ["item_planned"]

        job = await ledger.record(*start(job, 3.2))

        assert machine.ask("SELECT state, attempt, committed_micro_usd FROM item") == [("submitting", 1, 3_200_000)]
        assert machine.kinds() == ["item_planned", "submit_started"]
        assert not machine.path.with_name("ledger.sqlite-journal").exists()
        assert await ledger.job("fox", 1) == job


async def test_two_hundred_records_at_once_share_a_few_commits(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        machine.statements.clear()

        jobs = await together(ledger, *(plan(f"i{number}") for number in range(200)))

        assert all(isinstance(job, Job) for job in jobs)
        assert machine.count("COMMIT") <= 3
        assert machine.ask("SELECT count(*) FROM event") == [(200,)]


async def test_events_stand_in_the_order_in_which_they_were_recorded(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await together(ledger, *(plan(f"i{number}") for number in range(50)))

    assert machine.ask("SELECT item_id FROM event ORDER BY seq") == [(f"i{number}",) for number in range(50)]


async def test_queued_is_called_once_when_the_write_has_its_place_and_before_it_is_written(machine: Machine) -> None:
    async with machine.ledger() as ledger, asyncio.TaskGroup() as group:
        after: list[asyncio.Task[Job]] = []

        def queued() -> None:
            assert machine.ask("SELECT count(*) FROM event") == [(0,)]
            after.append(group.create_task(ledger.record(*plan("second"))))

        await ledger.record(*plan("first"), queued)
        (second,) = after
        await second

    assert machine.ask("SELECT item_id FROM event ORDER BY seq") == [("first",), ("second",)]


async def test_queued_is_not_called_for_a_write_that_has_no_place(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*plan())

        with pytest.raises(IllegalMove):
            await ledger.record(*accept(job), lambda: pytest.fail("it has no place"))


async def test_the_write_of_a_caller_that_was_cancelled_lands_all_the_same(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*plan())
        task = asyncio.create_task(ledger.record(*start(job), lambda: bool(task.cancel())))

        with pytest.raises(asyncio.CancelledError):
            await task

    assert machine.kinds() == ["item_planned", "submit_started"]


async def test_a_refusal_that_nobody_waits_for_any_more_is_no_forgotten_exception(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*plan())
        await ledger.record(*start(job))
        task = asyncio.create_task(ledger.record(*start(job), lambda: bool(task.cancel())))

        with pytest.raises(asyncio.CancelledError):
            await task

    assert machine.kinds() == ["item_planned", "submit_started"]


async def test_closing_waits_for_what_is_queued(machine: Machine) -> None:
    ledger = await machine.open()
    tasks: list[asyncio.Task[Job]] = []
    for number in range(20):
        queued = asyncio.Event()
        tasks.append(asyncio.create_task(ledger.record(*plan(f"i{number}"), queued.set)))
        await queued.wait()

    await ledger.close("stopped")

    assert machine.ask("SELECT count(*) FROM item") == [(20,)]
    assert [(await task).item_id for task in tasks] == [f"i{number}" for number in range(20)]
    assert machine.ask("SELECT epoch, outcome FROM run") == [(1, "stopped")]


async def test_many_jobs_recorded_together_are_one_transaction(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        machine.statements.clear()

        jobs = await ledger.record_all([plan("fox"), plan("deer")])

        assert names(jobs) == ["fox", "deer"]
        assert machine.count("COMMIT") == 1
        assert await ledger.record_all([]) == []


async def test_nothing_is_queued_where_one_of_many_moves_is_illegal(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*plan())

        with pytest.raises(IllegalMove):
            await ledger.record_all([plan("deer"), accept(job)])

    assert machine.kinds("deer") == []


# Refusals


async def test_what_is_refused_takes_no_neighbour_of_its_commit_down(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.write_meta({"max_cost_usd": 3.0})
        a, b, c, d, e = await ledger.record_all([plan(name) for name in "abcde"])
        a_started, b_started = await ledger.record_all([start(a), start(b)])
        await ledger.record(*accept(a_started, "taken"))
        machine.statements.clear()

        answers = await together(
            ledger, plan("f"), start(a), start(c, 1.000001), accept(b_started, "taken"), start(d, 1.0), start(e, 0.0)
        )

        assert machine.count("COMMIT") == 1
        assert [type(answer) for answer in answers] == [Job, StaleWrite, OverBudget, DuplicateJob, Job, Job]
        states = dict(machine.ask("SELECT id, state FROM item"))
        assert states == {
            "a": "submitted",
            "b": "submitting",
            "c": "planned",
            "d": "submitting",
            "e": "submitting",
            "f": "planned",
        }
        refused = ("submit_started", "c"), ("submit_accepted", "b")
        assert not set(refused) & set(machine.ask("SELECT kind, item_id FROM event"))
        assert await ledger.committed_usd() == 3.0
        assert isinstance(await ledger.record(*accept(b_started, "another")), Job), "the ledger goes on"


async def test_a_write_from_a_state_that_has_moved_on_is_stale_and_says_so(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*plan())
        await ledger.record(*start(job))

        with pytest.raises(StaleWrite, match="fox: it is no longer planned, so submit_started was not written"):
            await ledger.record(*start(job))


async def test_a_write_from_an_earlier_attempt_is_stale_though_the_state_is_the_same(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*plan())
        first = await ledger.record(*start(job))
        back = await ledger.record(*move(first, E.SUBMIT_ORPHANED, why=""))
        await ledger.record(*start(back))

        with pytest.raises(StaleWrite):
            await ledger.record(*accept(first))


async def test_a_clip_that_has_moved_on_makes_the_write_stale(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        submitted = await follow(
            ledger,
            (E.ITEM_PLANNED, planned(2)),
            (E.SUBMIT_STARTED, HERE | price(1)),
            (E.SUBMIT_ACCEPTED, {"receipt": receipt()}),
        )
        await ledger.record(*move(submitted, E.CLIP_STORED, **stored()))

        with pytest.raises(StaleWrite, match="it is no longer submitted"):
            await ledger.record(*move(submitted, E.CLIP_STORED, **stored()))

    assert machine.kinds().count("clip_stored") == 1


async def test_one_vendor_id_belongs_to_one_item_of_one_provider(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        jobs = await ledger.record_all([plan("a"), plan("b"), plan("c", provider="venice")])
        a, b, c = await ledger.record_all([start(job) for job in jobs])
        await ledger.record(*accept(a, "op-7"))

        with pytest.raises(DuplicateJob, match="b: the vendor's job id op-7 is another item's"):
            await ledger.record(*accept(b, "op-7"))
        assert (await ledger.record(*accept(c, "op-7"))).job_id == "op-7"


# Money


async def test_the_cap_is_exact_to_the_millionth_of_a_dollar_over_ten_thousand_items(machine: Machine) -> None:
    """0.1 cannot be had exactly in floating point, and ten thousand of them added up are not 1000."""
    async with machine.ledger() as ledger:
        await ledger.write_meta({"max_cost_usd": 1000.0})
        jobs = await ledger.record_all([plan(f"i{number}") for number in range(10_000)])
        await ledger.record_all([start(job, 0.1) for job in jobs[:-1]])

        with pytest.raises(OverBudget, match=r"\$0.10 and \$999.90 of the cap of \$1000.00 .* --max-cost"):
            await ledger.record(*start(jobs[-1], 0.100001))
        await ledger.record(*start(jobs[-1], 0.1))

        assert machine.ask("SELECT committed_micro_usd FROM money") == [(1_000_000_000,)]
        (late,) = await ledger.record_all([plan("late")])
        with pytest.raises(OverBudget):
            await ledger.record(*start(late, 0.000001))
        assert (await ledger.record(*start(late, 0.0))).state is S.SUBMITTING


async def test_without_a_cap_nothing_is_refused_and_a_raised_cap_lets_go_on(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        first, second = await ledger.record_all([plan("a"), plan("b")])
        await ledger.record(*start(first, 1_000_000.0))
        await ledger.write_meta({"max_cost_usd": 1_000_000})
        with pytest.raises(OverBudget):
            await ledger.record(*start(second))

        await ledger.write_meta({"max_cost_usd": 1_000_001})

        assert (await ledger.record(*start(second))).state is S.SUBMITTING


async def test_what_an_earlier_attempt_may_have_cost_is_not_reserved_again(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.write_meta({"max_cost_usd": 6.4})
        held = await follow(
            ledger,
            (E.ITEM_PLANNED, planned()),
            (E.SUBMIT_STARTED, HERE | price(3.2)),
            (E.SUBMIT_LOST, {"failure": failed()}),
            (E.DOUBT_RESUBMITTED, {}),
        )
        assert await ledger.committed_usd() == 3.2

        await ledger.record(*start(held, 3.2))

        assert await ledger.committed_usd() == 6.4


async def test_asking_for_a_result_once_more_is_refused_where_the_cap_would_be_passed(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.write_meta({"max_cost_usd": 6.399999})
        held = await follow(
            ledger,
            (E.ITEM_PLANNED, planned()),
            (E.SUBMIT_STARTED, HERE | price(3.2)),
            (E.SUBMIT_ACCEPTED, {"receipt": receipt()}),
            (E.CLAIM_STARTED, {}),
            (E.CLAIM_LOST, {"failure": failed()}),
        )
        with pytest.raises(OverBudget):
            await ledger.record(*move(held, E.CLAIM_ALLOWED))

        await ledger.write_meta({"max_cost_usd": 6.4})

        assert (await ledger.record(*move(held, E.CLAIM_ALLOWED))).committed_usd == 6.4


async def test_what_the_vendor_charged_is_written_even_past_the_cap(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.write_meta({"max_cost_usd": 3.2})
        job = await follow(
            ledger,
            (E.ITEM_PLANNED, planned()),
            (E.SUBMIT_STARTED, HERE | price(3.2)),
            (E.SUBMIT_ACCEPTED, {"receipt": receipt()}),
            (E.CLAIM_STARTED, {}),
            (E.CLAIM_RECEIVED, {"outputs": outputs(1), "usage": {}, "cost_usd": 6.4}),
        )

        assert (job.state, await ledger.committed_usd()) == (S.CLAIMED, 6.4)


# A run that takes over


async def test_a_run_that_takes_over_makes_every_write_of_the_older_one_stale(sqlite_machine: Machine) -> None:
    older = await sqlite_machine.open()
    job = await older.record(*plan())
    newer = await sqlite_machine.open()

    with pytest.raises(StaleWrite, match="run 2 has taken over from run 1"):
        await older.record(*start(job))
    with pytest.raises(StaleWrite):
        await older.record(*plan("deer"))
    with pytest.raises(StaleWrite):
        await older.withdraw([job], BEGAN)
    started = await newer.record(*start(await newer.job("fox", 1)))
    await older.close("finished")
    await newer.close("finished")

    assert (older.epoch, newer.epoch) == (1, 2)
    assert sqlite_machine.kinds() == ["item_planned", "submit_started"]
    assert sqlite_machine.ask("SELECT epoch FROM event") == [(1,), (2,)]
    assert sqlite_machine.ask("SELECT epoch, outcome FROM run") == [(1, None), (2, "finished")]
    assert started.attempt == 1


async def test_an_outcome_of_an_older_run_is_not_saved_anywhere_either(sqlite_machine: Machine) -> None:
    older = await sqlite_machine.open()
    job = await older.record(*start(await older.record(*plan())))
    newer = await sqlite_machine.open()

    with pytest.raises(StaleWrite):
        await older.record(*accept(job))

    assert not sqlite_machine.folder.emergency.exists()
    await older.close("finished")
    await newer.close("finished")


async def test_each_run_counts_and_says_who_it_is(machine: Machine) -> None:
    for _ in range(3):
        async with machine.ledger():
            pass

    assert machine.ask("SELECT epoch, about, outcome FROM run") == [(n, '{"pid":1}', "finished") for n in (1, 2, 3)]


# Facts, order, withdrawal, reading back


async def test_facts_about_the_batch_are_kept_and_replaced(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.write_meta({"name": "reefs", "max_cost_usd": None})
        await ledger.write_meta({"name": "räubers"})

        assert await ledger.read_meta("name") == "räubers"
        assert await ledger.read_meta("max_cost_usd") is None
        assert await ledger.read_meta("absent") is None
        assert isinstance(await ledger.read_meta("uuid"), str)


async def test_jobs_come_in_the_order_of_the_manifest(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.record_all([plan(name) for name in ("c", "a", "b")])
        await ledger.place([("a", 0), ("b", 1), ("c", 2)])
        await ledger.record(*plan("b", revision=2))
        await ledger.place([("c", 0), ("b", 1), ("a", 2)])
        await ledger.record(*start(await ledger.job("c", 1)))

        assert names(await ledger.jobs()) == ["c", "b", "b", "a"]
        assert [job.revision for job in await ledger.jobs()] == [1, 1, 2, 1]
        assert names(await ledger.jobs([S.PLANNED])) == ["b", "b", "a"]
        assert names(await ledger.jobs([S.SUBMITTING, S.PLANNED])) == ["c", "b", "b", "a"]
        assert await ledger.jobs([]) == []
        waiting = await ledger.planned_after("modelmax", BEFORE_ALL, 2)
        assert [head[:3] for head in waiting.heads] == [("b", 1, "veo-3"), ("b", 2, "veo-3")]
        assert not waiting.is_last
        rest = await ledger.planned_after("modelmax", waiting.at, 2)
        assert ([head.item_id for head in rest.heads], rest.is_last) == (["a"], True)
        assert (await ledger.planned_after("venice", BEFORE_ALL, 2)).heads == []


async def test_jobs_are_counted_by_state_and_what_waits_by_model(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.record_all([plan(name) for name in ("a", "b", "c")])
        await ledger.record(*start(await ledger.job("a", 1)))

        assert await ledger.counts() == {S.SUBMITTING: 1, S.PLANNED: 2}
        assert await ledger.planned_counts(None) == {("modelmax", "veo-3"): 2}
        assert await ledger.planned_counts({"a", "c"}) == {("modelmax", "veo-3"): 1}
        assert await ledger.planned_counts(frozenset()) == {}


async def test_jobs_are_read_by_their_keys_in_their_order(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        await ledger.record_all([plan("a"), plan("b")])

        assert names(await ledger.jobs_at([("b", 1), ("a", 1)])) == ["b", "a"]
        assert await ledger.jobs_at([]) == []
        with pytest.raises(InputError, match=r"There is no item b \(revision 2\)"):
            await ledger.jobs_at([("a", 1), ("b", 2)])


async def test_a_job_that_is_not_there_is_told_in_a_sentence(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        with pytest.raises(InputError, match=r"There is no item fox \(revision 1\)"):
            await ledger.job("fox", 1)


async def test_an_item_that_cost_nothing_can_be_withdrawn_and_planned_again(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        fox, deer, _ = await ledger.record_all([plan("fox"), plan("deer"), plan("owl")])

        await ledger.withdraw([fox, deer], BEGAN)

        assert names(await ledger.jobs()) == ["owl"]
        assert machine.kinds() == ["item_planned", "item_withdrawn"]
        await ledger.withdraw([], BEGAN)
        await ledger.record(*plan("fox"))
    assert machine.kinds() == ["item_planned", "item_withdrawn", "item_planned"]


async def test_nothing_is_withdrawn_where_one_of_the_items_was_submitted_or_is_gone(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        fox, deer = await ledger.record_all([plan("fox"), plan("deer")])
        await ledger.record(*start(deer))
        with pytest.raises(StaleWrite, match="nothing was withdrawn: illegal move"):
            await ledger.withdraw([fox, deer], BEGAN)
        assert machine.kinds() == ["item_planned"]

        await ledger.withdraw([fox], BEGAN)
        with pytest.raises(StaleWrite, match="some of the items are not there"):
            await ledger.withdraw([fox], BEGAN)

        assert machine.kinds() == ["item_planned", "item_withdrawn"]
        assert (await ledger.record(*plan("owl"))).state is S.PLANNED, "the ledger goes on"


async def test_the_newest_event_has_a_number(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        assert await ledger.last_event() == 0
        await ledger.record_all([plan("fox"), plan("deer")])

        assert await ledger.last_event() == 2


async def test_runs_that_died_are_known_by_the_doubts_that_the_next_one_found(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*start(await ledger.record(*plan())))
    async with machine.ledger() as ledger:
        await ledger.record(*move(job, E.SUBMIT_LOST, failure=failed(kind="interrupted")))
    async with machine.ledger() as ledger:
        job = await ledger.record(*start(await ledger.record(*plan("deer"))))
        await ledger.record(*move(job, E.SUBMIT_LOST, failure=failed(kind="submit_unanswered")))

        assert await ledger.interrupted_doubts(3) == [0, 1, 0]
        assert await ledger.interrupted_doubts(2) == [0, 1]


async def test_a_request_is_rewritten_only_when_it_is_revised(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await ledger.record(*plan(prompt="A fox"))
        job = await ledger.record(*move(job, E.ITEM_REVISED, **planned(prompt="雪")))
        job = await ledger.record(*start(job))

        assert (await ledger.job("fox", 1)).request.prompt == "雪"
        assert (await ledger.job("fox", 1)) == job


async def test_a_new_attempt_takes_the_clips_of_the_one_before_out_of_the_ledger(machine: Machine) -> None:
    async with machine.ledger() as ledger:
        job = await follow(
            ledger,
            (E.ITEM_PLANNED, planned(2)),
            (E.SUBMIT_STARTED, HERE | price(1)),
            (E.SUBMIT_ACCEPTED, {"receipt": receipt()}),
            (E.CLIP_STORED, stored()),
            (E.CLIP_PUBLISHED, {"index": 0, "file": "clips/fox.mp4"}),
            (E.CLIP_LOST, {"index": 1, "failure": failed("billed")}),
            (E.RETRIED, {}),
        )
        assert machine.ask("SELECT state FROM clip ORDER BY idx") == [("done",), ("lost",)]

        job = await ledger.record(*move(job, E.HISTORY_LOST, failure=failed(), **price(1)))

        assert machine.ask("SELECT count(*) FROM clip") == [(0,)]
        job = await ledger.record(*move(job, E.DOUBT_ADOPTED, receipt=receipt("adopted")))
        assert job == await ledger.job("fox", 1)
        assert [clip.state.value for clip in job.clips] == ["wanted", "wanted"]


async def test_a_revision_may_want_the_name_that_an_earlier_one_got_instead_of_its_own(machine: Machine) -> None:
    """The user's own clips/fox.mp4 sent the first revision on to the name that is the second one's by default."""
    wanted = "clips/fox__r2.mp4"
    async with machine.ledger() as ledger:
        for revision, found in ((1, wanted), (2, "clips/fox__r3.mp4")):
            job = await ledger.record(*plan(revision=revision))
            job = await ledger.record(*start(job))
            job = await ledger.record(*accept(job, f"op-{revision}"))
            job = await ledger.record(*move(job, E.CLIP_STORED, **stored() | {"file": wanted}))
            job = await ledger.record(*move(job, E.CLIP_PUBLISHED, index=0, file=found))
            assert job.state is S.DONE

    assert machine.ask("SELECT file FROM clip ORDER BY revision") == [(wanted,), ("clips/fox__r3.mp4",)]


# Failures of the disk


async def test_a_failed_commit_refuses_every_new_beginning_from_then_on(sqlite_machine: Machine) -> None:
    ledger = await sqlite_machine.open()
    fox = await ledger.record(*plan("fox"))
    sqlite_machine.fill_the_disk()

    with pytest.raises(DiskRefused, match=r"cannot be written: database or disk is full.*then run the same command"):
        await ledger.record(*plan("deer", prompt="x" * 100_000))
    with pytest.raises(DiskRefused):
        await ledger.record(*start(fox), lambda: pytest.fail("nothing may follow it"))
    sqlite_machine.make_room()
    with pytest.raises(DiskRefused):
        await ledger.record(*start(fox))

    await ledger.close("finished")
    assert sqlite_machine.ask("SELECT outcome FROM run") == [(None,)], "a run that could not write has not said goodbye"
    assert sqlite_machine.kinds("deer") == []
    async with sqlite_machine.ledger() as again:
        assert (await again.record(*start(await again.job("fox", 1)))).state is S.SUBMITTING


async def test_a_goodbye_that_cannot_be_written_still_closes_the_file(sqlite_machine: Machine) -> None:
    ledger = await sqlite_machine.open()
    mine = sqlite_machine.connections[-1]
    mine.execute("PRAGMA busy_timeout = 0")
    stranger = sqlite_machine.effects.open_database(sqlite_machine.path)
    stranger.execute("BEGIN IMMEDIATE")

    with pytest.raises(DiskRefused):
        await ledger.close("finished")

    with pytest.raises(Exception, match="closed database"):
        mine.execute("SELECT 1")


@pytest.mark.parametrize("write", ["write_meta", "place", "withdraw"])
async def test_a_failed_write_beside_the_queue_leaves_no_transaction_open(sqlite_machine: Machine, write: str) -> None:
    async with sqlite_machine.ledger() as ledger:
        job = await ledger.record(*plan())
        mine = sqlite_machine.connections[-1]
        mine.execute("CREATE TEMP TRIGGER t BEFORE UPDATE ON item BEGIN SELECT RAISE(FAIL, 'no'); END")
        mine.execute("CREATE TEMP TRIGGER u BEFORE INSERT ON meta BEGIN SELECT RAISE(FAIL, 'no'); END")
        mine.execute("CREATE TEMP TRIGGER v BEFORE DELETE ON item BEGIN SELECT RAISE(FAIL, 'no'); END")
        argument = {"write_meta": ({"a": 1},), "place": ([("fox", 7)],), "withdraw": ([job], BEGAN)}[write]

        with pytest.raises(Exception, match="no"):
            await getattr(ledger, write)(*argument)

        assert not mine.in_transaction
        for trigger in "tuv":
            mine.execute(f"DROP TRIGGER {trigger}")
        assert await ledger.record(*start(job))


async def test_a_move_that_the_database_alone_refuses_stops_the_run(machine: Machine) -> None:
    """The code's table and the database's are the same; where a bug parts them, nothing more is bought."""
    ledger = await machine.open()
    job = await ledger.record(*plan())
    machine.change("DELETE FROM move WHERE event = 'submit_started'")

    with pytest.raises(Exception, match="fox: the ledger refused submit_started: illegal move of an item"):
        await ledger.record(*start(job))
    with pytest.raises(Exception, match="illegal move"):
        await ledger.record(*plan("deer"))

    await ledger.close("finished")
    assert machine.ask("SELECT id, state FROM item") == [("fox", "planned")]
