"""Several things done at once, and not more of them than is good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

T = TypeVar("T")


async def some_at_once(things: Iterable[T], deal_with: Callable[[T], Awaitable[None]], most: int) -> None:
    """Deal with all of them, at most so many at once; the first error ends it, and is raised as it is."""
    left = iter(things)

    async def one_after_the_other() -> None:
        for thing in left:
            await deal_with(thing)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(one_after_the_other())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
