"""What is printed: people's text to stderr, results and JSON to stdout, and nothing that a terminal would obey.

Prompts, ids and provider messages are other people's text: control and direction characters in them are shown as
escapes, so that no manifest and no answer can write to the user's terminal or forge a line.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OBEYED = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories that a terminal may act on rather than show."""


def plain(text: str) -> str:
    """Return one line of text with everything escaped that a terminal would obey."""
    return "".join(
        _escaped(character) if unicodedata.category(character) in OBEYED else character for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def say(text: str) -> None:
    """Print people's text to stderr, escaped line by line. A terminal that has gone is no reason to stop."""
    with suppress(OSError, ValueError):
        sys.stderr.write("\n".join(plain(line) for line in text.split("\n")) + "\n")
        sys.stderr.flush()


def put(text: str) -> None:
    """Print a result to stdout, escaped line by line."""
    put_raw("\n".join(plain(line) for line in text.split("\n")) + "\n")


def put_json(value: Any) -> None:
    """Print one JSON document to stdout."""
    put_raw(json.dumps(value, ensure_ascii=True, indent=2 if sys.stdout.isatty() else None) + "\n")


def put_raw(text: str) -> None:
    """Print text for machines to stdout as it is. A reader that has gone (`| head`) is no reason to fail."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere, quietly


def ask(question: str) -> bool:
    """Ask a yes-or-no question on the terminal.

    Raises:
        InputError: there is no terminal to ask on; the text says that --yes answers.
    """
    if not (sys.stdin and sys.stdin.isatty()):
        raise InputError(f"{question} There is no terminal to ask on: say --yes to go on.")
    sys.stderr.write(f"{plain(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def usd(amount: float | None) -> str:
    """Return dollars as people write them; unknown amounts say so."""
    return "unknown" if amount is None else f"${amount:,.2f}"


def duration(seconds: float) -> str:
    """Return a length of time as people write it: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def count(number: int, thing: str) -> str:
    """Return a number with its noun: 1 clip, 1,200 clips."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under a header, in columns as wide as they need to be."""
    cells = [[plain(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
