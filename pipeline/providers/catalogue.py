"""What is known of the vendors' models: dated tables that come with the package, and the nearest thing that works.

A table is a hint, never a gate: a vendor adds models every month, so an unknown model is let through with a warning,
and what a known model is not known to take can still be sent through `options`.
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
class Model:
    """One model's constraints. None: not known. Empty: the model takes no such field."""

    id: str
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
    listed: bool = True
    """Whether the vendor's own list of models named it at the table's date."""
    notes: tuple[str, ...] = ()

    def info(self) -> ModelInfo:
        """Return the public record of the model."""
        unlisted = () if self.listed else ("not in the vendor's public list; it may be renamed or retired",)
        return ModelInfo(
            id=self.id,
            kind=self.kind,
            durations_s=tuple(map(float, self.durations_s or ())),
            resolutions=self.resolutions or (),
            aspect_ratios=self.aspect_ratios or (),
            audio=self.audio,
            notes=(*self.notes, *unlisted),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The models of one vendor that are known, and since when."""

    as_of: str
    models: Mapping[str, Model]

    def unknown(self, model: str) -> str:
        """Say that a model is not in the table, with the name that looks most like it."""
        close = difflib.get_close_matches(model, self.models, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        return f"The model {model!r} is not among those known on {self.as_of}; it is sent unchecked.{hint}"

    def infos(self) -> tuple[ModelInfo, ...]:
        """Return the public records, in the table's order."""
        return tuple(model.info() for model in self.models.values())


def model_of(name: str, record: Mapping[str, Any]) -> Model:
    """Read one row of a table."""

    def several(key: str) -> tuple[Any, ...] | None:
        return tuple(record[key]) if key in record else None

    maxima = ("reference_images", "reference_videos", "reference_audios", "references")
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
        maxima={kind: record[f"{kind}_max"] for kind in maxima if f"{kind}_max" in record},
        upscale_factors=several("upscale_factors") or (),
        listed=record.get("listed", True),
        notes=several("notes") or (),
    )


@cache
def table(vendor: str) -> Table:
    """Return the table of one vendor; it is part of the package, and read once."""
    record = json.loads((files("pipeline.providers") / f"{vendor}_models.json").read_text("utf-8"))
    models = {name: model_of(name, row) for name, row in record["models"].items()}
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
