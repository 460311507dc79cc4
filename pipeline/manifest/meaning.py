"""The rules within an entry that a schema cannot state: templates and their names, matrices, tables.

An entry that obeys the schema comes in, as plain values; `Complaint`s go out. What concerns one item after
expansion, or what a provider can do, is for `planning` to tell.
"""

from __future__ import annotations

import difflib
import math
import stat
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import Severity
from pipeline.manifest.template import LOOKS_LIKE_ONE, BadTemplate, placeholders
from pipeline.manifest.words import Complaint, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping
    from pathlib import Path

    from pipeline.manifest.model import Pointer

ITEMS_MAX: Final = 1_000_000
"""How many clips one matrix with its repeats may make."""


def entry_complaints(entry: Mapping[str, Any], at: Pointer, folder: Path) -> Iterator[Complaint]:
    """Yield what is wrong within the entry at a pointer."""
    for complaint in complaints_within(entry, folder):
        yield complaint._replace(pointer=(*at, *complaint.pointer))


def complaints_within(entry: Mapping[str, Any], folder: Path) -> Iterator[Complaint]:
    """Yield what is wrong within an entry; pointers begin there."""
    matrix = entry.get("matrix", {})
    if matrix:
        yield from matrix_complaints(matrix, entry.get("repeat", 1))
    if "exclude" in entry:
        yield from exclude_complaints(entry["exclude"], matrix)
    if "rows" in entry:
        problem = rows_problem(entry["rows"], folder)
        if problem:
            yield Complaint(("rows",), problem)
    prompt = entry.get("prompt", "")
    if "{" in prompt or "}" in prompt:
        yield from prompt_complaints(prompt, entry)


def matrix_complaints(matrix: Mapping[str, list[Any]], repeat: int) -> Iterator[Complaint]:
    """Yield values that are listed twice, and a matrix that makes too many clips."""
    for name, values in matrix.items():
        seen: set[Hashable] = set()
        for index, value in enumerate(values):
            same = identity(value)
            if same in seen:
                told = f"`{shown(name)}` lists {quoted(value)} twice. Use `repeat` for more clips of the same kind."
                yield Complaint(("matrix", name, index), told)
            seen.add(same)
    count = math.prod(map(len, matrix.values())) * repeat
    if count > ITEMS_MAX:
        told = f"{count:,}" if count < ITEMS_MAX**2 else "countless"
        yield Complaint(
            ("matrix",), f"This makes {told} clips; {ITEMS_MAX:,} is the most for one entry. Split it.", on_key=True
        )


def exclude_complaints(exclude: list[Mapping[str, Any]], matrix: Mapping[str, list[Any]]) -> Iterator[Complaint]:
    """Yield exclusions that exclude nothing, because the matrix has no such name or value."""
    if exclude and not matrix:
        yield Complaint(
            ("exclude",), "`exclude` leaves out combinations of a `matrix`, and there is none.", on_key=True
        )
        return
    listed = {name: set(map(identity, values)) for name, values in matrix.items()}
    for index, combination in enumerate(exclude):
        for name, value in combination.items():
            at: Pointer = ("exclude", index, name)
            if name not in matrix:
                yield Complaint(at, f"The matrix has no `{shown(name)}`{suggestion(name, matrix)}", on_key=True)
            elif identity(value) not in listed[name]:
                first = ", ".join(map(quoted, matrix[name][:10])) + (", ..." if len(matrix[name]) > 10 else "")
                yield Complaint(at, f"The matrix does not list {quoted(value)} under `{shown(name)}`; it has {first}.")


def prompt_complaints(prompt: str, entry: Mapping[str, Any]) -> Iterator[Complaint]:
    """Yield what is wrong with a prompt that has braces in it."""
    if "matrix" not in entry and "rows" not in entry:
        name = LOOKS_LIKE_ONE.search(prompt)
        if name:
            told = f"`{shown(name[0])}` stays as it is: prompts are filled in only where there is a `matrix` or `rows`."
            yield Complaint(("prompt",), told, severity=Severity.WARNING)
        return
    try:
        names = placeholders(prompt)
    except BadTemplate as bad:
        yield Complaint(("prompt",), str(bad))
        return
    if "rows" in entry:
        return  # the columns are read when the plan is made
    matrix = entry["matrix"]
    for missing in (name for name in names if name not in matrix):
        yield Complaint(
            ("prompt",),
            f"The prompt needs `{{{shown(missing)}}}`, and the matrix has no such name{suggestion(missing, matrix)}",
        )


def rows_problem(rows: str, folder: Path) -> str | None:
    """Return why a table cannot be read, if so: it lies elsewhere, is missing, or is no file."""
    told = f"`{shown(rows)}`"
    if rows.startswith(("/", "~")) or "://" in rows or ".." in rows.split("/"):
        return f"{told} must be a path within the manifest's folder. Put the table there, and name it from there."
    path = folder / rows
    try:
        if not path.resolve().is_relative_to(folder):
            return f"{told} is a link that leads out of the manifest's folder. Put the table itself there."
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"There is no {told} in the manifest's folder{suggestion(rows, names_in(path.parent), whole=True)}"
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        return f"{told} cannot be read: {getattr(error, 'strerror', None) or error}."
    return None if stat.S_ISREG(mode) else f"{told} is not a regular file."


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, none where it cannot be read."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def suggestion(word: str, known: Iterable[str], *, whole: bool = False) -> str:
    """Return the end of a sentence: what was probably meant. With `whole`, only nearly equal words are."""
    near = next(iter(difflib.get_close_matches(word, sorted(known), n=1)), None) if whole else nearest(word, known)
    return f"; did you mean `{shown(near)}`?" if near else "."


def identity(value: Any) -> Hashable:
    """Return what is equal for values that are the same to a person: `8` and `8.0` are, `1` and `true` are not."""
    return repr(value) if isinstance(value, (list, dict)) else (isinstance(value, bool), value)


def quoted(value: Any) -> str:
    """Return a value as it is shown in a sentence."""
    return (
        f"`{shown(value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value))}`"
    )
