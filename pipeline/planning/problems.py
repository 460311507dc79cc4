"""All problems of a plan, collected: each with its place, and the same one on ten thousand items told once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.errors import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Hashable

MOST_PROBLEMS = 1000
"""Of one severity; further ones are counted. Nobody reads so many, and a table can have a million broken rows."""

_LINES_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where an item, or a part of one, is written."""

    file: str
    """As the user would name it from the working directory."""
    line: int
    """1-based; in a .parquet file, which has no lines, the number of the row."""
    column: int = 1


@dataclass(kw_only=True, slots=True)
class _Group:
    problem: Problem
    more: int = 0
    lines: list[int] = field(default_factory=list)
    """Where else it is, as far as those are other lines."""


class Findings:
    """Collects problems; the order of telling is the order of finding."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group] = {}
        self._found = dict.fromkeys(Severity, 0)
        """How many groups there would be, those left out among them."""

    @property
    def has_errors(self) -> bool:
        """Whether anything that was added stops the command."""
        return self._found[Severity.ERROR] > 0

    def add(
        self,
        message: str,
        at: Source,
        *,
        severity: Severity = Severity.ERROR,
        group: Hashable = None,
        once: bool = False,
    ) -> None:
        """Add a problem.

        Problems with the same message, severity and group are one, told at the first one's place with a count of the
        others; with `once`, without a count. Without a group, the place tells them apart.
        """
        known = self._groups.get(key := (severity, message, at if group is None else group))
        if known is None:
            self._found[severity] += 1
            if self._found[severity] > MOST_PROBLEMS:
                return
            problem = Problem(message=message, file=at.file, line=at.line, column=at.column, severity=severity)
            self._groups[key] = _Group(problem=problem)
        elif not once:
            known.more += 1
            if len(known.lines) < _LINES_NAMED and at.line not in {known.problem.line, *known.lines}:
                known.lines.append(at.line)

    def told(self) -> list[Problem]:
        """Return all problems, ready to be told."""
        told = [_with_count(group) for group in self._groups.values()]
        for severity, found in self._found.items():
            if found > MOST_PROBLEMS:
                message = f"And {found - MOST_PROBLEMS:,} more {severity}s like these."
                told.append(Problem(message=message, severity=severity))
        return told


def _with_count(group: _Group) -> Problem:
    if not group.more:
        return group.problem
    problem = group.problem
    items = "item" if group.more == 1 else "items"
    lines = ", ".join(map(str, group.lines))
    where = f": line{'s' if len(group.lines) > 1 else ''} {lines}" if lines else ""
    if lines and group.more > len(group.lines):
        where += " and more"
    return Problem(
        message=f"{problem.message} (And {group.more:,} more {items}{where}.)",
        file=problem.file,
        line=problem.line,
        column=problem.column,
        severity=problem.severity,
    )
