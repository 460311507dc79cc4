"""What the columns of an entry's table are for, and what a row therefore says of its item.

`id` names the item; `metadata.x` passes through as `x`; a column named like a parameter, or `model`, sets it; a column
that the prompt needs fills it. Any other changes nothing, and is warned of.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.names import Names
from pipeline.planning.identity import digits_of
from pipeline.planning.ids import is_id, row_part, value_text
from pipeline.planning.parameters import SETTINGS, ValueRefused, check_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.planning.rows import Row

METADATA = "metadata."


@dataclass(frozen=True, kw_only=True, slots=True)
class RowMeaning:
    """What one row says of its item."""

    id: str | None
    """The item's id, where the row names it."""
    part: str
    """What follows the entry's id, where it does not."""
    occurrence: int
    """How many equal rows without an id came before."""
    sets: Mapping[str, Any]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """The uses of the cells that a row has."""

    sets: tuple[str, ...]
    shapes: tuple[str, ...]
    """Those that set something or fill the prompt: what the id of a row without one is made of."""
    metadata: tuple[str, ...]


class Columns:
    """Reads the rows of one entry's table."""

    def __init__(self, filled: frozenset[str]) -> None:
        """Take the names that the prompt needs."""
        self._filled = filled
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._parts = Names()
        """What rows without an id add to it."""
        self._contents = array("Q")
        """Digests of the content of the first row with each of them."""
        self._equal = array("I")
        """How many rows have had that content."""
        self.unused: dict[str, int] = {}
        """Columns that change nothing, and the line of the first row that has a cell there."""

    def meaning(self, row: Row) -> RowMeaning:
        """Return what a row says. Raises ValueRefused."""
        cells = row.cells
        layout = self._layout(row)
        sets = {name: cells[name] for name in layout.sets}
        for name, value in sets.items():
            check_value(name, value)
        id_, part, occurrence = _written_id(cells.get("id")), "", 0
        if id_ is None:
            part, occurrence = self._part({name: cells[name] for name in layout.shapes})
        metadata = {name.removeprefix(METADATA): cells[name] for name in layout.metadata}
        return RowMeaning(id=id_, part=part, occurrence=occurrence, sets=sets, metadata=metadata)

    def _part(self, cells: Mapping[str, Any]) -> tuple[str, int]:
        content = int(digits_of(cells, 16), base=16)
        part = row_part(cells)
        number = self._parts.add(part)
        if number == len(self._contents):
            self._contents.append(content)
            self._equal.append(0)
        if self._contents[number] != content:
            return part, 0  # other rows that happen to share a name: left to meet, and to be refused
        self._equal[number] += 1
        return part, self._equal[number] - 1

    def _layout(self, row: Row) -> _Layout:
        columns = tuple(row.cells)
        layout = self._layouts.get(columns)
        if layout is None:
            layout = self._layouts[columns] = _Layout(
                sets=tuple(name for name in columns if name in SETTINGS),
                shapes=tuple(name for name in columns if name in SETTINGS or name in self._filled),
                metadata=tuple(name for name in columns if name.startswith(METADATA) and name != METADATA),
            )
            known = {"id", *layout.shapes, *layout.metadata}
            for name in columns:
                if name not in known:
                    self.unused.setdefault(name, row.line)
        return layout


def _written_id(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueRefused(f"`id` is text, and this is {value_text(value)[:80]}: quote it.")
    if not is_id(value.strip()):
        raise ValueRefused(
            f"{value[:80]!r} is no id: use letters, digits, `-` and `_`, beginning with a letter or a digit, at most "
            "100, and no `__`."
        )
    return value.strip()
