"""What is still to be submitted, in the manifest's order.

A manifest that mixes models is submitted as mixed as it is: were all of one model's items sent before the next one's,
the slow ones would be in flight together, and the same looks would have to do for more jobs.

The first submit of a model goes alone until its acceptance is durable: a wrong parameter, or a price that surprises,
then costs one clip and not as many as are sent at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple


class Head(NamedTuple):
    """An item that waits."""

    item_id: str
    revision: int
    model: str


@dataclass
class Planned:
    """The mutable state: a queue a model, the models that are proven, those being tried, and those given up."""

    _queues: dict[str, deque[tuple[int, Head]]] = field(default_factory=dict)
    """The items with their places: the lower goes first."""
    _last: int = 0
    _first: int = 0
    """The places that were given to the last item of all, and to the first."""
    _proven: set[str] = field(default_factory=set)
    _trying: set[str] = field(default_factory=set)
    _closed: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        """How many may still be taken."""
        return sum(len(queue) for model, queue in self._queues.items() if model not in self._closed)

    def add(self, head: Head) -> None:
        """Put an item last."""
        self._last += 1
        self._queues.setdefault(head.model, deque()).append((self._last, head))

    def put_back(self, head: Head) -> None:
        """Put an item first that certainly was not accepted."""
        self._first -= 1
        self._queues.setdefault(head.model, deque()).appendleft((self._first, head))

    def take(self) -> Head | None:
        """Return the next item, or None while every model that is left is being tried."""
        waiting = [queue for model, queue in self._queues.items() if queue and model not in self._closed | self._trying]
        if not waiting:
            return None
        _, head = min(waiting, key=lambda queue: queue[0][0]).popleft()
        if head.model not in self._proven:
            self._trying.add(head.model)
        return head

    def returned(self, model: str) -> None:
        """Note that a submit of the model came to an end, whichever."""
        self._trying.discard(model)

    def prove(self, model: str) -> None:
        """Note that a submit of the model was accepted, durably."""
        self._proven.add(model)

    def close_model(self, model: str) -> None:
        """Take no more of this model."""
        self._closed.add(model)
