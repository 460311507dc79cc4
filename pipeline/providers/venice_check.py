"""What Venice cannot make of a request, found before anything is sent. Pure: a request in, problems out.

The schema looks open, and yet a field that the chosen model does not take is refused (Venice skills, venice-video), so
the dated table decides for the models it knows. A field that `options` sets is the user's own word, and not checked.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.errors import Severity
from pipeline.providers.base import RequestProblem
from pipeline.providers.catalogue import (
    Model,
    enumerate_words,
    nearest_aspect,
    nearest_number,
    nearest_resolution,
    table,
)
from pipeline.providers.media import base64_characters, texts_in
from pipeline.providers.venice_request import FIELDS, is_upscaler, known_model, venice_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.providers.base import GenerationRequest

BODY_MAX_BYTES = 35_000_000
"""The whole JSON body; beyond it Venice answers 413 (Venice skills, venice-video)."""
AUDIO_MAX_BYTES = 15_000_000
PROMPT_MAX_CHARACTERS = 20_000
PROMPT_USUAL_CHARACTERS = 2_500
"""The limit of a model that states none (Venice OpenAPI, QueueVideoRequest)."""
LIST_MAXIMA = {
    "reference_images": 30,
    "reference_videos": 10,
    "reference_audios": 10,
    "scene_images": 4,
    "elements": 4,
    "keyframes": 10,
}
REFERENCES = ("reference_images", "reference_videos", "reference_audios", "elements", "scene_images")

GATED = ("end_image", "audio", "video", *REFERENCES)
"""Media that a model must be known to take."""


def error(name: str, message: str) -> RequestProblem:
    """Return a problem with a parameter."""
    return RequestProblem(field=("parameters", name), message=message)


def warning(field: tuple[str | int, ...], message: str) -> RequestProblem:
    """Return a problem that does not stop the command."""
    return RequestProblem(field=field, message=message, severity=Severity.WARNING)


def venice_problems(request: GenerationRequest) -> list[RequestProblem]:
    """Say what Venice or the model cannot express, each with the nearest thing that works."""
    shape = [*shape_problems(request)]
    model = known_model(request.model)
    if model is None:
        return [*shape, warning(("model",), table("venice").unknown(request.model))]
    faulty = {problem.field for problem in shape}
    found = [*prompt_problems(request, model), *choice_problems(request, model), *media_problems(request, model)]
    notes = [warning(("model",), f"{model.id}: {note}.") for note in model.notes]
    return [*shape, *(problem for problem in found if problem.field not in faulty), *notes]


def shape_problems(request: GenerationRequest) -> Iterator[RequestProblem]:
    """Yield what no model of Venice's takes."""
    for name, value in request.parameters.items():
        if name == "sample_count":
            if value != 1 or isinstance(value, bool):
                yield error(name, "Venice makes one clip a job; leave sample_count out, and use `repeat` for more.")
        elif name not in FIELDS:
            yield error(name, f"Venice takes no {name}; a field of Venice's own goes into `options`.")
        elif fault := fault_of(name, value):
            yield error(name, fault)
    if not request.prompt.strip() and not is_upscaler(request.model) and "prompt" not in request.options:
        yield RequestProblem(field=("prompt",), message="Venice needs a prompt; say what the clip shows.")
    if len(request.prompt) > PROMPT_MAX_CHARACTERS:
        message = f"The prompt has {len(request.prompt)} characters; Venice takes {PROMPT_MAX_CHARACTERS} at most."
        yield RequestProblem(field=("prompt",), message=message)
    yield from size_problems(request)


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


def parts_fault(name: str, value: Any) -> str:
    """Say what is wrong with `elements` or `keyframes` (Venice OpenAPI, QueueVideoRequest)."""
    if not isinstance(value, list | tuple):
        return f"{name} is a list."
    if len(value) > LIST_MAXIMA[name]:
        return f"Venice takes {LIST_MAXIMA[name]} {name} at most, not {len(value)}."
    for part in value:
        if name == "elements" and not isinstance(part, str | dict):
            return "An element is an image, or {frontal_image: ..., reference_images: [...], video: ...}."
        if name == "keyframes":
            index = part.get("frame_index") if isinstance(part, dict) else None
            named = isinstance(part, dict) and ("image" in part or "image_url" in part)
            if not named or isinstance(index, bool) or not isinstance(index, int) or index < 0:
                return "A keyframe is {image: ..., frame_index: 0}; frames count from 0, 24 a second."
    return ""


def size_problems(request: GenerationRequest) -> Iterator[RequestProblem]:
    """Yield what would make the body larger than Venice takes."""
    fields = venice_fields(request) | dict(request.options)
    try:
        size = len(json.dumps({"prompt": request.prompt, **fields}, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        yield RequestProblem(field=("options",), message="The request holds a value that JSON cannot express.")
        return
    for text in texts_in(list(fields.values())):
        if text in request.files:
            size += base64_characters(request.files[text].size_bytes) + 40
    if size > BODY_MAX_BYTES:
        message = f"The request would be {size / 1e6:.0f} MB with its files in base64; Venice takes 35 MB at most."
        yield RequestProblem(field=("parameters",), message=message)
    audio = request.parameters.get("audio")
    if isinstance(audio, str) and audio in request.files and request.files[audio].size_bytes > AUDIO_MAX_BYTES:
        yield error("audio", "Venice takes an audio file of 15 MB at most.")


def prompt_problems(request: GenerationRequest, model: Model) -> Iterator[RequestProblem]:
    """Yield prompts that are longer than the model takes; an unstated limit is only warned of."""
    texts = [(("prompt",), request.prompt)]
    negative = request.parameters.get("negative_prompt")
    if isinstance(negative, str):
        texts.append((("parameters", "negative_prompt"), negative))  # type: ignore[arg-type]  # longer place
    limit = model.prompt_characters_max or PROMPT_USUAL_CHARACTERS
    for field, text in texts:
        if len(text) > limit:
            stated = model.prompt_characters_max is not None
            takes = "takes" if stated else "is thought to take"
            yield RequestProblem(
                field=field,
                message=f"{len(text)} characters; {model.id} {takes} {limit} at most.",
                severity=Severity.ERROR if stated else Severity.WARNING,
            )


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
            yield error("duration_seconds", f"{model.id} takes the length of the clip it is given; leave it out.")
    elif asked is None:
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


def media_problems(request: GenerationRequest, model: Model) -> Iterator[RequestProblem]:
    """Yield inputs that the model needs and lacks, or has and does not take."""
    given = request.parameters
    for need in model.needs:
        fields = {FIELDS[name] for name in (REFERENCES if need == "references" else (need,))}
        sent = {FIELDS[name] for name in given if name in FIELDS and given[name]} | set(request.options)
        if not fields & sent:
            name = "reference_images" if need == "references" else need
            yield error(name, f"{model.id} needs {'a reference' if need == 'references' else f'the {need}'}; add it.")
    if "image" in given and model.kind == "text-to-video":
        yield error("image", f"{model.id} makes clips from text alone; {image_sibling(model)}.")
    if model.takes is not None:
        for name in GATED:
            needed = name in model.needs or (name in REFERENCES and "references" in model.needs and not model.takes)
            if name in given and name not in model.takes and not needed:
                yield error(name, f"{model.id} is not known to take {name}; leave it out.")
    yield from count_problems(request, model)


def count_problems(request: GenerationRequest, model: Model) -> Iterator[RequestProblem]:
    """Yield more references than the model takes (Venice reference-to-video guide)."""
    counts = {
        name: len(value)
        for name, value in request.parameters.items()
        if name in LIST_MAXIMA and isinstance(value, list | tuple)
    }
    for name, most in model.maxima.items():
        if name != "references" and counts.get(name, 0) > most:
            yield error(name, f"{model.id} takes {most} {name} at most, not {counts[name]}.")
    together = sum(counts.get(name, 0) for name in ("reference_images", "elements", "scene_images"))
    if together > model.maxima.get("references", together):
        message = f"{model.id} takes {model.maxima['references']} images, elements and scenes together."
        yield error("reference_images", message)


def image_sibling(model: Model) -> str:
    """Name the model of the same family that takes an image, where there is one."""
    sibling = model.id.replace("text-to-video", "image-to-video").replace("-text", "")
    known = sibling != model.id and known_model(sibling) is not None
    return f"{sibling} takes an image" if known else "leave the image out, or take an image-to-video model"
