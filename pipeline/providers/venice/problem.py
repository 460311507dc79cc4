"""How Venice's objections are made, and the shapes that no model may leave (Venice OpenAPI, QueueVideoRequest)."""

from __future__ import annotations

from typing import Any

from pipeline.errors import Severity
from pipeline.providers.base import RequestProblem

LIST_MAXIMA = {
    "reference_images": 30,
    "reference_videos": 10,
    "reference_audios": 10,
    "reference_documents": 1,
    "scene_images": 4,
    "elements": 4,
    "keyframes": 10,
}
ELEMENT_KEYS = {"frontal_image", "reference_images", "video"}
"""Of the manifest; Venice's own spellings, which end in `_url` or `_urls`, are taken as well."""
ELEMENT_REFERENCES_MAX = 3


def error(name: str, message: str, *, within: tuple[str, ...] = ("parameters",)) -> RequestProblem:
    """Return a problem with a parameter, or with `name` in another part of the request."""
    return RequestProblem(field=(*within, name), message=message)


def warning(field: tuple[str | int, ...], message: str) -> RequestProblem:
    """Return a problem that does not stop the command."""
    return RequestProblem(field=field, message=message, severity=Severity.WARNING)


def parts_fault(name: str, value: Any) -> str:
    """Say what is wrong with `elements` or `keyframes`; empty where nothing is."""
    if not isinstance(value, list | tuple):
        return f"{name} is a list."
    if len(value) > LIST_MAXIMA[name]:
        return f"Venice takes {LIST_MAXIMA[name]} {name} at most, not {len(value)}."
    fault_of = element_fault if name == "elements" else keyframe_fault
    fault = next(filter(None, map(fault_of, value)), "")
    if not fault and name == "keyframes":
        indices = [part["frame_index"] for part in value]
        twice = next((index for index in indices if indices.count(index) > 1), None)
        fault = f"Two keyframes have the frame_index {twice}; each needs its own." if twice is not None else ""
    return fault


def element_fault(part: Any) -> str:
    """Say what is wrong with one element. A text is its frontal image."""
    if isinstance(part, str):
        return ""
    form = "An element is an image, or {frontal_image: ..., reference_images: [...], video: ...}"
    if not isinstance(part, dict):
        return f"{form}."
    keys = {str(key).removesuffix("_urls").removesuffix("_url") for key in part}
    unknown = keys - ELEMENT_KEYS - {"reference_image"}
    if unknown:
        return f"{form}; there is no {min(unknown)}."
    references = part.get("reference_images", part.get("reference_image_urls", ()))
    if not isinstance(references, list | tuple):
        return f"{form}; reference_images is a list."
    if len(references) > ELEMENT_REFERENCES_MAX:
        return f"An element takes {ELEMENT_REFERENCES_MAX} reference_images at most, not {len(references)}."
    return "" if keys & {"frontal_image", "video"} else f"{form}; this one has no frontal_image."


def keyframe_fault(part: Any) -> str:
    """Say what is wrong with one keyframe."""
    index = part.get("frame_index") if isinstance(part, dict) else None
    named = isinstance(part, dict) and ("image" in part or "image_url" in part)
    if not named or isinstance(index, bool) or not isinstance(index, int) or index < 0:
        return "A keyframe is {image: ..., frame_index: 0}; frames count from 0, 24 a second."
    return ""
