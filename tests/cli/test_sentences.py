from __future__ import annotations

from typing import Any

import pytest

from pipeline.cli.standing.outlook import FATE_SAYS, Fate
from pipeline.cli.wording.sentences import COST_SAYS, EVENT_SAYS, STATE_SAYS
from pipeline.jobs.job import CostIs
from pipeline.jobs.state import EventKind, State


@pytest.mark.parametrize(
    ("words", "said"), [(State, STATE_SAYS), (EventKind, EVENT_SAYS), (CostIs, COST_SAYS), (Fate, FATE_SAYS)]
)
def test_every_word_of_the_ledger_has_a_sentence(words: Any, said: Any) -> None:
    assert set(said) == set(words)
    assert all(said.values())
