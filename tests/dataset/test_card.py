from __future__ import annotations

import pytest
import yaml

from pipeline.dataset.card import FILL_IN, card, code
from pipeline.dataset.formats import FORMATS
from pipeline.dataset.rows import MEANINGS, Selection
from tests.dataset.made import a_row

FACTS = {"duration": 8.0, "provider": "venice", "model": "wan-2.6", "cost_is": "quoted"}
ROWS = (
    a_row("a", **FACTS, **{"metadata.place": "snow"}),
    a_row("b", split="test", **FACTS, **{"metadata.place": "sand"}),
)


@pytest.mark.parametrize("form", FORMATS)
def test_the_front_matter_is_yaml_that_names_the_splits_and_leaves_the_licence_open(form: str) -> None:
    text = card("reefs", form, Selection(rows=ROWS), "Load it.")
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "unknown"
    assert front["size_categories"] == ["n<1K"]
    files = front["configs"][0]["data_files"]
    assert [each["split"] for each in files] == ["train", "test"]
    assert all(each["path"].startswith(f"{each['split']}/") for each in files)


def test_the_card_tells_counts_cost_models_and_what_was_left_out() -> None:
    selection = Selection(rows=ROWS, rejected=3, rejected_usd=1.2, undecided=4, passed_over=5, unfinished=6)
    text = card("reefs", "videofolder", selection, "Load it.")
    for words in (
        "2 generated clips, 0.3 min, 2,000 bytes",
        "| train | 1 | 1 | 0.1 min | 1,000 |",
        "| `venice` | `wan-2.6` | 2 | 0.3 min | $0.80 | quoted |",
        "3 clips by the manifest's `accept`; they cost $1.20",
        "4 clips that were not decoded",
        "5 clips by the conditions",
        "6 items without a finished clip",
        "| `metadata.place` | the manifest's |",
        "Load it.",
    ):
        assert words in text, words
    assert text.count(FILL_IN) == 5
    assert all(f"| `{name}` |" in text for name in ("file_name", *MEANINGS))


def test_a_cost_that_nobody_knows_is_told_as_unknown() -> None:
    from dataclasses import replace

    unknown = tuple(replace(row, cost_usd=None) for row in ROWS)
    assert "| unknown |" in card("reefs", "parquet", Selection(rows=unknown), "")
    assert "$0.40 and 1 clips of unknown cost" in card("reefs", "parquet", Selection(rows=(ROWS[0], unknown[1])), "")


@pytest.mark.parametrize("text", ["<script>", "a|b", "`x` ![y](z)", "line\nbreak", "\x1b[31m", "\u202egnp"])
def test_text_of_others_is_shown_and_not_obeyed(text: str) -> None:
    shown = code(text)
    assert shown[0] == shown[-1] == "`"
    assert not set("`|\n") & set(shown[1:-1])
    assert shown.isprintable()
