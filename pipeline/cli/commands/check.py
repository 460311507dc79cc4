"""`clipmill check`: the ledger against the disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import json_option

if TYPE_CHECKING:
    from pipeline.errors import Exit


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--repair", is_flag=True, help="Fetch missing clips again where that is free; accept a restored ledger.")
@click.option("--store", is_flag=True, help="Look at the uploaded clips in their store, too: one request for each.")
@json_option
def command(*, folder: Path, repair: bool, store: bool, as_json: bool) -> Exit:
    """Hold the ledger of the batch in DIR against its files, and against itself. Not while the batch runs.

    Every finished clip is read: is it there, is it what was published, is it a whole MP4? Files that were changed are
    told and never touched. Nothing is submitted and nothing is paid, with --repair neither. With --store, the copies
    in the object store are held against the ledger as well; with --repair, too, those that are lost are uploaded again
    by the next run.

    \b
    For example:   clipmill check output/coral-reefs
                   clipmill check output/coral-reefs --repair
    """
    from pipeline.cli.keys import environment
    from pipeline.cli.mending.repair import check_batch, repair_batch
    from pipeline.system.effects import system

    effects = system()
    environ = environment(os.environ, Path.cwd())
    try:
        if repair:
            return asyncio.run(repair_batch(folder, effects, environ, store=store, as_json=as_json))
        return check_batch(folder, effects, environ, store=store, as_json=as_json)
    finally:
        effects.threads.close()
