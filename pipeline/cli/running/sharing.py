"""Sharing a ledger with other workers: the folder is bound to it, and the password stays in this process."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pipeline.cli.wording.console import say
from pipeline.errors import BatchLocked, StaleWrite
from pipeline.ledger.postgres.address import ON_COMMAND_LINE, address_beside, bind
from pipeline.paths import state_folder
from pipeline.system.databases import connect_postgres
from pipeline.system.locks import SystemShelf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.effects import Effects
    from pipeline.ledger.postgres.address import Address
    from pipeline.ledger.store import Ledger
    from pipeline.paths import BatchFolder


def share_ledger(folder: BatchFolder, dsn: str, effects: Effects) -> Effects:
    """Bind a batch's folder to a shared ledger, once that could be reached; return the effects that reach it.

    Raises:
        InputError: it is no address, lets nobody in, or is not the one that the folder has.
        ConnectionLost: its server cannot be reached.
    """
    reached = effects

    def reach(address: Address, password: str | None) -> None:
        from pipeline.ledger.postgres.layout import open_writer

        nonlocal reached
        if password is not None:
            reached = replace(effects, open_postgres=partial(connect_postgres, password=password))
        open_writer(address, reached).close()

    address, password = bind(folder, dsn, effects.files, reach)
    if password is not None:
        say(ON_COMMAND_LINE)
    say(f"The ledger is {address}; every worker whose folder is called {address.batch} shares it.")
    return reached


@contextmanager
def budgets_of(folder: BatchFolder, effects: Effects, environ: Mapping[str, str]) -> Iterator[Effects]:
    """Yield effects whose budgets of calls are shared: with all workers of the ledger, else with this user's runs."""
    address = address_beside(folder.ledger, effects.files)
    if address is None:
        yield replace(effects, shelf=SystemShelf(state_folder(environ) / "budgets"))
        return
    from pipeline.ledger.postgres.budgets import SharedBudgets

    budgets = SharedBudgets(address.dsn, effects.open_postgres, effects.clock)
    try:
        yield replace(effects, shelf=budgets)
    finally:
        budgets.close()


@contextmanager
def told_as_other_plan(ledger: Ledger) -> Iterator[None]:
    """Say what it means that a plan cannot be written while others are at work."""
    try:
        yield
    except StaleWrite as stale:
        if not ledger.is_shared:
            raise
        raise BatchLocked(
            f"Other workers carry this batch out by another version of its manifest: {stale} Let them end, or run the "
            "manifest that they run."
        ) from stale
