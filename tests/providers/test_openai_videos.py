"""The OpenAI-style provider: which fields go out and how, and what its own documents say of answers."""

from __future__ import annotations

import email.policy
import json
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    Billing,
    Deleted,
    Failed,
    Gone,
    Output,
    Ready,
    Receipt,
    Refused,
    Running,
    Scope,
    Stage,
    Throttled,
    Transient,
)
from pipeline.providers.base import InputFile
from pipeline.providers.openai_videos.provider import OpenAIVideos, api_root
from pipeline.providers.openai_videos.request import Encoded, create_fields, encode, size_of
from pipeline.system.effects import system
from tests.providers.loopback import MP4, answer, asked, loopback, png, provided

if TYPE_CHECKING:
    from pipeline.providers.base import GenerationRequest
    from tests.providers.loopback import Script

VIDEO = {"id": "video_1", "object": "video", "model": "sora-2", "status": "queued", "seconds": "8", "size": "1280x720"}
RECEIPT = Receipt(job_id="video_1", model="sora-2", answer=VIDEO)
CLIP = Output(index=0, location={"variant": "video"})
PNG = b"\x89PNG\r\n--clipmill\r\n"


def form_of(body: Encoded) -> dict[str, Any]:
    """Read a form with the standard library's parser of mail: text by name, files as type, name and bytes."""
    head = f"Content-Type: {body.content_type}\r\n\r\n".encode()
    whole = BytesParser(policy=email.policy.HTTP).parsebytes(head + body.content)
    assert not whole.defects
    parts: dict[str, Any] = {}
    for part in whole.iter_parts():
        assert not part.defects
        name, file = part.get_param("name", header="Content-Disposition"), part.get_filename()
        content = part.get_payload(decode=True)
        parts[name] = (part.get_content_type(), file, content) if file else content.decode()
    return parts


def faults(request: GenerationRequest) -> dict[tuple[str | int, ...], str]:
    return {problem.field: problem.message for problem in OpenAIVideos(None, system()).check(request)}


async def answered(method: str, script: Script, *args: Any, request: GenerationRequest | None = None) -> Any:
    async with loopback(script) as server, provided(OpenAIVideos, f"{server.url}/v1") as provider:
        given = args or {"submit": (request or asked("sora-2"), {}), "models": ()}.get(method, (RECEIPT,))
        return await getattr(provider, method)(*given)


# --- the request ---


def test_neutral_parameters_become_the_formats_fields() -> None:
    request = asked(
        "sora-2", duration_seconds=8.0, resolution="720p", aspect_ratio="9:16", negative_prompt="blur", sample_count=1
    )
    assert create_fields(request, {}) == {
        "model": "sora-2",
        "prompt": "A fox",
        "seconds": "8",
        "size": "720x1280",
        "negative_prompt": "blur",
    }
    assert not faults(request)


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ({}, None),
        ({"resolution": "720p", "aspect_ratio": "16:9"}, "1280x720"),
        ({"resolution": "480p", "aspect_ratio": "16:9"}, "854x480"),
        ({"resolution": "1080P", "aspect_ratio": "1:1"}, "1080x1080"),
        ({"resolution": "4k", "aspect_ratio": "9:16"}, "2160x3840"),
        ({"resolution": "832x480"}, "832x480"),
        ({"resolution": "1792x1024", "aspect_ratio": "7:4"}, "1792x1024"),
    ],
)
def test_a_size_is_worked_out(parameters: dict[str, str], size: str | None) -> None:
    assert size_of(parameters) == size


@pytest.mark.parametrize(
    ("parameters", "field", "told"),
    [
        ({"resolution": "720p"}, "resolution", "write `aspect_ratio` beside it"),
        ({"aspect_ratio": "16:9"}, "aspect_ratio", "write `resolution` beside it"),
        ({"resolution": "big", "aspect_ratio": "16:9"}, "resolution", r"720p.*1280x720.*not 'big'"),
        ({"resolution": "720p", "aspect_ratio": "wide"}, "resolution", "written 16:9"),
        ({"resolution": "1280x720", "aspect_ratio": "1:1"}, "resolution", "1280x720 is not 1:1"),
        ({"duration_seconds": 0}, "duration_seconds", "above 0"),
        ({"sample_count": 2}, "sample_count", "use `repeat`"),
        ({"generate_audio": True}, "generate_audio", "generate_sound"),
        ({"elements": ["a.png"]}, "elements", "takes no elements"),
        ({"image": "leaf.png"}, "image", "a file in the manifest's folder"),
        ({"image": "https://example.com/leaf.png"}, "image", "body_format: json"),
        ({"video": "https://example.com/a.mp4"}, "video", "download it"),
        ({"video": "data:video/mp4;base64,AAAA", "image": "data:image/png;base64,AAAA"}, "video", "not both"),
    ],
)
def test_what_the_format_cannot_express_is_told_with_its_field(
    parameters: dict[str, Any], field: str, told: str
) -> None:
    found = faults(asked("m", **parameters))
    assert list(found) == [("parameters", field)]
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(found["parameters", field])


def test_an_unknown_body_format_is_told() -> None:
    assert "multipart or json" in faults(asked("m", options={"body_format": "xml"}))["options", "body_format"]
    assert "body_format" not in create_fields(asked("m", options={"body_format": "json"}), {})


def test_a_video_is_no_part_of_a_json_body() -> None:
    request = asked("m", video="data:video/mp4;base64,AAAA", options={"body_format": "json"})
    assert "form" in faults(request)["parameters", "video"]


@pytest.mark.parametrize(
    ("parameters", "options", "seconds"),
    [
        ({"duration_seconds": 5}, {}, 5),
        ({"duration_seconds": 5}, {"seconds": "12"}, 12),
        ({}, {}, 0),
        ({}, {"seconds": "long"}, 0),
        ({}, {"seconds": [1]}, 0),
        ({}, {"seconds": "nan"}, 0),
    ],
)
def test_billed_seconds_are_those_of_the_field_or_unknown(
    parameters: dict[str, Any], options: dict[str, Any], seconds: float
) -> None:
    assert OpenAIVideos(None, system()).billed_seconds(asked("m", **parameters, options=options)) == seconds


def test_a_form_holds_text_json_and_the_file_byte_for_byte() -> None:
    request = asked(
        "m",
        prompt='Fox; name="x"\r\n--',
        image="leaf.png",
        files=png(size_bytes=len(PNG)),
        options={"seed": 7, "fast": True, "lora": {"name": "a", "scale": None}, "gone": None, 'od"d\n': "x"},
    )
    body = encode(create_fields(request, {"leaf.png": PNG}), "multipart")
    assert form_of(body) == {
        "model": "m",
        "prompt": 'Fox; name="x"\r\n--',
        "seed": "7",
        "fast": "true",
        "lora": '{"name": "a", "scale": null}',
        "od%22d%0A": "x",
        "input_reference": ("image/png", "input.png", PNG),
    }
    assert encode(create_fields(request, {"leaf.png": PNG}), "multipart") == body


def test_json_holds_the_same_with_the_file_as_a_data_url() -> None:
    request = asked("m", image="leaf.png", files=png(size_bytes=3), options={"seed": 7, "body_format": "json"})
    body = encode(create_fields(request, {"leaf.png": b"abc"}), "json")
    assert body.content_type == "application/json"
    assert json.loads(body.content) == {
        "model": "m",
        "prompt": "A fox",
        "seed": 7,
        "input_reference": {"image_url": "data:image/png;base64,YWJj"},
    }


def test_a_video_is_a_file_of_the_form() -> None:
    files = {"a.mp4": InputFile(path="a.mp4", sha256="0" * 64, size_bytes=4, media_type="video/mp4")}
    body = encode(create_fields(asked("m", video="a.mp4", files=files), {"a.mp4": b"1234"}), "multipart")
    assert form_of(body)["input_reference"] == ("video/mp4", "input.mp4", b"1234")


async def test_the_content_type_says_how_the_fields_are_written() -> None:
    for options, kind in (({}, "multipart/form-data; boundary="), ({"body_format": "json"}, "application/json")):
        async with loopback(answer(VIDEO)) as server, provided(OpenAIVideos, f"{server.url}/v1") as provider:
            assert isinstance(await provider.submit(asked("sora-2", options=options), {}), Accepted)
            assert server.received[0].headers["content-type"].startswith(kind)
            assert server.paths == ["POST /v1/videos"]


@pytest.mark.parametrize(
    ("base_url", "root"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://gateway.example/videos-api", "https://gateway.example/videos-api"),
    ],
)
def test_the_base_url_is_what_videos_is_put_after(base_url: str, root: str) -> None:
    assert api_root(base_url) == root


# --- the answers ---


@pytest.mark.parametrize("job_id", [None, "", " ", "..", 7, "x" * 3000])
async def test_an_acceptance_without_a_usable_id_is_a_doubt(job_id: object) -> None:
    assert isinstance(await answered("submit", answer({**VIDEO, "id": job_id})), Ambiguous)


async def test_an_acceptance_that_differs_is_told() -> None:
    request = asked("sora-2", duration_seconds=8, resolution="1280x720")
    accepted = await answered("submit", answer(VIDEO), request=request)
    assert accepted.warnings == ()
    accepted = await answered("submit", answer({**VIDEO, "seconds": "4", "model": "sora-1"}), request=request)
    assert accepted.warnings == (
        "The server makes seconds 4 where 8 was asked for.",
        "The server makes the clip with sora-1 in the place of sora-2.",
    )
    assert accepted.receipt.model == "sora-1"
    prefixed = asked("openai/sora-2", duration_seconds=8, resolution="1280x720")
    assert (await answered("submit", answer(VIDEO), request=prefixed)).warnings == ()


@pytest.mark.parametrize(
    ("status", "body", "scope", "kind"),
    [
        (400, {"error": {"message": "Blocked.", "code": "moderation_blocked"}}, Scope.ITEM, "moderation_blocked"),
        (400, {"error": {"message": "Invalid model name passed in model=x"}}, Scope.MODEL, "invalid_request"),
        (400, {"error": {"message": "Invalid model parameters: size"}}, Scope.ITEM, "invalid_request"),
        (404, {"error": {"message": "No", "code": "model_not_found"}}, Scope.MODEL, "model_not_found"),
        (404, {"detail": "Not Found"}, Scope.ACCOUNT, "not_the_api"),
        (405, {"detail": "Method Not Allowed"}, Scope.ACCOUNT, "not_the_api"),
        (404, {"error": "Not Found"}, Scope.ACCOUNT, "not_the_api"),
        (404, {"message": "The model `x` does not exist.", "type": "NotFoundError"}, Scope.MODEL, "NotFoundError"),
        (404, b"<html>", Scope.ACCOUNT, "not_the_api"),
        (403, {"error": {"message": "Verify your organisation"}}, Scope.ACCOUNT, "forbidden"),
        (415, {"detail": "Unsupported"}, Scope.ACCOUNT, "invalid_content_type"),
        (422, {"detail": [{"loc": ["body", "size"], "msg": "bad size"}]}, Scope.ITEM, "invalid_request"),
        (429, {"error": {"message": "Quota", "code": "insufficient_quota"}}, Scope.ACCOUNT, "insufficient_quota"),
        (501, {"detail": "video_generation_not_supported"}, Scope.ACCOUNT, "not_implemented"),
    ],
)
async def test_a_refusal_reaches_as_far_as_it_says(status: int, body: object, scope: Scope, kind: str) -> None:
    refused = await answered("submit", answer(body, status))
    assert isinstance(refused, Refused), refused
    assert (refused.scope, refused.kind) == (scope, kind)


async def test_the_words_of_a_list_of_faults_are_told() -> None:
    fault = {"loc": ["body", "size"], "msg": "bad size"}
    assert (await answered("submit", answer({"detail": [fault, fault, 7]}, 422))).message == (
        "body.size: bad size; body.size: bad size"
    )


async def test_a_wrong_body_format_says_which_other_there_is() -> None:
    assert "body_format: json" in (await answered("submit", answer({"detail": "no"}, 415))).message


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_on_the_submit_is_a_doubt(status: int) -> None:
    body = {"error": {"message": "overloaded", "type": "server_error"}}
    assert isinstance(await answered("submit", answer(body, status)), Ambiguous)


async def test_milliseconds_to_wait_are_read() -> None:
    throttled = await answered("look", answer({"error": "slow"}, 429, {"retry-after-ms": "1500", "Retry-After": "2"}))
    assert throttled == Throttled(wait_s=1.5, message="slow")


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("queued", Running),
        ("pending", Running),
        ("in_progress", Running),
        ("COMPLETED", Ready),
        ("succeeded", Ready),
        ("failed", Failed),
        ("cancelled", Failed),
        ("expired", Gone),
        ("", Transient),
    ],
)
async def test_each_documented_word(word: str, kind: type) -> None:
    outcome = await answered("look", answer({**VIDEO, "status": word, "error": None}))
    assert isinstance(outcome, kind)
    if isinstance(outcome, Running):
        assert outcome.stage is (Stage.RUNNING if word == "in_progress" else Stage.QUEUED)


async def test_a_failure_tells_its_code_and_nothing_of_the_money() -> None:
    error = {"code": "moderation_blocked", "message": "Blocked."}
    failed = await answered("look", answer({**VIDEO, "status": "failed", "error": error}))
    assert failed == Failed(kind="moderation_blocked", message="Blocked.", billing=Billing.UNKNOWN)
    silent = await answered("look", answer({**VIDEO, "status": "failed"}))
    assert (silent.kind, silent.message) == ("failed", "it gave no reason.")


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer({"error": {"message": "not ready"}}, 400), Transient),
        (answer({"error": {"message": "Forbidden"}}, 403), Transient),
        (answer({"detail": "Generation is still in-progress"}, 404), Gone),
        (answer({"detail": "Not Found"}, 404), Refused),
        (answer(b"", 302, {"Location": "https://storage.example/x.mp4"}), Transient),
        (answer({"id": "video_1"}), Transient),
        (answer({"error": "no"}, 401), Refused),
    ],
)
async def test_what_comes_in_the_place_of_a_clip(script: Script, kind: type) -> None:
    assert isinstance(await answered("fetch", script, RECEIPT, CLIP), kind)


async def test_no_refusal_ends_a_job_that_was_accepted() -> None:
    for status in (403, 409, 413, 422):
        assert isinstance(await answered("look", answer({"error": {"message": "no"}}, status)), Transient)


async def test_the_content_is_asked_for_by_the_escaped_id() -> None:
    receipt = Receipt(job_id="b64:a+b/c==", model="m", answer={})
    async with loopback(answer(MP4)) as server, provided(OpenAIVideos, server.url) as provider:
        opened = await provider.fetch(receipt, CLIP)
        await opened.source.close()
        assert server.paths == ["GET /v1/videos/b64%3Aa%2Bb%2Fc%3D%3D/content"]


async def test_the_list_of_models_holds_names_alone() -> None:
    body = {"object": "list", "data": [{"id": "sora-2"}, {"id": ""}, {"id": 7}, "x"]}
    assert [model.id for model in (await answered("models", answer(body))).models] == ["sora-2"]
    assert isinstance(await answered("models", answer({"data": 7})), Transient)


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (answer({"id": "v", "deleted": True}), Deleted, ""),
        (answer(b"", 204), Deleted, ""),
        (answer({"id": "v", "status": "deleted"}), Deleted, ""),
        (answer({"id": "v", "deleted": False}), Refused, "deleted nothing"),
        (answer({}), Refused, "deleted nothing"),
        (answer(b"<html>"), Refused, "deleted nothing"),
        (answer(b"<html>", 404), Refused, "OPENAI_VIDEOS_BASE_URL"),
        (answer({"error": "x"}, 500), Transient, "500"),
        (answer({"detail": "Not Found"}, 404), Refused, "no call that deletes"),
        (answer({"detail": "Method Not Allowed"}, 405), Refused, "no call that deletes"),
        (answer({"error": {"message": "Video not found"}}, 404), Gone, "Video not found"),
        (answer({"error": {"message": "not ready"}}, 400), Transient, "not ready"),
    ],
)
async def test_a_video_is_deleted_by_its_id_where_the_server_can(script: Script, kind: type, says: str) -> None:
    async with loopback(script) as server, provided(OpenAIVideos, server.url + "/v1") as provider:
        outcome = await provider.cleanup(Receipt(job_id="v/1", model="m", answer={}))
        assert type(outcome) is kind
        assert says in getattr(outcome, "message", "")
        assert server.paths == ["DELETE /v1/videos/v%2F1"]
