"""What is still to be submitted, in the manifest's order, of which a part is in memory and the rest in the ledger.

A manifest that mixes models is submitted as mixed as it is: were all of one model's items sent before the next one's,
the slow ones would be in flight together, and the same looks would have to do for more jobs.

The first submit of a model goes alone until its acceptance is durable: a wrong parameter, or a price that surprises,
then costs one clip and not as many as are sent at once.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pipeline.ledger.questions import BEFORE_ALL

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from pipeline.ledger.store import Ledger

PAGE = 1_000
"""Items read from the ledger at once, which takes a few thousandths of a second."""
READY_LEAST = 100
"""With fewer than this that could be taken at once, more are read."""
BITE = 8
"""Items that a worker leases at once where several share a ledger."""
HELD_MOST = 20_000
"""So many are held in memory while they wait for the first of their model; what comes after them waits too."""


class Head(NamedTuple):
    """An item that waits."""

    item_id: str
    revision: int
    model: str


@dataclass
class Unread:
    """What of one provider's items only the ledger knows. The mutable state is how far it has been read."""

    ledger: Ledger
    provider: str
    chosen: Container[str] | None
    """The ids that may be submitted; None for all."""
    _at: tuple[int, int] = BEFORE_ALL

    async def page(self) -> tuple[list[Head], bool]:
        """Return the next items in the manifest's order, and whether they were the last."""
        page = await self.ledger.planned_after(self.provider, self._at, self.page_size, self.chosen)
        self._at = page.at
        return [Head(head.item_id, head.revision, head.model) for head in page.heads], page.is_last

    @property
    def page_size(self) -> int:
        """How many items are read at once. Where others take of them too, each takes only what it soon submits."""
        return BITE if self.ledger.is_shared else PAGE

    @property
    def ready_least(self) -> int:
        """With fewer than this that could be taken at once, more are read."""
        return BITE // 2 if self.ledger.is_shared else READY_LEAST

    @property
    def held_most(self) -> int:
        """How many may wait in memory for the first of their model."""
        return BITE // 2 if self.ledger.is_shared else HELD_MOST


@dataclass
class Planned:
    """The mutable state: a queue a model, what is unread, the models that are proven, those being tried, those closed.

    What has been read is the beginning of what there is, so that the first of it goes before all that is unread.
    """

    source: Unread | None = None
    """Where there are more."""
    _queues: dict[str, deque[tuple[int, Head]]] = field(default_factory=dict)
    """The items with their places: the lower goes first."""
    _unread: Counter[str] = field(default_factory=Counter)
    """How many items of each model are in the ledger alone."""
    _again: deque[Head] = field(default_factory=deque)
    """Items that go last of all, while there are unread ones before them."""
    _last: int = 0
    _first: int = 0
    """The places that were given to the last item of all, and to the first."""
    _proven: set[str] = field(default_factory=set)
    _trying: set[str] = field(default_factory=set)
    _closed: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        """How many may still be taken, the unread ones among them."""
        held = sum(len(queue) for model, queue in self._queues.items() if model not in self._closed)
        again = sum(head.model not in self._closed for head in self._again)
        return held + again + sum(count for model, count in self._unread.items() if model not in self._closed)

    def expect(self, counts: Counter[str], source: Unread) -> None:
        """Note how many items of each model there are in the ledger, to be read by and by."""
        self._unread = +counts
        self.source = source

    @property
    def _some_unread(self) -> bool:
        return any(model not in self._closed for model in self._unread)

    @property
    def hungry(self) -> bool:
        """Whether more should be read before the next is taken."""
        if not self._some_unread:
            return False
        busy = self._closed | self._trying
        ready = sum(len(queue) for model, queue in self._queues.items() if model not in busy)
        least, most = (self.source.ready_least, self.source.held_most) if self.source else (READY_LEAST, HELD_MOST)
        return ready < least and sum(map(len, self._queues.values())) < most

    async def read_on(self) -> None:
        """Read the next items from the ledger."""
        assert self.source is not None
        heads, is_last = await self.source.page()
        self.take_in(heads, is_last=is_last)

    def take_in(self, heads: Iterable[Head], *, is_last: bool) -> None:
        """Put last what was read; `is_last` says that there is no more."""
        for head in heads:
            self._put_last(head)
            self._unread[head.model] -= 1
        self._unread = Counter() if is_last else +self._unread
        self._let_in()

    def add(self, head: Head) -> None:
        """Put an item last of all, after those that are unread."""
        self._again.append(head)
        self._let_in()

    def _let_in(self) -> None:
        while self._again and not self._some_unread:
            self._put_last(self._again.popleft())

    def _put_last(self, head: Head) -> None:
        self._last += 1
        if head.model not in self._closed:
            self._queues.setdefault(head.model, deque()).append((self._last, head))

    def put_back(self, head: Head) -> None:
        """Put an item first that certainly was not accepted."""
        self._first -= 1
        self._queues.setdefault(head.model, deque()).appendleft((self._first, head))

    def take(self) -> Head | None:
        """Return the next item, or None while every model that is left is being tried, or unread."""
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
        self._queues.pop(model, None)
        self._let_in()
