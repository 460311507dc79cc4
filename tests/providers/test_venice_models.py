"""Venice's list of models, read whatever it holds, and laid over what is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.providers.catalogue import Deprecation, Model, table
from pipeline.providers.decode import Malformed
from pipeline.providers.venice.models import learned, table_of
from pipeline.providers.venice.provider import Venice
from pipeline.system.effects import system
from tests.providers.loopback import asked

VEO = "veo3.1-fast-text-to-video"
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("8s") | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
CONSTRAINTS = (
    "model_type", "durations", "resolutions", "aspect_ratios", "audio", "audio_configurable", "audio_input",
    "video_input", "prompt_character_limit", "reference_image_min_short_side_pixels",
    "reference_image_min_aspect_ratio", "reference_image_max_aspect_ratio",
)  # fmt: skip
SPEC = ("name", "deprecation", "offline", "betaModel", "regionRestrictions", "constraints")
DEPRECATION = ("autoRemap", "date", "startsAt", "removesAt", "replacementModelId")


def some(*names: str, **known: Any) -> Any:
    """Records with some of these fields, each of any form, or of the form that is known."""
    return st.fixed_dictionaries({}, optional={name: ODD | known.get(name, st.nothing()) for name in names})


RECORD = some(
    "id",
    "type",
    "model_spec",
    id=st.sampled_from([VEO, "new-image-to-video", "x"]),
    type=st.just("video"),
    model_spec=some(*SPEC, constraints=some(*CONSTRAINTS), deprecation=some(*DEPRECATION)),
)


def model(known: Model | None = None, spec: dict[str, Any] | None = None, **constraints: Any) -> Model:
    name = known.id if known else "tomorrow-image-to-video"
    return learned({"id": name, "type": "video", "model_spec": {"constraints": constraints, **(spec or {})}}, known)


@given(st.lists(RECORD | ODD, max_size=3) | ODD)
def test_any_list_is_read_or_is_malformed_and_any_request_is_held_against_it(data: Any) -> None:
    provider = Venice(None, system())
    taken = provider.take_catalogue({"data": data}, "2099-01-01")
    assert taken == isinstance(data, list)
    for name in (VEO, "new-image-to-video", "x"):
        request = asked(name, duration_seconds=8, aspect_ratio="16:9", resolution="720p", image="a", audio="b")
        provider.check(request)
        json.dumps(provider.request_body(request, {}))
        assert provider.billed_seconds(request) == 8.0
    assert all(info.id for info in provider.catalogue.infos())


def test_what_the_list_says_goes_over_what_is_known_and_the_rest_stays() -> None:
    known = table("venice").models["kling-o3-pro-reference-to-video"]
    told = model(known, durations=["3s", "Auto", "30s"], audio=False, audio_input=True, video_input=False)
    assert told.durations_s == (3, 30)
    assert told.audio == "never"
    assert told.takes == known.takes | {"audio"}  # type: ignore[operator]  # it is recorded
    assert (told.needs, told.maxima, told.kind) == (known.needs, known.maxima, "reference-to-video")
    assert told.resolutions == ()


def test_a_new_model_is_known_by_its_id_and_the_list() -> None:
    told = model(durations=["5s"], resolutions=["720p"], aspect_ratios=[], audio=True, prompt_character_limit=99)
    assert (told.kind, told.needs) == ("image-to-video", ("image",))
    assert (told.durations_s, told.resolutions, told.aspect_ratios) == ((5,), ("720p",), ())
    assert (told.audio, told.prompt_characters_max, told.takes) == ("always", 99, None)
    assert told.refuses == ("aspect_ratio",)


@pytest.mark.parametrize(
    ("name", "kind", "needs"),
    [
        ("wan-9-reference-to-video-basic", "reference-to-video", ("references",)),
        ("wan-9-video-to-video", "video-to-video", ("video",)),
        ("flux-9-first-last-frame-to-video", "first-last-frame-to-video", ("image", "end_image")),
        ("pixverse-9-transition", "transition", ("image", "end_image")),
        ("topaz-9-upscale", "upscale", ("video",)),
        ("omni", "video", ()),
    ],
)
def test_the_id_says_more_than_the_lists_own_word(name: str, kind: str, needs: tuple[str, ...]) -> None:
    listed = {"id": name, "type": "video", "model_spec": {"constraints": {"model_type": "video"}}}
    told = table_of({"data": [listed]}, "2099-01-01").models[name]
    assert (told.kind, told.needs) == (kind, needs)


def test_rules_for_images_are_taken_from_the_list() -> None:
    sizes = {"reference_image_min_short_side_pixels": 256}
    shapes = {"reference_image_min_aspect_ratio": 0.5, "reference_image_max_aspect_ratio": 2}
    told = model(**sizes, **shapes).media
    assert (told.image_side_min_px, told.image_shape) == (256, (0.5, 2.0))
    assert model(reference_image_min_aspect_ratio=0.5).media.image_shape is None


def test_a_deprecation_has_its_days_and_its_successor() -> None:
    said = {"autoRemap": True, "date": "2026-05-01T00:00:00.000Z", "startsAt": "2026-04-01", "replacementModelId": "b"}
    told = model(spec={"deprecation": said}).deprecation
    assert told == Deprecation(since="2026-04-01", removed_on="2026-05-01", successor="b", remaps=True)
    assert model(spec={"deprecation": "soon"}).deprecation is None


@pytest.mark.parametrize("odd", [float("inf"), float("nan"), -1, 0, 10**400, True, "256", 0.5, None])
def test_a_number_that_makes_no_sense_is_left_aside(odd: Any) -> None:
    told = model(prompt_character_limit=odd, reference_image_min_short_side_pixels=odd)
    assert (told.prompt_characters_max, told.media.image_side_min_px) == (None, None)
    shaped = model(reference_image_min_aspect_ratio=odd, reference_image_max_aspect_ratio=odd).media.image_shape
    assert shaped == ((0.5, 0.5) if odd == 0.5 else None)


def test_what_is_no_list_is_malformed() -> None:
    with pytest.raises(Malformed):
        table_of({"data": {}}, "2099-01-01")
