from __future__ import annotations

from pipeline.cli.wording.columns import columns, cut, width_of


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert columns(("id", "n"), [("turtle", "1"), ("a", "10")], right={1}) == "id       n\nturtle   1\na       10"


def test_the_last_column_is_cut_to_the_terminal() -> None:
    text = columns(("id", "prompt"), [("a", "x" * 200)], width=40)
    assert [len(line) for line in text.splitlines()] == [10, 40]
    assert text.endswith("...")


def test_wide_and_combining_characters_take_the_places_that_a_terminal_gives_them() -> None:
    assert (width_of("海龟"), width_of("e\u0301"), width_of("abc")) == (4, 1, 3)
    assert cut("海龟海龟海龟", 8) == "海龟..."
    assert columns(("a", "b"), [("海", "x"), ("ab", "y")]) == "a   b\n海  x\nab  y"


def test_what_a_terminal_would_obey_is_escaped_before_it_is_measured() -> None:
    assert columns(("a", "b"), [("\x1b[2J", "\n")]) == "a        b\n\\x1b[2J  \\n"
