"""What the queue accepts, model by model."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.sandbox.catalogue import Picture
from pipeline.sandbox.venice.catalogue import VENICE_MODELS, Kind
from pipeline.sandbox.venice.media_rules import NEEDED
from pipeline.sandbox.venice.rules import queue_issues, wanted_picture

IMAGE = "data:image/png;base64,iVBORw0K"
ELEMENT = {"frontal_image_url": IMAGE}
FRAME = {"image_url": IMAGE, "frame_index": 24}


def body_for(model_id: str) -> dict[str, Any]:
    """The smallest acceptable body for a model."""
    model = VENICE_MODELS[model_id]
    body: dict[str, Any] = {"model": model_id}
    if model.kind is not Kind.UPSCALE:
        body["prompt"] = "A turtle"
    body |= dict.fromkeys(NEEDED[model.kind], IMAGE)
    if model.kind not in {Kind.VIDEO, Kind.UPSCALE}:
        body["duration"] = model.durations[0] if model.is_recorded else "5s"
    if model.kind is Kind.REFERENCE:
        body["reference_image_urls"] = [IMAGE]
    if model.aspects:
        body["aspect_ratio"] = model.aspects[0]
    return body


def fields(model_id: str, **changes: Any) -> set[str]:
    body = {name: value for name, value in (body_for(model_id) | changes).items() if value is not None}
    return {issue.field for issue in queue_issues(VENICE_MODELS[model_id], body)}


@pytest.mark.parametrize("model_id", VENICE_MODELS)
def test_every_model_accepts_its_smallest_body_and_its_picture_has_even_sides(model_id: str) -> None:
    assert fields(model_id) == set()
    picture = wanted_picture(VENICE_MODELS[model_id], body_for(model_id))
    assert picture.width % 2 == picture.height % 2 == 0
    assert picture.duration_s > 0


@pytest.mark.parametrize(
    ("model_id", "changes", "wrong"),
    [
        ("wan-2-7-text-to-video", {"aspect_ratio": None}, "aspect_ratio"),
        ("wan-2-7-text-to-video", {"aspect_ratio": "4:3"}, "aspect_ratio"),
        ("wan-2-7-image-to-video", {"aspect_ratio": "16:9"}, "aspect_ratio"),
        ("wan-2-7-text-to-video", {"resolution": "480p"}, "resolution"),
        ("veo3.1-full-text-to-video", {"resolution": "4K"}, "resolution"),
        ("kling-o3-pro-text-to-video", {"resolution": "720p"}, "resolution"),
        ("wan-2-7-text-to-video", {"duration": None}, "duration"),
        ("wan-2-7-text-to-video", {"duration": 5}, "duration"),
        ("wan-2-7-text-to-video", {"duration": "6s"}, "duration"),
        ("wan-2-7-video-to-video", {"duration": "Auto"}, "duration"),
        ("wan-2-7-text-to-video", {"audio": True}, "audio"),
        ("veo3.1-full-text-to-video", {"audio": False}, "audio"),
        ("ltx-2-v2-3-fast-text-to-video", {"audio": "no"}, "audio"),
        ("wan-2-7-text-to-video", {"image_url": IMAGE}, "image_url"),
        ("wan-2-7-image-to-video", {"image_url": None}, "image_url"),
        ("wan-2-7-image-to-video", {"image_url": "leaf.png"}, "image_url"),
        ("wan-2-7-image-to-video", {"end_image_url": IMAGE}, "end_image_url"),
        ("pixverse-c1-transition", {"end_image_url": None}, "end_image_url"),
        ("kling-o3-pro-reference-to-video", {"reference_image_urls": None}, "reference_image_urls"),
        ("kling-o3-pro-reference-to-video", {"reference_image_urls": [IMAGE] * 5}, "reference_image_urls"),
        ("kling-o3-pro-reference-to-video", {"reference_image_urls": IMAGE}, "reference_image_urls"),
        ("kling-o3-pro-reference-to-video", {"elements": [IMAGE]}, "elements"),
        ("wan-2-7-text-to-video", {"upscale_factor": 2}, "upscale_factor"),
        ("topaz-video-upscale", {"upscale_factor": 3}, "upscale_factor"),
        ("topaz-video-upscale", {"video_url": None}, "video_url"),
        ("wan-2-7-text-to-video", {"prompt": None}, "prompt"),
        ("wan-2-7-text-to-video", {"prompt": ""}, "prompt"),
        ("wan-2-7-text-to-video", {"prompt": "x" * 2501}, "prompt"),
        ("runway-gen4-5-text", {"prompt": "x" * 1001}, "prompt"),
        ("wan-2-7-text-to-video", {"negative_prompt": 1}, "negative_prompt"),
        ("wan-2-7-text-to-video", {"sample_count": 2}, "sample_count"),
        ("topaz-video-upscale", {"prompt": "Sharper"}, "prompt"),
        ("topaz-video-upscale", {"duration": "Auto"}, "duration"),
        ("wan-2-7-text-to-video", {"bitrate_mode": "high"}, "bitrate_mode"),
        ("seedance-2-0-text-to-video-basic", {"bitrate_mode": "huge"}, "bitrate_mode"),
        ("seedance-2-0-reference-to-video-basic", {"omni_reference_task_type": "edit"}, "omni_reference_task_type"),
        ("wan-2-7-text-to-video", {"consents": {"seedance": {}}}, "consents"),
        ("grok-imagine-reference-to-video", {"reference_image_urls": [IMAGE] * 8}, "reference_image_urls"),
        ("kling-o3-pro-reference-to-video", {"elements": [{"reference_image_urls": [IMAGE]}]}, "elements"),
        ("kling-o3-pro-reference-to-video", {"elements": [ELEMENT | {"face": IMAGE}]}, "elements"),
        ("kling-o3-pro-reference-to-video", {"elements": [ELEMENT] * 5}, "elements"),
        (
            "kling-o3-pro-reference-to-video",
            {"elements": [ELEMENT] * 4, "scene_image_urls": [IMAGE] * 3},
            "reference_image_urls",
        ),
        (
            "seedance-2-0-reference-to-video-basic",
            {"reference_image_urls": None, "reference_audio_urls": [IMAGE]},
            "reference_audio_urls",
        ),
        ("seedance-2-0-reference-to-video-basic", {"aspect_ratio": "adaptive"}, "aspect_ratio"),
        ("seedance-2-0-reference-to-video-basic", {"reference_video_urls": [IMAGE], "duration": "auto"}, "duration"),
        ("flux-3-text-to-video", {"keyframes": [FRAME, FRAME]}, "keyframes"),
        ("flux-3-text-to-video", {"keyframes": [FRAME | {"frame_index": 121}]}, "keyframes"),
        ("flux-3-text-to-video", {"keyframes": [{"frame_index": 1}]}, "keyframes"),
        ("flux-3-text-to-video", {"resolution": "8k"}, "resolution"),
        ("wan-2-7-text-to-video", {"keyframes": [FRAME]}, "keyframes"),
    ],
)
def test_what_a_model_does_not_take_is_named(model_id: str, changes: dict[str, Any], wrong: str) -> None:
    assert fields(model_id, **changes) == {wrong}


@pytest.mark.parametrize(
    ("model_id", "changes"),
    [
        ("topaz-video-upscale", {"prompt": None, "upscale_factor": 4}),
        ("wan-3-0-text-to-video", {"prompt": "x" * 20_000}),
        ("wan-2-7-text-to-video", {"audio_url": "https://example.com/a.mp3"}),
        ("seedance-2-0-text-to-video-basic", {"bitrate_mode": "high", "voice_id": "x"}),
        ("wan-3-0-reference-to-video", {"reference_document_urls": ["https://example.com/a.pdf"]}),
        ("seedance-2-5-reference-to-video-basic", {"omni_reference_task_type": "edit"}),
        ("seedance-2-0-reference-to-video-basic", {"reference_video_urls": [IMAGE], "aspect_ratio": "adaptive"}),
        ("seedance-2-5-reference-to-video-basic", {"reference_video_urls": [IMAGE], "duration": "-1"}),
        ("flux-3-text-to-video", {"keyframes": [FRAME, FRAME | {"frame_index": 120}]}),
        ("topaz-video-upscale", {"duration": "10s"}),
        ("kling-o3-pro-reference-to-video", {"reference_image_urls": None, "elements": [{"frontal_image_url": IMAGE}]}),
        ("ltx-2-v2-3-fast-text-to-video", {"audio": False}),
    ],
)
def test_what_a_model_takes_beyond_the_smallest_body_is_accepted(model_id: str, changes: dict[str, Any]) -> None:
    assert fields(model_id, **changes) == set()


@pytest.mark.parametrize(
    ("model_id", "changes", "picture"),
    [
        ("wan-2-7-text-to-video", {"aspect_ratio": "9:16"}, (720, 1280, 5.0, False)),
        ("wan-2-7-text-to-video", {"resolution": "1080p"}, (1920, 1080, 5.0, False)),
        ("veo3.1-full-text-to-video", {"resolution": "4k", "duration": "8s"}, (3840, 2160, 8.0, True)),
        ("minimax-h3-text-to-video", {"aspect_ratio": "1:1"}, (1440, 1440, 5.0, True)),
        ("ltx-2-v2-3-full-text-to-video", {"audio": False}, (1920, 1080, 6.0, False)),
        ("sora-2-pro-text-to-video", {"resolution": "true_1080p"}, (1920, 1080, 4.0, True)),
        ("topaz-video-upscale", {"upscale_factor": 4}, (2560, 1440, 8.0, False)),
    ],
)
def test_the_picture_is_the_one_that_was_asked_for(
    model_id: str, changes: dict[str, Any], picture: tuple[int, int, float, bool]
) -> None:
    width, height, duration_s, has_audio = picture
    wanted = Picture(width=width, height=height, duration_s=duration_s, has_audio=has_audio)
    assert wanted_picture(VENICE_MODELS[model_id], body_for(model_id) | changes) == wanted
