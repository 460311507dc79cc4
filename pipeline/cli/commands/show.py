"""`clipmill show`: one item's whole history."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import json_option


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("item")
@json_option
def command(folder: Path, item: str, *, as_json: bool) -> None:
    """Show the whole history of one ITEM of the batch in DIR: request, state, money, clips, and every event.

    For an item in doubt it says what is known, what it may have cost, and between which moments to look for a charge.
    Download addresses are shown as their host alone: whoever has one can fetch the clip.

    \b
    For example:   clipmill show output/coral-reefs turtle
    """
    from pipeline.cli.standing.history import history_json, history_text
    from pipeline.cli.wording.console import put, put_json
    from pipeline.cli.wording.ids import nearest
    from pipeline.errors import InputError
    from pipeline.ledger.reader import reading
    from pipeline.paths import BatchFolder
    from pipeline.system.effects import system

    with reading(BatchFolder(folder).ledger, system()) as reader:
        revisions = reader.revisions(item)
        if not revisions:
            raise InputError(f"{folder} has no item {item!r}.{nearest(item, reader.item_ids())}")
        events = reader.events(item)
        rules = reader.acceptance()
    if as_json:
        put_json(history_json(folder, revisions, events, rules))
    else:
        put(history_text(folder, revisions, events, rules))
