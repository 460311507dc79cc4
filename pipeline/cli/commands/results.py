"""`clipmill results`: one row an item, as a table, CSV or JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.effects import Effects
    from pipeline.jobs.job import Job
    from pipeline.ledger.reader import Reader
    from pipeline.paths import BatchFolder


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "jsonl"]),
    default="table",
    show_default=True,
    help="A table for people, CSV for a spreadsheet, or JSON lines for programs.",
)
@json_option
def command(folder: Path, *, form: str, as_json: bool) -> None:
    """Print the results of the batch in DIR, one row an item, and bring its results.jsonl up to date.

    Below the table stands what was expected to be paid and what is counted as paid, which clips are not what was asked
    for (seconds, size, sound), and for what went wrong what can be done now.

    A batch that is being run is left alone; its rows are as they stand now. In CSV, cells that a spreadsheet would
    take for a formula get an apostrophe before them.

    \b
    For example:   clipmill results output/coral-reefs --format csv > results.csv
    """
    import json

    from pipeline.cli.wording.comparison import compared, comparison_text
    from pipeline.cli.wording.console import put, put_json, put_raw
    from pipeline.cli.wording.spreadsheet import csv_text
    from pipeline.ledger.reader import reading
    from pipeline.ledger.results import result
    from pipeline.paths import BatchFolder
    from pipeline.system.effects import system

    effects = system()
    batch = BatchFolder(folder)
    with reading(batch.ledger, effects) as reader:
        rules = reader.acceptance()
        results = [result(job, rules) for job in _jobs(reader, batch, effects)]
    if as_json:
        put_json({"output": str(folder), "results": results, "comparison": compared(results).to_json()})
    elif form == "csv":
        put_raw(csv_text(results))
    elif form == "jsonl":
        for row in results:
            put_raw(json.dumps(row, ensure_ascii=True) + "\n")
    else:
        from pipeline.cli.wording.columns import terminal_width

        rows = list(results)
        put("\n\n".join(part for part in (results_table(rows, terminal_width()), comparison_text(rows)) if part))


def _jobs(reader: Reader, batch: BatchFolder, effects: Effects) -> list[Job]:
    """Read the jobs and make `results.jsonl` say the same, unless a run is seeing to that."""
    from pipeline.cli.wording.console import say
    from pipeline.errors import BatchLocked, DiskRefused
    from pipeline.ledger.lock import only_process
    from pipeline.ledger.results import write_results

    try:
        with only_process(batch, effects):
            jobs = list(reader.jobs())
            write_results(jobs, reader.acceptance(), batch, effects.files)
            return jobs
    except BatchLocked:
        say(f"{batch.root} is being run now; the run itself keeps {batch.results.name} up to date.")
    except DiskRefused as refused:
        say(f"{batch.results.name} was left as it was. {refused}")
    return list(reader.jobs())


def results_table(results: Iterable[Mapping[str, Any]], width: int | None) -> str:
    """Return results as a table; the last column, a file or what went wrong, is shortened to the width."""
    from pipeline.cli.wording.columns import columns

    header = ("id", "state", "model", "clips", "seconds", "cost", "file, or what went wrong")
    return columns(header, map(_row, results), right={3, 4, 5}, width=width)


def _row(result: Mapping[str, Any]) -> tuple[str, ...]:
    from pipeline.cli.wording.console import usd

    clips, error = result["clips"], result["error"]
    seconds = sum(clip["duration_s"] or 0 for clip in clips)
    last = " ".join(clip["file"] for clip in clips)
    if error:
        last = f"{error['kind']}: {error['message']}"
    return (
        result["id"],
        result["state"],
        f"{result['provider']}/{result['model']}",
        str(len(clips)) if clips else "",
        f"{seconds:g}" if clips else "",
        "" if result["state"] == "planned" and not result["cost_usd"] else usd(result["cost_usd"]),
        last,
    )
