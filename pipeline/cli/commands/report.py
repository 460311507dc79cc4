"""`clipmill report`: one page on which a batch can be looked at."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import task_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.cli.running.cluster import ClusterWanted
    from pipeline.effects import Effects
    from pipeline.report.make import Made


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser when it is written.")
@task_options("thumbnails drawn")
def command(*, folder: Path, opened: bool, engine: str | None, address: str | None) -> None:
    """Write report.html into DIR: what was made, what it cost, how long it took, what went wrong, and every clip.

    The page opens from disk and needs nothing but the clips and thumbnails/ beside it. It can be written again at any
    time, also while the batch runs; thumbnails are made once. Its path goes to stdout.

    \b
    For example:   clipmill report output/coral-reefs --open
    """
    from pipeline.cli.running.cluster import cluster_wanted
    from pipeline.cli.wording.console import count, put, say
    from pipeline.report.thumbnails import can_make_thumbnails
    from pipeline.system.effects import system

    wanted = cluster_wanted(engine, address)
    effects = system()
    try:
        made = asyncio.run(_make(folder, wanted, effects))
    finally:
        effects.threads.close()
    if made.clips and not can_make_thumbnails():
        say(
            "There are no thumbnails without PyAV and Pillow: pip install 'clipmill[media]'. The clips show themselves."
        )
    elif made.thumbnails < made.clips:
        missing = count(made.clips - made.thumbnails, "clip")
        say(f"Without a thumbnail, since gone or not to be decoded: {missing}. Look with: clipmill check {folder}")
    put(str(made.path))
    if opened:
        import webbrowser

        if not webbrowser.open(made.path.absolute().as_uri()):
            say("No browser could be started here; open the page by hand.")


async def _make(folder: Path, wanted: ClusterWanted | None, effects: Effects) -> Made:
    from contextlib import ExitStack

    from pipeline.cli.standing.standing import standing_of
    from pipeline.cli.wording.console import say
    from pipeline.jobs.state import ENDED
    from pipeline.paths import BatchFolder
    from pipeline.report.make import make_report
    from pipeline.report.thumbnails import can_make_thumbnails

    standing = standing_of(folder, effects)
    is_over = standing.summary.count(*ENDED) == standing.summary.total
    with ExitStack() as stack:
        pencils = None
        if wanted is not None and can_make_thumbnails():
            from pipeline.scale.ray import connected
            from pipeline.scale.tasks import RayPencils

            stack.enter_context(connected(wanted.address))
            pencils = RayPencils(effects, say)
        return await make_report(
            BatchFolder(folder),
            effects,
            next_command="" if is_over else standing.next_command,
            begun=lambda clips: stack.enter_context(_bar(clips)),
            pencils=pencils,
        )


@contextmanager
def _bar(clips: int) -> Iterator[Callable[[], object]]:
    """Draw a bar on a terminal, and nothing elsewhere; it moves when the value is called."""
    from tqdm import tqdm

    form = "{desc:<10} {bar} {n_fmt}/{total_fmt}"
    with tqdm(desc="thumbnails", total=clips, bar_format=form, disable=None, leave=False) as drawn:
        yield drawn.update
