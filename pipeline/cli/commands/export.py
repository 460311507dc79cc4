"""`clipmill export`: a dataset of the finished clips."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import json_option, task_options
from pipeline.dataset.formats import FORMATS

if TYPE_CHECKING:
    from pipeline.errors import Exit

MIB = 1 << 20


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(list(FORMATS)), required=True, help="The format.")
@click.option(
    "--dest",
    metavar="PATH",
    help="Where it goes, instead of DIR/exports/FORMAT; s3://bucket/prefix (or gs, az) to upload it from there.",
)
@click.option(
    "--split", metavar="TRAIN/VAL/TEST", help="Shares in percent, for example 90/5/5; else all is for training."
)
@click.option(
    "--where",
    metavar="CONDITION",
    multiple=True,
    help="Only clips that meet it: a column, one of = != < <= > >= ~ and a value. May be said again.",
)
@click.option("--link", is_flag=True, help="Make hard links instead of copies: no space, but one file under two names.")
@click.option("--shard-clips", type=click.IntRange(min=1), default=10_000, show_default=True, help="Clips in a shard.")
@click.option("--shard-mib", type=click.IntRange(min=1), default=1024, show_default=True, help="MiB in a shard.")
@task_options("copies made and shards written")
@json_option
def command(
    *,
    folder: Path,
    form: str,
    dest: str | None,
    split: str | None,
    where: tuple[str, ...],
    link: bool,
    shard_clips: int,
    shard_mib: int,
    engine: str | None,
    address: str | None,
    as_json: bool,
) -> Exit:
    """Make a dataset of the clips in DIR that are finished and that the manifest's `accept` lets pass.

    \b
    videofolder    Hugging Face: clips and a metadata.jsonl
    webdataset     tar shards, byte for byte the same each time, with an index
    parquet        clips and a Parquet table
    sidecars       clips, each with its caption in a .txt, and a CSV of video and prompt

    It is there whole or not at all; the same command goes on where it was cut short, and brings an earlier export up
    to date. Nothing of yours is overwritten. Its README.md is a dataset card, with licence fields for you to fill in.

    \b
    For example:   clipmill export output/coral-reefs --to videofolder --split 90/5/5
                   clipmill export output/coral-reefs --to webdataset --dest s3://datasets/reefs
                   clipmill export output/coral-reefs --to webdataset --where 'duration>=4' --where model=veo-3
    """
    from pipeline.cli.keys import environment
    from pipeline.cli.mending.exporting import Wish, carry_out
    from pipeline.cli.running.cluster import cluster_wanted
    from pipeline.dataset.build import Options
    from pipeline.dataset.split import ALL_TRAIN, Shares
    from pipeline.dataset.where import parse
    from pipeline.errors import InputError
    from pipeline.storage.address import is_remote, parse_store
    from pipeline.system.effects import system

    if link and form == "webdataset":
        raise InputError("--link makes no sense with webdataset: its clips lie within the shards.")
    remote = parse_store(dest) if dest is not None and is_remote(dest) else None
    wish = Wish(
        root=folder,
        form=form,
        dest=None if remote or dest is None else Path(dest),
        remote=remote,
        shares=Shares.parse(split) if split else ALL_TRAIN,
        where=tuple(parse(text) for text in where),
        options=Options(link=link, shard_clips=shard_clips, shard_bytes=shard_mib * MIB),
        cluster=cluster_wanted(engine, address),
        as_json=as_json,
    )
    effects = system()
    try:
        return asyncio.run(carry_out(wish, effects, environment(os.environ, Path.cwd())))
    finally:
        effects.threads.close()
