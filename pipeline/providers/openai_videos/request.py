"""The OpenAI-style create: a request in the field's terms comes in, problems and a body's bytes go out. Pure.

The format's own fields are `prompt`, `model`, `seconds`, `size` and `input_reference` (OpenAI API reference, videos).
`negative_prompt` and a video as `input_reference` are extensions (vLLM-Omni, Videos API). `options` are merged into the
fields, verbatim and last, but for `body_format`: it says how the fields are written. Some servers take the form alone
(OpenAI, vLLM-Omni), some JSON alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.providers.base import RequestProblem
from pipeline.providers.catalogue import enumerate_words, lines_of, ratio_of
from pipeline.providers.exchange import encode_json
from pipeline.providers.media import DATA_URL, data_url, data_url_payload, is_web_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.providers.base import GenerationRequest

TAKEN = (
    "duration_seconds",
    "resolution",
    "aspect_ratio",
    "negative_prompt",
    "sample_count",
    "image",
    "video",
)
MEDIA_FIELDS = {"image": "image_url", "video": "video_url"}
"""What `input_reference` is made of, and the name of its address where it is written as an object."""
BODY_FORMATS = ("multipart", "json")
SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")
FORM_SPECIAL = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""What cannot stand in the name of a form's field, and how it is written (HTML standard, multipart/form-data)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A body as it goes out."""

    content: bytes
    content_type: str


def body_format(request: GenerationRequest) -> object:
    """Return how the user wants the fields to be written."""
    return request.options.get("body_format", BODY_FORMATS[0])


def seconds_text(value: object) -> str:
    """Return 8 or 8.0 as the format's `"8"`: seconds are text there."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def size_of(parameters: Mapping[str, Any]) -> str | None:
    """Return the `size`, width by height in even pixels, of a resolution and an aspect ratio; None for neither.

    Raises:
        ValueError: they name no size; its text says what to write instead.
    """
    resolution, aspect = parameters.get("resolution"), parameters.get("aspect_ratio")
    if resolution is None:
        if aspect is not None:
            raise ValueError("an aspect_ratio alone makes no size; write `resolution` beside it, for example 720p")
        return None
    exact = SIZE.fullmatch(str(resolution))
    ratio = ratio_of(str(aspect)) if aspect is not None else None
    if aspect is not None and not ratio:
        raise ValueError(f"aspect_ratio is written 16:9, not {aspect!r}")
    if exact:
        if ratio and abs(int(exact[1]) / int(exact[2]) / ratio - 1) > 0.02:
            raise ValueError(f"{resolution} is not {aspect}; leave the aspect_ratio out")
        return exact[0]
    lines = lines_of(str(resolution))
    if not lines:
        raise ValueError(f"resolution is lines (720p) or width by height (1280x720), not {resolution!r}")
    if not ratio:
        raise ValueError(f"{resolution} alone makes no size; write `aspect_ratio` beside it, for example 16:9")
    long = round(lines * max(ratio, 1 / ratio) / 2) * 2
    width, height = (long, lines) if ratio >= 1 else (lines, long)
    return f"{width}x{height}"


def create_fields(request: GenerationRequest, contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the fields of `POST /videos`; a local file is in them as a `data:` URL."""
    given = request.parameters
    fields: dict[str, Any] = {"model": request.model, "prompt": request.prompt}
    if "duration_seconds" in given:
        fields["seconds"] = seconds_text(given["duration_seconds"])
    if size := size_of(given):
        fields["size"] = size
    if "negative_prompt" in given:
        fields["negative_prompt"] = given["negative_prompt"]
    for name, address in MEDIA_FIELDS.items():
        if name in given:
            text = given[name]
            local = request.files.get(text)
            fields["input_reference"] = {address: data_url(local.media_type, contents[text]) if local else text}
    return fields | {name: value for name, value in request.options.items() if name != "body_format"}


def encode(fields: Mapping[str, Any], how: object) -> Encoded:
    """Write the fields as JSON or as a form.

    Raises:
        TypeError, ValueError, RecursionError: a value that JSON cannot express.
    """
    plain = encode_json(fields)
    if how == "json":
        return Encoded(content=plain, content_type="application/json")
    boundary = f"clipmill-{hashlib.sha256(plain).hexdigest()[:32]}"  # no field holds a digest of all of them
    parts = b"".join(
        b"--%s\r\n%s\r\n" % (boundary.encode(), part_of(*field)) for field in fields.items() if field[1] is not None
    )
    return Encoded(
        content=parts + f"--{boundary}--\r\n".encode(), content_type=f"multipart/form-data; boundary={boundary}"
    )


def part_of(name: str, value: object) -> bytes:
    """Return one part of a form: text as it is, a medium as a file, anything else as JSON.

    JSON in a text field is how vLLM-Omni takes objects; a form has no null, so that one is left out by the caller.
    """
    disposition = f'Content-Disposition: form-data; name="{name.translate(FORM_SPECIAL)}"'
    medium = medium_of(value) if name == "input_reference" else None
    if medium:
        media_type, content = medium
        head = f'{disposition}; filename="input.{media_type.rpartition("/")[2]}"\r\nContent-Type: {media_type}'
        return head.encode() + b"\r\n\r\n" + content
    text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
    return disposition.encode() + b"\r\n\r\n" + text.encode(errors="replace")


def medium_of(value: object) -> tuple[str, bytes] | None:
    """Return type and bytes of a reference that is a `data:` URL."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    (address,) = value.values()
    match = DATA_URL.fullmatch(address) if isinstance(address, str) else None
    return (match[1], base64.b64decode(match[2])) if match else None


def create_billed_seconds(request: GenerationRequest) -> float:
    """Return the clip's length, 0 where the server's default decides."""
    asked = request.options.get("seconds", request.parameters.get("duration_seconds", 0))
    try:
        seconds = float(asked)
    except (TypeError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def create_problems(request: GenerationRequest) -> Iterator[RequestProblem]:
    """Yield what the format cannot express. Whether a server has the model, only the server knows."""
    if not request.prompt.strip():
        yield RequestProblem(field=("prompt",), message="The format needs a prompt; say what the clip shows.")
    try:
        json.dumps(dict(request.options), allow_nan=False)
    except (TypeError, ValueError):
        yield RequestProblem(field=("options",), message="The options hold a value that JSON cannot express.")
    if body_format(request) not in BODY_FORMATS:
        message = f"body_format is {enumerate_words(BODY_FORMATS)}, not {body_format(request)!r}."
        yield RequestProblem(field=("options", "body_format"), message=message)
    for name, value in request.parameters.items():
        if fault := parameter_fault(request, name, value):
            yield RequestProblem(field=("parameters", name), message=fault)
    try:
        size_of(request.parameters)
    except ValueError as error:
        field = "resolution" if "resolution" in request.parameters else "aspect_ratio"
        yield RequestProblem(field=("parameters", field), message=f"The format takes a size in pixels: {error}.")


def parameter_fault(request: GenerationRequest, name: str, value: object) -> str:
    """Say what is wrong with one parameter; empty where nothing is."""
    match name:
        case "duration_seconds":
            good = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value) and value > 0
            return "" if good else f"duration_seconds is a number of seconds above 0, not {value!r}."
        case "sample_count":
            return "" if value == 1 else "The format makes one clip a job; for more clips use `repeat`."
        case "negative_prompt":
            return "" if isinstance(value, str) else f"negative_prompt is text, not {value!r}."
        case "image" | "video":
            return medium_fault(request, name, value)
        case "generate_audio":
            return (
                "The format has no field for audio; use the one that your server documents, "
                "for example options: {generate_sound: true} at vLLM-Omni."
            )
        case _ if name in TAKEN:
            return ""
        case _:
            return f"The format takes no {name}; it takes {enumerate_words(TAKEN, 'and')}, and `options` go through."


def medium_fault(request: GenerationRequest, name: str, value: object) -> str:
    """Say what is wrong with a medium: a form carries files, JSON carries addresses."""
    if name == "video" and "image" in request.parameters:
        return "There is one input_reference: an image or a video, not both."
    if not isinstance(value, str):
        return f"{name} is a file in the manifest's folder, a data URL or an http(s) URL, not {value!r}."
    as_json = body_format(request) == "json"
    if name == "video" and as_json:
        return "A video is taken as a file of a form alone; leave body_format: json out."
    if value in request.files or data_url_payload(value) is not None:
        return ""
    if not is_web_url(value):
        return f"{name} is a file in the manifest's folder, a data URL or an http(s) URL."
    hint = "" if name == "video" else ", or write options: {body_format: json} if your server takes JSON"
    return "" if as_json else f"A form carries no address; download it into the manifest's folder{hint}."
