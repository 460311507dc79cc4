"""Names that are remembered as digests: numbered as they came, and in a fraction of a dictionary's memory."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from pipeline.names import Names


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=300))
def test_each_name_has_the_number_of_its_first_coming(texts: list[str]) -> None:
    names = Names()
    numbers: dict[str, int] = {}
    for text in texts:
        assert (text in names) == (text in numbers)
        assert names.add(text) == numbers.setdefault(text, len(numbers))
    assert len(names) == len(numbers)
    assert all(text in names for text in texts)


def test_the_table_grows_and_forgets_nothing() -> None:
    names = Names(f"i{number}" for number in range(20_000))
    assert [names.add(f"i{number}") for number in range(0, 20_000, 7)] == list(range(0, 20_000, 7))
    assert "i20000" not in names
    assert len(names) == 20_000


def test_what_is_no_text_is_no_name() -> None:
    assert 1 not in Names(["1"])
    assert None not in Names()


def test_a_name_takes_a_few_dozen_bytes() -> None:
    names = Names(f"clip-{number:07d}" for number in range(70_000))
    size = sum(sys.getsizeof(getattr(names, part)) for part in Names.__slots__)
    assert size / 70_000 < 40
