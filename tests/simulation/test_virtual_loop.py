"""The loop: time jumps, order holds, and a simulation that cannot go on says so."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import pairwise

import pytest

from tests.support.simulation.virtual_loop import BusyLoop, Deadlock, TimeIsUp, VirtualLoop


async def pause(seconds: float = 0) -> None:
    await asyncio.sleep(seconds)  # noqa: TID251  # the loop itself is under test


def test_two_hours_pass_in_no_time() -> None:
    began = time.perf_counter()
    with VirtualLoop() as loop:
        loop.run_until_complete(pause(7200))
        assert loop.time() == 7200
    assert time.perf_counter() - began < 1


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set() -> None:
    fired: list[int] = []
    with VirtualLoop() as loop:
        for number in range(50):
            loop.call_at(5, fired.append, number)
        loop.run_until_complete(pause(6))
    assert fired == list(range(50))


def test_a_cancelled_timer_neither_fires_nor_holds_time_back() -> None:
    with VirtualLoop() as loop:
        timers = [loop.call_at(1 + number, pytest.fail, "fired") for number in range(1000)]
        for timer in timers:
            timer.cancel()
        loop.run_until_complete(pause(5000))
        assert loop.time() == 5000
        assert not loop._scheduled


def test_time_outs_fire_in_virtual_time() -> None:
    async def too_slow() -> float:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await loop.create_future()
        return loop.time()

    with VirtualLoop() as loop:
        assert loop.run_until_complete(too_slow()) == 30


def order_of_ten_tasks(shuffle: random.Random | None) -> list[int]:
    order: list[int] = []

    async def one(number: int) -> None:
        for _ in range(3):
            await pause()
            order.append(number)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(one(number))

    with VirtualLoop(shuffle=shuffle) as loop:
        loop.run_until_complete(main())
    return order


def test_callbacks_run_first_in_first_out() -> None:
    assert order_of_ten_tasks(None) == list(range(10)) * 3


def test_a_seed_shuffles_the_callbacks_and_repeats_itself() -> None:
    orders = [order_of_ten_tasks(random.Random(seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == sorted(list(range(10)) * 3)


def test_a_group_cancels_its_children_in_the_same_order_in_every_run() -> None:
    def order() -> list[int]:
        cancelled: list[int] = []

        async def child(number: int) -> None:
            try:
                await pause(1000)
            finally:
                cancelled.append(number)

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(100):
                    group.create_task(child(number))
                await pause(1)
                raise KeyError

        with VirtualLoop() as loop, pytest.raises(ExceptionGroup):
            loop.run_until_complete(main())
        return cancelled

    ballast = [object() for _ in range(1000)]  # moves later objects to other addresses
    first = order()
    del ballast[::2]
    assert first == order()
    assert all(a < b for a, b in pairwise(first))


def test_a_deadlock_is_told_with_the_place() -> None:
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    with VirtualLoop() as loop, pytest.raises(Deadlock, match=r"nobody is waiting for time.*test_virtual_loop\.py"):
        loop.run_until_complete(stuck())


def test_a_busy_loop_is_told() -> None:
    async def spin() -> None:
        while True:
            await pause()

    with VirtualLoop(turns_per_instant=1000) as loop, pytest.raises(BusyLoop, match="1000 turns"):
        loop.run_until_complete(spin())


def test_a_loop_that_only_polls_meets_its_time_limit() -> None:
    async def poll() -> None:
        while True:
            await pause(10)

    with VirtualLoop(limit_s=3600) as loop, pytest.raises(TimeIsUp):
        loop.run_until_complete(poll())


def test_executors_and_calls_from_threads_run_inline() -> None:
    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        seen: list[object] = [await loop.run_in_executor(None, divmod, 7, 2), await asyncio.to_thread(str, 5)]
        loop.call_soon_threadsafe(seen.append, "called")
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 7, 0)
        await pause()
        return seen

    with VirtualLoop() as loop:
        assert loop.run_until_complete(main()) == [(3, 1), "5", "called"]


def test_names_are_never_looked_up_for_real() -> None:
    async def look_up() -> None:
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)

    with VirtualLoop() as loop, pytest.raises(OSError, match="not known"):
        loop.run_until_complete(look_up())


def test_what_nobody_heard_is_kept() -> None:
    with VirtualLoop() as loop:
        loop.call_soon(divmod, 1, 0)
        loop.run_until_complete(pause(1))
        assert "ZeroDivisionError" in loop.troubles[0]
