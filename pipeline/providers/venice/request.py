"""Venice's submit and quote: a request in the field's terms comes in, the documented JSON bodies go out. Pure.

`options` are merged into the body's top level, verbatim and last (Venice OpenAPI, /video/queue and /video/quote).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.providers.media import with_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.providers.base import GenerationRequest
    from pipeline.providers.catalogue import Table

FIELDS = {
    "duration_seconds": "duration",
    "aspect_ratio": "aspect_ratio",
    "resolution": "resolution",
    "generate_audio": "audio",
    "negative_prompt": "negative_prompt",
    "image": "image_url",
    "end_image": "end_image_url",
    "audio": "audio_url",
    "video": "video_url",
    "reference_images": "reference_image_urls",
    "reference_videos": "reference_video_urls",
    "reference_audios": "reference_audio_urls",
    "reference_documents": "reference_document_urls",
    "scene_images": "scene_image_urls",
    "elements": "elements",
    "keyframes": "keyframes",
    "upscale_factor": "upscale_factor",
}
"""Venice's name of each neutral parameter; `sample_count` has none."""

PART_FIELDS = {
    "image": "image_url",
    "frontal_image": "frontal_image_url",
    "reference_images": "reference_image_urls",
    "video": "video_url",
}
"""Venice's names within one of `elements` or `keyframes`."""

QUOTED_FIELDS = (
    "model",
    "duration",
    "aspect_ratio",
    "resolution",
    "upscale_factor",
    "audio",
    "reference_video_total_duration",
)
UPSCALED_MAX_S = 300.0
"""The longest clip that the upscaler takes (Venice video-upscaling guide)."""
LONGEST_S = 30.0
"""The longest duration in the schema (Venice OpenAPI, QueueVideoRequest)."""


def is_upscaler(model: str, known_models: Table) -> bool:
    """Tell whether a model enlarges a clip: it takes no prompt, and its duration is the clip's."""
    known = known_models.models.get(model)
    return known.kind == "upscale" if known else model.endswith("-upscale")


def duration_text(value: object) -> object:
    """Return 8 or 8.0 as Venice's `"8s"`; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (1e999, -1e999):
        return value
    return f"{int(value)}s" if value == int(value) else f"{value}s"


def parts_of(name: str, value: object) -> object:
    """Return `elements` or `keyframes` with Venice's names inside; a bare text is an element's frontal image."""
    if not isinstance(value, list | tuple):
        return value
    parts: list[object] = []
    for part in value:
        if isinstance(part, str) and name == "elements":
            parts.append({"frontal_image_url": part})
        elif isinstance(part, dict):
            parts.append({PART_FIELDS.get(str(key), key): inner for key, inner in part.items()})
        else:
            parts.append(part)
    return parts


def venice_fields(request: GenerationRequest, known_models: Table) -> dict[str, Any]:
    """Return the neutral parameters under Venice's names, media still as the user wrote them.

    Where the model's audio cannot be chosen, `audio` is left out: sending it is a 400, and the check has already
    refused a request that wants it otherwise. A sample count of 1 says what Venice does anyway.
    """
    known = known_models.models.get(request.model)
    fields: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name not in request.parameters:
            continue
        value = request.parameters[name]
        if name == "generate_audio" and known is not None and known.audio in {"always", "never"}:
            continue
        if name == "duration_seconds":
            value = duration_text(value)
        elif name in {"elements", "keyframes"}:
            value = parts_of(name, value)
        fields[field] = list(value) if isinstance(value, tuple) else value
    return fields


def venice_body(request: GenerationRequest, contents: Mapping[str, bytes], known_models: Table) -> dict[str, Any]:
    """Return the body of `POST /video/queue` (Venice OpenAPI, QueueVideoRequest).

    An upscaler refuses any prompt, so it gets none where there is none (Venice video-upscaling guide).
    """
    body: dict[str, Any] = {"model": request.model}
    if request.prompt or not is_upscaler(request.model, known_models):
        body["prompt"] = request.prompt
    for field, value in venice_fields(request, known_models).items():
        text_field = field in {"negative_prompt", "aspect_ratio", "resolution", "duration"}
        body[field] = value if text_field else with_files(value, request.files, contents)
    return body | dict(request.options)


def venice_quote_body(request: GenerationRequest, known_models: Table) -> dict[str, Any]:
    """Return the body of `POST /video/quote` (Venice OpenAPI, QuoteVideoRequest).

    An upscaler's clip goes along where it is not a local file, as its length decides the price. Reference videos are
    priced by how long they are together, which is known where all of them are local files; where it is not, the quote
    is the vendor's baseline without them.
    """
    whole = {"model": request.model, **venice_fields(request, known_models), **request.options}
    body = {field: whole[field] for field in QUOTED_FIELDS if field in whole}
    video = whole.get("video_url")
    if is_upscaler(request.model, known_models) and isinstance(video, str) and video not in request.files:
        body["video_url"] = video
    total_s = seconds_together(request, "reference_videos")
    if total_s is not None:
        body.setdefault("reference_video_total_duration", total_s)
    return body


def seconds_together(request: GenerationRequest, name: str) -> float | None:
    """Return how long the files of a list parameter are together; None where there is none, or one is not known."""
    listed = request.parameters.get(name)
    if not isinstance(listed, list | tuple) or not listed:
        return None
    files = [request.files.get(text) if isinstance(text, str) else None for text in listed]
    lengths = [file.duration_s if file is not None else None for file in files]
    known = [length for length in lengths if length is not None]
    return round(sum(known), 3) if len(known) == len(lengths) else None


def venice_billed_seconds(request: GenerationRequest, known_models: Table) -> float:
    """Return the length of the one clip; where the request leaves it to the vendor, the longest that it can be.

    A clip that follows a local video is as long as that is.
    """
    asked = request.options.get("duration", duration_text(request.parameters.get("duration_seconds")))
    match = re.fullmatch(r"(\d{1,4}(?:\.\d+)?)s", asked) if isinstance(asked, str) else None
    if match:
        return float(match[1])
    video = request.parameters.get("video")
    file = request.files.get(video) if isinstance(video, str) else None
    if asked is None and file is not None and file.duration_s is not None:
        return file.duration_s
    if is_upscaler(request.model, known_models):
        return UPSCALED_MAX_S
    known = known_models.models.get(request.model)
    return float(max(known.durations_s)) if known and known.durations_s else LONGEST_S
