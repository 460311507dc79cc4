"""`clipmill retry`: a new attempt of items that ended without a clip, or with one that is not wanted."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import json_option, money_options

if TYPE_CHECKING:
    from pipeline.errors import Exit


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("items", metavar="[ITEM]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Retry every item that was rejected, failed, lost or abandoned.")
@click.option(
    "--rejected-clips",
    is_flag=True,
    help="Buy again the items, or those of ITEM, whose clips the manifest's `accept` turns down.",
)
@money_options
@json_option
def command(
    *,
    folder: Path,
    items: tuple[str, ...],
    every: bool,
    rejected_clips: bool,
    max_cost: float | None,
    yes: bool,
    as_json: bool,
) -> Exit:
    """Have ITEMs of the batch in DIR attempted once more that were rejected, failed, are lost or abandoned.

    It says first what each has cost and what a new attempt may cost. Nothing is sent: the next run submits them.
    Clips that `accept` turns down are kept; what is bought again lies beside them, under a name with a revision.

    \b
    For example:   clipmill retry output/coral-reefs turtle
                   clipmill retry output/coral-reefs --all --yes
                   clipmill retry output/coral-reefs --rejected-clips
    """
    from pipeline.cli.keys import environment
    from pipeline.cli.mending.attempts import buy_rejected_again, try_again
    from pipeline.cli.mending.resolution import Wish
    from pipeline.system.effects import system

    if rejected_clips and every:
        raise click.UsageError("--rejected-clips without items is all of them; leave --all out.")
    if bool(items) is every and not rejected_clips:
        raise click.UsageError("Name the items to retry, or say --all or --rejected-clips.")
    wish = Wish(root=folder, items=items, max_cost_usd=max_cost, yes=yes, as_json=as_json)
    effects = system()
    try:
        work = buy_rejected_again if rejected_clips else try_again
        return asyncio.run(work(wish, effects, environment(os.environ, Path.cwd())))
    finally:
        effects.threads.close()
