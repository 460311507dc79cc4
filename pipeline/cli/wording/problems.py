"""The problems of a manifest, told: the first of them in full, the others counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.console import plain, say
from pipeline.errors import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.errors import Problem

MOST = 50
"""Nobody reads more at once, and mending the first often mends the rest."""


def tell_problems(problems: Sequence[Problem]) -> None:
    """Say each problem on a line of its own, errors first where not all are told."""
    told = problems
    if len(problems) > MOST:
        told = sorted(problems, key=lambda problem: problem.severity is Severity.WARNING)[:MOST]
    for problem in told:
        say(plain(str(problem)))
    if len(problems) > len(told):
        say(f"... and {len(problems) - len(told):,} more")


def problem_to_json(problem: Problem) -> dict[str, Any]:
    """Return a problem as plain JSON; line and column are null where the place is the file as a whole."""
    return {
        "file": problem.file,
        "line": problem.line or None,
        "column": problem.column or None,
        "severity": problem.severity.value,
        "message": problem.message,
    }
