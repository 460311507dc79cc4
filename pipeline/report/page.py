"""The page as bytes: a record goes through a template that escapes, with its own style and script and nothing else.

What a manifest or a provider wrote is data everywhere. In HTML it is escaped; in the JSON block no sign is left that
could end it; the script sets text and never markup. Behind that stands the page's own policy: only this very style and
script, named by their digests, may act, and nothing is fetched but pictures and clips beside the page.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.jobs.state import State
from pipeline.report import words
from pipeline.report.words import STANDING_SAYS, STATE_LABELS, Standing, standing_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pipeline.report.gallery import Gallery
    from pipeline.report.money import Money
    from pipeline.report.timing import Timing
    from pipeline.report.troubles import Trouble

MARK = "clipmill report"
"""Begins the page's `generator`; a file without it is none of ours, and is not written over."""
IN_JSON = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"})
"""What could end the block that holds the JSON, or a line of a script."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that the page says."""

    name: str
    made_at: datetime
    is_rehearsal: bool
    """Whether the last run was against the sandbox that `run --sandbox` starts."""
    next_command: str
    """What the batch waits for; empty where nothing is left to do."""
    states: Mapping[State, int]
    clips: int
    clip_seconds: float
    clip_bytes: int
    money: Money
    timing: Timing
    troubles: tuple[Trouble, ...]
    gallery: Gallery

    @property
    def items(self) -> int:
        """All items."""
        return sum(self.states.values())

    @property
    def standings(self) -> dict[Standing, int]:
        """How many items stand how; only where there are any."""
        counted = dict.fromkeys(Standing, 0)
        for state, number in self.states.items():
            counted[standing_of(state)] += number
        return {standing: number for standing, number in counted.items() if number}


def render(report: Report) -> bytes:
    """Return the page as UTF-8.

    Raises:
        InputError: Jinja2, the extra `report`, is not installed.
    """
    refuse_without_templates()
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(usd=words.usd, seconds=words.seconds, size=words.size, count=words.count)
    style, script = part("page.css"), part("page.js")
    page = environment.from_string(part("page.html")).render(
        report=report,
        says=STANDING_SAYS,
        mark=MARK,
        version=__version__,
        policy=policy(style, script),
        style=style,
        script=script,
        data=data_of(report),
    )
    # A lone surrogate, which JSON can smuggle into a prompt, has no place in UTF-8; its escape is right in the JSON.
    return page.encode("utf-8", "backslashreplace")


def refuse_without_templates() -> None:
    """Stop where Jinja2 is missing.

    Raises:
        InputError: with what to do.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise InputError("The report needs Jinja2: install it with `pip install 'clipmill[report]'`.")


def part(name: str) -> str:
    """Return a file of the page."""
    return (resources.files("pipeline.report") / "page" / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """Return the page's content security policy."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{digest(script)}'",
            f"style-src '{digest(style)}'",
            "img-src 'self' file: data:",  # a page that was opened from disk has no 'self' in every browser
            "media-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        )
    )


def digest(text: str) -> str:
    """Return the digest by which a policy names an inline style or script (CSP Level 3, hash-source)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def data_of(report: Report) -> str:
    """Return what the script reads, as JSON that can stand within a script element."""
    value: dict[str, Any] = {
        **report.gallery.to_json(),
        "states": {state.value: [standing_of(state).value, STATE_LABELS[state]] for state in State},
        "standings": {standing.value: says for standing, says in STANDING_SAYS.items()},
        "troubles": [[trouble.key, f"{trouble.state}: {trouble.title}"] for trouble in report.troubles],
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(IN_JSON)
