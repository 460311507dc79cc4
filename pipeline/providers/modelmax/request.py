"""ModelMax's submit: a request in the field's terms comes in, problems and the documented JSON body go out. Pure.

The body is the documented one, snake_case inside `parameters` (ModelMax reference, POST /v1/queue/{model}).
`options` are merged into the top level of the body, last; `options: {parameters: {...}}` is merged into the body's
`parameters` one level deep, so that a single new field can be added there without repeating the rest.
"""

from __future__ import annotations

import base64
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
from pipeline.providers.media import data_url_payload, is_web_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.providers.base import GenerationRequest

TAKEN = (
    "aspect_ratio",
    "resolution",
    "duration_seconds",
    "generate_audio",
    "sample_count",
    "negative_prompt",
    "image",
)
ASPECT_RATIOS = ("16:9", "9:16")
RESOLUTIONS = ("720p", "1080p", "4k")
DURATION_DEFAULT_S = 8
DURATION_MAX_S = 8
SAMPLES_MAX = 4
FULL_LENGTH_RESOLUTIONS = ("1080p", "4k")
"""Of these, the models behind the gateway make clips of 8 s alone (Google's Veo guides; ModelMax documents nothing)."""
WIDE_AT_1080P = frozenset({"veo-3", "veo-3-fast"})
"""Models that make 1080p at 16:9 alone (Google's Veo guides)."""


def modelmax_body(request: GenerationRequest, contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the JSON body of `POST /v1/queue/{model}` (ModelMax reference, queue submit)."""
    parameters = {name: request.parameters[name] for name in TAKEN if name in request.parameters}
    duration = parameters.get("duration_seconds")
    if isinstance(duration, float) and duration.is_integer():
        parameters["duration_seconds"] = int(duration)  # the field is documented as an integer
    image = parameters.get("image")
    if isinstance(image, str):
        local = contents.get(image)
        parameters["image"] = (
            base64.b64encode(local).decode() if local is not None else data_url_payload(image) or image
        )
    options = dict(request.options)
    added = options.get("parameters")
    if isinstance(added, dict):
        options["parameters"] = {**parameters, **added}
    body: dict[str, Any] = {"prompt": request.prompt}
    if parameters:
        body["parameters"] = parameters
    return body | options


def effective(request: GenerationRequest) -> dict[str, Any]:
    """Return the parameters that the body will carry, with the documented defaults filled in."""
    added = request.options.get("parameters")
    defaults = {"duration_seconds": DURATION_DEFAULT_S, "resolution": "720p", "generate_audio": True, "sample_count": 1}
    return defaults | dict(request.parameters) | (added if isinstance(added, dict) else {})


def asked_seconds(request: GenerationRequest) -> float:
    """Return the seconds of all clips together; a field that is no number counts as the most that it can be."""
    asked = effective(request)
    duration, count = asked["duration_seconds"], asked["sample_count"]
    seconds = float(duration) if isinstance(duration, int | float) else float(DURATION_MAX_S)
    return seconds * (count if isinstance(count, int) else SAMPLES_MAX)


def modelmax_problems(request: GenerationRequest) -> list[RequestProblem]:
    """Say what ModelMax cannot express, and as warnings what the models behind it are known to refuse."""
    known = table("modelmax")
    model = known.models.get(request.model)
    problems = [*documented_problems(request)]
    if model is None:
        problems.append(warning(("model",), known.unknown(request.model)))
    elif not problems:
        problems.extend(upstream_problems(request, model))
    return problems


def warning(field: tuple[str | int, ...], message: str) -> RequestProblem:
    """Return a problem that does not stop the command."""
    return RequestProblem(field=field, message=message, severity=Severity.WARNING)


def documented_problems(request: GenerationRequest) -> Iterator[RequestProblem]:
    """Yield what the reference page of the queue submit does not allow."""
    if not request.prompt.strip():
        yield RequestProblem(field=("prompt",), message="ModelMax needs a prompt; say what the clip shows.")
    try:
        json.dumps(dict(request.options), allow_nan=False)
    except (TypeError, ValueError):
        yield RequestProblem(field=("options",), message="The options hold a value that JSON cannot express.")
    within = request.options.get("parameters")
    if isinstance(within, dict) and "sample_count" in within:  # it decides how many clips are paid for and waited for
        message = "sample_count belongs under `parameters` of the clip, and not among the options."
        yield RequestProblem(field=("options", "parameters"), message=message)
    for name in request.parameters:
        if name not in TAKEN:
            message = f"ModelMax takes no {name}; it takes {enumerate_words(TAKEN, 'and')}."
            yield RequestProblem(field=("parameters", name), message=message)
    for name, fault in (
        ("duration_seconds", duration_fault(request.parameters.get("duration_seconds", DURATION_DEFAULT_S))),
        ("sample_count", count_fault(request.parameters.get("sample_count", 1))),
        ("aspect_ratio", aspect_fault(request.parameters.get("aspect_ratio", "16:9"))),
        ("resolution", resolution_fault(request.parameters.get("resolution", "720p"))),
        ("generate_audio", audio_fault(request.parameters.get("generate_audio", True))),
        ("negative_prompt", text_fault(request.parameters.get("negative_prompt", ""))),
        ("image", image_fault(request)),
    ):
        if fault:
            yield RequestProblem(field=("parameters", name), message=fault)


def duration_fault(value: object) -> str:
    """Say what is wrong with a duration: a whole number of seconds, 8 at most (ModelMax reference, queue submit)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"duration_seconds is a whole number of seconds, 1 to {DURATION_MAX_S}, not {value!r}."
    if not 1 <= value <= DURATION_MAX_S or value != int(value):
        nearest = nearest_number(value, range(1, DURATION_MAX_S + 1))
        return f"ModelMax makes clips of whole seconds, {DURATION_MAX_S} at most; the nearest is {nearest}."
    return ""


def count_fault(value: object) -> str:
    """Say what is wrong with a sample count."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= SAMPLES_MAX:
        return f"sample_count is 1 to {SAMPLES_MAX}, not {value!r}; for more clips use `repeat`."
    return ""


def aspect_fault(value: object) -> str:
    """Say what is wrong with an aspect ratio."""
    if value in ASPECT_RATIOS:
        return ""
    nearest = nearest_aspect(str(value), ASPECT_RATIOS)
    return f"ModelMax makes 16:9 or 9:16, not {value!r}; the nearest is {nearest}."


def resolution_fault(value: object) -> str:
    """Say what is wrong with a resolution; the case of the letters counts."""
    if value in RESOLUTIONS:
        return ""
    nearest = nearest_resolution(str(value), RESOLUTIONS)
    return f"ModelMax makes {enumerate_words(RESOLUTIONS)}, not {value!r}; the nearest is {nearest}."


def audio_fault(value: object) -> str:
    """Say what is wrong with the audio switch."""
    return "" if isinstance(value, bool) else f"generate_audio is true or false, not {value!r}."


def text_fault(value: object) -> str:
    """Say what is wrong with a negative prompt."""
    return "" if isinstance(value, str) else f"negative_prompt is text, not {value!r}."


def image_fault(request: GenerationRequest) -> str:
    """Say what is wrong with an image: the reference asks for base64, so that a URL cannot be passed on."""
    image = request.parameters.get("image")
    if image is None or (isinstance(image, str) and image in request.files):
        return ""
    if isinstance(image, str) and is_web_url(image):
        return "ModelMax takes no image by URL; download it into the manifest's folder and name the file."
    if isinstance(image, str) and data_url_payload(image) is not None:
        if not image[len("data:") :].lower().startswith("image/"):
            kind = image[len("data:") :].partition(";")[0]
            return f"image is a picture, and this data URL says that it is {kind[:60]}."
        return ""
    return "image is a file in the manifest's folder or a data URL in base64."


def upstream_problems(request: GenerationRequest, model: Model) -> Iterator[RequestProblem]:
    """Yield, as warnings, what the model behind the gateway is known to refuse; ModelMax documents none of it."""
    asked = effective(request)
    duration, resolution = asked["duration_seconds"], asked["resolution"]
    known = model.durations_s or ()
    if known and isinstance(duration, int | float) and duration not in known:
        nearest = nearest_number(duration, known)
        message = f"{model.id} is known to make {enumerate_words(known)} s; the nearest is {nearest}."
        yield warning(("parameters", "duration_seconds"), message)
    elif resolution in FULL_LENGTH_RESOLUTIONS and duration != DURATION_MAX_S:
        message = f"{model.id} is known to make {resolution} at 8 s alone; write duration_seconds: 8, or 720p."
        yield warning(("parameters", "resolution"), message)
    if model.resolutions and resolution not in model.resolutions:
        nearest_one = nearest_resolution(str(resolution), model.resolutions)
        message = f"{model.id} is known to make {enumerate_words(model.resolutions)}; the nearest is {nearest_one}."
        yield warning(("parameters", "resolution"), message)
    elif resolution == "1080p" and model.id in WIDE_AT_1080P and asked.get("aspect_ratio") == "9:16":
        message = f"{model.id} is known to make 1080p at 16:9 alone; write aspect_ratio: 16:9, or 720p."
        yield warning(("parameters", "aspect_ratio"), message)
    if model.audio == "never" and request.parameters.get("generate_audio") is True:
        yield warning(("parameters", "generate_audio"), f"{model.id} is known to make silent clips.")
