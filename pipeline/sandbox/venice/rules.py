"""What Venice accepts on /video/queue: the documented fields, and what each model makes of them.

Source: Venice OpenAPI, QueueVideoRequest; `model_spec.constraints` of the model list; Venice Seedance and
video-upscaling guides. A field that the chosen model does not support is an error, although the schema looks open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.sandbox.catalogue import Picture, picture
from pipeline.sandbox.venice.catalogue import Audio, Kind, VeniceModel
from pipeline.sandbox.venice.media_rules import FACES, LISTS, TEXTS, Issue, media_issues

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERS = ("voice_id", "anon_user_id", "camera_trajectory", "image_references", "video_references")
"""Taken although the schema does not name them."""
QUEUE_FIELDS = {
    "model", "prompt", "negative_prompt", "duration", "aspect_ratio", "resolution", "upscale_factor", "audio",
    "consents", "omni_reference_task_type", "bitrate_mode", *TEXTS, *LISTS, *OTHERS,
}  # fmt: skip
CONSENTS = ("confirmed_terms_and_privacy", "confirmed_legal_right", "confirmed_screening_acknowledged")
TASK_TYPES = ("auto", "reference", "edit", "extend", "editing", "extension")
DURATIONS = (*(f"{number}s" for number in range(1, 31)), "-1", "1 gen", "auto")
"""The schema's, but for `Auto`, which is listed and refused."""
ASPECTS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "9:21", "16:9", "21:9", "adaptive", "auto")
RESOLUTIONS = (
    "256p", "360p", "480p", "540p", "580p", "720p", "1080p", "1440p", "2160p",
    "4k", "2x", "4x", "2K", "768P", "480P", "1080P", "true_1080p",
)  # fmt: skip
SOURCE_ASPECTS, SOURCE_DURATIONS = ("adaptive", "auto"), ("-1", "auto")
"""Words that follow the first reference video, on Seedance reference models."""
SOURCE_LENGTH_S = 8.0
"""How long a clip is taken to be that follows the length of a video which nobody looks into here."""


def queue_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return all that is wrong with a queue request for `model`; empty where it is acceptable."""
    issues = [Issue(field, "Unrecognized key") for field in body if field not in QUEUE_FIELDS]
    issues += prompt_issues(model, body)
    issues += choice_issues(model, body)
    issues += media_issues(model, body)
    issues += word_issues(model, body)
    return issues


def prompt_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with the prompts. An upscaler takes none at all."""
    issues = []
    prompt = body.get("prompt")
    if model.kind is Kind.UPSCALE:
        return [Issue("prompt", "This model does not support prompt")] if prompt else []
    if prompt is None:
        issues.append(Issue("prompt", "Required", "string"))
    for field in ("prompt", "negative_prompt"):
        text = body.get(field)
        if text is None:
            continue
        if not isinstance(text, str):
            issues.append(Issue(field, "Expected string", "string"))
        elif len(text) > (model.prompt_limit if model.is_recorded else 20_000):
            issues.append(Issue(field, f"String must contain at most {model.prompt_limit} character(s)"))
        elif field == "prompt" and not text:
            issues.append(Issue(field, "String must contain at least 1 character(s)"))
    return issues


def choice_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with duration, aspect ratio, resolution, upscale factor and audio."""
    issues = []
    if not model.is_recorded:
        for field, words in (("duration", DURATIONS), ("aspect_ratio", ASPECTS), ("resolution", RESOLUTIONS)):
            issues += one_of(field, body, words, required=field == "duration" and model.kind is not Kind.VIDEO)
    else:
        durations, aspects = taken_words(model, body)
        issues += one_of("duration", body, durations, required=model.kind not in {Kind.VIDEO, Kind.UPSCALE})
        issues += one_of("aspect_ratio", body, aspects, required=bool(aspects))
        issues += one_of("resolution", body, model.resolutions, required=False)
    if body.get("upscale_factor") is not None:
        if model.kind is not Kind.UPSCALE:
            issues.append(Issue("upscale_factor", f"{model.id} does not support upscale_factor"))
        elif type(body["upscale_factor"]) is not int or body["upscale_factor"] not in {1, 2, 4}:
            issues.append(Issue("upscale_factor", "Invalid value", "1 | 2 | 4"))
    if body.get("audio") is not None:
        if not isinstance(body["audio"], bool):
            issues.append(Issue("audio", "Expected boolean", "boolean"))
        elif model.is_recorded and model.audio is not Audio.CHOICE:
            issues.append(Issue("audio", f"{model.id} does not support audio configuration"))
    return issues


def taken_words(model: VeniceModel, body: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the durations and the aspect ratios that a model takes in this request.

    An upscaler finds the length out for itself and overlooks a duration. Seedance's reference models can follow a
    reference video: 2.0 and 2.5 in shape, 2.5 in length.
    """
    if model.kind is Kind.UPSCALE:
        return DURATIONS, ()
    durations = tuple(word for word in model.durations if word != "Auto")
    aspects = model.aspects
    if model.id.startswith("seedance-2-") and model.kind is Kind.REFERENCE and body.get("reference_video_urls"):
        aspects = (*aspects, *SOURCE_ASPECTS)
        durations = (*durations, *SOURCE_DURATIONS) if model.id.startswith("seedance-2-5-") else durations
    return durations, aspects


def quoted_durations(model: VeniceModel, body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the durations that a quote for a model takes; one that follows a source tells how long that is."""
    if not model.is_recorded:
        return DURATIONS
    told = body.get("reference_video_total_duration") is not None
    return taken_words(model, {"reference_video_urls": told})[0]


def word_issues(model: VeniceModel, body: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with consents, bitrate and the reference task."""
    issues: list[Issue] = []
    if "consents" in body and not is_attested(body["consents"]):
        issues.append(Issue("consents", "Each attestation must be true", " | ".join(CONSENTS)))
    takes_task = model.id.startswith("seedance-2-5-") and model.kind is Kind.REFERENCE
    issues += one_of("bitrate_mode", body, ("standard", "high") if model.bitrate else (), required=False)
    issues += one_of("omni_reference_task_type", body, TASK_TYPES if takes_task else (), required=False)
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


def is_attested(consents: object) -> bool:
    """Tell whether consents hold Seedance's three attestations, each true, and nothing else."""
    given = consents.get("seedance") if isinstance(consents, dict) and set(consents) == {"seedance"} else None
    return isinstance(given, dict) and set(given) == set(CONSENTS) and all(given[name] is True for name in given)


def needs_consent(model: VeniceModel, body: Mapping[str, Any]) -> bool:
    """Tell whether the attestations of the 409 round are wanting."""
    if not model.asks_consent:
        return False
    shown = any(body.get(field) for field in FACES)
    return shown and not is_attested(body.get("consents"))


def wanted_picture(model: VeniceModel, body: Mapping[str, Any]) -> Picture:
    """Return the picture that an acceptable body asks for, with the model's defaults filled in."""
    factor = body.get("upscale_factor") or 2
    default = f"{360 * factor}p" if model.kind is Kind.UPSCALE else resolution(model, body)
    return picture(
        resolution=default,
        aspect=body["aspect_ratio"] if ":" in (body.get("aspect_ratio") or "") else "16:9",
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
