"""A world: processes are killed at any step, nothing of theirs acts afterwards, and the rest goes on."""

from __future__ import annotations

import asyncio
import gc
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from pipeline.durable import write_atomically
from tests.support.memory_files import Crash
from tests.support.simulation.databases import MemoryDatabases
from tests.support.simulation.memory_network import Direction, Exchange
from tests.support.simulation.simulated_effects import InlineThreads, VirtualClock
from tests.support.simulation.virtual_loop import VirtualLoop
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.effects import Effects

API = "http://api.test"
LEDGER = Path("/batch/ledger.sqlite")
CLIPS = Path("/batch/clips")


class Shop:
    """A provider that bills what it is asked, one second after the request."""

    def __init__(self) -> None:
        self.bill: list[str] = []
        self.app = web.Application()
        self.app.router.add_post("/buy", self.buy)

    async def buy(self, request: web.Request) -> web.Response:
        item = (await request.json())["item"]
        await asyncio.sleep(1)  # noqa: TID251  # the provider thinks
        self.bill.append(item)
        return web.json_response({"bought": item})


async def shopping(effects: Effects, items: list[str]) -> None:
    """Buy what the ledger does not show as asked for: intent committed, call, answer committed, file written."""
    effects.files.make_folder(CLIPS)
    with closing(effects.open_database(LEDGER)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS events (item TEXT, what TEXT)")
        async with aiohttp.ClientSession(connector=effects.connector(True)) as session:
            for item in items:
                known = {what for (what,) in database.execute("SELECT what FROM events WHERE item = ?", (item,))}
                if not known:
                    database.execute("BEGIN IMMEDIATE")
                    database.execute("INSERT INTO events VALUES (?, 'intent')", (item,))
                    await effects.threads.run_alone("ledger", database.execute, "COMMIT")
                    async with session.post(f"{API}/buy", json={"item": item}) as response:
                        await response.json()
                    with database:
                        database.execute("BEGIN IMMEDIATE")
                        database.execute("INSERT INTO events VALUES (?, 'bought')", (item,))
                write_atomically(effects.files, CLIPS / item, b"paid")


def events(world: World) -> list[tuple[str, str]]:
    with closing(world.databases.open(LEDGER)) as database:
        return sorted(database.execute("SELECT item, what FROM events"))


@pytest.mark.parametrize("power_cut", [False, True])
def test_no_crash_point_buys_twice_and_the_provider_goes_on_without_its_client(power_cut: bool) -> None:
    items = ["a", "b"]
    billed_but_in_doubt: list[str] = []

    def shop_until_done(crash_at: int | None) -> int:
        shop = Shop()
        with World(3, shuffle=True, latency_s=(0.01, 0.3)) as world:
            world.serve(shop.app, "api.test")
            first = world.process("first", crash_at=crash_at, power_cut=power_cut)
            if crash_at is None:
                world.run(shopping(world.effects(first), items), first)
            else:
                with pytest.raises(Crash, match=f"before step {crash_at}"):
                    world.run(shopping(world.effects(first), items), first)
                world.pass_time(5)
            second = world.process("second")
            world.run(shopping(world.effects(second), items), second)
            told = events(world)
            asked, bought = ({item for item, what in told if what == word} for word in ("intent", "bought"))
            assert asked == set(items) >= set(shop.bill) >= bought
            assert len(shop.bill) == len(set(shop.bill))
            assert [world.files.bytes_at(CLIPS / item) for item in items] == [b"paid", b"paid"]
            billed_but_in_doubt.extend(set(shop.bill) - bought)
            return first.steps

    steps = shop_until_done(None)
    assert steps > 20
    for step in range(1, steps + 1):
        shop_until_done(step)
    assert billed_but_in_doubt, "no crash fell between a request and its answer"


def test_a_crash_in_the_loop_stops_everything_and_no_finaliser_acts() -> None:
    acted: list[str] = []

    with World() as world:
        shop = Shop()
        world.serve(shop.app, "api.test")
        process = world.process("victim")
        effects = world.effects(process)

        async def stubborn(number: int) -> None:
            session = aiohttp.ClientSession(connector=effects.connector(False))
            try:
                async with session.post(f"{API}/buy", json={"item": "x"}):
                    await effects.clock.sleep(1000)
            finally:
                try:
                    effects.files.create(Path("/") / f"acted-{number}")
                    acted.append("a file")
                finally:
                    await effects.clock.sleep(1)
                    acted.append("a sleep")
                    async with session.post(f"{API}/buy", json={"item": "again"}):
                        acted.append("a call")

        async def victim() -> None:
            database = effects.open_database(LEDGER)
            database.execute("CREATE TABLE events (item TEXT, what TEXT)")
            database.execute("BEGIN")
            database.execute("INSERT INTO events VALUES ('a', 'lost')")
            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(5):
                        group.create_task(stubborn(number))
                    await effects.clock.sleep(10)
                    process.crash("here")
                    acted.append("after the crash")
            except BaseException:
                database.execute("COMMIT")
                acted.append("a commit")
                raise

        with pytest.raises(Crash, match="killed here"):
            world.run(victim(), process)
        world.pass_time(5000)
        gc.collect()
        assert shop.bill == ["x"] * 5
        assert events(world) == []
    gc.collect()
    assert acted == []
    assert list(world.files.snapshot()) == [LEDGER]


def test_a_crash_that_is_swallowed_stops_the_process_all_the_same() -> None:
    went_on: list[str] = []
    with World() as world:
        process = world.process("victim")
        effects = world.effects(process)

        async def victim() -> None:
            try:
                process.crash("here")
            except BaseException:
                await asyncio.get_running_loop().create_future()
            went_on.append("victim")

        async def bystander() -> None:
            await effects.clock.sleep(0)
            went_on.append("bystander")

        other = world.start(bystander(), process)
        with pytest.raises(Crash):
            world.run(victim(), process)
        world.pass_time(10)
        assert not other.done()
    assert went_on == []


def test_an_asynchronous_generator_of_the_dead_is_not_finalised() -> None:
    acted: list[str] = []
    with World() as world:
        process = world.process("victim")
        effects = world.effects(process)

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                await effects.clock.sleep(100)
            finally:
                acted.append("finalised")

        async def victim() -> None:
            generator = numbers()
            cycle: list[object] = [generator]
            cycle.append(cycle)  # so that it is collected long after the crash
            await anext(generator)
            process.crash("here")

        with pytest.raises(Crash):
            world.run(victim(), process)
        world.pass_time(1)
        gc.collect()
        world.pass_time(1000)
    assert acted == []


def test_a_finaliser_cannot_wake_anybody() -> None:
    acted: list[str] = []
    with World() as world:
        process = world.process("victim")
        rang = asyncio.Event()

        async def sleeper() -> None:
            await rang.wait()
            acted.append("woken")

        async def alarm() -> None:
            loop = asyncio.get_running_loop()
            try:
                await loop.create_future()
            finally:
                loop.call_soon(acted.append, "called")
                loop.call_later(1, acted.append, "called later")
                rang.set()

        async def victim() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(alarm())
                group.create_task(sleeper())
                await VirtualClock(world.loop).sleep(1)
                process.crash("here")

        with pytest.raises(Crash):
            world.run(victim(), process)
        world.pass_time(1000)
    assert acted == []


def test_a_crash_can_be_placed_where_bytes_arrive_and_spares_the_other_process() -> None:
    shop = Shop()
    with World(latency_s=(0.1, 0.1)) as world:
        world.serve(shop.app, "api.test")
        first, second = world.process("first"), world.process("second")

        async def buy(effects: Effects, item: str) -> str:
            async with (
                aiohttp.ClientSession(connector=effects.connector(True)) as session,
                session.post(f"{API}/buy", json={"item": item}) as response,
            ):
                return str((await response.json())["bought"])

        def kill_the_first_when_the_server_reads(direction: Direction, exchange: Exchange, size_bytes: int) -> None:
            if exchange.number == 1 and direction is Direction.REQUEST:
                first.crash("when its request arrived")

        world.network.on_bytes = kill_the_first_when_the_server_reads
        one = world.start(buy(world.effects(first), "one"), first)
        two = world.start(buy(world.effects(second), "two"), second)
        with pytest.raises(Crash, match="when its request arrived"):
            world.finish(two)
        assert world.finish(two) == "two"
        assert not one.done()
    assert sorted(shop.bill) == ["one", "two"]


def test_a_power_cut_loses_what_was_on_the_wire() -> None:
    shop = Shop()
    with World(latency_s=(1, 1)) as world:
        world.serve(shop.app, "api.test")
        process = world.process("victim", power_cut=True)
        effects = world.effects(process)

        async def buy() -> None:
            async with aiohttp.ClientSession(connector=effects.connector(True)) as session:
                waiting = asyncio.ensure_future(session.post(f"{API}/buy", json={"item": "x"}))
                await effects.clock.sleep(1.5)
                process.crash("by a power cut")
                await waiting

        with pytest.raises(Crash):
            world.run(buy(), process)
        world.pass_time(100)
    assert shop.bill == []


def test_the_clocks_of_a_suspended_machine_part() -> None:
    with VirtualLoop() as loop:
        clock = VirtualClock(loop)
        loop.run_until_complete(clock.sleep(90))
        clock.suspended_s += 3600
        assert clock.monotonic() == 90
        assert clock.boottime() == 3690
        assert clock.now() == datetime(2026, 1, 1, 1, 1, 30, tzinfo=UTC)


def test_a_lane_keeps_the_order_of_the_calls_whatever_the_shuffle() -> None:
    for seed in range(20):
        called: list[int] = []
        done: list[int] = []

        async def call(threads: InlineThreads, number: int, called: list[int] = called, done: list[int] = done) -> None:
            called.append(number)
            await threads.run_alone("ledger", done.append, number)

        async def main(call: Any = call) -> None:
            threads = InlineThreads()
            async with asyncio.TaskGroup() as group:
                for number in range(10):
                    group.create_task(call(threads, number))

        with VirtualLoop(shuffle=random.Random(seed)) as loop:
            loop.run_until_complete(main())
        assert done == called != list(range(10))


def test_work_that_has_begun_is_not_called_back_and_work_that_waits_is() -> None:
    done: list[str] = []

    async def main() -> None:
        threads = InlineThreads(duration_s=lambda: 5)
        begun = asyncio.ensure_future(threads.run_alone("ledger", done.append, "begun"))
        waits = asyncio.ensure_future(threads.run_alone("ledger", done.append, "waits"))
        last = asyncio.ensure_future(threads.run_alone("ledger", done.append, "last"))
        await VirtualClock(asyncio.get_running_loop()).sleep(1)
        begun.cancel()
        waits.cancel()
        await last
        threads.close()

    with VirtualLoop() as loop:
        loop.run_until_complete(main())
        assert loop.time() == 10
    assert done == ["begun", "last"]


def test_an_error_in_a_thread_reaches_its_caller() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await InlineThreads().run(divmod, 1, 0)

    with VirtualLoop() as loop:
        loop.run_until_complete(main())


def test_committed_rows_survive_a_crash_and_uncommitted_rows_do_not() -> None:
    created: list[Path] = []
    with World() as world, closing(MemoryDatabases(on_create=created.append)) as databases:
        process = world.process("writer")
        database = databases.open(LEDGER, process)
        database.execute("CREATE TABLE t (n)")
        with database:
            database.execute("BEGIN")
            database.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
        database.execute("BEGIN")
        database.execute("INSERT INTO t VALUES (3)")
        databases.crash(process)
        assert databases.open(LEDGER).execute("SELECT n FROM t").fetchall() == [(1,), (2,)]
        assert created == [LEDGER]
        assert str(world.trace).count("writer database: committed") == 2


def test_one_writer_at_a_time_and_its_death_lets_go_of_the_lock() -> None:
    with World() as world:
        one, other = world.process("one"), world.process("other")
        first, second = world.databases.open(LEDGER, one), world.databases.open(LEDGER, other)
        first.execute("CREATE TABLE t (n)")
        first.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            second.execute("BEGIN IMMEDIATE")
        world.databases.crash(one)
        second.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize(("crash_at", "rows"), [(1, []), (2, [(1,)])])
def test_a_crash_can_be_placed_before_and_after_a_commit(crash_at: int, rows: list[tuple[int]]) -> None:
    with World() as world:
        with closing(world.databases.open(LEDGER)) as database:
            database.execute("CREATE TABLE t (n)")
        process = world.process("writer")
        database = world.databases.open(LEDGER, process)
        process.crash_at = process.steps + crash_at
        database.execute("BEGIN")
        database.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(Crash):
            database.execute("COMMIT")
        with pytest.raises(Crash):
            database.execute("SELECT 1")
        world.bury(process)
        assert world.databases.open(LEDGER).execute("SELECT n FROM t").fetchall() == rows
