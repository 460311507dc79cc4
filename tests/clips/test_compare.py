from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.clips.compare import differences
from pipeline.clips.mp4 import ClipFacts

FACTS = ClipFacts(
    duration_s=8.0, width=1280, height=720, fps=24.0, frames=192, codec="avc1", has_audio=True, fragmented=False
)
WHOLE = 2_000_000


def test_a_clip_as_asked_differs_in_nothing() -> None:
    asked = {
        "duration_seconds": 8,
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "generate_audio": True,
        "negative_prompt": "blurry",
    }
    assert differences(asked, FACTS, WHOLE) == ()
    assert differences({}, FACTS, WHOLE) == ()


def test_every_difference_is_told_in_a_sentence() -> None:
    asked = {"duration_seconds": 5, "aspect_ratio": "9:16", "resolution": "1080p", "generate_audio": True}
    assert differences(asked, replace(FACTS, has_audio=False), WHOLE) == (
        "The clip lasts 8.00 s; 5 s were asked for.",
        "The clip is 1280x720; 1080p was asked for.",
        "The clip is 1280x720; an aspect ratio of 9:16 was asked for.",
        "The clip has no sound; sound was asked for.",
    )


@pytest.mark.parametrize(
    ("asked", "width", "height", "agrees"),
    [
        ({"resolution": "720p"}, 720, 1280, True),
        ({"resolution": "720p"}, 1080, 1920, False),
        ({"resolution": "1080p"}, 1920, 1088, True),
        ({"resolution": "1080P"}, 1080, 1920, True),
        ({"resolution": "true_1080p"}, 1920, 1080, True),
        ({"resolution": "true_1080p"}, 1280, 720, False),
        ({"resolution": "768P"}, 1366, 768, True),
        ({"resolution": "480p"}, 848, 480, True),
        ({"resolution": "4k"}, 3840, 2160, True),
        ({"resolution": "4K"}, 2160, 3840, True),
        ({"resolution": "4k"}, 1920, 1080, False),
        ({"resolution": "2160p"}, 3840, 2160, True),
        ({"resolution": "2K"}, 2560, 1440, True),
        ({"resolution": "2K"}, 1280, 720, False),
        ({"resolution": "2x"}, 1280, 720, True),
        ({"resolution": 720}, 1920, 1080, True),
        ({"aspect_ratio": "16:9"}, 1920, 1088, True),
        ({"aspect_ratio": "16:9"}, 848, 480, True),
        ({"aspect_ratio": "16:9"}, 1024, 768, False),
        ({"resolution": "832x480"}, 832, 480, True),
        ({"resolution": "832x480"}, 848, 480, True),
        ({"resolution": "832x480"}, 1280, 480, False),
        ({"resolution": "832x480"}, 480, 832, False),
        ({"aspect_ratio": "1:1"}, 960, 960, True),
        ({"aspect_ratio": "1:1"}, 960, 1000, False),
        ({"aspect_ratio": "2.39:1"}, 2390, 1000, True),
        ({"aspect_ratio": "auto"}, 960, 1000, True),
        ({"aspect_ratio": "0:1"}, 960, 1000, True),
    ],
)
def test_picture_sizes_are_compared_with_the_slack_that_encoders_need(
    asked: dict[str, Any], width: int, height: int, agrees: bool
) -> None:
    assert (differences(asked, replace(FACTS, width=width, height=height), WHOLE) == ()) is agrees


@pytest.mark.parametrize(
    ("asked", "duration_s", "agrees"),
    [
        (4, 4.5, True),
        (4, 4.51, False),
        (4, 3.5, True),
        (10, 11.0, True),
        (10, 11.01, False),
        (10, 8.99, False),
        (5.5, 5.04, True),
        ("8", 2.0, True),
        (True, 2.0, True),
    ],
)
def test_durations_may_be_off_by_half_a_second_or_a_tenth(asked: Any, duration_s: float, agrees: bool) -> None:
    assert (differences({"duration_seconds": asked}, replace(FACTS, duration_s=duration_s), WHOLE) == ()) is agrees


@pytest.mark.parametrize(
    ("asked", "has_audio", "agrees"),
    [(True, False, False), (False, True, False), (False, False, True), (True, True, True), (None, True, True)],
)
def test_sound_that_is_missing_or_was_not_asked_for_is_a_difference(
    asked: bool | None, has_audio: bool, agrees: bool
) -> None:
    assert (differences({"generate_audio": asked}, replace(FACTS, has_audio=has_audio), WHOLE) == ()) is agrees


@pytest.mark.parametrize(("size_bytes", "agrees"), [(0, False), (99_999, False), (100_000, True)])
def test_a_tiny_clip_is_told_for_it_can_be_a_refusal_in_disguise(size_bytes: int, agrees: bool) -> None:
    told = differences({}, FACTS, size_bytes)
    assert (told == ()) is agrees
    assert agrees or "refusal in disguise" in told[0]
