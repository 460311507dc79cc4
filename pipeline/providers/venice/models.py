"""Venice's own list of models: the answer comes in, what is known of each model goes out (Venice OpenAPI, /models).

The list is coarser than the models: reference, transition and motion models call themselves `image-to-video` or
`video`, so the id says what they need, and what the built-in table knows beyond the list stays.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.providers.catalogue import Deprecation, Model, Table, table
from pipeline.providers.decode import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS_MAX_BYTES = 8 << 20
"""The list of all types of model has about 1 MB."""

KINDS = (
    ("reference-to-video", ("references",)),
    ("video-to-video", ("video",)),
    ("first-last-frame-to-video", ("image", "end_image")),
    ("transition", ("image", "end_image")),
    ("motion-control", ()),
    ("upscale", ("video",)),
    ("image-to-video", ("image",)),
    ("text-to-video", ()),
)
"""What stands in an id, and the inputs without which such a model is refused."""
NEEDS = dict(KINDS)
DAY = re.compile(r"\d{4}-\d\d-\d\d")


def texts(value: object) -> tuple[str, ...] | None:
    """Return the texts of a list; None for anything else."""
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else None


def durations(value: object) -> tuple[int, ...] | None:
    """Return the durations among `["5s", "10s", "Auto"]`, in seconds; None for what is no list."""
    words = texts(value)
    if words is None:
        return None
    matches = (re.fullmatch(r"(\d{1,4})s", text) for text in words)
    return tuple(int(match[1]) for match in matches if match)


def audio_of(constraints: Mapping[str, Any]) -> str:
    """Return whether a model makes sound: the vendor tells whether it does, and whether it can be chosen."""
    if constraints.get("audio_configurable") is True:
        return "optional"
    return {True: "always", False: "never"}.get(constraints.get("audio"), "")  # type: ignore[arg-type]  # any JSON


def kind_of(model: str, listed: object) -> str:
    """Return what a model makes clips from: as its id says, else as the list does."""
    return next((kind for kind, _ in KINDS if kind in model), listed if isinstance(listed, str) else "")


def day(value: object) -> str:
    """Return the day at the beginning of a moment; nothing where there is none."""
    match = DAY.match(value) if isinstance(value, str) else None
    return match[0] if match else ""


def deprecation_of(value: object) -> Deprecation | None:
    """Read what the list says of a model's end; None where it says nothing."""
    if not isinstance(value, dict):
        return None
    successor = value.get("replacementModelId")
    return Deprecation(
        since=day(value.get("startsAt")),
        removed_on=day(value.get("removesAt")) or day(value.get("date")),
        successor=successor if isinstance(successor, str) else "",
        remaps=value.get("autoRemap") is True,
    )


def positive(value: object) -> float | None:
    """Return a number above nothing and below a million; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 1e6 else None  # type: ignore[operator,arg-type]  # it is a number


def whole(value: object) -> int | None:
    """Return a positive whole number; None for anything else."""
    number = positive(value)
    return int(number) if number is not None and number.is_integer() else None


def shape(constraints: Mapping[str, Any], known: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return between which shapes a reference image must lie; `known` where the list does not say."""
    low, high = (positive(constraints.get(f"reference_image_{end}_aspect_ratio")) for end in ("min", "max"))
    return known if low is None or high is None else (low, high)


def takes_of(constraints: Mapping[str, Any], known: frozenset[str] | None) -> frozenset[str] | None:
    """Return which further media a model takes: what is known, with what the list says of sounds and clips over it."""
    if known is None:
        return None
    for flag, name in (("audio_input", "audio"), ("video_input", "video")):
        told = constraints.get(flag)
        if isinstance(told, bool):
            known = known | {name} if told else known - {name}
    return known


def notes_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the user ought to know of a model before sending to it."""
    notes = [word for flag, word in (("offline", "offline"), ("betaModel", "beta")) if spec.get(flag) is True]
    regions = texts(spec.get("regionRestrictions"))
    if regions:
        notes.append(f"only in {', '.join(regions)}")
    return tuple(notes)


def learned(record: Mapping[str, Any], known: Model | None) -> Model:
    """Return one model as the list has it, over what is known of it already."""
    spec = record.get("model_spec")
    spec = spec if isinstance(spec, dict) else {}
    constraints = spec.get("constraints")
    constraints = constraints if isinstance(constraints, dict) else {}
    kind = known.kind if known else kind_of(record["id"], constraints.get("model_type"))
    known = known or Model(id=record["id"], kind=kind, needs=NEEDS.get(kind, ()))
    audio = audio_of(constraints) if isinstance(constraints.get("audio"), bool | None) else ""
    seconds, sizes = durations(constraints.get("durations")), texts(constraints.get("resolutions"))
    shapes = texts(constraints.get("aspect_ratios"))
    media = replace(
        known.media,
        image_side_min_px=whole(constraints.get("reference_image_min_short_side_pixels"))
        or known.media.image_side_min_px,
        image_shape=shape(constraints, known.media.image_shape),
    )
    name = spec.get("name")
    return replace(
        known,
        name=name if isinstance(name, str) else known.name,
        durations_s=known.durations_s if seconds is None else seconds,
        resolutions=known.resolutions if sizes is None else sizes,
        aspect_ratios=known.aspect_ratios if shapes is None else shapes,
        audio=audio or known.audio,
        takes=takes_of(constraints, known.takes),
        media=media,
        prompt_characters_max=whole(constraints.get("prompt_character_limit")) or known.prompt_characters_max,
        deprecation=deprecation_of(spec.get("deprecation")) or known.deprecation,
        listed=True,
        notes=(*notes_of(spec), *known.notes),
    )


def table_of(answer: Mapping[str, Any], as_of: str) -> Table:
    """Return the built-in table with the vendor's list over it.

    Models that the list no longer names keep what is known of them, and are marked as not listed.

    Raises:
        Malformed: the answer is no list of models.
    """
    data = answer.get("data")
    if not isinstance(data, list):
        raise Malformed("it holds no `data`")
    records = {
        record["id"]: record
        for record in data
        if isinstance(record, dict) and isinstance(record.get("id"), str) and record.get("type") == "video"
    }
    built_in = table("venice").models
    models = {name: learned(record, built_in.get(name)) for name, record in records.items()}
    models |= {name: replace(model, listed=False) for name, model in built_in.items() if name not in records}
    return Table(as_of=as_of, models=models, fetched=True)
