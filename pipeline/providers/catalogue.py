"""What is known of the vendors' models: dated tables, and the nearest thing that works.

A table comes with the package; where the vendor lists its models, that list goes over it. It holds for the models it
knows and is silent about the others: a vendor adds models every month, so an unknown one is let through with a warning.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAMED_LINES = {"2k": 1440, "4k": 2160, "true_1080p": 1080}


@dataclass(frozen=True, kw_only=True, slots=True)
class Deprecation:
    """That a vendor gives a model up; days as YYYY-MM-DD, empty where they are not told."""

    since: str = ""
    removed_on: str = ""
    successor: str = ""
    remaps: bool = False
    """Whether requests for it are made with the successor from then on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaRules:
    """What the files given to a model must be like; None where nobody says."""

    audio_s_min: float | None = None
    """Of the one `audio`."""
    clip_s: tuple[float, float] | None = None
    """Of each of the reference videos and sounds, both ends included."""
    clips_s_max: float | None = None
    """Of all reference videos together, and of all reference sounds."""
    image_side_min_px: int | None = None
    image_shape: tuple[float, float] | None = None
    """Width by height of an image, both ends excluded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One model's constraints. None: not known. Empty: the model takes no such field."""

    id: str
    name: str = ""
    """What the vendor calls it for people, where it does."""
    kind: str = ""
    needs: tuple[str, ...] = ()
    """The inputs without which it is refused: image, end_image, video, or references (any of the reference inputs)."""
    durations_s: tuple[int, ...] | None = None
    resolutions: tuple[str, ...] | None = None
    aspect_ratios: tuple[str, ...] | None = None
    audio: str = ""
    """always, never, or optional where the user can choose; empty where not known."""
    takes: frozenset[str] | None = None
    """Further media parameters that it accepts."""
    prompt_characters_max: int | None = None
    maxima: Mapping[str, int] = field(default_factory=dict)
    """How many reference_images, reference_videos, reference_audios it takes; `references`: all kinds of image."""
    upscale_factors: tuple[int, ...] = ()
    media: MediaRules = field(default_factory=MediaRules)
    bitrate_modes: bool | None = None
    """Whether it takes a `bitrate_mode`."""
    asks_consent: bool = False
    """Whether it wants consents where the media show faces."""
    deprecation: Deprecation | None = None
    listed: bool = True
    """Whether the vendor's own list of models named it at the table's date."""
    notes: tuple[str, ...] = ()

    @property
    def refuses(self) -> tuple[str, ...]:
        """The parameters that it takes none of, as opposed to those of which nothing is known."""
        chosen = {
            "duration_seconds": self.durations_s,
            "resolution": self.resolutions,
            "aspect_ratio": self.aspect_ratios,
        }
        return tuple(name for name, choices in chosen.items() if choices == ())

    def info(self) -> ModelInfo:
        """Return the public record of the model."""
        unlisted = () if self.listed else ("not in the vendor's public list; it may be renamed or retired",)
        deprecated = (deprecation_note(self.deprecation),) if self.deprecation else ()
        return ModelInfo(
            id=self.id,
            name=self.name,
            kind=self.kind,
            durations_s=tuple(map(float, self.durations_s or ())),
            resolutions=self.resolutions or (),
            aspect_ratios=self.aspect_ratios or (),
            audio=self.audio,
            needs=self.needs,
            refuses=self.refuses,
            prompt_characters_max=self.prompt_characters_max,
            notes=(*deprecated, *self.notes, *unlisted),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The models of one vendor that are known, and since when. One without models has nothing to check by."""

    as_of: str
    models: Mapping[str, Model]
    fetched: bool = False
    """Whether the vendor's own list is in it."""

    def unknown(self, model: str) -> str:
        """Say that a model is not in the table, with the name that looks most like it."""
        close = difflib.get_close_matches(model, self.models, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        return f"The model {model!r} is not among those known on {self.as_of}; it is sent unchecked.{hint}"

    def infos(self) -> tuple[ModelInfo, ...]:
        """Return the public records, in the table's order."""
        return tuple(model.info() for model in self.models.values())


NO_TABLE = Table(as_of="", models={})
"""For who wants requests sent as they are."""


def deprecation_note(deprecation: Deprecation) -> str:
    """Say in words that a model is given up, when, and what takes its place."""
    told = "deprecated"
    if deprecation.since:
        told += f" since {deprecation.since}"
    if deprecation.removed_on:
        told += f", removed on {deprecation.removed_on}"
    if deprecation.successor:
        told += f"; use {deprecation.successor}"
        told += ", which then makes its clips" if deprecation.remaps else ""
    return told


MAXIMA = ("reference_images", "reference_videos", "reference_audios", "references")


def model_of(name: str, record: Mapping[str, Any]) -> Model:
    """Read one row of a table."""

    def several(key: str) -> tuple[Any, ...] | None:
        return tuple(record[key]) if key in record else None

    return Model(
        id=name,
        kind=record["kind"],
        needs=several("needs") or (),
        durations_s=several("durations_s"),
        resolutions=several("resolutions"),
        aspect_ratios=several("aspect_ratios"),
        audio=record.get("audio", ""),
        takes=frozenset(record["takes"]) if "takes" in record else None,
        prompt_characters_max=record.get("prompt_characters_max"),
        maxima={kind: record[f"{kind}_max"] for kind in MAXIMA if f"{kind}_max" in record},
        upscale_factors=several("upscale_factors") or (),
        media=MediaRules(
            audio_s_min=record.get("audio_s_min"),
            clip_s=several("clip_s"),
            clips_s_max=record.get("clips_s_max"),
            image_side_min_px=record.get("image_side_min_px"),
            image_shape=several("image_shape"),
        ),
        bitrate_modes=record.get("bitrate_modes"),
        asks_consent=record.get("asks_consent", False),
        deprecation=Deprecation(**record["deprecation"]) if "deprecation" in record else None,
        listed=record.get("listed", True),
        notes=several("notes") or (),
    )


@cache
def table(vendor: str) -> Table:
    """Return the table of one vendor that comes with the package; it is read once.

    `families`, where there are any, say what holds for all models whose ids begin so; a model's own row goes over them.
    """
    record = json.loads((files("pipeline.providers") / vendor / "models.json").read_text("utf-8"))
    families: Mapping[str, Mapping[str, Any]] = record.get("families", {})

    def whole(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
        inherited: dict[str, Any] = {}
        for prefix, shared in families.items():
            inherited |= shared if name.startswith(prefix) else {}
        return inherited | dict(row)

    models = {name: model_of(name, whole(name, row)) for name, row in record["models"].items()}
    return Table(as_of=record["as_of"], models=models)


def enumerate_words(words: Iterable[object], conjunction: str = "or") -> str:
    """Return `4, 6 or 8`."""
    *front, last = map(str, words)
    return f"{', '.join(front)} {conjunction} {last}" if front else last


def nearest_number(value: float, choices: Sequence[int]) -> int:
    """Return the choice closest to `value`; of two as close, the smaller."""
    return min(choices, key=lambda choice: (abs(choice - value), choice))


def lines_of(resolution: str) -> int | None:
    """Return how many lines a resolution has: 720 for 720p, 2160 for 4k; None where it does not say."""
    text = resolution.lower()
    match = re.fullmatch(r"(\d{3,5})p", text)
    return int(match[1]) if match else NAMED_LINES.get(text)


def nearest_resolution(value: str, choices: Sequence[str]) -> str:
    """Return the choice that differs in case alone, else the one with the closest number of lines."""
    for choice in choices:
        if choice.lower() == value.lower():
            return choice
    wanted = lines_of(value)
    if wanted is None:
        return choices[0]
    return min(choices, key=lambda choice: abs((lines_of(choice) or 0) - wanted))


def ratio_of(aspect: str) -> float | None:
    """Return width by height of `16:9`; None for a word."""
    match = re.fullmatch(r"(\d{1,5}):(\d{1,5})", aspect)
    return int(match[1]) / int(match[2]) if match and int(match[2]) else None


def nearest_aspect(value: str, choices: Sequence[str]) -> str:
    """Return the choice whose shape is closest."""
    wanted = ratio_of(value)
    if not wanted:
        return choices[0]
    return min(choices, key=lambda choice: abs((ratio_of(choice) or 1e9) / wanted - 1))
