"""Local files held against what Venice and the model take, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.providers.base import InputFile
from pipeline.providers.catalogue import table
from pipeline.providers.venice.provider import Venice
from pipeline.providers.venice.request import venice_quote_body
from pipeline.system.effects import system
from tests.providers.loopback import asked

OFFLINE = Venice(None, system())
REFERENCES = "seedance-2-0-reference-to-video-basic"
IMAGES = "seedance-2-0-image-to-video-basic"
TYPES = {"png": "image/png", "mp4": "video/mp4", "webm": "video/webm", "mp3": "audio/mpeg", "wav": "audio/wav"}


def files(**facts: tuple[Any, ...]) -> dict[str, InputFile]:
    """`a_png=(width, height)` and `a_mp4=(seconds,)` as the records of a.png and a.mp4."""
    made = {}
    for written, told in facts.items():
        name = written.replace("_", ".")
        known = {"width": told[0], "height": told[1]} if len(told) == 2 else {"duration_s": told[0] if told else None}
        kind = TYPES[name.rpartition(".")[2]]
        made[name] = InputFile(path=name, sha256="0" * 64, size_bytes=9, media_type=kind, **known)
    return made


def faults(model: str, held: dict[str, InputFile], **given: Any) -> list[str]:
    problems = OFFLINE.check(asked(model=model, files=held, **given))
    return [problem.message for problem in problems if problem.field[-1] in given]


@pytest.mark.parametrize(
    ("model", "given", "held", "expected"),
    [
        (IMAGES, {"image": "a.png"}, files(a_png=(299, 400)), "a.png: it is 299x400; "),
        (IMAGES, {"image": "a.png"}, files(a_png=(299, 400)), "takes no side below 300 pixels."),
        (IMAGES, {"image": "a.png"}, files(a_png=(300, 750)), "takes a width of 0.4 to 2.5 times the height."),
        (IMAGES, {"image": "a.png"}, files(a_png=(300, 749)), ""),
        (IMAGES, {"image": "a.png"}, files(a_png=()), ""),
        ("wan-2-7-image-to-video", {"image": "a.png"}, files(a_png=(16, 16)), ""),
        (REFERENCES, {"reference_videos": ["a.mp4"]}, files(a_mp4=(1.9,)), "lasts 1.9 s, and 2 s is the least."),
        (REFERENCES, {"reference_videos": ["a.mp4"]}, files(a_mp4=(15.5,)), "lasts 15.5 s, and 15 s is the most."),
        (REFERENCES, {"reference_videos": ["a.mp4"]}, files(a_mp4=(15.0,)), ""),
        (REFERENCES, {"reference_videos": ["a.webm"]}, files(a_webm=()), "a reference video is an MP4 or a MOV."),
        (REFERENCES, {"reference_videos": ["a.mp4", "b.mp4"]}, files(a_mp4=(8.0,), b_mp4=(8.0,)), "16 s together"),
        ("seedance-2-5-reference-to-video-basic", {"reference_videos": ["a.mp4"]}, files(a_mp4=(29.0,)), ""),
        ("wan-2-7-text-to-video", {"audio": "a.wav"}, files(a_wav=(2.9,)), "3 s is the least."),
        ("wan-2-7-text-to-video", {"audio": "a.wav"}, files(a_wav=(30.1,)), "30 s is the most."),
        ("wan-2.6-text-to-video", {"audio": "a.mp3"}, files(a_mp3=(1.0,)), ""),
        ("tomorrows-model", {"audio": "a.mp3"}, files(a_mp3=(31.0,)), "30 s is the most."),
        ("tomorrows-model", {"reference_videos": ["a.mp4"]}, files(a_mp4=(60.0,)), ""),
        ("wan-3-0-reference-to-video", {"reference_videos": ["a.mp4"]}, files(a_mp4=(16.0,)), "15 s is the most."),
        ("topaz-video-upscale", {"video": "a.mp4"}, files(a_mp4=(301.0,)), "300 s is the most."),
        ("wan-2-7-video-to-video", {"video": "a.mp4"}, files(a_mp4=(301.0,)), ""),
    ],
)
def test_a_file_that_the_model_does_not_take_is_told(
    model: str, given: dict[str, Any], held: dict[str, InputFile], expected: str
) -> None:
    found = faults(model, held, **given)
    if expected:
        assert any(expected in message for message in found), found
    else:
        assert not [message for message in found if "a." in message or "together" in message]


def test_reference_sounds_are_held_to_their_length_too() -> None:
    held = files(a_mp3=(16.0,))
    given = {"reference_images": ["https://x/a.png"], "reference_audios": ["a.mp3"]}
    assert any("15 s is the most" in message for message in faults(REFERENCES, held, **given))


def test_a_clip_that_is_followed_is_billed_by_its_length() -> None:
    upscale = asked(model="topaz-video-upscale", prompt="", video="a.mp4", files=files(a_mp4=(12.5,)))
    assert OFFLINE.billed_seconds(upscale) == 12.5
    unknown = asked(model="topaz-video-upscale", prompt="", video="a.mp4", files=files(a_mp4=()))
    assert OFFLINE.billed_seconds(unknown) == 300.0


def test_reference_videos_are_quoted_with_their_length_where_all_of_it_is_known() -> None:
    held = files(a_mp4=(4.2,), b_mp4=(5.0,))
    both = asked(model=REFERENCES, reference_videos=["a.mp4", "b.mp4"], files=held)
    assert venice_quote_body(both, table("venice"))["reference_video_total_duration"] == 9.2
    one_by_url = asked(model=REFERENCES, reference_videos=["a.mp4", "https://x/c.mp4"], files=held)
    assert "reference_video_total_duration" not in venice_quote_body(one_by_url, table("venice"))
    said = asked(
        model=REFERENCES, reference_videos=["a.mp4"], files=held, options={"reference_video_total_duration": 3}
    )
    assert venice_quote_body(said, table("venice"))["reference_video_total_duration"] == 3
