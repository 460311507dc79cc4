"""`clipmill resume`: go on with a batch from its ledger alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import (
    allow_inputs_option,
    engine_options,
    json_option,
    ledger_options,
    metrics_option,
    money_options,
    store_option,
)

if TYPE_CHECKING:
    from pipeline.errors import Exit


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@money_options
@allow_inputs_option
@store_option
@metrics_option
@ledger_options
@engine_options
@json_option
def command(
    *,
    folder: Path,
    ledger: str | None,
    lease: float,
    engine: str | None,
    workers: int | None,
    address: str | None,
    allow_inputs: tuple[Path, ...],
    store: str | None,
    metrics: str | None,
    max_cost: float | None,
    yes: bool,
    as_json: bool,
) -> Exit:
    """Go on with the batch in DIR from its ledger alone; the manifest is not read, and need not exist.

    A rehearsal's batch goes on in its sandbox.

    \b
    For example:   clipmill resume output/coral-reefs
    """
    from pipeline.cli.keys import environment
    from pipeline.cli.running.crew import carry_out_by_crew, crew_wanted
    from pipeline.cli.running.metrics import parse_target
    from pipeline.cli.running.session import Order, carry_out
    from pipeline.ledger.reader import reading
    from pipeline.paths import BatchFolder
    from pipeline.system.effects import system

    wanted = crew_wanted(engine, workers, address)
    effects = system()
    speed = 0.0
    if ledger is None:
        with reading(BatchFolder(folder).ledger, effects) as reader:
            speed = reader.meta("rehearsal_speed") or 0.0
    order = Order(
        root=folder,
        plan=None,
        chosen=None,
        on_change=None,
        allowed=allow_inputs,
        max_cost_usd=max_cost,
        store=store,
        metrics=parse_target(metrics) if metrics else None,
        yes=yes,
        as_json=as_json,
        speed=speed,
        ledger=ledger,
        lease_s=lease,
    )
    try:
        environ = environment(os.environ, Path.cwd())
        return asyncio.run(
            carry_out_by_crew(order, wanted, effects, environ) if wanted else carry_out(order, effects, environ)
        )
    finally:
        effects.threads.close()
