"""One body over as many connections as it takes: after a cut it goes on where it stopped, where that is certain.

A source and an offset come in; a source that yields the rest comes out, or the cut is raised again and the clip is
fetched from its start. Whether the rest is of the very same bytes is the source's to know (`Resumable`); how often and
how soon it is asked for is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pipeline.errors import BrokenClip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.effects import Clock

PAUSE_S = 1.0
"""Before the second resumption; it doubles from there. The first comes at once: most cuts are of one connection."""


class ByteSource(Protocol):
    """An open body. It is read once and always closed."""

    length: int | None
    """What was promised, in bytes; None where nothing was."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come. Raises ConnectionError when the body ends before its time."""

    async def close(self) -> None:
        """Stop reading; safe to call twice."""


@runtime_checkable
class Resumable(Protocol):
    """A source that may be able to go on after a cut."""

    async def resume(self, offset: int) -> ByteSource | None:
        """Open the rest of the same bytes from `offset`; None where it cannot be had, or not for certain.

        Raises:
            ConnectionError: no answer for now; it may be asked for again.
        """


class Cut(BrokenClip):
    """A body stopped before its end. What had come of it is good."""


class Line:
    """The mutable state is the source that is read now, and how often it was replaced."""

    def __init__(self, source: ByteSource, clock: Clock, resumes_most: int) -> None:
        self._source = source
        self._clock = clock
        self._resumes_left = resumes_most
        self._pause_s = 0.0

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the present source's bytes."""
        return self._source.chunks()

    async def close(self) -> None:
        """Stop reading; safe to call twice."""
        await self._source.close()

    async def go_on(self, cut: Cut, offset: int) -> None:
        """Replace the source by one that yields what is left from `offset`.

        Raises:
            Cut: the same; it cannot go on.
        """
        await self._source.close()
        while isinstance(self._source, Resumable) and self._resumes_left:
            self._resumes_left -= 1
            await self._clock.sleep(self._pause_s)
            self._pause_s = 2 * self._pause_s or PAUSE_S
            try:
                rest = await self._source.resume(offset)
            except ConnectionError:
                continue
            if rest is None:
                break
            self._source = rest
            return
        raise cut
