import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.planning.identity import canonical_json, fingerprint
from pipeline.providers.base import GenerationRequest, InputFile

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def request(**changes):
    given = {"model": "veo-3", "prompt": "A fox", "parameters": {"duration_seconds": 8, "aspect_ratio": "16:9"}}
    return GenerationRequest(**{**given, **changes})


def leaf(path="leaf.png", content=b"leaf"):
    return InputFile(
        path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content), media_type="image/png"
    )


def test_the_canonical_text_is_a_contract():
    value = {"b": [1, 2.0, 0.1, -0.0], "a": {"é": None, "x": True}, "c": ("t", 1e300)}
    assert canonical_json(value) == '{"a":{"x":true,"\\u00e9":null},"b":[1,2,0.1,0],"c":["t",1e+300]}'


def test_the_fingerprint_of_a_known_request_never_changes():
    known = (
        "sha256:"
        + hashlib.sha256(
            b'{"model":"veo-3","options":{"seed":7},"parameters":{"aspect_ratio":"16:9","duration_seconds":8},'
            b'"prompt":"A fox","provider":"modelmax"}'
        ).hexdigest()
    )
    assert fingerprint("modelmax", request(options={"seed": 7})) == known


@given(JSON)
def test_the_canonical_text_says_the_same_value(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(max_size=4), st.integers(), min_size=2, max_size=5), st.randoms())
def test_the_order_of_keys_means_nothing(value, random):
    names = list(value)
    random.shuffle(names)
    assert canonical_json({name: value[name] for name in names}) == canonical_json(value)


@given(JSON, JSON)
def test_two_values_share_a_text_only_if_json_holds_them_equal(one, other):
    def strict(value):
        return json.dumps(value, sort_keys=True) if not isinstance(value, float) else value

    if canonical_json(one) == canonical_json(other):
        assert one == other
        assert isinstance(one, bool) == isinstance(other, bool)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_numbers_that_json_lacks_are_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


def test_a_lone_surrogate_has_a_canonical_text():
    assert canonical_json("\ud800") == '"\\ud800"'


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "veo-3-fast"},
        {"prompt": "A fox "},
        {"parameters": {"duration_seconds": 6, "aspect_ratio": "16:9"}},
        {"parameters": {"duration_seconds": 8}},
        {"parameters": {"duration_seconds": True, "aspect_ratio": "16:9"}},
        {"options": {"seed": 1}},
    ],
)
def test_every_part_of_the_request_counts(changes):
    assert fingerprint("modelmax", request(**changes)) != fingerprint("modelmax", request())


def test_the_provider_counts():
    assert fingerprint("venice", request()) != fingerprint("modelmax", request())


def test_8_and_8_point_0_seconds_are_the_same_request():
    other = request(parameters={"aspect_ratio": "16:9", "duration_seconds": 8.0})
    assert fingerprint("modelmax", other) == fingerprint("modelmax", request())


def test_a_file_counts_by_its_bytes_and_not_by_its_name():
    old = request(parameters={"image": "leaf.png"}, files={"leaf.png": leaf()})
    moved = request(parameters={"image": "a/leaf.png"}, files={"a/leaf.png": leaf("a/leaf.png")})
    edited = request(parameters={"image": "leaf.png"}, files={"leaf.png": leaf(content=b"tree")})
    assert fingerprint("venice", moved) == fingerprint("venice", old)
    assert fingerprint("venice", edited) != fingerprint("venice", old)


def test_a_file_counts_where_it_stands_in_a_list_or_an_object():
    files = {"a.png": leaf("a.png", b"a"), "b.png": leaf("b.png", b"b")}

    def of(parameters):
        return fingerprint("venice", request(parameters=parameters, files=files))

    assert of({"reference_images": ["a.png", "b.png"]}) != of({"reference_images": ["b.png", "a.png"]})
    assert of({"keyframes": [{"image": "a.png", "frame_index": 0}]}) != of(
        {"keyframes": [{"image": "b.png", "frame_index": 0}]}
    )


def test_a_text_that_is_no_medium_is_never_taken_for_a_file():
    named = request(parameters={"negative_prompt": "leaf.png", "image": "leaf.png"}, files={"leaf.png": leaf()})
    moved = request(parameters={"negative_prompt": "leaf.png", "image": "b.png"}, files={"b.png": leaf("b.png")})
    other = request(parameters={"negative_prompt": "b.png", "image": "b.png"}, files={"b.png": leaf("b.png")})
    assert fingerprint("venice", named) == fingerprint("venice", moved)
    assert fingerprint("venice", other) != fingerprint("venice", moved)
