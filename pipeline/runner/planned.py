"""What is still to be submitted, in the manifest's order, model by model.

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

    _queues: dict[str, deque[Head]] = field(default_factory=dict)
    _proven: set[str] = field(default_factory=set)
    _trying: set[str] = field(default_factory=set)
    _closed: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        """How many may still be taken."""
        return sum(len(queue) for model, queue in self._queues.items() if model not in self._closed)

    def add(self, head: Head) -> None:
        """Put an item last."""
        self._queues.setdefault(head.model, deque()).append(head)

    def put_back(self, head: Head) -> None:
        """Put an item first that certainly was not accepted."""
        self._queues.setdefault(head.model, deque()).appendleft(head)

    def take(self) -> Head | None:
        """Return the next item, or None while every model that is left is being tried."""
        for model, queue in self._queues.items():
            if not queue or model in self._closed or model in self._trying:
                continue
            if model not in self._proven:
                self._trying.add(model)
            return queue.popleft()
        return None

    def returned(self, model: str) -> None:
        """Note that a submit of the model came to an end, whichever."""
        self._trying.discard(model)

    def prove(self, model: str) -> None:
        """Note that a submit of the model was accepted, durably."""
        self._proven.add(model)

    def close_model(self, model: str) -> None:
        """Take no more of this model."""
        self._closed.add(model)
