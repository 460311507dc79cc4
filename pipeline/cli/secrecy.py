"""What is logged, and what a bug of ours prints: without a key, and nothing that a terminal would obey.

Libraries log what they please, and a traceback ends with whatever text the exception has. Both are people's text and go
through here. The keys are those of the environment and of `.env`, found when there is something to print.
"""

from __future__ import annotations

import base64
import logging
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote

from pipeline.cli.keys import KEYS, STORE_KEYS, environment
from pipeline.cli.wording.console import plain
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SHORTEST = 8
"""A key of fewer characters is a rehearsal's; taking it out could take out a word."""
HIDDEN = "***"


class Secrecy:
    """Knows where keys are, and takes them out of text. The mutable state is what was found, once it was looked for."""

    def __init__(self, environ: Mapping[str, str], working_folder: Path) -> None:
        self._environ = environ
        self._folder = working_folder
        self._found: tuple[str, ...] | None = None

    def hide(self, text: str) -> str:
        """Return a text without any of the keys, as they are, in base64 or escaped as in a URL."""
        if self._found is None:
            self._found = tuple(sorted(self._forms(), key=len, reverse=True))
        for form in self._found:
            text = text.replace(form, HIDDEN)
        return text

    def _forms(self) -> set[str]:
        forms: set[str] = set()
        for key in self._keys():
            # Of base64, what does not depend on the text beside it.
            forms |= {key, quote(key, safe=""), base64.b64encode(key.encode()).decode().rstrip("=")[:-1]}
        return forms

    def _keys(self) -> Iterable[str]:
        try:
            environ: Mapping[str, str] = environment(self._environ, self._folder)
        except InputError:  # a `.env` that nobody could read has lent no key to anybody
            environ = self._environ
        named = {name: value for name, value in environ.items() if KEYS.fullmatch(name) or STORE_KEYS.fullmatch(name)}
        return {value for value in named.values() if len(value) >= SHORTEST}


class Discreet(logging.Formatter):
    """Formats a record as one line without a key; a traceback follows it, line by line."""

    def __init__(self, secrecy: Secrecy) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._secrecy = secrecy

    def format(self, record: logging.LogRecord) -> str:  # noqa: D102
        message = plain(self._secrecy.hide(f"{record.levelname} {record.name}: {record.getMessage()}"))
        if record.exc_info and record.exc_info[1] is not None:
            return f"{message}\n{told(record.exc_info[1], self._secrecy)}"
        return message


def told(error: BaseException, secrecy: Secrecy) -> str:
    """Return an exception's traceback as text that can be printed."""
    text = secrecy.hide("".join(traceback.format_exception(error)).rstrip())
    return "\n".join(map(plain, text.split("\n")))
