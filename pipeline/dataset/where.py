"""The user's conditions on columns: `duration>=4`, `model=veo-3`, `text~*reef*`.

Conditions as text come in; a function goes out that keeps the rows which meet all of them. A row without a value meets
`!=` alone.
"""

from __future__ import annotations

import difflib
import operator
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from pipeline.dataset.rows import MEANINGS
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.dataset.rows import Row

CONDITION: Final = re.compile(r"\s*(?P<column>[^=!<>~]+?)\s*(?P<sign>!=|<=|>=|=|<|>|~)\s*(?P<value>.*?)\s*", re.DOTALL)
SIGNS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "~": fnmatchcase,
}
TRUTHS: Final = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One condition, as written."""

    column: str
    sign: str
    value: str


def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        InputError: it has no sign that is known.
    """
    match = CONDITION.fullmatch(text)
    if match is None:
        raise InputError(
            f"--where {text!r} is no condition. Write a column, one of = != < <= > >= ~ and a value, for example "
            "'duration>=4' or 'text~*reef*'."
        )
    return Condition(column=match["column"], sign=match["sign"], value=match["value"])


def meeting(conditions: Sequence[Condition]) -> Callable[[Sequence[Row]], Sequence[Row]]:
    """Return what keeps the rows that meet every condition; it raises InputError for an unknown column or value."""

    def keep(rows: Sequence[Row]) -> Sequence[Row]:
        known = rows[0].columns if rows else MEANINGS
        for condition in conditions:
            _refuse_unknown(condition, known)
            test = _test(condition, [row.columns[condition.column] for row in rows])
            rows = [row for row in rows if test(row.columns[condition.column])]
        return rows

    return keep


def _refuse_unknown(condition: Condition, known: Mapping[str, Any]) -> None:
    if condition.column in known:
        return
    near = difflib.get_close_matches(condition.column, known, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"--where: there is no column {condition.column!r}.{meant} There are: {', '.join(known)}.")


def _test(condition: Condition, values: Sequence[Any]) -> Callable[[Any], bool]:
    compare = SIGNS[condition.sign]
    example = next((value for value in values if value is not None), None)
    if example is None:
        return lambda _value: condition.sign == "!="
    if condition.sign == "~":
        return lambda value: value is not None and compare(_text(value), condition.value)
    wanted = _wanted(condition, example)
    return lambda value: condition.sign == "!=" if value is None else compare(value, wanted)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wanted(condition: Condition, example: Any) -> Any:
    """Return the condition's value in the type of its column."""
    told = f"--where: {condition.column!r} is"
    if isinstance(example, bool):
        if condition.value.lower() not in TRUTHS or condition.sign not in {"=", "!="}:
            raise InputError(f"{told} true or false; write {condition.column}=true or {condition.column}=false.")
        return TRUTHS[condition.value.lower()]
    if isinstance(example, int | float):
        try:
            return float(condition.value)
        except ValueError:
            raise InputError(f"{told} a number, and {condition.value!r} is none.") from None
    return condition.value
