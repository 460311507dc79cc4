"""What unquoted text means in YAML 1.2: null, a boolean, a number, or text.

The core schema (YAML 1.2.2, section 10.3.2) and nothing beyond it: `16:9`, `no`, `1_000` and `2024-01-01` are text,
which YAML 1.1 made 969, false, 1000 and a date. `0012` is the number 12.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

Scalar = str | int | float | bool | None

CONSTANTS: Final[Mapping[str, Scalar]] = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], float("inf")),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], float("-inf")),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], float("nan")),
}
NUMBER_STARTS: Final = frozenset("+-.0123456789")
WHOLE: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
DIGITS_MAX: Final = 1_000
"""Longer whole numbers are refused: no clip needs one, and to convert them takes quadratic time."""

TAGGED: Final[Mapping[str, tuple[type, ...]]] = {
    "tag:yaml.org,2002:null": (type(None),),
    "tag:yaml.org,2002:bool": (bool,),
    "tag:yaml.org,2002:int": (int,),
    "tag:yaml.org,2002:float": (float, int),
}
"""The core tags that an unquoted text can bear, and what it must then read as."""

TEXT_TAGS: Final = frozenset({"!", "tag:yaml.org,2002:str"})


def read_plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar.

    Raises:
        ValueError: a whole number of more than `DIGITS_MAX` digits.
    """
    if text in CONSTANTS:
        return CONSTANTS[text]
    if text[0] not in NUMBER_STARTS:
        return text
    if WHOLE.fullmatch(text):
        if len(text) > DIGITS_MAX:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text, base=0 if text[1:2] in {"o", "x"} else 10)
    return float(text) if FLOAT.fullmatch(text) else text


def read_tagged(text: str, tag: str) -> Scalar:
    """Return the value of a scalar that bears a core tag such as `!!int`.

    Raises:
        ValueError: the text is not of that kind, or the tag is not a core tag for scalars.
    """
    if tag in TEXT_TAGS:
        return text
    if tag not in TAGGED:
        raise ValueError("not a core tag")
    value = read_plain(text)
    if type(value) not in TAGGED[tag]:
        raise ValueError("not of that kind")
    return float(value) if tag.endswith("float") and isinstance(value, int) else value
