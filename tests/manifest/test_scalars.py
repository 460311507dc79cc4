from __future__ import annotations

import math

import pytest

from pipeline.manifest.scalars import DIGITS_MAX, read_plain, read_tagged
from tests.manifest.written import read

CORE_SCHEMA = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "nUll": "nUll",
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "off": "off",
    "y": "y",
    "n": "n",
    "N": "N",
    "tRue": "tRue",
    "0": 0,
    "12": 12,
    "-7": -7,
    "+7": 7,
    "0012": 12,
    "08": 8,
    "0o14": 12,
    "0o8": "0o8",
    "-0o14": "-0o14",
    "0xC": 12,
    "0xfF": 255,
    "0xg": "0xg",
    "0b11": "0b11",
    "1_000": "1_000",
    "1,000": "1,000",
    "16:9": "16:9",
    "1:1": "1:1",
    "190:20:30": "190:20:30",
    "2024-01-01": "2024-01-01",
    "2024-01-01T00:00:00Z": "2024-01-01T00:00:00Z",
    "1.5": 1.5,
    "-1.5": -1.5,
    "1.": 1.0,
    ".5": 0.5,
    "+.5": 0.5,
    "1e3": 1000.0,
    "1E3": 1000.0,
    "1e+3": 1000.0,
    "1.5e-1": 0.15,
    "e3": "e3",
    ".": ".",
    "-": "-",
    "+": "+",
    "1.2.3": "1.2.3",
    ".inf": math.inf,
    "-.inf": -math.inf,
    "+.INF": math.inf,
    "inf": "inf",
    "nan": "nan",
    "8s": "8s",
    "720p": "720p",
    "4k": "4k",
    "=": "=",
    "٣": "٣",
}


@pytest.mark.parametrize("text", CORE_SCHEMA)
def test_unquoted_text_is_read_by_the_core_schema(text: str) -> None:
    value = read_plain(text)

    assert (type(value), value) == (type(CORE_SCHEMA[text]), CORE_SCHEMA[text])


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number_is_a_number(text: str) -> None:
    value = read_plain(text)

    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("text", [text for text in CORE_SCHEMA if text not in {"-", ".inf", "-.inf", "+.INF"}])
def test_the_reader_reads_them_so_within_a_file(text: str, pure: bool) -> None:
    values, wrong = read(f"x-value: {text}\n", pure=pure)

    assert wrong == []
    assert repr(values["x-value"]) == repr(CORE_SCHEMA[text])


@pytest.mark.parametrize("style", ["'{}'", '"{}"', "|-\n  {}", ">-\n  {}", "!!str {}"])
@pytest.mark.parametrize("text", ["12", "true", "null", "1e3", "~", "0x10"])
def test_text_that_is_quoted_stays_text(text: str, style: str) -> None:
    assert read(f"x-value: {style.format(text)}\n")[0]["x-value"] == text


@pytest.mark.parametrize("text", ["9" * (DIGITS_MAX + 1), "0x" + "f" * DIGITS_MAX, "-" + "0" * DIGITS_MAX])
def test_a_number_of_very_many_digits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="digits"):
        read_plain(text)


@pytest.mark.parametrize(
    ("text", "tag", "value"),
    [("12", "str", "12"), ("12", "int", 12), ("12", "float", 12.0), ("1.5", "float", 1.5), ("", "null", None),
     ("true", "bool", True)],
)  # fmt: skip
def test_core_tags_are_honoured(text: str, tag: str, value: object) -> None:
    assert repr(read_tagged(text, f"tag:yaml.org,2002:{tag}")) == repr(value)


@pytest.mark.parametrize(("text", "tag"), [("x", "int"), ("1.5", "int"), ("1", "bool"), ("x", "null"), ("x", "binary")])
def test_a_tag_that_does_not_fit_is_refused(text: str, tag: str) -> None:
    with pytest.raises(ValueError, match="not"):
        read_tagged(text, f"tag:yaml.org,2002:{tag}")
