"""`clipmill plan`: what a run would do and cost; nothing is bought."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import checking_options, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.cli.running.checking import Checking
    from pipeline.effects import Effects
    from pipeline.errors import Exit
    from pipeline.ledger.reader import Reader
    from pipeline.planning.plan import Plan
    from pipeline.runner.reconcile import Known


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--quote", is_flag=True, help="Ask the providers that quote for the prices that nobody wrote down.")
@checking_options
@json_option
def command(manifest: Path, *, quote: bool, allow_inputs: tuple[Path, ...], no_catalogue: bool, as_json: bool) -> Exit:
    """Show what a run of MANIFEST would submit, re-attach and reuse, what it would cost, and how long it may take.

    The ledger under output/ is looked at if there is one, and not changed. Nothing is bought, and without --quote
    nothing is sent and no key is needed.

    \b
    For example:   clipmill plan manifest.yaml --quote
    """
    from pipeline.cli.running.checking import checking
    from pipeline.cli.standing.forecast import forecast, usual_seconds
    from pipeline.cli.standing.outlook import look_out, outlook_json, outlook_text
    from pipeline.cli.wording.columns import terminal_width
    from pipeline.cli.wording.console import put, put_json, say
    from pipeline.cli.wording.problems import tell_problems
    from pipeline.errors import Exit, ProblemsFound
    from pipeline.paths import default_root
    from pipeline.planning.plan import plan_file
    from pipeline.runner.lane import IN_FLIGHT
    from pipeline.runner.reconcile import NothingKnown
    from pipeline.system.effects import system

    effects = system()
    by = checking(effects, by_list=not no_catalogue)
    try:
        plan = plan_file(manifest, by.offline, allowed=allow_inputs)
    except ProblemsFound as found:
        tell_problems(found.problems)
        for sentence in by.explained(found.problems):
            say(sentence)
        return Exit.BAD_INPUT
    tell_problems(plan.warnings)
    root = default_root(Path(), plan.name, sandbox=False)
    with _ledger(root, effects) as reader:
        known = reader or NothingKnown()
        if quote:
            plan = _with_quotes(plan, known, effects, by)
        askable = frozenset() if quote else frozenset(filter(_quotes, plan.provider_limits))
        spent_usd = reader.summary().committed_usd if reader else 0.0
        outlook = look_out(plan, known, root, committed_usd=spent_usd, askable=askable)
        usual_s = usual_seconds(reader.times_taken()) if reader else {}
    expected = forecast(outlook.to_come, plan.provider_limits, usual_s, IN_FLIGHT)
    if as_json:
        put_json(outlook_json(outlook, expected))
    else:
        put(outlook_text(outlook, expected, terminal_width()))
    return Exit.DONE


def _quotes(name: str) -> bool:
    from pipeline.providers.registry import find_provider

    return find_provider(name).capabilities.quotes


@contextmanager
def _ledger(root: Path, effects: Effects) -> Iterator[Reader | None]:
    """Open the batch's ledger; give None where there is no ledger yet."""
    from pipeline.ledger.reader import reading
    from pipeline.paths import BatchFolder

    folder = BatchFolder(root)
    if not folder.has_ledger():
        yield None
        return
    with reading(folder.ledger, effects) as reader:
        yield reader


def _with_quotes(plan: Plan, known: Known, effects: Effects, by: Checking) -> Plan:
    """Return the plan with the prices that its providers quote for what would be submitted.

    Raises:
        InputError: a provider that quotes has no key.
    """
    import asyncio
    import os

    from pipeline.cli.keys import environment
    from pipeline.cli.wording.console import say
    from pipeline.jobs.state import State
    from pipeline.paths import state_folder
    from pipeline.planning.plan import unpriced, with_quotes
    from pipeline.providers.registry import account_from, find_provider
    from pipeline.runner.money import KeptQuotes, ask_quotes
    from pipeline.system.locks import SystemShelf

    wanted = unpriced(plan)
    heads = known.heads([item.id for item in wanted.values()])
    settled = {item_id for item_id, head in heads.items() if head.state is not State.PLANNED}
    wanted = {key: item for key, item in wanted.items() if item.id not in settled}
    names = {item.provider for item in wanted.values()}
    factories = {name: find_provider(name) for name in sorted(names)}
    for name in (name for name, factory in factories.items() if not factory.capabilities.quotes):
        say(f"{name} quotes no prices; write them into the manifest's `prices`.")
    environ = environment(os.environ, Path.cwd())
    accounts = {
        name: account_from(environ, factory.capabilities)
        for name, factory in factories.items()
        if factory.capabilities.quotes
    }
    if not accounts:
        return plan

    async def ask() -> tuple[dict[str, float], list[str]]:
        providers = {name: by.equipped(factories[name](account, effects)) for name, account in accounts.items()}
        requests = {key: (item.provider, item.request) for key, item in wanted.items()}
        where = {name: (account.base_url, account.fingerprint) for name, account in accounts.items()}
        kept = KeptQuotes(SystemShelf(state_folder(environ) / "quotes"), effects.clock, where)
        try:
            return await ask_quotes(requests, providers, effects, kept)
        finally:
            for provider in providers.values():
                await provider.close()

    try:
        quotes, unknown = asyncio.run(ask())
    finally:
        effects.threads.close()
    for sentence in unknown:
        say(sentence)
    return with_quotes(plan, quotes)
