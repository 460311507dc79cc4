"""A slice of the fuzzer for every run of the tests, and what it has found before."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pipeline.providers.registry import provider_names
from tests.providers.dialects import DIALECTS, VENICE
from tests.torture.fuzz import play
from tests.torture.fuzz_targets import TARGETS, Answers, Boxes, Manifests
from tests.torture.mutation import worse_bytes, worse_json

if TYPE_CHECKING:
    from pathlib import Path

SEED = 7
RUNS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_others_wrote_does_harm(name: str) -> None:
    chunk = play(name, SEED, 0, RUNS)
    assert chunk.runs == RUNS
    assert not chunk.failures, "\n".join(chunk.failures)


def test_every_provider_of_the_package_is_fuzzed() -> None:
    assert {dialect.can.name for dialect in DIALECTS} == set(provider_names())


def test_a_run_can_be_repeated_from_its_number() -> None:
    corpus = [b"version: 1\nclips: []\n", b"name: x"]
    once, twice = (worse_bytes(random.Random("a/1/2"), corpus[0], corpus, (b"&a",)) for _ in range(2))
    assert once == twice != worse_bytes(random.Random("a/1/3"), corpus[0], corpus, (b"&a",))
    assert worse_json(random.Random(1), {"a": [1]}, "a", "b") == worse_json(random.Random(1), {"a": [1]}, "a", "b")


def test_the_fuzzer_notices_what_is_wrong(tmp_path: Path) -> None:
    """A target whose promise is broken fails: an answer with the key in it, a clip of nonsense, a silent reader."""

    class Leaky(Answers):
        def _draw(self, chance: random.Random, dialect: object, name: str) -> None:
            self.status, self.headers, self.body = 200, {}, b"{}"

        def _judge(self, dialect: object, name: str, outcome: object) -> str:
            return super()._judge(VENICE, "submit", "accepted")

    answers = Leaky(SEED)
    with answers.open():
        assert "submit answered" in answers.attempt(random.Random(1))
    tail = Boxes(corpus=[b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00"])
    assert not tail.attempt(random.Random(1)), "what is broken and said to be is no failure"
    assert not Manifests(tmp_path, corpus=[b"\xff\xfe"]).attempt(random.Random(1))
