"""Columns of one type each, out of metadata that may hold anything.

A loader takes a column's type from the first rows that it reads, and fails on a later one that differs; a column that
is null throughout one split and text in another fails as well (`datasets` 5.2). So a column of whole numbers and halves
becomes one of numbers, whatever else does not agree becomes JSON text, and so does a column of numbers with gaps, or
of texts some of which would be read as dates.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PREFIX: Final = "metadata."
"""As in the columns of a table of rows."""
DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
"""How a text begins that Arrow's JSON reader may take for a moment, if all others in its file are such."""
WHOLE_MOST: Final = (1 << 63) - 1
MEDIA_COLUMN: Final = ("file_name", "file_names")
"""Names of columns that end so are taken for the names of further videos by Hugging Face's folder loaders."""


def metadata_columns(metadata: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each mapping the same columns in the same order: all names that any of them has."""
    names = sorted({name for each in metadata for name in each})
    columns = {column_name(name): unified([each.get(name) for each in metadata]) for name in names}
    return (
        [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        if columns
        else [{} for _ in metadata]
    )


def column_name(name: str) -> str:
    """Return the column of a key of the metadata."""
    return f"{PREFIX}{name}_" if name.endswith(MEDIA_COLUMN) else f"{PREFIX}{name}"


def unified(values: Sequence[Any]) -> list[Any]:
    """Return values of one type: truths, whole numbers, numbers or text; None stays."""
    there = [value for value in values if value is not None]
    fits = all(abs(each) <= WHOLE_MOST for each in there if type(each) is int)
    if _all(there, str) or _all(there, bool) or (_all(there, int) and fits):
        return list(values)
    if fits and all(type(each) in {int, float} for each in there):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else _text(value) for value in values]


def without_gaps(values: Sequence[Any]) -> list[Any]:
    """Return the values of one column without a None; where there was one, the column is text, and the gap empty."""
    dates = sum(isinstance(value, str) and DATE.match(value) is not None for value in values)
    if None not in values and dates in {0, len(values)}:
        return list(values)
    if dates or not all(isinstance(value, str) for value in values if value is not None):
        return ["" if value is None else _text(value) for value in values]
    return ["" if value is None else value for value in values]


def _all(values: Iterable[Any], kind: type) -> bool:
    return all(type(value) is kind for value in values)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
