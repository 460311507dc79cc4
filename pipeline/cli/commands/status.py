"""`clipmill status`: where batches stand, once or for as long as they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.cli.standing.standing import Standing
    from pipeline.effects import Clock, Effects
    from pipeline.errors import ClipmillError, Exit

REDRAW_S = 2.0
LINE_S = 30.0
HEADER = ("batch", "items", "done", "at provider", "planned", "failed", "in doubt", "clips", "spent", "last run")
OUTPUT = "output"


@click.command()
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Show it again every 2 s, until no batch runs any more or Ctrl-C.")
@json_option
def command(*, folders: Sequence[Path], watch: bool, as_json: bool) -> Exit:
    """Show where batches stand: those in each DIR, or every one under output/.

    "spent" is what is spent, reserved or in doubt. A batch that runs can be looked at: nothing is disturbed.

    \b
    For example:   clipmill status
                   clipmill status output/coral-reefs --watch
    """
    import asyncio
    from contextlib import suppress

    from pipeline.cli.standing.standing import batch_folders, standing_json
    from pipeline.cli.wording.console import put, put_json, say
    from pipeline.errors import Exit
    from pipeline.system.effects import system

    if watch and as_json:
        raise click.UsageError("--watch and --json do not go together; ask for --json as often as you like.")

    def find() -> Sequence[Path]:
        return folders or batch_folders(Path(OUTPUT))

    effects = system()
    if watch:
        with suppress(KeyboardInterrupt):
            asyncio.run(watch_batches(lambda: read_standings(find(), effects)[0], effects.clock))
        return Exit.DONE
    standings, errors = read_standings(find(), effects)
    for error in errors:
        say(str(error))
    if as_json:
        put_json({"batches": [standing_json(standing) for standing in standings]})
    elif standings:
        put(status_text(standings))
    elif not errors:
        say(f"There is no batch under {OUTPUT}/. Begin with: clipmill init")
    return max((error.exit_code for error in errors), default=Exit.DONE)


def read_standings(folders: Sequence[Path], effects: Effects) -> tuple[list[Standing], list[ClipmillError]]:
    """Read how each batch stands; one that cannot be read does not hide the others."""
    from pipeline.cli.standing.standing import standing_of
    from pipeline.errors import ClipmillError

    standings: list[Standing] = []
    errors: list[ClipmillError] = []
    for folder in folders:
        try:
            standings.append(standing_of(folder, effects))
        except ClipmillError as error:
            errors.append(error)
    return standings, errors


def status_text(standings: Sequence[Standing], width: int | None = None) -> str:
    """Return the table of batches, and below it what comes next for each."""
    from pipeline.cli.standing.standing import figures_text
    from pipeline.cli.wording.columns import columns, cut
    from pipeline.cli.wording.console import plain

    table = columns(HEADER, map(_row, standings), right=range(1, 9), width=width)
    told = [f"{plain(_name(each))}: {figures_text(each)}" for each in standings if figures_text(each)]
    follow = [f"{plain(_name(standing))}: {plain(standing.next_command)}" for standing in standings]
    below = [*(["", "At work:"] if told else []), *(f"  {line}" for line in told), "", "Next:"]
    below += [f"  {line}" for line in follow]
    return "\n".join([table, *(cut(line, width) if width else line for line in below)])


def _name(standing: Standing) -> str:
    """Return the folder's name where it says more than the batch's: a rehearsal, or an -o of the user's."""
    return standing.root.name or standing.summary.name


def _row(standing: Standing) -> tuple[str, ...]:
    from pipeline.cli.wording.console import usd
    from pipeline.jobs.state import State

    summary = standing.summary
    counts = (
        summary.total,
        summary.count(State.DONE),
        standing.at_provider,
        summary.count(State.PLANNED),
        summary.failed,
        summary.in_doubt,
        summary.clips_done,
    )
    spent = usd(summary.committed_usd)
    if summary.max_cost_usd is not None:
        spent += f" of {usd(summary.max_cost_usd)}"
    return (_name(standing), *(f"{number:,}" for number in counts), spent, standing.last_run)


async def watch_batches(read: Callable[[], list[Standing]], clock: Clock) -> None:
    """Show batches again and again until none of them runs."""
    import sys

    from pipeline.cli.wording.columns import terminal_width
    from pipeline.cli.wording.console import put, put_raw

    on_terminal = sys.stdout.isatty()
    lines = 0
    while True:
        standings = read()
        if on_terminal:
            text = status_text(standings, terminal_width())
            if lines:
                put_raw(f"\x1b[{lines}F\x1b[J")  # up to where the last drawing began, and clear from there
            lines = text.count("\n") + 1
            put(text)
        else:
            for standing in standings:
                put(one_line(standing))
        sys.stdout.flush()
        if not any(standing.running for standing in standings):
            return
        await clock.sleep(REDRAW_S if on_terminal else LINE_S)


def one_line(standing: Standing) -> str:
    """Return a standing as one line of text."""
    return ", ".join(
        f"{cell} {name.removesuffix('s') if cell == '1' else name}" if 0 < place < 8 else cell
        for place, (name, cell) in enumerate(zip(HEADER, _row(standing), strict=True))
        if cell and (place in {0, 1, 2, 8, 9} or cell != "0")
    )
