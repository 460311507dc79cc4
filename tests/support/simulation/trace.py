"""What happened, line by line, with its virtual time: two runs of one seed are compared byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Trace:
    """A list of lines that only grows."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.lines: list[tuple[float, str]] = []
        self.listener: Callable[[str], None] | None = None
        """Told each line as it is added."""
        self._time = time

    def note(self, what: str) -> None:
        """Add a line at the present virtual time."""
        self.lines.append((self._time(), what))
        if self.listener is not None:
            self.listener(what)

    def __str__(self) -> str:
        return "".join(f"{time:14.6f}  {what}\n" for time, what in self.lines)
