"""`clipmill retry`: a new attempt of items that ended without a clip."""

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
@money_options
@json_option
def command(
    *, folder: Path, items: tuple[str, ...], every: bool, max_cost: float | None, yes: bool, as_json: bool
) -> Exit:
    """Have ITEMs of the batch in DIR attempted once more that were rejected, failed, are lost or abandoned.

    It says first what each has cost and what a new attempt may cost. Nothing is sent: the next run submits them.

    \b
    For example:   clipmill retry output/coral-reefs turtle
                   clipmill retry output/coral-reefs --all --yes
    """
    from pipeline.cli.keys import environment
    from pipeline.cli.resolution import Wish, try_again
    from pipeline.effects import system

    if bool(items) is every:
        raise click.UsageError("Name the items to retry, or say --all.")
    wish = Wish(root=folder, items=items, max_cost_usd=max_cost, yes=yes, as_json=as_json)
    effects = system()
    try:
        return asyncio.run(try_again(wish, effects, environment(os.environ, Path.cwd())))
    finally:
        effects.threads.close()
