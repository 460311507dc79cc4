"""What each Venice model makes of images, videos, sounds, references, elements and keyframes.

Source: Venice OpenAPI, QueueVideoRequest; Venice reference-to-video and Seedance guides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.sandbox.venice.catalogue import Kind, VeniceModel

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXTS = ("image_url", "end_image_url", "audio_url", "video_url")
LISTS = {
    "reference_image_urls": 30,
    "reference_video_urls": 10,
    "reference_audio_urls": 10,
    "reference_document_urls": 1,
    "elements": 4,
    "scene_image_urls": 4,
    "keyframes": 10,
}
"""The list fields and how many elements the schema allows."""
NEEDED = {
    Kind.TEXT: (),
    Kind.IMAGE: ("image_url",),
    Kind.REFERENCE: (),
    Kind.TRANSITION: ("image_url", "end_image_url"),
    Kind.VIDEO: ("video_url",),
    Kind.UPSCALE: ("video_url",),
}
PICTURES = ("reference_image_urls", "elements", "scene_image_urls")
REFERENCES = (*PICTURES, "reference_video_urls", "reference_audio_urls", "reference_document_urls")
FACES = ("image_url", "end_image_url", "video_url", "reference_image_urls", "reference_video_urls")
"""Media that may show a face; `face_media_roles` names them so, without `_url` and `_urls`."""
ELEMENT = {"frontal_image_url", "reference_image_urls", "video_url"}
FRAMES_PER_S = 24


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with a request body."""

    field: str
    message: str
    expected: str = ""


def media_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with the media."""
    taken = {*NEEDED[model.kind], *model.takes}
    if model.kind is Kind.REFERENCE:
        taken |= {"reference_image_urls", *(("image_url",) if "scene_image_urls" in model.takes else ())}
    if not model.is_recorded:
        taken = {*TEXTS, *LISTS} - ({"image_url"} if model.kind is Kind.TEXT else set())
    issues = [Issue(field, "Required", "URL or data URL") for field in NEEDED[model.kind] if not body.get(field)]
    if model.kind is Kind.REFERENCE and not any(body.get(field) for field in REFERENCES):
        issues.append(Issue("reference_image_urls", "At least one reference is required"))
    for field in (*TEXTS, *LISTS):
        value = body.get(field)
        if value is None:
            continue
        if field not in taken:
            issues.append(Issue(field, f"This model does not support {field}"))
        elif field in LISTS:
            issues += list_issues(field, value, model, body)
        elif not is_address(value):
            issues.append(Issue(field, "Must be a URL (http/https) or a data URL"))
    issues += together_issues(model, body)
    return issues


def together_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with fields that are each right."""
    issues = []
    pictures = sum(len(body[field]) for field in PICTURES if isinstance(body.get(field), list))
    if model.most_pictures is not None and pictures > model.most_pictures:
        message = f"At most {model.most_pictures} reference images, elements and scene images together"
        issues.append(Issue("reference_image_urls", message))
    others = ("image_url", "video_url", *PICTURES, "reference_video_urls")
    if body.get("reference_audio_urls") and not any(body.get(field) for field in others):
        issues.append(Issue("reference_audio_urls", "Must be paired with a reference image or a reference video"))
    return issues


def list_issues(field: str, value: object, model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Check one list of references."""
    highest = min(LISTS[field], model.most.get(field, LISTS[field]))
    if not isinstance(value, list):
        return [Issue(field, "Expected array", "array")]
    if len(value) > highest:
        return [Issue(field, f"Array must contain at most {highest} element(s)")]
    if field == "elements":
        return [] if all(map(is_element, value)) else [Issue(field, "Each element needs a frontal_image_url")]
    if field == "keyframes":
        return keyframe_issues(value, body.get("duration"))
    return [] if all(map(is_address, value)) else [Issue(field, "Each element must be a URL or a data URL")]


def is_element(value: object) -> bool:
    """Tell whether a value is an element: a frontal image or a video, and at most three further images."""
    if not isinstance(value, dict) or set(value) - ELEMENT:
        return False
    further = value.get("reference_image_urls", [])
    own = [value[field] for field in ("frontal_image_url", "video_url") if field in value]
    return (
        bool(own)
        and isinstance(further, list)
        and len(further) <= 3  # OpenAPI: maxItems of an element's reference_image_urls
        and all(map(is_address, [*own, *further]))
    )


def keyframe_issues(value: list[object], duration: object) -> list[Issue]:
    """Check keyframes: each an image at a frame of its own, none behind the end."""
    indices = []
    for frame in value:
        index = frame.get("frame_index") if isinstance(frame, dict) else None
        if not isinstance(frame, dict) or not is_address(frame.get("image_url")) or type(index) is not int or index < 0:
            return [Issue("keyframes", "Each keyframe needs an image_url and a frame_index from 0 on")]
        indices.append(index)
    if len(set(indices)) < len(indices):
        return [Issue("keyframes", "Each frame_index must be unique")]
    length = duration.removesuffix("s") if isinstance(duration, str) else ""
    if length.isdecimal() and max(indices, default=0) > int(length) * FRAMES_PER_S:
        return [Issue("keyframes", "A frame_index lies behind the end of the video")]
    return []


def is_address(value: object) -> bool:
    """Tell whether a value is an http(s) URL or a data URL."""
    return isinstance(value, str) and value.startswith(("http://", "https://", "data:"))
