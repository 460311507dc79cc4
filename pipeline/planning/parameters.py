"""The neutral parameters: what a value of each must be, and what a cell of a table, which is text, means for it.

The manifest's schema has checked what stands in the manifest itself; this checks what comes from a table.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from pipeline.errors import InputError


class Shape(StrEnum):
    """What a value of a parameter must be, in the words of a message."""

    WHOLE = "a whole number of at least 1"
    TEXT = "text"
    FLAG = "true or false"
    TEXTS = "a list of texts"
    OBJECTS = "a list of mappings or texts"


PARAMETERS = {
    "duration_seconds": Shape.WHOLE,
    "aspect_ratio": Shape.TEXT,
    "resolution": Shape.TEXT,
    "generate_audio": Shape.FLAG,
    "negative_prompt": Shape.TEXT,
    "sample_count": Shape.WHOLE,
    "image": Shape.TEXT,
    "end_image": Shape.TEXT,
    "audio": Shape.TEXT,
    "video": Shape.TEXT,
    "reference_images": Shape.TEXTS,
    "reference_videos": Shape.TEXTS,
    "reference_audios": Shape.TEXTS,
    "reference_documents": Shape.TEXTS,
    "scene_images": Shape.TEXTS,
    "elements": Shape.OBJECTS,
    "keyframes": Shape.OBJECTS,
    "upscale_factor": Shape.WHOLE,
}
"""Every neutral parameter and its shape."""

SETTINGS = frozenset({"model", *PARAMETERS})
"""The names that set something when a matrix or a table bears them; every other name fills the prompt."""

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class ValueRefused(InputError):
    """A value from a table that its parameter cannot have."""


def shape_of(name: str) -> Shape:
    """Return the shape of a setting."""
    return PARAMETERS.get(name, Shape.TEXT)


def read_cell(name: str, text: str) -> Any:
    """Return what a non-empty CSV cell means in the column of a setting. Raises ValueRefused.

    A cell of a list parameter is a JSON list, or one element as it is.
    """
    text = text.strip()
    value: Any = text
    match shape_of(name):
        case Shape.FLAG:
            value = _FLAGS.get(text.lower(), text)
        case Shape.WHOLE:
            value = _whole(text)
        case Shape.TEXTS | Shape.OBJECTS:
            value = _list(text)
    check_value(name, value)
    return value


def check_value(name: str, value: Any) -> None:
    """Check a typed value of a setting. Raises ValueRefused."""
    shape = shape_of(name)
    if not _fits(shape, value):
        shown = value if isinstance(value, str) else json.dumps(value, default=str)
        raise ValueRefused(f"`{name}` is {shape.value}, and this is {shown[:80]!r}.")


def _fits(shape: Shape, value: Any) -> bool:
    match shape:
        case Shape.WHOLE:
            return isinstance(value, int) and not isinstance(value, bool) and value >= 1
        case Shape.TEXT:
            return isinstance(value, str) and bool(value)
        case Shape.FLAG:
            return isinstance(value, bool)
        case Shape.TEXTS:
            return _is_list_of(value, (str,))
        case Shape.OBJECTS:
            return _is_list_of(value, (str, dict))


def _is_list_of(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, kinds) and part for part in value)


def _whole(text: str) -> int | str:
    """Read `8`, and `8.0`, which is how spreadsheets and data frames write a whole number in a column with gaps."""
    try:
        number = float(text)
        return int(number) if number.is_integer() and "_" not in text else text
    except (ValueError, OverflowError):
        return text


def _list(text: str) -> Any:
    if text[0] not in "[{":
        return [text]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, list) else [value]
