"""Options that several commands share."""

from __future__ import annotations

from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Any)


def money_options(command: F) -> F:
    """Add `--max-cost` and `--yes`."""
    command = click.option(
        "--max-cost",
        type=click.FloatRange(min=0),
        metavar="USD",
        help="Spend at most this much on the batch, ever; instead of the manifest's max_cost_usd.",
    )(command)
    return click.option("--yes", is_flag=True, help="Answer the question about the cost with yes.")(command)


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)
