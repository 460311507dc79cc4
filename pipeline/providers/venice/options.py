"""What Venice refuses from everyone among the fields that `options` puts into the body as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.providers.media import texts_in
from pipeline.providers.venice.problem import error, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.providers.base import GenerationRequest, RequestProblem
    from pipeline.providers.catalogue import Model

CONSENTS = ("confirmed_terms_and_privacy", "confirmed_legal_right", "confirmed_screening_acknowledged")
"""What an attestation for Seedance says, each of them true and nothing else (Venice Seedance face-consent guide)."""
BITRATE_MODES = ("standard", "high")
TASK_TYPES = ("auto", "reference", "edit", "extend", "editing", "extension")
MEDIA_FIELDS = {
    "image_url": "image",
    "end_image_url": "end_image",
    "audio_url": "audio",
    "video_url": "video",
    "reference_image_urls": "reference_images",
    "reference_video_urls": "reference_videos",
    "reference_audio_urls": "reference_audios",
    "reference_document_urls": "reference_documents",
    "scene_image_urls": "scene_images",
}
FACES = ("image", "end_image", "video", "reference_images", "reference_videos")
"""Media that may show a face (Venice OpenAPI, face_media_roles)."""


def option_problems(request: GenerationRequest, model: Model | None) -> Iterator[RequestProblem]:
    """Yield what is wrong with the options."""
    options = request.options
    if "consents" in options and not attested(options["consents"]):
        message = f"consents is {{seedance: {{{', '.join(f'{name}: true' for name in CONSENTS)}}}}}, and nothing else."
        yield error("consents", message, within=("options",))
    elif "consents" not in options and model and model.asks_consent and set(FACES) & set(request.parameters):
        message = "wants consents where a face is shown; only you can give them, in `options: {consents: ...}`."
        yield warning(("model",), f"{model.id} {message}")
    yield from words(request, "bitrate_mode", BITRATE_MODES)
    yield from words(request, "omni_reference_task_type", TASK_TYPES)
    if "bitrate_mode" in options and model is not None and model.takes is not None and not model.bitrate_modes:
        yield warning(("options", "bitrate_mode"), f"{model.id} is not known to take a bitrate_mode.")
    for field, name in MEDIA_FIELDS.items():
        for text in texts_in(options.get(field)):
            if not text.lower().startswith(("http://", "https://", "data:")):
                message = f"{text[:80]!r} is no URL, and options go as they are; a file goes into parameters.{name}."
                yield error(field, message, within=("options",))


def attested(value: Any) -> bool:
    """Tell whether consents are whole."""
    given = value.get("seedance") if isinstance(value, dict) and set(value) == {"seedance"} else None
    return isinstance(given, dict) and set(given) == set(CONSENTS) and all(flag is True for flag in given.values())


def words(request: GenerationRequest, name: str, known: tuple[str, ...]) -> Iterator[RequestProblem]:
    """Yield a word that is not among those that are documented; tomorrow's may be."""
    value = request.options.get(name)
    if value is not None and value not in known:
        message = f"{name} is {', '.join(known[:-1])} or {known[-1]} as far as is known, not {value!r}."
        yield warning(("options", name), message)
