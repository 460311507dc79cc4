"""Results as CSV that a spreadsheet can open without obeying it.

A cell that begins like a formula gets an apostrophe before it (OWASP, CSV injection), text is always quoted, numbers
never are, and control characters are escaped, so that a record is one line. Machines read `results.jsonl` instead.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.comparison import differing
from pipeline.cli.wording.console import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORMULA = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")
"""The signs that make a formula, and their full-width forms, which are obeyed as well."""
PLAIN_FIELDS = ("id", "state", "provider", "model", "prompt")
HEADER = (
    *PLAIN_FIELDS,
    *("parameters", "metadata", "clips", "files", "urls", "seconds", "bytes", "cost_usd", "cost_is"),
    *("expected_usd", "expected_is", "usage", "differs", "provider_job_id"),
    *("attempts", "submitted_at", "finished_at", "error_kind", "error_message", "error_class"),
)


def csv_text(results: Iterable[Mapping[str, Any]]) -> str:
    """Return results (as `ledger.results.result` makes them) as CSV, one line an item."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(HEADER)
    for result in results:
        writer.writerow([cell(value) for value in _values(result)])
    return text.getvalue()


def cell(value: Any) -> Any:
    """Return what goes into a cell: numbers as they are, anything else as text that no spreadsheet obeys."""
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    text = plain(str(value))
    # Some programs split a cell at a quote that they take for its end.
    for sign in FORMULA:
        text = text.replace(f'"{sign}', f"\"'{sign}")
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text


def _values(result: Mapping[str, Any]) -> list[Any]:
    clips = result["clips"]
    error = result["error"] or {}
    return [
        *(result[name] for name in PLAIN_FIELDS),
        result["parameters"] or "",
        result["metadata"] or "",
        len(clips),
        " ".join(clip["file"] for clip in clips),
        " ".join(clip["url"] for clip in clips if clip["url"]),
        round(sum(clip["duration_s"] or 0 for clip in clips), 3),
        sum(clip["bytes"] for clip in clips),
        *(result[name] for name in ("cost_usd", "cost_is", "expected_usd", "expected_is")),
        result["usage"] or "",
        " ".join(differing(result)),
        *(result[name] for name in ("provider_job_id", "attempts", "submitted_at", "finished_at")),
        *(error.get(name) for name in ("kind", "message", "class")),
    ]
