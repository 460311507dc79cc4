"""`clipmill run`: run a manifest, or go on with it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import (
    checking_options,
    engine_options,
    json_option,
    ledger_options,
    metrics_option,
    money_options,
    store_option,
)

if TYPE_CHECKING:
    from pipeline.cli.running.checking import Checking
    from pipeline.errors import Exit
    from pipeline.planning.plan import Plan

NO_SHARED_REHEARSAL = (
    "--sandbox rehearses with one process and a ledger of its own. To rehearse with several, start clipmill sandbox "
    "and set the base URLs to what it prints."
)


@click.command()
@click.argument("manifest", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The batch's folder, instead of output/NAME.")
@click.option("--sandbox", is_flag=True, help="Rehearse on the emulator: no key, no cost, output/NAME-sandbox.")
@click.option("--speed", type=float, default=60.0, show_default=True, help="How much faster than real the sandbox is.")
@money_options
@click.option("--limit", type=click.IntRange(min=1), help="Submit only the first N items.")
@click.option("--only", metavar="GLOB", help="Submit only items whose id matches, for example 'animals-*'.")
@click.option(
    "--on-change",
    type=click.Choice(["keep", "new"]),
    help="For items changed after they were submitted: keep what was bought, or make a new revision beside it.",
)
@click.option("--jsonl", type=click.Path(path_type=Path), help="Rows with a `prompt` each, instead of a manifest.")
@click.option("--provider", help="With --jsonl: who makes the clips.")
@click.option("--model", help="With --jsonl: the provider's model.")
@checking_options
@store_option
@metrics_option
@ledger_options
@engine_options
@json_option
def command(
    *,
    manifest: Path | None,
    output: Path | None,
    sandbox: bool,
    speed: float,
    limit: int | None,
    only: str | None,
    on_change: str | None,
    jsonl: Path | None,
    provider: str | None,
    model: str | None,
    ledger: str | None,
    lease: float,
    engine: str | None,
    workers: int | None,
    address: str | None,
    allow_inputs: tuple[Path, ...],
    no_catalogue: bool,
    store: str | None,
    metrics: str | None,
    max_cost: float | None,
    yes: bool,
    as_json: bool,
) -> Exit:
    """Run MANIFEST, or go on with it: what is done is not asked for again, what was paid for is brought home.

    \b
    Rehearse:      clipmill run manifest.yaml --sandbox
    For real:      clipmill run manifest.yaml --max-cost 25
    Go on:         the same command again
    """
    from pipeline.cli.keys import environment
    from pipeline.cli.running.checking import checking
    from pipeline.cli.running.crew import carry_out_by_crew, crew_wanted
    from pipeline.cli.running.metrics import parse_target
    from pipeline.cli.running.session import Order, carry_out
    from pipeline.cli.wording.console import say
    from pipeline.cli.wording.problems import tell_problems
    from pipeline.errors import InputError, ProblemsFound
    from pipeline.paths import default_root
    from pipeline.planning.plan import select
    from pipeline.runner.reconcile import OnChange
    from pipeline.system.effects import system

    if speed <= 0:
        raise InputError(f"--speed {speed} makes no sense; say 1 for real time, 60 for a minute in a second.")
    if (ledger is not None or engine is not None) and sandbox:
        raise InputError(NO_SHARED_REHEARSAL)
    wanted = crew_wanted(engine, workers, address)
    effects = system()
    by = checking(effects, by_list=not no_catalogue)
    try:
        try:
            plan = _plan(manifest, jsonl, provider, model, by, allow_inputs)
        except ProblemsFound as found:
            tell_problems(found.problems)
            for sentence in by.explained(found.problems):
                say(sentence)
            return found.exit_code
        for warning in plan.warnings[:20]:
            say(str(warning))
        order = Order(
            root=output or default_root(Path.cwd(), plan.name, sandbox=sandbox),
            plan=plan,
            chosen=select(plan, limit=limit, only=only) if limit or only else None,
            by_list=not no_catalogue,
            on_change=OnChange(on_change) if on_change else None,
            max_cost_usd=max_cost,
            store=store,
            metrics=parse_target(metrics) if metrics else None,
            yes=yes,
            as_json=as_json,
            speed=speed if sandbox else 0.0,
            ledger=ledger,
            lease_s=lease,
        )
        environ = environment(os.environ, Path.cwd())
        return asyncio.run(
            carry_out_by_crew(order, wanted, effects, environ) if wanted else carry_out(order, effects, environ)
        )
    finally:
        effects.threads.close()


def _plan(
    manifest: Path | None,
    jsonl: Path | None,
    provider: str | None,
    model: str | None,
    by: Checking,
    allowed: tuple[Path, ...],
) -> Plan:
    from pipeline.errors import InputError
    from pipeline.manifest.load import manifest_from_jsonl
    from pipeline.planning.plan import make_plan, plan_file

    if manifest is not None and jsonl is None:
        return plan_file(manifest, by.offline, allowed=allowed)
    if jsonl is None or manifest is not None:
        raise InputError("Name one manifest, or rows with --jsonl FILE --provider P --model M.")
    if provider is None or model is None:
        raise InputError("--jsonl needs --provider and --model beside it.")
    return make_plan(manifest_from_jsonl(jsonl, provider, model), by.offline, allowed=allowed)
