import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.planning.ids import is_id, join_id, repeat_id, row_part, slug, value_part

SIX = "[0-9a-f]{6}"


@pytest.mark.parametrize("text", ["a", "A1", "0012", "fox-snow_2", "a" * 100])
def test_these_are_ids(text):
    assert is_id(text)


@pytest.mark.parametrize(
    "text", ["", "-a", "_a", "a__b", "a b", "a.mp4", "../x", "a/b", "é", "a\n", "a\0", "a" * 101, "CON:", "a‮b"]
)
def test_these_are_not(text):
    assert not is_id(text)


@pytest.mark.parametrize("value", ["fox", "veo-3-fast", "deep_snow", "8", "4k"])
def test_a_plain_value_is_itself(value):
    assert value_part(value) == value


@pytest.mark.parametrize(("value", "part"), [(8, "8"), (8.0, "8"), (True, "true")])
def test_numbers_and_flags_are_written_as_in_json(value, part):
    assert value_part(value) == part


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("A red Fox", "a-red-fox"),
        ("16:9", "16-9"),
        (0.5, "0-5"),
        ("Café", "cafe"),
        ("a--b", "a-b"),
        ("-a", "a"),
        ("x" * 60, "x" * 40),
        (["a.png", "b.png"], "a-png-b-png"),
    ],
)
def test_a_value_that_loses_something_carries_six_digits(value, words):
    assert re.fullmatch(f"{re.escape(words)}-{SIX}", value_part(value))


@pytest.mark.parametrize("value", ["狐", "🦊", "…", " ", "‮"])
def test_a_value_with_no_letter_left_is_six_digits(value):
    assert re.fullmatch(SIX, value_part(value))


def test_values_with_the_same_words_stay_apart():
    values = ["fox", "Fox", "FOX", "fox!", "fox.", " fox", "狐 fox", "fóx"]
    assert len({value_part(value) for value in values}) == len(values)


@given(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_any_value_makes_an_id(value):
    assert is_id(join_id(("entry", value_part(value))))


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=8), st.integers(1, 10**6))
def test_any_number_of_values_and_repeats_makes_an_id(values, number):
    assert is_id(repeat_id(join_id(("e" * 100, *map(value_part, values))), number))


@given(st.text(max_size=500))
def test_a_slug_is_short_and_plain(text):
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*|", slug(text))
    assert len(slug(text)) <= 40


def test_a_long_id_is_cut_and_stays_apart_from_its_neighbour():
    one, other = join_id(("e" * 99, "a")), join_id(("e" * 99, "b"))
    assert len(one) == 100
    assert one != other


def test_the_first_repeat_has_no_suffix():
    assert [repeat_id("fox", number) for number in (1, 2, 3)] == ["fox", "fox-2", "fox-3"]


def test_a_row_is_named_by_its_prompt_or_by_its_longest_text():
    assert re.fullmatch(f"a-fox-{SIX}", row_part({"prompt": "A fox", "model": "a-very-long-name"}))
    assert re.fullmatch(f"a-river-{SIX}", row_part({"caption": "A river", "model": "veo-3"}))
    assert re.fullmatch(SIX, row_part({"duration_seconds": 8}))


def test_the_order_of_columns_does_not_name_a_row():
    assert row_part({"a": "same", "b": "size"}) == row_part({"b": "size", "a": "same"})
