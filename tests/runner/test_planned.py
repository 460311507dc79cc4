"""The order in which planned items leave: that of the manifest, and the first of a model alone."""

from __future__ import annotations

from collections import Counter
from typing import cast

from pipeline.runner.planned import HELD_MOST, READY_LEAST, Head, Planned, Unread


def heads(model: str, count: int, begin: int = 0) -> list[Head]:
    return [Head(f"{model}-{number}", 1, model) for number in range(begin, begin + count)]


def planned(*rows: list[Head]) -> Planned:
    queue = Planned()
    for row in rows:
        for head in row:
            queue.add(head)
    return queue


def test_the_first_submit_of_a_model_goes_alone_until_it_is_proven() -> None:
    queue = planned(heads("a", 3))
    first = queue.take()
    assert first == Head("a-0", 1, "a")
    assert queue.take() is None
    queue.prove("a")
    queue.returned("a")
    assert [queue.take(), queue.take(), queue.take()] == [*heads("a", 2, 1), None]


def test_after_a_first_submit_that_proved_nothing_the_next_goes_alone_again() -> None:
    queue = planned(heads("a", 3))
    queue.take()
    queue.returned("a")
    assert queue.take() == Head("a-1", 1, "a")
    assert queue.take() is None


def test_while_one_model_is_tried_another_one_goes() -> None:
    queue = planned(heads("a", 2), heads("b", 2))
    assert [queue.take(), queue.take(), queue.take()] == [Head("a-0", 1, "a"), Head("b-0", 1, "b"), None]


def test_an_item_that_was_put_back_is_the_next_of_its_model() -> None:
    queue = planned(heads("a", 3))
    queue.prove("a")
    first = queue.take()
    assert first is not None
    queue.put_back(first)
    assert [queue.take() for _ in range(3)] == heads("a", 3)


def test_an_item_that_was_added_again_is_the_last_of_its_model() -> None:
    queue = planned(heads("a", 3))
    queue.prove("a")
    first = queue.take()
    assert first is not None
    queue.add(first)
    assert [queue.take() for _ in range(3)] == [*heads("a", 2, 1), first]


def test_of_a_closed_model_nothing_is_taken_and_nothing_counts() -> None:
    queue = planned(heads("a", 3), heads("b", 1))
    queue.close_model("a")
    assert len(queue) == 1
    assert [queue.take(), queue.take()] == [Head("b-0", 1, "b"), None]
    assert len(queue) == 0
    queue.put_back(Head("a-9", 1, "a"))
    assert len(queue) == 0
    assert queue.take() is None


def test_both_revisions_of_an_item_are_taken() -> None:
    queue = planned([Head("a", 1, "m"), Head("a", 2, "m")])
    queue.prove("m")
    assert [queue.take(), queue.take()] == [Head("a", 1, "m"), Head("a", 2, "m")]


def test_models_that_the_manifest_mixes_are_submitted_as_mixed() -> None:
    queue, mixed = Planned(), [head for pair in zip(heads("a", 3), heads("b", 3), strict=True) for head in pair]
    for head in mixed:
        queue.add(head)
    queue.prove("a")
    queue.prove("b")
    assert [queue.take() for _ in range(7)] == [*mixed, None]


def test_while_a_model_is_tried_the_others_go_on_and_it_takes_its_place_again_afterwards() -> None:
    queue = Planned()
    for number in range(3):
        for model in ("a", "b"):
            queue.add(Head(f"{model}-{number}", 1, model))
    queue.prove("b")
    assert [queue.take() for _ in range(3)] == [Head("a-0", 1, "a"), Head("b-0", 1, "b"), Head("b-1", 1, "b")]
    queue.prove("a")
    queue.returned("a")
    assert [queue.take() for _ in range(4)] == [*heads("a", 2, 1), Head("b-2", 1, "b"), None]


# read from the ledger as it is needed


class Shelf:
    """What a ledger has, handed out in pages of three."""

    ready_least, held_most = READY_LEAST, HELD_MOST

    def __init__(self, *heads: Head, counts: Counter[str] | None = None) -> None:
        self.heads = list(heads)
        self.pages = 0
        self.counts = Counter(head.model for head in heads) if counts is None else counts

    async def page(self) -> tuple[list[Head], bool]:
        self.pages += 1
        some, self.heads = self.heads[:3], self.heads[3:]
        return some, len(some) < 3


def reading(shelf: Shelf) -> Planned:
    queue = Planned()
    queue.expect(shelf.counts, cast("Unread", shelf))
    return queue


async def all_taken(queue: Planned) -> list[Head]:
    """Take everything as the lane does: where more should be read, that comes first."""
    taken = []
    while len(queue):
        while queue.hungry:
            await queue.read_on()
        head = queue.take()
        assert head is not None
        queue.prove(head.model)
        queue.returned(head.model)
        taken.append(head)
    return taken


async def test_what_is_unread_counts_and_comes_in_its_order() -> None:
    mixed = [head for pair in zip(heads("a", 50), heads("b", 50), strict=True) for head in pair]
    queue = reading(Shelf(*mixed))
    assert len(queue) == 100
    assert await all_taken(queue) == mixed


async def test_no_more_is_read_than_is_soon_wanted() -> None:
    shelf = Shelf(*heads("a", 1000))
    queue = reading(shelf)
    queue.prove("a")
    while queue.hungry:
        await queue.read_on()
    assert shelf.pages == READY_LEAST // 3 + 1
    for _ in range(3):
        queue.take()
    assert queue.hungry


async def test_while_a_model_is_tried_reading_goes_on_until_another_is_found() -> None:
    shelf = Shelf(*heads("a", 200), *heads("b", 5))
    queue = reading(shelf)
    await queue.read_on()
    assert queue.take() == Head("a-0", 1, "a")
    while queue.hungry:
        await queue.read_on()
    assert queue.take() == Head("b-0", 1, "b")


async def test_while_a_model_is_tried_only_so_many_of_it_are_held() -> None:
    shelf = Shelf(*heads("a", HELD_MOST + 10), *heads("b", 5))
    queue = reading(shelf)
    await queue.read_on()
    queue.take()
    while queue.hungry:
        await queue.read_on()
    assert HELD_MOST <= HELD_MOST + 10 - len(shelf.heads) + 5 <= HELD_MOST + 8
    assert queue.take() is None
    queue.prove("a")
    queue.returned("a")
    assert queue.take() == Head("a-1", 1, "a")


async def test_of_a_closed_model_nothing_that_is_unread_counts_or_is_held() -> None:
    shelf = Shelf(*heads("a", 30), *heads("b", 2))
    queue = reading(shelf)
    await queue.read_on()
    queue.close_model("a")
    assert len(queue) == 2
    assert await all_taken(queue) == heads("b", 2)


async def test_an_item_that_was_added_again_goes_after_all_that_are_unread() -> None:
    queue = reading(Shelf(*heads("a", 7)))
    await queue.read_on()
    first = queue.take()
    assert first is not None
    queue.prove("a")
    queue.returned("a")
    queue.add(first)
    assert len(queue) == 7
    assert await all_taken(queue) == [*heads("a", 6, 1), first]


async def test_an_item_that_was_added_again_does_not_wait_for_what_nobody_will_take() -> None:
    queue = reading(Shelf(*heads("b", 1), *heads("a", 30)))
    await queue.read_on()
    first = queue.take()
    assert first is not None
    queue.add(first)
    queue.close_model("a")
    queue.prove("b")
    queue.returned("b")
    assert await all_taken(queue) == [first]


async def test_a_ledger_that_has_less_than_it_said_ends_all_the_same() -> None:
    queue = reading(Shelf(*heads("a", 4), counts=Counter({"a": 9})))
    assert await all_taken(queue) == heads("a", 4)
