"""The order in which planned items leave: that of the manifest, and the first of a model alone."""

from __future__ import annotations

from pipeline.runner.planned import Head, Planned


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
