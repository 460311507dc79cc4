from __future__ import annotations

import pytest

from pipeline.dataset.where import meeting, parse
from pipeline.errors import InputError
from tests.dataset.made import a_row


def scored(score: int | None) -> dict[str, int | None]:
    return {"metadata.score": score, "metadata.note": None}


ROWS = [
    a_row("a", duration=4.0, has_audio=True, model="veo-3", **scored(3)),
    a_row("b", duration=8.0, has_audio=False, model="veo-3-fast", **scored(None)),
    a_row("c", text="A reef = home", duration=6.5, has_audio=True, model="veo-3", **scored(1)),
]


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        ([], "abc"),
        (["duration>=6.5"], "bc"),
        (["duration > 6.5"], "b"),
        (["duration<6.5", "model=veo-3"], "a"),
        (["model!=veo-3"], "b"),
        (["model~veo-3*"], "abc"),
        (["text~*reef*"], "c"),
        (["text=A reef = home"], "c"),
        (["has_audio=true"], "ac"),
        (["has_audio!=TRUE"], "b"),
        (["metadata.score>=2"], "a"),
        (["metadata.score!=3"], "bc"),
        (["metadata.note=x"], ""),
        (["metadata.note!=x"], "abc"),
        (["duration=1", "metadata.score=3"], ""),
    ],
)
def test_rows_that_meet_every_condition_are_kept(conditions: list[str], left: str) -> None:
    assert "".join(row.key for row in meeting([parse(text) for text in conditions])(ROWS)) == left


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("duratoin>=4", "there is no column 'duratoin'. Did you mean 'duration'?"),
        ("duration>=long", "'duration' is a number, and 'long' is none"),
        ("has_audio=yes", "write has_audio=true or has_audio=false"),
        ("has_audio>true", "write has_audio=true"),
    ],
)
def test_a_condition_that_cannot_be_held_is_told(condition: str, words: str) -> None:
    with pytest.raises(InputError) as told:
        meeting([parse(condition)])(ROWS)
    assert words in str(told.value)


@pytest.mark.parametrize("text", ["duration", "", "=4", ">"])
def test_what_is_no_condition_is_told(text: str) -> None:
    with pytest.raises(InputError, match="is no condition"):
        parse(text)


def test_a_wrong_column_is_told_even_where_there_are_no_rows() -> None:
    with pytest.raises(InputError, match="no column"):
        meeting([parse("colour=red")])([])
