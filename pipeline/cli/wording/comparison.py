"""What was asked and expected, held against what came and what it cost. Results come in, sentences go out. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.console import count, plain, usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Result = Mapping[str, Any]
    """A line of the results, as `ledger.results.result` makes it."""

MICRO = 1_000_000
LISTED_MOST = 12
"""Lines of each kind; the rest are counted, and all of them are in --json and --format csv."""
NAMED_MOST = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The money of the items that were ever submitted, and who is not what was asked."""

    submitted: int
    expected_usd: float
    """What was reserved for their last attempts before they left, as far as anybody said."""
    quoted_usd: float
    """Of that, what the providers quoted."""
    computed_usd: float
    """Of that, what the manifest's prices make."""
    unpriced: int
    """Items for which nobody said a price."""
    counted_usd: float
    """What is counted as spent, reserved or in doubt now, earlier attempts included."""
    costs_otherwise: Sequence[str]
    """Ids of done items that are counted at another price than was expected."""
    differing: Sequence[str]
    """Ids of items of which a clip, or what the provider reports, is not what was asked."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


def compared(results: Iterable[Result]) -> Comparison:
    """Add the results up."""
    bought = [row for row in results if row["attempts"]]
    return Comparison(
        submitted=len(bought),
        expected_usd=_sum(row["expected_usd"] for row in bought),
        quoted_usd=_sum(row["expected_usd"] for row in bought if row["expected_is"] == "quoted"),
        computed_usd=_sum(row["expected_usd"] for row in bought if row["expected_is"] == "computed"),
        unpriced=sum(row["expected_usd"] is None for row in bought),
        counted_usd=_sum(row["cost_usd"] for row in bought),
        costs_otherwise=[row["id"] for row in bought if _costs_otherwise(row)],
        differing=[row["id"] for row in bought if differing(row)],
    )


def differing(result: Result) -> list[str]:
    """Return in sentences where an item is not what was asked, by its clips and by what the provider reports."""
    clips = result["clips"]
    named = len(clips) > 1
    told = [f"{clip['file']}: {text}" if named else text for clip in clips for text in clip["differs"]]
    return [*told, *result["warnings"]]


def comparison_text(results: Sequence[Result]) -> str:
    """Return what is worth telling below a table of the results; empty where nothing was bought."""
    found = compared(results)
    if not found.submitted:
        return ""
    parts = [[_money_text(found), *_otherwise(results, found)], [*_differing(results)], [*_what_to_do(results)]]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _money_text(found: Comparison) -> str:
    sources = [
        f"{usd(found.quoted_usd)} quoted" if found.quoted_usd else "",
        f"{usd(found.computed_usd)} by the manifest's prices" if found.computed_usd else "",
        f"{count(found.unpriced, 'item')} of unknown price" if found.unpriced else "",
    ]
    told = ", ".join(source for source in sources if source)
    expected = usd(found.expected_usd) if found.expected_usd or not found.unpriced else "nothing"
    told = f" ({told})" if told else ""
    return f"Money: {expected} was expected{told}; {usd(found.counted_usd)} is counted as spent."


def _otherwise(results: Sequence[Result], found: Comparison) -> Iterator[str]:
    ids = set(found.costs_otherwise)
    lines = [
        f"  {row['id']}: {usd(row['expected_usd'])} was expected, {usd(row['cost_usd'])} is counted"
        + (f"; the provider reports {_usage(row['usage'])}." if row["usage"] else ".")
        for row in results
        if row["id"] in ids
    ]
    yield from _first(lines, "item")


def _usage(usage: Mapping[str, Any]) -> str:
    """Return what a provider reports to have billed, in its own words."""
    known = [(name, value) for name, value in usage.items() if isinstance(value, str | int | float)]
    return ", ".join(f"{name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in known)


def _differing(results: Sequence[Result]) -> Iterator[str]:
    lines = [f"  {row['id']}: {text}" for row in results for text in differing(row)]
    if lines:
        yield "Not as asked:"
        yield from _first(lines, "difference")


def _what_to_do(results: Sequence[Result]) -> Iterator[str]:
    """Yield a line for each thing that can be done, with the items that it concerns."""
    ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for row in results:
        if row["error"] and row["error"]["what_to_do"]:
            ids[row["error"]["class"], row["error"]["what_to_do"]].append(row["id"])
    if ids:
        yield "What to do:"
    for (trouble, sentence), those in ids.items():
        more = f" and {len(those) - NAMED_MOST:,} more" if len(those) > NAMED_MOST else ""
        yield f"  {', '.join(those[:NAMED_MOST])}{more} ({trouble}): {sentence}"


def _first(lines: Sequence[str], thing: str) -> Iterator[str]:
    yield from map(plain, lines[:LISTED_MOST])  # each holds words of a vendor's, and is to stay one line
    if len(lines) > LISTED_MOST:
        yield f"  ... and {count(len(lines) - LISTED_MOST, f'more {thing}')}; --format csv has them all"


def _costs_otherwise(row: Result) -> bool:
    if row["state"] != "done" or row["expected_usd"] is None or row["cost_usd"] is None:
        return False
    expected, counted = (round(float(row[name]) * MICRO) for name in ("expected_usd", "cost_usd"))
    return expected != counted


def _sum(amounts: Iterable[float | None]) -> float:
    return sum(round((amount or 0.0) * MICRO) for amount in amounts) / MICRO
