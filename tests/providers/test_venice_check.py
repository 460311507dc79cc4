"""What Venice cannot make of a request, found before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import Severity
from pipeline.providers.base import InputFile
from pipeline.providers.catalogue import table
from pipeline.providers.venice.provider import Venice
from pipeline.system.effects import system
from tests.providers.loopback import asked, png

OFFLINE = Venice(None, system())
VEO = {"model": "veo3.1-fast-text-to-video", "duration_seconds": 8, "aspect_ratio": "16:9", "resolution": "720p"}
IMAGE = {"model": "wan-2.6-image-to-video", "duration_seconds": 5, "resolution": "720p", "image": "https://x/a.png"}
UPSCALE = {"model": "topaz-video-upscale", "video": "https://x/a.mp4"}
KEYED = {"model": "flux-3-text-to-video", "duration_seconds": 5}
FRAME = {"image": "https://x/a.png", "frame_index": 24}
GIVEN = {
    "confirmed_terms_and_privacy": True,
    "confirmed_legal_right": True,
    "confirmed_screening_acknowledged": True,
}
SEEDANCE = {
    "model": "seedance-2-0-reference-to-video-basic",
    "duration_seconds": 5,
    "aspect_ratio": "16:9",
    "resolution": "720p",
    "reference_images": ["https://x/a.png"],
}
KLING = {
    "model": "kling-o3-pro-reference-to-video",
    "duration_seconds": 5,
    "aspect_ratio": "16:9",
    "reference_images": ["https://x/a.png"],
}


def errors(request: Any) -> list[str]:
    return [problem.message for problem in OFFLINE.check(request) if problem.severity is Severity.ERROR]


def warnings(request: Any) -> list[str]:
    return [problem.message for problem in OFFLINE.check(request) if problem.severity is Severity.WARNING]


@pytest.mark.parametrize(
    "request_",
    [
        asked(**VEO),
        asked(**VEO, generate_audio=True, sample_count=1),
        asked(**{**VEO, "resolution": "4k"}),
        asked(**IMAGE),
        asked(**{**IMAGE, "image": "leaf.png"}, files=png()),
        asked(**KLING),
        asked(**KLING, elements=["https://x/b.png"], scene_images=["https://x/c.png"], end_image="https://x/d.png"),
        asked(model="topaz-video-upscale", prompt="", video="https://x/a.mp4", upscale_factor=4),
        asked(model="pixverse-v5.6-transition", duration_seconds=5, aspect_ratio="1:1", resolution="540p",
              image="https://x/a.png", end_image="https://x/b.png"),
        asked(model="wan-2.5-preview-text-to-video", duration_seconds=5, aspect_ratio="1:1", resolution="480p",
              audio="https://x/a.mp3"),
        asked(model="seedance-2-0-text-to-video-basic", duration_seconds=13, resolution="4k", aspect_ratio="16:9"),
        asked(**SEEDANCE, options={"consents": {"seedance": GIVEN}, "bitrate_mode": "high"}),
        asked(**SEEDANCE, reference_audios=["https://x/a.mp3"], reference_videos=["https://x/a.mp4"]),
        asked(**KEYED, keyframes=[FRAME, FRAME | {"frame_index": 120}]),
        asked(model="wan-3-0-reference-to-video", duration_seconds=5, aspect_ratio="16:9", resolution="720p",
              reference_documents=["https://x/a.pdf"]),
        asked(model="wan-2-7-video-to-video", resolution="720p", video="https://x/a.mp4"),
        asked(model=VEO["model"], options={"duration": "auto", "aspect_ratio": "auto", "resolution": "x"}),
    ],
)  # fmt: skip
def test_what_the_table_allows_has_no_problem(request_: Any) -> None:
    assert not [problem for problem in OFFLINE.check(request_) if "public list" not in problem.message]


def test_a_model_that_no_public_list_names_is_warned_of() -> None:
    asking = {"duration_seconds": 4, "resolution": "720p", "aspect_ratio": "16:9"}
    assert "may be renamed or retired" in warnings(asked(model="seedance-2-0-text-to-video", **asking))[0]
    assert not warnings(asked(model="seedance-2-0-text-to-video-basic", **asking))


@pytest.mark.parametrize(
    ("request_", "field", "expected"),
    [
        (asked(**{**VEO, "duration_seconds": 5}), "duration_seconds", "-video makes 4, 6 or 8 s; the nearest is 4."),
        (asked(**{**VEO, "duration_seconds": 7.0}), "duration_seconds", "the nearest is 6"),
        (asked(**{**KLING, "duration_seconds": 20}), "duration_seconds", "makes 3 to 15 s; the nearest is 15"),
        (asked(**{**VEO, "duration_seconds": "8s"}), "duration_seconds", "whole number of seconds"),
        (asked(**{**VEO, "duration_seconds": 0.5}), "duration_seconds", "whole number of seconds"),
        (asked(**{**VEO, "duration_seconds": float("nan")}), "duration_seconds", "whole number of seconds"),
        (asked(model=VEO["model"], aspect_ratio="16:9"), "duration_seconds", "write duration_seconds: 4"),
        (asked(**{**VEO, "aspect_ratio": "1:1"}), "aspect_ratio", "makes 16:9 or 9:16; the nearest is 9:16"),
        (asked(**{**VEO, "aspect_ratio": "wide"}), "aspect_ratio", "the nearest is 16:9"),
        (asked(model="veo3.1-fast-text-to-video", duration_seconds=8), "aspect_ratio", "needs an aspect ratio"),
        (asked(**IMAGE, aspect_ratio="16:9"), "aspect_ratio", "takes the shape of its image; leave aspect_ratio out"),
        (asked(**{**VEO, "resolution": "4K"}), "resolution", "the nearest is 4k"),
        (asked(**{**VEO, "resolution": "2K"}), "resolution", "the nearest is 1080p"),
        (asked(**KLING, resolution="720p"), "resolution", "one size; leave resolution out"),
        (asked(**VEO, generate_audio=False), "generate_audio", "always makes sound"),
        (asked(**VEO, upscale_factor=2), "upscale_factor", "does not upscale"),
        (asked(**VEO, upscale_factor=3), "upscale_factor", "1, 2 or 4"),
        (asked(**VEO, image="https://x/a.png"), "image", "veo3.1-fast-image-to-video takes an image"),
        (asked(**VEO, audio="https://x/a.mp3"), "audio", "not known to take audio"),
        (asked(**VEO, reference_images=["https://x/a.png"]), "reference_images", "not known to take"),
        (asked(**VEO, sample_count=2), "sample_count", "use `repeat`"),
        (asked(**VEO, fps=24), "fps", "`options`"),
        (asked(**VEO, image=["x"]), "image", "image is text"),
        (asked(**VEO, keyframes=[{"image": "x"}]), "keyframes", "frame_index"),
        (asked(**VEO, keyframes=["x"]), "keyframes", "frame_index"),
        (asked(**VEO, elements=[5]), "elements", "An element is"),
        (asked(**VEO, elements=["x"] * 5), "elements", "4 elements at most"),
        (asked(**VEO, reference_videos="x"), "reference_videos", "is a list"),
        (asked(**{**VEO, "prompt": " "}), "prompt", "needs a prompt"),
        (asked(**VEO, prompt="x" * 20_001), "prompt", "20000 at most"),
        (asked(model="runway-gen4-5-text", prompt="x" * 1001), "prompt", "takes 1000 at most"),
        (asked(model="wan-2.6-image-to-video", duration_seconds=5), "image", "needs the image"),
        (asked(model="topaz-video-upscale", prompt=""), "video", "needs the video"),
        (asked(model="topaz-video-upscale", video="u", duration_seconds=5), "duration_seconds", "_seconds out"),
        (asked(**{**KLING, "reference_images": []}), "reference_images", "needs a reference"),
        (asked(**{**KLING, "reference_images": ["a"] * 5}), "reference_images", "takes 4 reference_images at most"),
        (asked(**{**KLING, "reference_images": ["a"] * 4}, elements=["b"] * 4), "reference_images", "7 images, "),
        (asked(**VEO, options={"x": {1, 2}}), "options", "JSON cannot express"),
        (asked(**VEO, prompt="x" * 2501), "prompt", "2501 characters; veo3.1-fast-text-to-video takes 2500 at most."),
        (asked(**UPSCALE, prompt="Sharper"), "prompt", "topaz-video-upscale takes no prompt; leave it out."),
        (asked(**UPSCALE, prompt="", duration_seconds=5), "duration_seconds", "the length of the clip it is given"),
        (asked(**VEO, options={"consents": True}), "consents", "confirmed_legal_right: true"),
        (asked(**VEO, options={"consents": {"seedance": dict.fromkeys(GIVEN, False)}}), "consents", "true"),
        (asked(**VEO, options={"consents": {"seedance": GIVEN | {"more": True}}}), "consents", "nothing else"),
        (asked(**VEO, options={"image_url": "leaf.png"}), "image_url", "a file goes into parameters.image."),
        (asked(**VEO, options={"reference_image_urls": ["a"]}), "reference_image_urls", "parameters.reference_images."),
        (asked(**KLING, elements=[{"reference_images": ["b"]}]), "elements", "this one has no frontal_image"),
        (asked(**KLING, elements=[{"frontal_image": "b", "reference_images": ["c"] * 4}]), "elements", "3 reference_"),
        (asked(**KLING, elements=[{"frontal_image": "b", "face": "c"}]), "elements", "there is no face"),
        (asked(**KLING, elements=[{"frontal_image": "b", "reference_images": "c"}]), "elements", "is a list"),
        (asked(**KEYED, keyframes=[FRAME, FRAME]), "keyframes", "Two keyframes have the frame_index 24"),
        (asked(**KEYED, keyframes=[FRAME | {"frame_index": 121}]), "keyframes", "ends with frame 120; there is no"),
        (asked(**VEO, keyframes=[FRAME]), "keyframes", "not known to take keyframes"),
        (asked(**{**SEEDANCE, "reference_images": None}, reference_audios=["https://x/a.mp3"]), "reference_audios",
         "cannot be the only reference"),
        (asked(**SEEDANCE, reference_documents=["https://x/a.pdf"]), "reference_documents", "not known to take"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_an_error_with_the_nearest_thing(request_: Any, field: str, expected: str) -> None:
    found = [problem for problem in OFFLINE.check(request_) if problem.severity is Severity.ERROR]
    assert any(problem.field[-1] == field and expected in problem.message for problem in found), found


def test_one_fault_is_told_once() -> None:
    assert len(errors(asked(**{**VEO, "duration_seconds": "8s"}))) == 1


def test_an_unknown_model_is_a_warning_and_goes_on() -> None:
    request = asked(model="veo3.1-fastest-text-to-video")
    assert not errors(request)
    assert "Did you mean veo3.1-fast-text-to-video?" in warnings(request)[0]


def test_a_model_without_recorded_constraints_is_known() -> None:
    assert not OFFLINE.check(asked(model="flux-3-text-to-video"))
    assert errors(asked(model="flux-3-image-to-video"))


def test_a_missing_resolution_is_warned_of() -> None:
    request = asked(model="veo3.1-fast-text-to-video", duration_seconds=8, aspect_ratio="16:9")
    assert not errors(request)
    assert len(warnings(request)) == 1


def test_a_long_prompt_is_warned_of_where_no_limit_is_known() -> None:
    request = asked(model="flux-3-text-to-video", prompt="x" * 2501)
    assert not errors(request)
    assert "is thought to take 2500" in warnings(request)[0]


def test_words_that_are_not_documented_are_warned_of_as_tomorrows_may_be() -> None:
    odd = asked(**SEEDANCE, options={"bitrate_mode": "huge", "omni_reference_task_type": "invent"})
    assert not errors(odd)
    assert [text.split()[0] for text in warnings(odd)] == ["bitrate_mode", "omni_reference_task_type"]
    assert "not known to take a bitrate_mode" in warnings(asked(**VEO, options={"bitrate_mode": "high"}))[0]


def test_consents_are_asked_for_and_never_given() -> None:
    asking = asked(
        model="seedance-2-0-image-to-video", duration_seconds=5, resolution="720p", image="https://x/face.png"
    )
    assert "only you can give them" in warnings(asking)[0]
    assert "consents" not in OFFLINE.request_body(asking, {})


def test_a_retired_model_is_warned_of() -> None:
    request = asked(model="sora-2-text-to-video", duration_seconds=8, aspect_ratio="16:9", resolution="720p")
    assert "2026-09-24" in warnings(request)[0]


def test_a_body_beyond_the_ceiling_is_an_error_before_anything_is_read() -> None:
    big = png(size_bytes=26_300_000)
    assert "35 MB at most" in errors(asked(**{**IMAGE, "image": "leaf.png"}, files=big))[0]
    assert not errors(asked(**{**IMAGE, "image": "leaf.png"}, files=png(size_bytes=26_000_000)))


def test_a_sound_file_has_a_ceiling_of_its_own() -> None:
    files = {"a.mp3": InputFile(path="a.mp3", sha256="0" * 64, size_bytes=15_000_001, media_type="audio/mpeg")}
    request = asked(
        model="wan-2.6-text-to-video",
        duration_seconds=5,
        resolution="720p",
        aspect_ratio="1:1",
        audio="a.mp3",
        files=files,
    )
    assert "15 MB" in errors(request)[0]


def test_the_table_is_sound() -> None:
    models = table("venice").models
    assert len(models) == 146
    for model in models.values():
        assert model.kind
        assert model.audio in {"", "always", "never", "optional"}
        assert set(model.needs) <= {"image", "end_image", "video", "references"}
        assert list(model.durations_s or ()) == sorted(set(model.durations_s or ()))
        assert model.info().id == model.id


def test_every_model_of_the_table_can_be_satisfied() -> None:
    """Whatever the table says of a model, some request passes it: no rule contradicts another."""
    for model in table("venice").models.values():
        parameters: dict[str, Any] = {}
        for need in model.needs:
            name = "reference_images" if need == "references" else need
            if need == "references" and model.takes and "reference_images" not in model.takes:
                name = min(model.takes & {"elements", "reference_audios"})
            parameters[name] = ["https://x/a"] if name.endswith("s") else "https://x/a"
        for name, choices in (
            ("duration_seconds", model.durations_s),
            ("aspect_ratio", model.aspect_ratios),
            ("resolution", model.resolutions),
        ):
            if choices:
                parameters[name] = choices[-1]
        prompt = "" if model.kind == "upscale" else "A fox"
        assert not errors(asked(model=model.id, prompt=prompt, **parameters)), model
