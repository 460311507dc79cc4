from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ClipmillError
from pipeline.manifest.accept import acceptor
from pipeline.manifest.validate import rules
from pipeline.manifest.words import validator

SCALARS = st.sampled_from([None, True, False, 0, 1, 8, -1, 3601, 2.5, 8.0, "", " ", "a", "8", "a__1", "a\n", "veo-3",
                           "rows.csv", "rows.CSV", "x/y", "venice"])  # fmt: skip
KEYS = st.sampled_from(["id", "prompt", "provider", "model", "parameters", "options", "matrix", "exclude", "rows",
                        "repeat", "metadata", "duration_seconds", "resolution", "reference_images", "elements",
                        "generate_audio", "version", "name", "limits", "in_flight", "max_cost_usd", "prices",
                        "venice/veo-3", "usd_per_clip", "usd_per_second", "providers", "clips", "x-mine", "$schema",
                        "animal", "-bad", "a\n"])  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=4),
    max_leaves=12,
)
SOUND = {"id": "a", "prompt": "b"}


@given(value=st.dictionaries(KEYS, VALUES, max_size=5) | VALUES, sound=st.booleans())
@settings(max_examples=600)
def test_both_verdicts_on_an_entry_are_the_same(value: Any, sound: bool) -> None:
    entry = {**SOUND, **value} if sound and isinstance(value, dict) else value

    assert rules().accepts_entry(entry) is validator(rules().entry).is_valid(entry)


@given(value=st.dictionaries(KEYS, VALUES, max_size=5) | VALUES, sound=st.booleans())
@settings(max_examples=600)
def test_both_verdicts_on_a_top_level_are_the_same(value: Any, sound: bool) -> None:
    top = {"version": 1, "name": "a", "clips": [None], **value} if sound and isinstance(value, dict) else value

    assert rules().accepts_top(top) is validator(rules().top).is_valid(top)


PARAMETERS = {name: {name: value} for name, value in {
    "duration_seconds": 8, "aspect_ratio": "16:9", "resolution": "720p", "generate_audio": True,
    "negative_prompt": "", "sample_count": 2, "image": "a.png", "end_image": "a.png", "audio": "a.wav",
    "video": "a.mp4", "reference_images": ["a.png"], "reference_videos": ["a.mp4"], "reference_audios": ["a.wav"],
    "reference_documents": ["a.pdf"], "scene_images": ["a.png"],
    "elements": [{"frontal_image": "a.png"}], "keyframes": [{"image": "a.png", "frame": 0}],
    "upscale_factor": 2}.items()}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_neutral_parameter_is_accepted_in_a_clip_and_in_a_matrix_and_may_be_removed(name: str) -> None:
    value = PARAMETERS[name][name]
    accepts = rules().accepts_entry

    assert accepts({**SOUND, "parameters": {name: value}})
    assert accepts({**SOUND, "parameters": {name: None}})
    assert accepts({**SOUND, "matrix": {name: [value]}})
    assert not accepts({**SOUND, "parameters": {name: {"not": "this"}}})
    assert not accepts({**SOUND, "matrix": {name: value if not isinstance(value, list) else value[0]}})


def test_the_neutral_parameters_are_those_of_the_design_and_no_others() -> None:
    assert rules().words.parameters == PARAMETERS.keys()
    assert set(rules().entry["properties"]["matrix"]["properties"]) == {"model", *PARAMETERS}


def test_a_keyword_that_is_not_held_is_refused_when_the_schema_is_read() -> None:
    with pytest.raises(ClipmillError, match="format"):
        acceptor({"properties": {"a": {"type": "string", "format": "uri"}}})
