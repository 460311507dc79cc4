from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.columns import column_name, metadata_columns, unified, without_gaps

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
ANY = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2))


@pytest.mark.parametrize(
    ("values", "made"),
    [
        (["a", "b", None], ["a", "b", None]),
        ([1, 2], [1, 2]),
        ([1, 2.5, None], [1.0, 2.5, None]),
        ([True, None, False], [True, None, False]),
        ([True, 1], ["true", "1"]),
        ([1, "a", None], ["1", '"a"', None]),
        ([[1], {"b": 2, "a": 1}], ["[1]", '{"a": 1, "b": 2}']),
        ([1 << 70, 1], [str(1 << 70), "1"]),
        ([None, None], [None, None]),
    ],
)
def test_a_column_has_one_type(values: list[Any], made: list[Any]) -> None:
    assert unified(values) == made
    assert [type(value) for value in unified(values)] == [type(value) for value in made]


@pytest.mark.parametrize(
    ("values", "made"),
    [
        (["a", None], ["a", ""]),
        ([1, None], ["1", ""]),
        ([0.5, 1.0], [0.5, 1.0]),
        ([True, None], ["true", ""]),
        ([None, None], ["", ""]),
        (["2024-01-01", "2025-01-01"], ["2024-01-01", "2025-01-01"]),
        (["2024-01-01", "soon"], ['"2024-01-01"', '"soon"']),
        (["2024-01-01", None], ['"2024-01-01"', ""]),
    ],
)
def test_a_gap_makes_a_column_text_and_a_date_among_others_is_none(values: list[Any], made: list[Any]) -> None:
    assert without_gaps(values) == made


@given(st.lists(ANY, min_size=1, max_size=8))
def test_whatever_is_in_a_column_it_ends_with_one_type_and_no_gap(values: list[Any]) -> None:
    made = without_gaps(unified(values))
    assert len({type(value) for value in made}) == 1
    assert type(made[0]) in {bool, int, float, str}


@settings(deadline=None)
@given(st.lists(st.lists(ANY, min_size=1, max_size=4), min_size=2, max_size=3).filter(lambda s: any(map(any, s))))
def test_arrow_reads_every_part_of_a_column_as_the_same_type(splits: list[list[Any]]) -> None:
    """As Hugging Face's loader does, which refuses a dataset whose splits differ."""
    arrow = pytest.importorskip("pyarrow.json", reason="Parquet is pyarrow's")
    flat = without_gaps(unified([value for split in splits for value in split]))
    types, at = set(), 0
    for split in splits:
        part, at = flat[at : at + len(split)], at + len(split)
        lines = "".join(json.dumps({"column": value}) + "\n" for value in part)
        types.add(arrow.read_json(io.BytesIO(lines.encode())).schema.field("column").type)
    assert len(types) == 1


def test_all_rows_have_all_columns_in_one_order() -> None:
    made = metadata_columns([{"b": 1}, {"a": "x", "b": 2}, {}])
    assert made == [
        {"metadata.a": None, "metadata.b": 1},
        {"metadata.a": "x", "metadata.b": 2},
        {"metadata.a": None, "metadata.b": None},
    ]
    assert {tuple(row) for row in made} == {("metadata.a", "metadata.b")}
    assert metadata_columns([{}, {}]) == [{}, {}]


def test_no_column_is_taken_for_the_name_of_another_video() -> None:
    assert column_name("thumb_file_name") == "metadata.thumb_file_name_"
    assert column_name("file_names") == "metadata.file_names_"
    assert column_name("split") == "metadata.split"
