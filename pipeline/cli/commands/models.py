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
@click.option(
    "--provider",
    "name",
    required=True,
    metavar="P",
    help="Whose models: modelmax, venice, openai-videos, or a plugin's.",
)
@click.option("--kind", metavar="KIND", help="Only models of this kind, for example text-to-video.")
@json_option
def command(name: str, *, kind: str | None, as_json: bool) -> None:
    """List a provider's models: what goes in, durations, resolutions, aspect ratios, audio.

    The provider's own list is asked for where it has one and its key is set, and kept: validate, plan and run hold
    manifests against it from then on. Otherwise the list that was kept, or the one that came with clipmill, is shown
    with its date. A dash stands for what a model takes none of, an empty cell for what is not known. Models that are
    not listed can be used as well: they are sent unchecked.

    \b
    For example:   clipmill models --provider venice --kind text-to-video
    """
    import asyncio
    from dataclasses import asdict

    from pipeline.cli.wording.columns import columns, terminal_width
    from pipeline.cli.wording.console import count, put, put_json, say
    from pipeline.providers.registry import find_provider

    factory = find_provider(name)
    live, why = asyncio.run(_ask(factory)) if factory.capabilities.lists_models else (None, "")
    if live is not None:
        source, as_of, models = "live", None, live
    else:
        source, as_of, models = _known(factory)
    models = _of_kind(models, kind)
    things = count(len(models), f"{kind} model" if kind else "model")
    told = f"{name} lists {things}."
    if live is None:
        told = f"{things} {'listed by ' + name if source == 'kept' else 'known to clipmill'}"
        told += f" on {as_of}:" if as_of else ":"
    say(f"{why}{told}")
    if as_json:
        listed = [asdict(model) for model in models]
        put_json({"provider": name, "source": source, "as_of": as_of, "models": listed})
        return
    header = ("model", "kind", "needs", "seconds", "resolutions", "aspect ratios", "audio", "prompt", "notes")
    shown = [column for column, title in enumerate(header) if title != "kind" or kind is None]
    rows = ([_row(model)[column] for column in shown] for model in models)
    put(columns([header[column] for column in shown], rows, width=terminal_width()))


async def _ask(factory: ProviderFactory) -> tuple[Sequence[ModelInfo] | None, str]:
    """Ask the vendor for its list; return None, with a sentence, where it cannot be had."""
    import os
    from pathlib import Path

    from pipeline.cli.keys import environment
    from pipeline.cli.running.checking import keep, kept_file
    from pipeline.providers.answers import Catalogue
    from pipeline.providers.registry import account_from
    from pipeline.system.effects import system

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
        why = ""
        if answer.answer:
            why = keep(kept_file(environ, factory.capabilities), answer.answer, effects.clock.now(), effects)
        return answer.models, f"{why} " if why else ""
    return None, f"{name}'s own list could not be had: {answer.message} "


def _of_kind(models: Sequence[ModelInfo], kind: str | None) -> Sequence[ModelInfo]:
    """Return the models of a kind. Raises InputError, naming the kinds that there are, where there is none."""
    from difflib import get_close_matches

    from pipeline.errors import InputError

    if kind is None:
        return models
    chosen = [model for model in models if model.kind == kind]
    if not chosen:
        kinds = sorted({model.kind for model in models} - {""})
        near = get_close_matches(kind, kinds, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(kinds) or 'none'}."
        raise InputError(f"No model is of the kind {kind!r}.{hint}")
    return chosen


def _known(factory: ProviderFactory) -> tuple[str, str | None, Sequence[ModelInfo]]:
    """Return what is known without asking: whether the list was kept or is built in, its date, and the models."""
    from pipeline.cli.running.checking import checking
    from pipeline.errors import InputError
    from pipeline.system.effects import system

    provider: Any = checking(system(), by_list=True).equipped(factory(None, system()))
    catalogue = getattr(provider, "catalogue", None)
    if catalogue is not None:
        fetched = [model for model in catalogue.infos() if not catalogue.fetched or catalogue.models[model.id].listed]
        return ("kept" if catalogue.fetched else "built-in"), catalogue.as_of, fetched
    known: Any = getattr(factory, "known_models", None)
    if known is None:
        name, variable = factory.capabilities.name, factory.capabilities.key_variable
        raise InputError(f"No list of {name}'s models comes with clipmill. Set {variable} to ask {name} for its own.")
    return "built-in", _date_of(factory.capabilities.name), known()


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
    """Return a model's cells: `-` for what it takes none of, nothing for what is not known."""

    def cell(text: str, parameter: str) -> str:
        return "-" if parameter in model.refuses else text

    return (
        model.id,
        model.kind,
        " ".join(model.needs),
        cell(durations(model.durations_s), "duration_seconds"),
        cell(" ".join(model.resolutions), "resolution"),
        cell(" ".join(model.aspect_ratios), "aspect_ratio"),
        model.audio,
        "" if model.prompt_characters_max is None else str(model.prompt_characters_max),
        "; ".join(model.notes),
    )
