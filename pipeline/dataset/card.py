"""The dataset card: what is in the export, who made it, what it cost, what was left out, what is for you to fill in.

The front matter is Hugging Face's (documentation of the Hub, "Dataset cards"). Text from a manifest is shown as code,
so that none of it is taken for Markdown or HTML. There is no date in a card: the same rows make the same card.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from pipeline.dataset.rows import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipeline.dataset.rows import Row, Selection

CARD: Final = "README.md"
SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
PATTERNS: Final = {"webdataset": "{split}/*.tar"}
"""The files of a split, where they are not all that is in its folder."""
FILE_NAME: Final = "the clip, relative to the folder of the split"
FILL_IN: Final = "*to be filled in*"


def card(name: str, form: str, selection: Selection, loading: str) -> str:
    """Return the card of a dataset.

    Args:
        name: the batch's.
        form: the format's name.
        selection: what is exported, and what is not.
        loading: how it is opened, in Markdown.
    """
    parts = (
        _front_matter(name, form, selection),
        f"# {name}\n\n{_summary(selection)}",
        f"## Loading\n\n{loading}",
        f"## Splits\n\n{_splits(selection)}",
        f"## Models and cost\n\n{_models(selection.rows)}",
        f"## Left out\n\n{_left_out(selection)}",
        f"## Columns\n\n{_columns(form, selection.rows)}",
        f"## Licence and terms\n\n{_licence(selection.rows)}",
    )
    return "\n\n".join(parts) + "\n"


def code(text: str) -> str:
    """Return text of others as Markdown that shows it and obeys none of it."""
    kept = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"`{kept.replace('`', chr(39)).replace('|', '/').strip() or ' '}`"


def _front_matter(name: str, form: str, selection: Selection) -> str:
    size = next((word for most, word in SIZES if len(selection.rows) < most), "1M<n<10M")
    pattern = PATTERNS.get(form, "{split}/**")
    lines = [
        "---",
        "# To be filled in before this is published: a licence of the Hub's list, or `other` with a name and a link.",
        "license: unknown",
        "#license_name:",
        "#license_link:",
        f"pretty_name: {name}",
        "task_categories:",
        "- text-to-video",
        "tags:",
        "- video",
        "- synthetic",
        "size_categories:",
        f"- {size}",
        "configs:",
        "- config_name: default",
        "  data_files:",
    ]
    for split in selection.splits:
        lines += [f"  - split: {split}", f"    path: {json.dumps(pattern.format(split=split))}"]
    return "\n".join([*lines, "---"])


def _summary(selection: Selection) -> str:
    rows = selection.rows
    makers = sorted({str(row.columns["provider"]) for row in rows})
    size_bytes = sum(row.size_bytes for row in rows)
    return (
        f"{len(rows):,} generated clips, {_lasting(rows)}, {size_bytes:,} bytes. Every clip is synthetic: it was made "
        f"from a prompt by a model of {_listed(map(code, makers))}. Each was downloaded whole, and held against its "
        "digest when it was exported."
    )


def _lasting(rows: Iterable[Row]) -> str:
    seconds = sum(row.columns["duration"] or 0 for row in rows)
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"


def _splits(selection: Selection) -> str:
    lines = ["| split | clips | items | length | bytes |", "| --- | ---: | ---: | ---: | ---: |"]
    for split, rows in selection.splits.items():
        items = len({row.columns["item_id"] for row in rows})
        size_bytes = sum(row.size_bytes for row in rows)
        lines.append(f"| {split} | {len(rows):,} | {items:,} | {_lasting(rows)} | {size_bytes:,} |")
    lines += ["", "An item's split follows from its id alone, so that a batch that grows moves nothing."]
    return "\n".join(lines)


def _models(rows: Sequence[Row]) -> str:
    by_model: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_model[str(row.columns["provider"]), str(row.columns["model"])].append(row)
    lines = ["| provider | model | clips | length | cost | known as |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for (provider, model), made in sorted(by_model.items()):
        known = sorted({str(row.columns["cost_is"]) for row in made})
        cells = (code(provider), code(model), f"{len(made):,}", _lasting(made), _cost(made), ", ".join(known))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| all | | {len(rows):,} | {_lasting(rows)} | {_cost(rows)} | |")
    return "\n".join(lines)


def _cost(rows: Iterable[Row]) -> str:
    costs = [row.cost_usd for row in rows]
    known = sum(cost for cost in costs if cost is not None)
    unknown = sum(cost is None for cost in costs)
    if not unknown:
        return f"${known:,.2f}"
    return f"${known:,.2f} and {unknown:,} clips of unknown cost" if known else "unknown"


def _left_out(selection: Selection) -> str:
    lines = [
        f"- {selection.rejected:,} clips by the manifest's `accept`; they cost ${selection.rejected_usd:,.2f}",
        f"- {selection.undecided:,} clips that were not decoded, where `accept` asks for what only that tells",
        f"- {selection.passed_over:,} clips by the conditions of this export",
        f"- {selection.unfinished:,} items without a finished clip",
    ]
    return "\n".join(lines)


def _columns(form: str, rows: Sequence[Row]) -> str:
    if form == "sidecars":
        return "`video` is the clip, relative to the table; `prompt` what it was made from."
    names: list[tuple[str, str]] = [] if form == "webdataset" else [("file_name", FILE_NAME)]
    names += MEANINGS.items()
    names += [(name, "the manifest's") for name in (rows[0].columns if rows else ()) if name not in MEANINGS]
    return "\n".join(["| column | meaning |", "| --- | --- |", *(f"| {code(name)} | {told} |" for name, told in names)])


def _licence(rows: Iterable[Row]) -> str:
    lines: Iterator[str] = (
        f"- Terms of {code(provider)} for output of {code(model)}: {FILL_IN}" for provider, model in _makers(rows)
    )
    return "\n".join(
        [
            f"- Licence of the clips: {FILL_IN}",
            f"- Licence of the prompts, and where they are from: {FILL_IN}",
            *lines,
            f"- Pictures, sounds and clips that went into it, and the rights in them: {FILL_IN}",
            f"- Who answers for this dataset: {FILL_IN}",
        ]
    )


def _makers(rows: Iterable[Row]) -> list[tuple[str, str]]:
    return sorted({(str(row.columns["provider"]), str(row.columns["model"])) for row in rows})


def _listed(words: Iterable[Any]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else str(last)
