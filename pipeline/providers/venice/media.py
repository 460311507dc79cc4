"""The images, sounds and clips of a request, held against what Venice and the model take. Pure.

Sources: Venice OpenAPI, QueueVideoRequest; Venice reference-to-video, video-upscaling and Seedance guides. Of a file
that is not understood, and of what is named by a URL, nothing is known here; the vendor judges it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.providers.base import MEDIA_PARAMETERS
from pipeline.providers.media import texts_in
from pipeline.providers.venice.problem import LIST_MAXIMA, error
from pipeline.providers.venice.request import FIELDS, UPSCALED_MAX_S, seconds_together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.providers.base import GenerationRequest, InputFile, RequestProblem
    from pipeline.providers.catalogue import Model, Table

AUDIO_MAX_BYTES = 15_000_000
"""Of any sound."""
AUDIO_MAX_S = 30.0
"""Of the one `audio`."""
CLIP_MIN_S = 2.0
CLIPS_MAX_S = 15.0
"""Of a reference clip or sound, and of all of a kind together, where nothing else is known of a known model."""
FRAMES_PER_SECOND = 24
REFERENCES = (
    "reference_images",
    "reference_videos",
    "reference_audios",
    "reference_documents",
    "elements",
    "scene_images",
)
GATED = ("end_image", "audio", "video", *REFERENCES, "keyframes")
"""Media that a model must be known to take."""
STARTING = {"image", "scene_images"}
"""What a model takes that can begin with an image, although it does not need one."""
PICTURES = ("image", "end_image", "reference_images", "scene_images")


def media_problems(request: GenerationRequest, model: Model, known_models: Table) -> Iterator[RequestProblem]:
    """Yield inputs that the model needs and lacks, or has and does not take."""
    given = request.parameters
    for need in model.needs:
        fields = {FIELDS[name] for name in (REFERENCES if need == "references" else (need,))}
        sent = {FIELDS[name] for name in given if name in FIELDS and given[name]} | set(request.options)
        if not fields & sent:
            name = "reference_images" if need == "references" else need
            yield error(name, f"{model.id} needs {'a reference' if need == 'references' else f'the {need}'}; add it.")
    if "image" in given and model.kind == "text-to-video":
        yield error("image", f"{model.id} makes clips from text alone; {image_sibling(model, known_models)}.")
    elif "image" in given and model.takes is not None and "image" not in model.needs and not model.takes & STARTING:
        yield error("image", f"{model.id} is not known to take image; leave it out.")
    if model.takes is not None:
        for name in GATED:
            if name in given and name not in model.takes and name not in model.needs:
                yield error(name, f"{model.id} is not known to take {name}; leave it out.")
    yield from count_problems(request, model)
    yield from pairing_problems(request)


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


def pairing_problems(request: GenerationRequest) -> Iterator[RequestProblem]:
    """Yield what does not go without something else, or beyond it."""
    given = request.parameters
    seen = {"reference_images", "reference_videos", "image", "video", "elements", "scene_images"}
    shown = seen & {name for name in given if given[name]} or set(request.options) & {FIELDS[name] for name in seen}
    if given.get("reference_audios") and not shown:
        yield error(
            "reference_audios", "A sound cannot be the only reference; add a reference image or a reference video."
        )
    length, keyframes = given.get("duration_seconds"), given.get("keyframes")
    if isinstance(length, int) and isinstance(keyframes, list | tuple):
        last = length * FRAMES_PER_SECOND
        indices = [part.get("frame_index") for part in keyframes if isinstance(part, dict)]
        beyond = [index for index in indices if isinstance(index, int) and index > last]
        if beyond:
            yield error("keyframes", f"A clip of {length} s ends with frame {last}; there is no frame {beyond[0]}.")


def file_problems(request: GenerationRequest, model: Model | None) -> Iterator[RequestProblem]:
    """Yield local files that are too large, too small, too short or too long."""
    for name in MEDIA_PARAMETERS:
        for text in texts_in(request.parameters.get(name)):
            file = request.files.get(text)
            fault = file_fault(name, file, model) if file is not None else ""
            if fault:
                yield error(name, f"{text}: {fault}")
    for name in ("reference_videos", "reference_audios"):
        together_s, most_s = seconds_together(request, name), clips_most_s(model)
        if together_s is not None and most_s is not None and together_s > most_s:
            yield error(name, f"The {name} last {together_s:g} s together; at most {most_s:g} s are taken.")


def file_fault(name: str, file: InputFile, model: Model | None) -> str:
    """Say what is wrong with one file; empty where nothing is."""
    is_sound = file.media_type.startswith("audio/")
    if is_sound and file.size_bytes > AUDIO_MAX_BYTES:
        return "Venice takes a sound of 15 MB at most."
    if name in PICTURES:
        return picture_fault(file, model)
    if name == "reference_videos" and file.media_type == "video/webm":
        return "a reference video is an MP4 or a MOV."
    if file.duration_s is None:
        return ""
    shortest, longest = length_limits(name, model)
    if file.duration_s < shortest:
        return f"it lasts {file.duration_s:.4g} s, and {shortest:g} s is the least."
    if longest is not None and file.duration_s > longest:
        return f"it lasts {file.duration_s:.4g} s, and {longest:g} s is the most."
    return ""


def length_limits(name: str, model: Model | None) -> tuple[float, float | None]:
    """Return how short and how long a file of a parameter may be, in seconds; None for no limit that is known."""
    rules = model.media if model is not None else None
    if name == "audio":
        return (rules.audio_s_min or 0.0) if rules else 0.0, AUDIO_MAX_S
    if name in {"reference_videos", "reference_audios"} and rules is not None:
        return rules.clip_s or (CLIP_MIN_S, clips_most_s(model))
    if name == "video" and model is not None and model.kind == "upscale":
        return 0.0, UPSCALED_MAX_S
    return 0.0, None


def clips_most_s(model: Model | None) -> float | None:
    """Return how long the reference clips or sounds of a model may be together, in seconds; None for an unknown one."""
    return None if model is None else model.media.clips_s_max or CLIPS_MAX_S


def picture_fault(file: InputFile, model: Model | None) -> str:
    """Say what is wrong with the size or shape of an image; empty where nothing is, or nothing is known."""
    if model is None or not file.width or not file.height:
        return ""
    side, shape, rules = min(file.width, file.height), file.width / file.height, model.media
    if rules.image_side_min_px is not None and side < rules.image_side_min_px:
        return f"it is {file.width}x{file.height}; {model.id} takes no side below {rules.image_side_min_px} pixels."
    if rules.image_shape is not None and not rules.image_shape[0] < shape < rules.image_shape[1]:
        low, high = rules.image_shape
        return f"it is {file.width}x{file.height}; {model.id} takes a width of {low:g} to {high:g} times the height."
    return ""


def image_sibling(model: Model, known_models: Table) -> str:
    """Name the model of the same family that takes an image, where there is one."""
    sibling = model.id.replace("text-to-video", "image-to-video").replace("-text", "")
    known = sibling != model.id and sibling in known_models.models
    return f"{sibling} takes an image" if known else "leave the image out, or take an image-to-video model"
