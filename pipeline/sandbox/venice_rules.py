"""What Venice accepts on /video/queue and /video/quote: the documented fields, and what each model makes of them.

Source: Venice OpenAPI, QueueVideoRequest and QuoteVideoRequest; `model_spec.constraints` of the model list. A field
that the chosen model does not support is an error, although the schema looks open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.sandbox.catalogue import Audio, Kind, Picture, VeniceModel, picture

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
OTHERS = ("bitrate_mode", "voice_id", "anon_user_id", "camera_trajectory")
"""Taken although the schema does not name them."""
QUEUE_FIELDS = {
    "model", "prompt", "negative_prompt", "duration", "aspect_ratio", "resolution", "upscale_factor", "audio",
    "consents", "omni_reference_task_type", *TEXTS, *LISTS, *OTHERS,
}  # fmt: skip
NEEDED = {
    Kind.TEXT: (),
    Kind.IMAGE: ("image_url",),
    Kind.REFERENCE: (),
    Kind.TRANSITION: ("image_url", "end_image_url"),
    Kind.VIDEO: ("video_url",),
    Kind.UPSCALE: ("video_url",),
}
REFERENCES = ("reference_image_urls", "reference_video_urls", "elements", "scene_image_urls")
CONSENTS = ("confirmed_terms_and_privacy", "confirmed_legal_right", "confirmed_screening_acknowledged")
SOURCE_LENGTH_S = 8.0
"""How long a clip is taken to be that follows the length of a video which nobody looks into here."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with a request body."""

    field: str
    message: str
    expected: str = ""


def queue_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return all that is wrong with a queue request for `model`; empty where it is acceptable."""
    issues = [Issue(field, "Unrecognized key") for field in body if field not in QUEUE_FIELDS]
    issues += prompt_issues(model, body)
    issues += choice_issues(model, body)
    issues += media_issues(model, body)
    return issues


def prompt_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with the prompts."""
    issues = []
    prompt = body.get("prompt")
    if prompt is None and model.kind is not Kind.UPSCALE:
        issues.append(Issue("prompt", "Required", "string"))
    for field in ("prompt", "negative_prompt"):
        text = body.get(field)
        if text is None:
            continue
        if not isinstance(text, str):
            issues.append(Issue(field, "Expected string", "string"))
        elif len(text) > model.prompt_limit:
            issues.append(Issue(field, f"String must contain at most {model.prompt_limit} character(s)"))
        elif field == "prompt" and not text:
            issues.append(Issue(field, "String must contain at least 1 character(s)"))
    return issues


def choice_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with duration, aspect ratio, resolution, upscale factor and audio."""
    issues = []
    follows_source = model.kind in {Kind.VIDEO, Kind.UPSCALE}
    durations = tuple(word for word in model.durations if word != "Auto")
    issues += one_of("duration", body, durations, required=not follows_source)
    issues += one_of("aspect_ratio", body, model.aspects, required=bool(model.aspects))
    issues += one_of("resolution", body, model.resolutions, required=False)
    if body.get("upscale_factor") is not None:
        if model.kind is not Kind.UPSCALE:
            issues.append(Issue("upscale_factor", f"{model.id} does not support upscale_factor"))
        elif type(body["upscale_factor"]) is not int or body["upscale_factor"] not in {1, 2, 4}:
            issues.append(Issue("upscale_factor", "Invalid value", "1 | 2 | 4"))
    if body.get("audio") is not None:
        if not isinstance(body["audio"], bool):
            issues.append(Issue("audio", "Expected boolean", "boolean"))
        elif model.audio is not Audio.CHOICE:
            issues.append(Issue("audio", f"{model.id} does not support audio configuration"))
    return issues


def one_of(field: str, body: Mapping[str, Any], allowed: tuple[str, ...], *, required: bool) -> list[Issue]:
    """Check a field against its words, case and all; no words means that the model does not take the field."""
    value = body.get(field)
    if value is None:
        return [Issue(field, "Required", " | ".join(allowed))] if required else []
    if not allowed:
        return [Issue(field, f"This model does not support {field}")]
    if not isinstance(value, str) or value not in allowed:
        return [Issue(field, "Invalid enum value", " | ".join(allowed))]
    return []


def media_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with images, videos, sounds and references."""
    taken = {*NEEDED[model.kind], *model.takes}
    if model.kind is Kind.REFERENCE:
        taken.add("reference_image_urls")
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
            issues += list_issues(field, value, model)
        elif not is_address(value):
            issues.append(Issue(field, "Must be a URL (http/https) or a data URL"))
    return issues


def list_issues(field: str, value: object, model: VeniceModel) -> list[Issue]:
    """Check one list of references."""
    highest = min(LISTS[field], model.reference_images) if field == "reference_image_urls" else LISTS[field]
    if not isinstance(value, list):
        return [Issue(field, "Expected array", "array")]
    if len(value) > highest:
        return [Issue(field, f"Array must contain at most {highest} element(s)")]
    if field in {"elements", "keyframes"}:
        good = all(isinstance(element, dict) for element in value)
    else:
        good = all(is_address(element) for element in value)
    return [] if good else [Issue(field, "Each element must be a URL (http/https) or a data URL")]


def is_address(value: object) -> bool:
    """Tell whether a value is an http(s) URL or a data URL."""
    return isinstance(value, str) and value.startswith(("http://", "https://", "data:"))


def needs_consent(model: VeniceModel, body: Mapping[str, Any]) -> bool:
    """Tell whether the attestations of the 409 round are wanting."""
    if not model.asks_consent:
        return False
    consents = body.get("consents")
    given = consents.get("seedance") if isinstance(consents, dict) else None
    return not (isinstance(given, dict) and set(given) == set(CONSENTS) and all(given[name] is True for name in given))


def wanted_picture(model: VeniceModel, body: Mapping[str, Any]) -> Picture:
    """Return the picture that an acceptable body asks for, with the model's defaults filled in."""
    factor = body.get("upscale_factor") or 2
    default = f"{360 * factor}p" if model.kind is Kind.UPSCALE else resolution(model, body)
    return picture(
        resolution=default,
        aspect=body.get("aspect_ratio") or "16:9",
        duration_s=length_s(body.get("duration")),
        has_audio=model.audio is Audio.ON or (model.audio is Audio.CHOICE and body.get("audio") is not False),
    )


def resolution(model: VeniceModel, body: Mapping[str, Any]) -> str:
    """Return the resolution word: as given, or 720p where the model has it or has none, or the model's first."""
    given = body.get("resolution")
    if isinstance(given, str):
        return given
    return "720p" if not model.resolutions or "720p" in model.resolutions else model.resolutions[0]


def length_s(duration: object) -> float:
    """Return the seconds in a duration word such as `5s`; words without a number follow the source."""
    if isinstance(duration, str) and duration.removesuffix("s").isdecimal():
        return float(duration.removesuffix("s"))
    return SOURCE_LENGTH_S
