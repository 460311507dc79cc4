"""What Venice cannot make of a request, found before anything is sent. Pure: a request in, problems out.

The schema looks open, and yet a field that the chosen model does not take is refused (Venice skills, venice-video), so
what is known of the models decides for those that are known. A field that `options` sets is the user's own word: it
goes as it is, and only what Venice refuses from everyone is told.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.providers.catalogue import (
    deprecation_note,
    enumerate_words,
    nearest_aspect,
    nearest_number,
    nearest_resolution,
)
from pipeline.providers.media import base64_characters, texts_in
from pipeline.providers.venice.media import file_problems, media_problems
from pipeline.providers.venice.options import option_problems
from pipeline.providers.venice.problem import LIST_MAXIMA, error, parts_fault, warning
from pipeline.providers.venice.request import FIELDS, is_upscaler, venice_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from pipeline.providers.base import GenerationRequest, RequestProblem
    from pipeline.providers.catalogue import Model, Table

BODY_MAX_BYTES = 35_000_000
"""The whole JSON body; beyond it Venice answers 413 (Venice skills, venice-video)."""
PROMPT_MAX_CHARACTERS = 20_000
PROMPT_USUAL_CHARACTERS = 2_500
"""The limit of a model that states none (Venice OpenAPI, QueueVideoRequest)."""


def venice_problems(request: GenerationRequest, known_models: Table, today: date) -> list[RequestProblem]:
    """Say what Venice or the model cannot express, each with the nearest thing that works.

    Without any known models, only what no model of Venice's takes is told.
    """
    shape = [*shape_problems(request, known_models), *file_problems(request, known_models.models.get(request.model))]
    if not known_models.models:
        return shape
    model = known_models.models.get(request.model)
    if model is None:
        return [*shape, warning(("model",), known_models.unknown(request.model))]
    faulty = {problem.field for problem in shape}
    found = [
        *prompt_problems(request, model),
        *choice_problems(request, model),
        *media_problems(request, model, known_models),
    ]
    told = [*end_problems(model, today), *listing_problems(model, known_models)]
    return [*shape, *(problem for problem in found if problem.field not in faulty), *told]


def listing_problems(model: Model, known_models: Table) -> Iterator[RequestProblem]:
    """Yield that a known model is in no public list: some of these work on, others were renamed or are gone."""
    if not model.listed:
        message = f"{model.id} is not in Venice's public list of {known_models.as_of}; it may be renamed or retired."
        yield warning(("model",), message)


def end_problems(model: Model, today: date) -> Iterator[RequestProblem]:
    """Yield what the user ought to know of the model itself: that it is given up, offline, or not for everyone.

    After its last day a model without a successor answers 410 to everything (Venice deprecations page).
    """
    ending = model.deprecation
    if ending is not None and ending.removed_on and ending.removed_on <= today.isoformat() and not ending.remaps:
        instead = f"use {ending.successor}" if ending.successor else "take another model"
        yield error_of_model(f"{model.id} was removed on {ending.removed_on}; {instead}.")
    elif ending is not None:
        yield warning(("model",), f"{model.id} is {deprecation_note(ending)}.")
    for note in model.notes:
        yield warning(("model",), f"{model.id}: {note}.")


def error_of_model(message: str) -> RequestProblem:
    """Return a problem with the model itself."""
    return error("model", message, within=())


def shape_problems(request: GenerationRequest, known_models: Table) -> Iterator[RequestProblem]:
    """Yield what no model of Venice's takes."""
    for name, value in request.parameters.items():
        if name == "sample_count":
            if value != 1 or isinstance(value, bool):
                yield error(name, "Venice makes one clip a job; leave sample_count out, and use `repeat` for more.")
        elif name not in FIELDS:
            yield error(name, f"Venice takes no {name}; a field of Venice's own goes into `options`.")
        elif fault := fault_of(name, value):
            yield error(name, fault)
    upscales = is_upscaler(request.model, known_models)
    if upscales and request.prompt.strip():
        yield error("prompt", f"{request.model} takes no prompt; leave it out.", within=())
    elif not upscales and not request.prompt.strip() and not {"prompt", "camera_trajectory"} & set(request.options):
        yield error("prompt", "Venice needs a prompt; say what the clip shows.", within=())
    if len(request.prompt) > PROMPT_MAX_CHARACTERS:
        message = f"The prompt has {len(request.prompt)} characters; Venice takes {PROMPT_MAX_CHARACTERS} at most."
        yield error("prompt", message, within=())
    yield from option_problems(request, known_models.models.get(request.model))
    yield from size_problems(request, known_models)


def fault_of(name: str, value: Any) -> str:
    """Say what is wrong with a parameter's value, whatever the model; empty where nothing is."""
    match name:
        case "duration_seconds":
            sound = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 300
            if not sound or value != int(value):
                return f"duration_seconds is a whole number of seconds, not {value!r}."
        case "generate_audio":
            if not isinstance(value, bool):
                return f"generate_audio is true or false, not {value!r}."
        case "upscale_factor":
            if isinstance(value, bool) or value not in (1, 2, 4):
                return f"upscale_factor is 1, 2 or 4, not {value!r}."
        case "elements" | "keyframes":
            return parts_fault(name, value)
        case _ if name in LIST_MAXIMA:
            if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
                return f"{name} is a list of files or URLs."
            if len(value) > LIST_MAXIMA[name]:
                return f"Venice takes {LIST_MAXIMA[name]} {name} at most, not {len(value)}."
        case _:
            if not isinstance(value, str):
                return f"{name} is text, not {value!r}."
    return ""


def size_problems(request: GenerationRequest, known_models: Table) -> Iterator[RequestProblem]:
    """Yield what would make the body larger than Venice takes."""
    fields = venice_fields(request, known_models) | dict(request.options)
    try:
        size = len(json.dumps({"prompt": request.prompt, **fields}, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        yield error("options", "The request holds a value that JSON cannot express.", within=())
        return
    for text in texts_in(list(fields.values())):
        if text in request.files:
            size += base64_characters(request.files[text].size_bytes) + 40
    if size > BODY_MAX_BYTES:
        message = f"The request would be {size / 1e6:.0f} MB with its files in base64; Venice takes 35 MB at most."
        yield error("parameters", message, within=())


def prompt_problems(request: GenerationRequest, model: Model) -> Iterator[RequestProblem]:
    """Yield prompts that are longer than the model takes; an unstated limit is only warned of."""
    texts: list[tuple[tuple[str, ...], str]] = [(("prompt",), request.prompt)]
    negative = request.parameters.get("negative_prompt")
    if isinstance(negative, str):
        texts.append((("parameters", "negative_prompt"), negative))
    limit = model.prompt_characters_max or PROMPT_USUAL_CHARACTERS
    for field, text in texts:
        if len(text) > limit:
            stated = model.prompt_characters_max is not None
            takes = "takes" if stated else "is thought to take"
            message = f"{len(text)} characters; {model.id} {takes} {limit} at most."
            yield error(field[-1], message, within=field[:-1]) if stated else warning(field, message)


def choice_problems(request: GenerationRequest, model: Model) -> Iterator[RequestProblem]:
    """Yield durations, shapes, sizes and sounds that the model does not make."""
    given, free = request.parameters, request.options
    if model.durations_s is not None and "duration" not in free:
        yield from duration_problems(given.get("duration_seconds"), model)
    if model.aspect_ratios is not None and "aspect_ratio" not in free:
        yield from aspect_problems(given.get("aspect_ratio"), model)
    if model.resolutions is not None and "resolution" not in free:
        yield from resolution_problems(given.get("resolution"), model)
    audio = given.get("generate_audio")
    if model.audio == "always" and audio is False:
        yield error("generate_audio", f"{model.id} always makes sound; leave generate_audio out.")
    if model.audio == "never" and audio is True:
        yield error("generate_audio", f"{model.id} makes silent clips; leave generate_audio out.")
    if "upscale_factor" in given and not model.upscale_factors:
        yield error("upscale_factor", f"{model.id} does not upscale; use topaz-video-upscale, or leave it out.")


def duration_problems(asked: Any, model: Model) -> Iterator[RequestProblem]:
    """Yield a missing or impossible duration."""
    durations = model.durations_s or ()
    if not durations:
        if asked is not None:
            message = f"{model.id} takes the length of the clip it is given; leave duration_seconds out."
            yield error("duration_seconds", message)
    elif asked is None:
        if model.kind != "video-to-video":  # which follows the clip that it is given
            yield error("duration_seconds", f"{model.id} needs a duration; write duration_seconds: {durations[0]}.")
    elif asked not in durations:
        whole = list(durations) == list(range(durations[0], durations[-1] + 1)) and len(durations) > 3
        makes = f"{durations[0]} to {durations[-1]} s" if whole else f"{enumerate_words(durations)} s"
        nearest = nearest_number(asked, durations) if isinstance(asked, int | float) else durations[0]
        yield error("duration_seconds", f"{model.id} makes {makes}; the nearest is {nearest}.")


def aspect_problems(asked: Any, model: Model) -> Iterator[RequestProblem]:
    """Yield a missing, forbidden or impossible aspect ratio: a model that lists any requires one, and vice versa."""
    ratios = model.aspect_ratios or ()
    if not ratios:
        if asked is not None:
            takes = "the shape of its image" if model.needs else "no aspect_ratio"
            yield error("aspect_ratio", f"{model.id} takes {takes}; leave aspect_ratio out (null removes it).")
    elif asked is None:
        yield error("aspect_ratio", f"{model.id} needs an aspect ratio: {enumerate_words(ratios)}.")
    elif asked not in ratios:
        nearest = nearest_aspect(str(asked), ratios)
        yield error("aspect_ratio", f"{model.id} makes {enumerate_words(ratios)}; the nearest is {nearest}.")


def resolution_problems(asked: Any, model: Model) -> Iterator[RequestProblem]:
    """Yield a forbidden or impossible resolution; the case of the letters counts."""
    sizes = model.resolutions or ()
    if not sizes:
        if asked is not None:
            yield error("resolution", f"{model.id} has one size; leave resolution out (null removes it).")
    elif asked is None:
        message = f"{model.id} makes {enumerate_words(sizes)}; without a resolution Venice chooses, or refuses."
        yield warning(("parameters", "resolution"), message)
    elif asked not in sizes:
        nearest = nearest_resolution(str(asked), sizes)
        yield error("resolution", f"{model.id} makes {enumerate_words(sizes)}; the nearest is {nearest}.")
