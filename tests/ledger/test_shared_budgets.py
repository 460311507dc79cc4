"""One row for each endpoint and key: the workers together keep to one limit, whatever each one's clock says."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from pipeline.ledger.postgres.budgets import AWAY_S, SharedBudgets, moved
from pipeline.runner.limits import CUT, UNCOUNTED_WAIT_S, Endpoint, SlidingLog
from pipeline.system.databases import connect_postgres
from pipeline.system.effects import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Server

LIMIT = 40


class ClockOfItsOwn(SystemClock):
    """A clock of a machine that was started at another time."""

    def __init__(self, ahead_s: float) -> None:
        self.ahead_s = ahead_s

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Worker:
    """An endpoint as one worker on one machine has it."""

    def __init__(self, server: Server, ahead_s: float, name: str) -> None:
        self.clock = ClockOfItsOwn(ahead_s)
        self.budgets = SharedBudgets(server.dsn, connect_postgres, self.clock)
        self.endpoint = Endpoint(SlidingLog(LIMIT), self.budgets, name)

    def take(self) -> float:
        return self.endpoint.try_take(self.clock.monotonic())


@pytest.fixture
def pair(postgres: Server, request: pytest.FixtureRequest) -> Iterator[tuple[Worker, Worker]]:
    name = f"venice-{request.node.name}"
    workers = Worker(postgres, 0.0, name), Worker(postgres, 86_400.0, name)
    yield workers
    for worker in workers:
        worker.budgets.close()


def test_workers_whose_clocks_are_a_day_apart_keep_to_one_limit_together(pair: tuple[Worker, Worker]) -> None:
    waits = [pair[number % 2].take() for number in range(LIMIT + 4)]

    assert waits[:LIMIT] == [0.0] * LIMIT
    assert all(59.0 < wait_s <= 60.5 for wait_s in waits[LIMIT:])


def test_workers_that_take_at_the_same_moment_get_no_more_than_there_is(postgres: Server) -> None:
    workers = [Worker(postgres, 1000.0 * number, "venice-at-once") for number in range(4)]
    taken: list[float] = []

    def take_all(worker: Worker) -> None:
        taken.extend(worker.take() for _ in range(LIMIT // 2))
        worker.budgets.close()

    threads = [threading.Thread(target=take_all, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert taken.count(0.0) == LIMIT


def test_a_pause_that_one_worker_was_told_stops_all_and_cuts_their_rate(pair: tuple[Worker, Worker]) -> None:
    one, other = pair
    one.endpoint.pause(one.clock.monotonic(), 20.0)

    assert 19.0 < other.take() <= 20.0
    assert other.endpoint.factor == pytest.approx(CUT)


def test_while_nobody_can_count_nothing_leaves(postgres: Server) -> None:
    worker = Worker(postgres, 0.0, "venice-away")
    worker.budgets = SharedBudgets("postgresql://nobody@127.0.0.1:1/nowhere", connect_postgres, worker.clock)
    worker.endpoint.shelf = worker.budgets

    assert worker.take() == UNCOUNTED_WAIT_S
    worker.endpoint.pause(worker.clock.monotonic(), 20.0)
    assert worker.endpoint.wait_s(worker.clock.monotonic()) > 19.0, "what it was told holds for itself all the same"


def test_a_server_that_was_away_is_asked_again_after_a_while(postgres: Server) -> None:
    worker = Worker(postgres, 0.0, "venice-back")
    assert worker.take() == 0.0
    postgres.cut_connections()
    assert worker.take() == UNCOUNTED_WAIT_S
    worker.clock.ahead_s += AWAY_S

    assert worker.take() == 0.0
    worker.budgets.close()


def test_a_record_is_moved_and_moved_back_without_loss() -> None:
    record = {"sent": [1.0, 2.5], "paused_until": float("-inf"), "factor": 0.7}
    assert moved(moved(record, 5.0), -5.0) == record
    assert moved({}, 5.0) == {}
