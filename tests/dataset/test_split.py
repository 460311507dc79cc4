from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.split import ALL_TRAIN, Shares
from pipeline.errors import InputError

SHARES = Shares(validation=0.05, test=0.05)


def test_shares_are_kept_over_many_items() -> None:
    found = Counter(SHARES.split_of(f"item-{number}") for number in range(20_000))
    assert found["validation"] / 20_000 == pytest.approx(0.05, abs=0.006)
    assert found["test"] / 20_000 == pytest.approx(0.05, abs=0.006)


@given(st.text(min_size=1))
def test_the_split_of_an_item_follows_from_its_id_alone(item_id: str) -> None:
    assert SHARES.split_of(item_id) == Shares.parse("90/5/5").split_of(item_id)
    assert ALL_TRAIN.split_of(item_id) == "train"


def test_these_splits_never_change() -> None:
    """Whoever trained on yesterday's export must not find its test clips in today's training set."""
    half = Shares(validation=0.3, test=0.3)
    assert [half.split_of(name) for name in ("turtle", "wave", "fox", "deer", "zoom", "reef")] == GOLDEN


GOLDEN = ["validation", "test", "validation", "train", "train", "test"]


@pytest.mark.parametrize("text", ["90/5", "90/5/6", "90-5-5", "", "a/b/c", "100/0/0/0", "-1/50/51", "90/5/5x"])
def test_what_is_no_sharing_out_is_told(text: str) -> None:
    with pytest.raises(InputError, match="three shares in percent that add up to 100"):
        Shares.parse(text)


def test_shares_may_be_broken_numbers() -> None:
    assert Shares.parse(" 99.5/0.25/0.25 ") == Shares(validation=0.0025, test=0.0025)
