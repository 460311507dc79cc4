"""Every error that clipmill raises on purpose, and the exit code that each becomes.

    ClipmillError                  1   a bug of ours, if it ever reaches the user as itself
    ├── InputError                 2   the user's files, options or environment; nothing was sent
    │   └── ProblemsFound          2   a list of problems, each with its place in a file
    ├── BatchLocked               75   another process runs this batch
    ├── Paused                     5   resumable: funds, key, disk, network or budget
    ├── LedgerError                1   the ledger refused a write, or is not one that we can use
    │   └── StaleWrite             1   a write from a state or an epoch that is no longer the current one
    ├── DiskRefused                5   a file could not be written, made durable or published
    └── BrokenClip                 -   downloaded bytes that are not a whole MP4; the runner fetches again

An error's text is a sentence that ends with what to do next. Foreign exceptions are translated where they arise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of the command. Where several hold at once: 75, then 130/143, 5, 4, 3, 0."""

    DONE = 0
    BUG = 1
    BAD_INPUT = 2
    SOME_FAILED = 3
    SOME_IN_DOUBT = 4
    PAUSED = 5
    LOCKED = 75
    INTERRUPTED = 130
    TERMINATED = 143


class Severity(StrEnum):
    """Whether a problem stops the command (error) or is only told (warning)."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with what the user wrote, and where."""

    message: str
    """What is wrong, with the nearest thing that works."""
    file: str = ""
    """The file as the user named it; empty where there is no file."""
    line: int = 0
    """1-based; 0 where the place is the file as a whole."""
    column: int = 0
    """1-based, in characters."""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """`file:line:column: message`, the form that editors and terminals turn into a link."""
        place = self.file + (f":{self.line}:{self.column}" if self.line else "")
        kind = "warning: " if self.severity is Severity.WARNING else ""
        return f"{place}: {kind}{self.message}" if place else f"{kind}{self.message}"


class ClipmillError(Exception):
    """The root: catch it to catch all that clipmill raises on purpose."""

    exit_code: ClassVar[Exit] = Exit.BUG


class InputError(ClipmillError):
    """Bad input, usage or environment; nothing was sent."""

    exit_code = Exit.BAD_INPUT


class ProblemsFound(InputError):
    """One or more problems in the user's files, all told at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class BatchLocked(ClipmillError):
    """The batch is being run by another process."""

    exit_code = Exit.LOCKED


class Paused(ClipmillError):
    """The batch cannot go on now, and can be resumed."""

    exit_code = Exit.PAUSED


class LedgerError(ClipmillError):
    """The ledger refused a write, or is not one that this version can use."""


class StaleWrite(LedgerError):
    """The row was no longer in the state, or of the epoch, that the writer believed."""


class DiskRefused(Paused):
    """A file could not be written, made durable or published."""


class BrokenClip(ClipmillError):
    """Downloaded bytes that are not one whole MP4."""
