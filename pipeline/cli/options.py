"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound=Any)


def money_options(command: F) -> F:
    """Add `--max-cost` and `--yes`."""
    command = click.option("--yes", is_flag=True, help="Answer the question about the cost with yes.")(command)
    return click.option(
        "--max-cost",
        type=click.FloatRange(min=0),
        metavar="USD",
        help="Spend at most this much on the batch, ever; instead of the manifest's max_cost_usd.",
    )(command)


def allow_inputs_option(command: F) -> F:
    """Add `--allow-inputs`."""
    return click.option(
        "--allow-inputs",
        multiple=True,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Let files that the manifest names lie in DIR, too. Can be given more than once.",
    )(command)


def checking_options(command: F) -> F:
    """Add `--allow-inputs` and `--no-catalogue`."""
    command = click.option(
        "--no-catalogue", is_flag=True, help="Do not hold requests against what is known of the models."
    )(command)
    return allow_inputs_option(command)


def store_option(command: F) -> F:
    """Add `--store`."""
    return click.option(
        "--store",
        metavar="URL",
        help="Upload finished clips to s3://bucket/prefix (or gs, az), too; kept for the batch's life, until 'none'.",
    )(command)


def ledger_options(command: F) -> F:
    """Add `--ledger` and `--lease`."""
    command = click.option(
        "--lease",
        type=click.FloatRange(min=1),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="With a shared ledger: others take over from this worker when it is silent for so long.",
    )(command)
    return click.option(
        "--ledger",
        metavar="ADDRESS",
        help="Share the ledger with other workers, in PostgreSQL: postgresql://USER@HOST/DATABASE. The folder's name "
        "is the batch's there; the password belongs into PGPASSWORD or ~/.pgpass.",
    )(command)


def engine_options(command: F) -> F:
    """Add `--engine`, `--workers` and `--address`."""
    command = _address_option(command)
    command = click.option(
        "--workers", type=click.IntRange(min=1), metavar="N", help="With --engine: how many; 2 where nothing is said."
    )(command)
    return click.option(
        "--engine",
        type=click.Choice(["ray"]),
        help="Have several workers carry the batch out, on the machines of a Ray cluster; with a shared ledger.",
    )(command)


def task_options(what: str) -> Callable[[F], F]:
    """Add `--engine` and `--address` to a command whose work is done in pieces; `what` says which, for the help."""

    def add(command: F) -> F:
        return click.option(
            "--engine",
            type=click.Choice(["ray"]),
            help=f"Have {what} on the machines of a Ray cluster, which share the folder.",
        )(_address_option(command))

    return add


def _address_option(command: F) -> F:
    return click.option(
        "--address",
        metavar="ADDRESS",
        help="With --engine: the cluster's; auto on one of its nodes, or HOST:PORT. Without it, one of this machine's "
        "own.",
    )(command)


def metrics_option(command: F) -> F:
    """Add `--metrics`."""
    return click.option(
        "--metrics",
        metavar="TARGET",
        help="Tell the run's figures to Prometheus: FILE.prom for node_exporter, or an address such as 127.0.0.1:9464.",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)
