"""`clipmill models`: a provider's models and what they take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.providers.answers import ModelInfo
    from pipeline.providers.base import ProviderFactory


@click.command()
@click.option("--provider", "name", required=True, metavar="P", help="Whose models: modelmax, venice, or a plugin's.")
@json_option
def command(name: str, *, as_json: bool) -> None:
    """List a provider's models: what goes in, durations, resolutions, aspect ratios, audio.

    The provider's own list is asked for where it has one and its key is set; otherwise the list that came with
    clipmill is shown, with its date. Models that are not listed can be used as well: they are sent unchecked.

    \b
    For example:   clipmill models --provider venice
    """
    import asyncio
    from dataclasses import asdict

    from pipeline.cli.columns import columns, terminal_width
    from pipeline.cli.console import count, put, put_json, say
    from pipeline.providers.registry import find_provider

    factory = find_provider(name)
    live, why = asyncio.run(_ask(factory)) if factory.capabilities.lists_models else (None, "")
    models = live if live is not None else _built_in(factory)
    as_of = None if live is not None else _date_of(name)
    source = f"{name} lists {count(len(models), 'model')}."
    if live is None:
        source = f"{why}{count(len(models), 'model')} known to clipmill{f' on {as_of}' if as_of else ''}:"
    say(source.strip())
    if as_json:
        listed = [asdict(model) for model in models]
        put_json({"provider": name, "source": "built-in" if live is None else "live", "as_of": as_of, "models": listed})
        return
    header = ("model", "kind", "seconds", "resolutions", "aspect ratios", "audio", "notes")
    put(columns(header, map(_row, models), width=terminal_width()))


async def _ask(factory: ProviderFactory) -> tuple[Sequence[ModelInfo] | None, str]:
    """Ask the vendor for its list; return None, with a sentence, where it cannot be had."""
    import os
    from pathlib import Path

    from pipeline.cli.keys import environment
    from pipeline.effects import system
    from pipeline.providers.answers import Catalogue
    from pipeline.providers.registry import account_from

    name = factory.capabilities.name
    environ = environment(os.environ, Path.cwd())
    needed = not factory.capabilities.key_is_optional
    if needed and not environ.get(factory.capabilities.key_variable, "").strip():
        return None, f"{factory.capabilities.key_variable} is not set, so {name}'s own list was not asked for. "
    effects = system()
    provider = factory(account_from(environ, factory.capabilities), effects)
    try:
        answer = await provider.models()
    finally:
        await provider.close()
        effects.threads.close()
    if isinstance(answer, Catalogue):
        return answer.models, ""
    return None, f"{name}'s own list could not be had: {answer.message} "


def _built_in(factory: ProviderFactory) -> Sequence[ModelInfo]:
    from pipeline.errors import InputError

    known: Any = getattr(factory, "known_models", None)
    if known is None:
        name, variable = factory.capabilities.name, factory.capabilities.key_variable
        raise InputError(f"No list of {name}'s models comes with clipmill. Set {variable} to ask {name} for its own.")
    models: Sequence[ModelInfo] = known()
    return models


def _date_of(name: str) -> str | None:
    """Return the date of the list that came with the package; None for a plugin's."""
    from pipeline.providers.catalogue import table

    try:
        return table(name).as_of
    except FileNotFoundError:
        return None


def durations(seconds: Sequence[float]) -> str:
    """Return durations as people write them, runs of whole seconds as a range: 4 6 8, or 3-15."""
    runs: list[list[float]] = []
    for value in seconds:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    texts = [[f"{run[0]:g}-{run[-1]:g}"] if len(run) > 2 else [f"{value:g}" for value in run] for run in runs]
    return " ".join(text for run in texts for text in run)


def _row(model: ModelInfo) -> tuple[str, ...]:
    return (
        model.id,
        model.kind,
        durations(model.durations_s),
        " ".join(model.resolutions),
        " ".join(model.aspect_ratios),
        model.audio,
        "; ".join(model.notes),
    )
