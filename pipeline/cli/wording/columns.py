"""Rows of text in columns as wide as they need to be, and no wider than the terminal."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING

from pipeline.cli.wording.console import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

GAP = "  "
LAST_LEAST = 12
"""The last column keeps at least this much, however narrow the terminal."""


def terminal_width() -> int | None:
    """Return how many characters a line of stdout may have; None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def width_of(text: str) -> int:
    """Return how many places a terminal gives to a text: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def cut(text: str, width: int) -> str:
    """Return the text, shortened to `width` places with a sign that something is missing."""
    if width_of(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += width_of(character)
        if used > width - 3:
            break
        kept += character
    return kept.rstrip() + "..."


def columns(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[int] = (),
    width: int | None = None,
) -> str:
    """Return rows under a header, each on one line.

    Args:
        header: the names of the columns.
        rows: the cells; whatever a terminal would obey in them is escaped.
        right: the columns that are flush right, by their number.
        width: the places that a line may take; the last column is shortened to it. None for as many as there are.
    """
    cells = [[plain(cell) for cell in row] for row in [header, *rows]]
    widths = [max(width_of(row[column]) for row in cells) for column in range(len(header))]
    if width is not None:
        others = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(width - others, LAST_LEAST))
    return "\n".join(_line(row, widths, right) for row in cells)


def _line(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    placed = []
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        text = cut(cell, width)
        blank = " " * (width - width_of(text))
        placed.append(blank + text if column in right else text + blank)
    return GAP.join(placed).rstrip()
