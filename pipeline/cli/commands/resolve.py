"""`clipmill resolve`: settle what is in doubt."""

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
@click.option("--all", "every", is_flag=True, help="Settle every doubt of the batch.")
@click.option("--resubmit", is_flag=True, help="Submit it again; it may be paid for twice.")
@click.option("--adopt", metavar="ID", help="The provider has it under this id: bring that job home.")
@click.option("--abandon", is_flag=True, help="Give it up; what it may have cost stays counted as spent.")
@click.option("--ask-once", is_flag=True, help="Ask for its result once more; that may be billed again.")
@click.option("--from-billing", is_flag=True, help="Look into Venice's bill and propose an answer; changes nothing.")
@money_options
@json_option
def command(
    *,
    folder: Path,
    items: tuple[str, ...],
    every: bool,
    resubmit: bool,
    adopt: str | None,
    abandon: bool,
    ask_once: bool,
    from_billing: bool,
    max_cost: float | None,
    yes: bool,
    as_json: bool,
) -> Exit:
    """Settle the doubts of the batch in DIR: of the ITEMs named, or of --all. Without an answer, list them.

    An item is in doubt when a call that bills was sent and its answer was lost. Nobody but you can find out what
    became of it, so nothing is sent for it until you say. Each answer is written down with its price; the next
    run takes it up. The exit code is 4 while anything is in doubt.

    --from-billing needs an admin key in VENICE_ADMIN_KEY.

    \b
    For example:   clipmill resolve output/coral-reefs
                   clipmill resolve output/coral-reefs turtle --resubmit
    """
    from pipeline.cli.keys import environment
    from pipeline.cli.mending.resolution import Wish, list_doubts, settle_doubts
    from pipeline.runner.settle import Answer
    from pipeline.system.effects import system

    given = {
        Answer.RESUBMIT: resubmit,
        Answer.ADOPT: adopt is not None,
        Answer.ABANDON: abandon,
        Answer.ASK_ONCE: ask_once,
    }
    answers = [answer for answer, is_given in given.items() if is_given]
    if len(answers) + from_billing > 1:
        raise click.UsageError("Give one answer: --resubmit, --adopt ID, --abandon, --ask-once or --from-billing.")
    if every and items:
        raise click.UsageError("Name items, or say --all; not both.")
    if answers and not every and not items:
        raise click.UsageError(f"Which items? Name them, or say --all, beside --{answers[0]}.")
    if max_cost is not None and not answers:
        raise click.UsageError("--max-cost goes with an answer that may cost something.")
    wish = Wish(root=folder, items=items, max_cost_usd=max_cost, yes=yes, as_json=as_json)
    effects = system()
    try:
        if from_billing:
            from pipeline.cli.mending.billing import propose

            return asyncio.run(propose(wish, effects, environment(os.environ, Path.cwd())))
        if not answers:
            return list_doubts(wish, effects)
        environ = environment(os.environ, Path.cwd())
        return asyncio.run(settle_doubts(wish, answers[0], adopt or "", effects, environ))
    finally:
        effects.threads.close()
