from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pipeline.system.files import SharedSync

if TYPE_CHECKING:
    from collections.abc import Callable

SOON_S = 10.0


class Slow:
    """Syncs that wait to be let go. The mutable state is how many have begun and ended."""

    def __init__(self, refuse: Callable[[int], bool] = lambda _: False) -> None:
        self.begun = 0
        self.ended = 0
        self.first_begun = threading.Event()
        self.go = threading.Event()
        self._refuse = refuse

    def __call__(self) -> None:
        self.begun += 1
        number = self.begun
        self.first_begun.set()
        assert self.go.wait(SOON_S)
        if self._refuse(number):
            raise OSError(5, "Input/output error")
        self.ended += 1


def waiting() -> int:
    """Return how many threads are held at the door."""
    return sum(frame.f_code is SharedSync.run.__code__ for frame in sys._current_frames().values())


def race(slow: Slow, late: int) -> list[BaseException | None]:
    """Begin a sync, let others come while it is under way, and return what each of them was told."""
    shared, came = SharedSync(slow), threading.Barrier(late + 1)

    def come() -> None:
        came.wait(SOON_S)
        shared.run()

    with ThreadPoolExecutor(late + 1) as pool:
        first = pool.submit(shared.run)
        assert slow.first_begun.wait(SOON_S)
        others = [pool.submit(come) for _ in range(late)]
        came.wait(SOON_S)
        until = time.monotonic() + SOON_S
        while waiting() < late and time.monotonic() < until:
            time.sleep(0.001)
        slow.go.set()
        return [future.exception(SOON_S) for future in (first, *others)]


def test_who_comes_while_a_sync_is_under_way_is_covered_by_one_that_begins_later() -> None:
    slow = Slow()
    assert race(slow, late=6) == [None] * 7
    assert 2 <= slow.begun < 7, "the one under way covers nobody, and the next one covers several"


def test_one_after_the_other_each_has_a_sync_of_its_own() -> None:
    slow = Slow()
    slow.go.set()
    shared = SharedSync(slow)
    for _ in range(3):
        shared.run()
    assert slow.ended == 3


def test_a_sync_that_failed_covers_nobody() -> None:
    slow = Slow(refuse=lambda number: number <= 2)
    told = race(slow, late=5)
    assert isinstance(told[0], OSError)
    assert sum(error is not None for error in told) == 2
    assert slow.ended >= 1


def test_a_sync_that_failed_is_told_to_whoever_began_it() -> None:
    slow = Slow(refuse=lambda _: True)
    slow.go.set()
    with pytest.raises(OSError, match="Input/output"):
        SharedSync(slow).run()
