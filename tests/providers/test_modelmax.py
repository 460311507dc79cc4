"""ModelMax, row by row: what is sent, and what each documented or observed answer becomes."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import Severity
from pipeline.providers.answers import (
    Accepted,
    Ambiguous,
    Billing,
    Catalogue,
    Claimed,
    Failed,
    Gone,
    NotSent,
    Output,
    Ready,
    Receipt,
    Refused,
    Running,
    Scope,
    Stage,
    Streaming,
    Throttled,
    Transient,
)
from pipeline.providers.base import Account, GenerationRequest
from pipeline.providers.modelmax.provider import ModelMax
from pipeline.providers.transport import Patience
from pipeline.system.effects import system
from tests.providers.loopback import (
    CANARY,
    DROP,
    MP4,
    STALL,
    Received,
    Script,
    answer,
    asked,
    bytes_of,
    loopback,
    png,
    provided,
)
from tests.providers.test_origin import EVIL

if TYPE_CHECKING:
    from collections.abc import Sequence

JOB = "Z2VtaW5pOnZlby0zOjg6NzIwcDoxOm9wLTEyMzQ1"
BASE = f"/v1/queue/veo-3/requests/{JOB}"
TAKEN = {"request_id": JOB, "status": "IN_QUEUE", "status_url": f"{BASE}/status", "response_url": BASE}
DONE = {
    "request_id": JOB,
    "status": "COMPLETED",
    "model": "veo-3",
    "data": [{"url": "/v1/queue/veo-3/requests/Z2Vt/content/0"}],
    "usage": {"video_seconds": 8, "video_resolution": "720p", "video_has_audio": True},
}
HASTE = Patience(connect_s=0.3, submit_s=0.3, claim_s=0.3, look_s=0.3, gap_s=0.3)
OFFLINE = ModelMax(None, system())


def receipt(**answered: Any) -> Receipt:
    return Receipt(job_id=JOB, model="veo-3", answer={**TAKEN, **answered})


def fault(message: str, kind: str = "bad_request") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind}}


async def submitted(script: Script, request: GenerationRequest | None = None) -> Any:
    async with loopback(script) as server, provided(ModelMax, server.url, patience=HASTE) as provider:
        outcome = await provider.submit(request or asked(), {})
        assert len(server.received) == 1
        return outcome


async def looked(script: Script) -> Any:
    async with loopback(script) as server, provided(ModelMax, server.url, patience=HASTE) as provider:
        return await provider.look(receipt())


async def claimed(script: Script, held: Receipt | None = None) -> Any:
    async with loopback(script) as server, provided(ModelMax, server.url, patience=HASTE) as provider:
        outcome = await provider.claim(held or receipt())
        assert len(server.received) == 1
        return outcome


async def fetched(script: Script) -> Any:
    async with loopback(script) as server, provided(ModelMax, server.url, patience=HASTE) as provider:
        return await provider.fetch(receipt(), Output(index=0, location={"path": f"{BASE}/content/0"}))


async def test_the_whole_lifecycle_as_the_guide_tells_it() -> None:
    def by(request: Received) -> Script:
        return {
            "POST /v1/queue/veo-3": answer(TAKEN, 202),
            f"GET {BASE}/status": answer({"request_id": JOB, "status": "COMPLETED"}),
            f"GET {BASE}": answer(DONE),
            "GET /v1/queue/veo-3/requests/Z2Vt/content/0": answer(MP4, headers={"Content-Type": "video/mp4"}),
        }[f"{request.method} {request.path}"]

    async with loopback(by=by) as server, provided(ModelMax, server.url) as provider:
        request = asked(duration_seconds=8, resolution="720p", aspect_ratio="16:9")
        accepted = await provider.submit(request, {})
        assert isinstance(accepted, Accepted)
        assert accepted.receipt.job_id == JOB
        assert accepted.receipt.answer == TAKEN
        assert not accepted.warnings
        assert await provider.look(accepted.receipt) == Ready()
        result = await provider.claim(accepted.receipt)
        assert isinstance(result, Claimed)
        assert result.answer == DONE
        assert not result.warnings
        clip = await provider.fetch(accepted.receipt, result.outputs[0])
        assert isinstance(clip, Streaming)
        assert await bytes_of(clip.source) == MP4
        assert server.received[0].json == {
            "prompt": "A fox",
            "parameters": {"duration_seconds": 8, "resolution": "720p", "aspect_ratio": "16:9"},
        }
        assert {request.headers["authorization"] for request in server.received} == {f"Bearer {CANARY}"}
        assert server.received[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "body", "scope", "kind"),
    [
        (400, fault("prompt is required"), Scope.ITEM, "bad_request"),
        (400, fault("veo-9 is not a video model"), Scope.MODEL, "bad_request"),
        (400, fault("unknown model veo-9"), Scope.MODEL, "bad_request"),
        (401, fault("bad key", "unauthorized"), Scope.ACCOUNT, "unauthorized"),
        (402, fault("top up", "insufficient_balance"), Scope.ACCOUNT, "insufficient_balance"),
        (402, {}, Scope.ACCOUNT, "insufficient_balance"),
        (403, fault("no", "forbidden"), Scope.ACCOUNT, "forbidden"),
        (404, fault("model not found", "not_found"), Scope.MODEL, "not_found"),
        (404, b"<html>nginx</html>", Scope.ACCOUNT, "not_the_api"),
        (413, b"<html>too large</html>", Scope.ITEM, "invalid_request"),
        (422, {"error": "no"}, Scope.ITEM, "invalid_request"),
    ],
)
async def test_a_submit_that_is_refused(status: int, body: object, scope: Scope, kind: str) -> None:
    outcome = await submitted(answer(body, status))
    assert isinstance(outcome, Refused)
    assert (outcome.scope, outcome.kind) == (scope, kind)


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_any_2xx_with_an_id_is_accepted(status: int) -> None:
    assert isinstance(await submitted(answer(TAKEN, status)), Accepted)


AMBIGUOUS_SUBMITS = {
    "500": answer(fault("x", "internal_error"), 500),
    "502": answer(fault("upstream", "bad_gateway"), 502),
    "503": answer(b"busy", 503),
    "504": answer(b"", 504),
    "524": answer(b"<html>", 524),
    "408": answer(fault("slow"), 408),
    "302": answer(b"", 302, {"Location": "https://evil.example/"}),
    "dropped": DROP,
    "silent": STALL,
    "no id": answer({"status": "IN_QUEUE"}, 202),
    "empty id": answer({"request_id": " "}, 202),
    "id is a number": answer({"request_id": 5}, 202),
    "error within 2xx": answer(fault("odd"), 200),
    "HTML": answer(b"<html>welcome to the hotel</html>"),
    "truncated JSON": answer(b'{"request_id": "Z2V'),
    "cut": Script(b'HTTP/1.1 202 A\r\nContent-Length: 500\r\n\r\n{"request_id": "Z2V', "close"),
    "empty": answer(b"", 202),
}


@pytest.mark.parametrize("script", AMBIGUOUS_SUBMITS.values(), ids=AMBIGUOUS_SUBMITS.keys())
async def test_a_submit_whose_outcome_cannot_be_known(script: Script) -> None:
    outcome = await submitted(script)
    assert isinstance(outcome, Ambiguous)
    assert outcome.message
    assert json.dumps(outcome.evidence)


async def test_a_429_waits_as_long_as_it_says_anywhere() -> None:
    script = answer(fault("slow down"), 429, {"Retry-After": "7"})
    for outcome in (await submitted(script), await looked(script), await claimed(script), await fetched(script)):
        assert outcome == Throttled(wait_s=7.0, message="slow down")


@pytest.mark.parametrize("evil", EVIL)
async def test_a_submit_with_evil_addresses_is_followed_by_calls_to_the_documented_paths_alone(evil: str) -> None:
    async with loopback(answer(MP4)) as elsewhere:
        target = evil.replace("evil.example", f"127.0.0.1:{elsewhere.port}")
        scripts = (answer({**TAKEN, "status_url": target, "response_url": target}, 202), answer(DONE), answer(DONE))
        async with loopback(*scripts) as server, provided(ModelMax, server.url) as provider:
            accepted = await provider.submit(asked(), {})
            assert isinstance(accepted, Accepted)
            assert len(accepted.warnings) == 2
            await provider.look(accepted.receipt)
            await provider.claim(accepted.receipt)
            assert server.paths[1:] == [f"GET {BASE}/status", f"GET {BASE}"]
        assert not elsewhere.received


@pytest.mark.parametrize("evil", EVIL)
async def test_a_result_with_an_evil_address_is_claimed_with_a_warning_and_never_fetched(evil: str) -> None:
    async with loopback(answer(MP4)) as elsewhere:
        target = evil.replace("evil.example", f"127.0.0.1:{elsewhere.port}")
        async with loopback(answer({**DONE, "data": [{"url": target}]})) as server:
            async with provided(ModelMax, server.url) as provider:
                outcome = await provider.claim(receipt())
                assert isinstance(outcome, Claimed)
                assert not outcome.outputs
                assert outcome.warnings
                planted = await provider.fetch(receipt(), Output(index=0, location={"path": target}))
                assert isinstance(planted, Gone)
            assert len(server.received) == 1
        assert not elsewhere.received


async def test_a_job_that_was_adopted_by_its_id_is_found_at_the_documented_path() -> None:
    async with loopback(answer({"status": "IN_PROGRESS"})) as server, provided(ModelMax, server.url) as provider:
        await provider.look(Receipt(job_id="a/b+c=", model="veo-3", answer={}))
        assert server.paths == ["GET /v1/queue/veo-3/requests/a%2Fb%2Bc%3D/status"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "IN_QUEUE"}, Running(stage=Stage.QUEUED, word="IN_QUEUE")),
        ({"status": "IN_PROGRESS"}, Running(stage=Stage.RUNNING, word="IN_PROGRESS")),
        ({"status": "BLENDING"}, Running(stage=Stage.RUNNING, word="BLENDING")),
        ({"status": "COMPLETED"}, Ready()),
        ({"status": "SUCCESS"}, Ready()),
        ({"status": "succeeded"}, Ready()),
        (
            {"status": "FAILED", "error": "content policy violation"},
            Failed(kind="failed", message="content policy violation", billing=Billing.UNBILLED),
        ),
        (
            {"status": "ERROR", "error": {"message": "m"}},
            Failed(kind="failed", message="m", billing=Billing.UNBILLED),
        ),
        ({"status": "failed"}, Failed(kind="failed", message="it gave no reason.", billing=Billing.UNBILLED)),
    ],
)
async def test_a_status(body: object, expected: object) -> None:
    assert await looked(answer(body)) == expected


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (answer(fault("bad id"), 400), Gone),
        (answer(fault("no"), 404), Gone),
        (answer(fault("x", "unauthorized"), 401), Refused),
        (answer(fault("x", "insufficient_balance"), 402), Refused),
        (answer(fault("x"), 500), Transient),
        (answer(fault("x"), 502), Transient),
        (answer(b"", 503), Transient),
        (answer(b"", 504), Transient),
        (answer(b"", 302, {"Location": "https://evil.example/"}), Transient),
        (answer(b"<html>"), Transient),
        (answer({}), Transient),
        (answer({"status": 7}), Transient),
        (DROP, Transient),
        (STALL, Transient),
    ],
)
async def test_a_look_or_a_fetch_that_does_not_work(script: Script, kind: type) -> None:
    assert isinstance(await looked(script), kind)
    assert isinstance(await fetched(script), kind)


async def test_the_status_of_a_failed_free_call_is_told() -> None:
    outcome = await looked(answer(fault("upstream"), 502))
    assert outcome == Transient(message="ModelMax answered 502: upstream", status=502)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": "IN_PROGRESS"}, Running),
        ({"status": "IN_QUEUE"}, Running),
        ({"status": "WHATEVER"}, Running),
        ({"status": "FAILED", "error": "policy"}, Failed),
        ({"status": "COMPLETED", "data": []}, Claimed),
        ({"status": "COMPLETED"}, Claimed),
        ({"status": "COMPLETED", "data": "x", "usage": "y"}, Claimed),
        ({"status": "COMPLETED", "data": [None, {}, {"url": 3}]}, Claimed),
        ({"status": "DELIVERED", "data": DONE["data"]}, Claimed),
        ({"data": DONE["data"], "usage": DONE["usage"]}, Claimed),
        ({}, Ambiguous),
        (fault("odd"), Ambiguous),
    ],
)
async def test_a_result(body: object, kind: type) -> None:
    assert isinstance(await claimed(answer(body)), kind)


@pytest.mark.parametrize("body", [{"status": "COMPLETED", "data": []}, {"status": "COMPLETED"}])
async def test_a_result_without_clips_is_claimed_and_says_so(body: object) -> None:
    outcome = await claimed(answer(body))
    assert outcome.outputs == ()
    assert "named no clip" in outcome.warnings[0]


@pytest.mark.parametrize(
    "name", sorted(AMBIGUOUS_SUBMITS.keys() - {"no id", "empty id", "id is a number", "error within 2xx"})
)
async def test_a_claim_whose_outcome_cannot_be_known(name: str) -> None:
    assert isinstance(await claimed(AMBIGUOUS_SUBMITS[name]), Ambiguous)


@pytest.mark.parametrize(
    ("status", "scope"), [(400, Scope.ITEM), (404, Scope.ITEM), (401, Scope.ACCOUNT), (402, Scope.ACCOUNT)]
)
async def test_a_claim_that_is_refused(status: int, scope: Scope) -> None:
    outcome = await claimed(answer(fault("no"), status))
    assert isinstance(outcome, Refused)
    assert outcome.scope is scope


async def test_a_usage_that_is_not_what_was_asked_is_told() -> None:
    usage = {"video_seconds": 8, "video_resolution": "720p", "video_has_audio": True}
    scripts = (answer(TAKEN, 202), answer({**DONE, "usage": usage}))
    request = asked(duration_seconds=6, resolution="1080p", generate_audio=False, sample_count=2)
    async with loopback(*scripts) as server, provided(ModelMax, server.url) as provider:
        accepted = await provider.submit(request, {})
        outcome = await provider.claim(accepted.receipt)
        text = " ".join(outcome.warnings)
        assert len(outcome.warnings) == 4
        for part in ("8 s where 6 s", "720p where 1080p", "with audio where one without", "1 clips"):
            assert part in text


async def test_the_seconds_of_several_samples_may_be_counted_together() -> None:
    two = [{"url": f"{BASE}/content/{index}"} for index in range(2)]
    usage = {**DONE["usage"], "video_seconds": 16}  # type: ignore[dict-item]  # a literal's type
    scripts = (answer(TAKEN, 202), answer({**DONE, "data": two, "usage": usage}))
    async with loopback(*scripts) as server, provided(ModelMax, server.url) as provider:
        accepted = await provider.submit(asked(sample_count=2), {})
        assert not (await provider.claim(accepted.receipt)).warnings


async def test_a_clip_that_comes_within_the_answer_needs_no_download() -> None:
    url = "data:video/mp4;base64," + base64.b64encode(MP4 * 300).decode()  # 4 MB
    async with loopback(answer({**DONE, "data": [{"url": url}]})) as server:
        async with provided(ModelMax, server.url) as provider:
            outcome = await provider.claim(receipt())
            assert isinstance(outcome, Claimed)
            assert len(repr(outcome.answer)) < 1000
            clip = await provider.fetch(receipt(), outcome.outputs[0])
            assert await bytes_of(clip.source) == MP4 * 300
            assert clip.source.length == len(MP4) * 300
            broken = Output(index=0, location={"base64": "@@@"})
            assert isinstance(await provider.fetch(receipt(), broken), Gone)
        assert len(server.received) == 1


async def test_an_absolute_address_of_the_same_origin_is_taken() -> None:
    async with loopback(answer(MP4)) as server, provided(ModelMax, server.url) as provider:
        location = {"path": f"{server.url}{BASE}/content/0"}
        clip = await provider.fetch(receipt(), Output(index=0, location=location))
        assert isinstance(clip, Streaming)
        await clip.source.close()


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_a_base_url_that_ends_in_v1_does_not_double_it(ending: str) -> None:
    async with loopback(answer({"status": "IN_QUEUE"})) as server:
        async with provided(ModelMax, server.url + ending) as provider:
            await provider.look(receipt())
        assert server.paths == [f"GET {BASE}/status"]


async def test_a_model_name_cannot_change_the_path() -> None:
    async with loopback(answer(TAKEN, 202)) as server, provided(ModelMax, server.url) as provider:
        await provider.submit(asked(model="../../admin?x=1#"), {})
        assert server.paths == ["POST /v1/queue/..%2F..%2Fadmin%3Fx%3D1%23"]


async def test_without_an_account_nothing_is_sent() -> None:
    for outcome in (await OFFLINE.submit(asked(), {}), await OFFLINE.look(receipt()), await OFFLINE.claim(receipt())):
        assert isinstance(outcome, NotSent)


async def test_what_json_cannot_express_is_refused_before_it_is_sent() -> None:
    provider = ModelMax(Account(key=CANARY, base_url="http://127.0.0.1:9"), system())
    outcome = await provider.submit(asked(options={"x": float("nan")}), {})
    assert isinstance(outcome, Refused)
    assert OFFLINE.check(asked(options={"x": float("nan")}))


async def test_the_catalogue_is_the_built_in_one() -> None:
    outcome = await OFFLINE.models()
    assert isinstance(outcome, Catalogue)
    assert [model.id for model in outcome.models] == ["veo-3.1", "veo-3.1-fast", "veo-3", "veo-3-fast", "veo-2"]
    assert outcome.models == ModelMax.known_models()


def test_images_go_as_bare_base64() -> None:
    body = OFFLINE.request_body(asked(image="leaf.png", files=png()), {"leaf.png": b"\x89PNG"})
    assert body["parameters"]["image"] == base64.b64encode(b"\x89PNG").decode()
    body = OFFLINE.request_body(asked(image="data:image/png;base64,iVBORw=="), {})
    assert body["parameters"]["image"] == "iVBORw=="


def test_options_go_in_last_and_into_the_parameters_too() -> None:
    options = {"seed": 7, "prompt": "B", "parameters": {"resolution": "4k", "fps": 30}}
    body = OFFLINE.request_body(asked(resolution="720p", duration_seconds=8.0, options=options), {})
    assert body == {
        "prompt": "B",
        "parameters": {"resolution": "4k", "duration_seconds": 8, "fps": 30},
        "seed": 7,
    }
    assert isinstance(body["parameters"]["duration_seconds"], int)


def test_what_is_billed_is_seconds_by_samples() -> None:
    assert OFFLINE.billed_seconds(asked()) == 8
    assert OFFLINE.billed_seconds(asked(duration_seconds=6, sample_count=3)) == 18
    assert OFFLINE.billed_seconds(asked(options={"parameters": {"duration_seconds": 4}})) == 4
    assert OFFLINE.billed_seconds(asked(options={"parameters": {"duration_seconds": "x", "sample_count": "y"}})) == 32


def told(problems: Sequence[Any]) -> str:
    return " | ".join(f"{'/'.join(map(str, problem.field))}: {problem.message}" for problem in problems)


def test_a_plain_request_has_no_problem() -> None:
    request = asked(duration_seconds=8, aspect_ratio="9:16", resolution="720p", generate_audio=True, sample_count=4)
    assert not OFFLINE.check(request)
    assert not OFFLINE.check(asked(image="leaf.png", files=png(), negative_prompt="blurry"))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (asked(prompt=" "), "prompt: "),
        (asked(duration_seconds=12), "the nearest is 8"),
        (asked(duration_seconds=6.5), "the nearest is 6"),
        (asked(duration_seconds="8"), "whole number"),
        (asked(duration_seconds=True), "whole number"),
        (asked(sample_count=5), "`repeat`"),
        (asked(sample_count=0), "1 to 4"),
        (asked(aspect_ratio="21:9"), "the nearest is 16:9"),
        (asked(aspect_ratio="2:3"), "the nearest is 9:16"),
        (asked(resolution="4K"), "the nearest is 4k"),
        (asked(resolution="480p"), "the nearest is 720p"),
        (asked(generate_audio="yes"), "true or false"),
        (asked(negative_prompt=3), "is text"),
        (asked(image="https://example.com/a.png"), "download it"),
        (asked(image="data:image/png;base64,@@"), "data URL"),
        (asked(image=["a"]), "data URL"),
        (asked(image="data:video/mp4;base64,AAAA"), "says that it is video/mp4"),
        (asked(options={"parameters": {"sample_count": 3}}), "belongs under `parameters`"),
        (asked(end_image="leaf.png", files=png()), "takes no end_image"),
        *((asked(**{name: ["x"]}), f"takes no {name}") for name in ("reference_images", "elements", "keyframes")),
        *((asked(**{name: "x"}), f"takes no {name}") for name in ("audio", "video", "upscale_factor")),
        *((asked(**{name: ["x"]}), f"takes no {name}") for name in ("reference_videos", "scene_images")),
    ],
)
def test_what_cannot_be_expressed_is_an_error_with_the_nearest_thing(request_: Any, expected: str) -> None:
    problems = OFFLINE.check(request_)
    assert expected in told(problems)
    assert problems[0].severity is Severity.ERROR


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (asked(model="veo-4"), "unchecked. Did you mean"),
        (asked(duration_seconds=6, resolution="1080p"), "1080p at 8 s alone"),
        (asked(model="veo-3.1", duration_seconds=4, resolution="4k"), "4k at 8 s alone"),
        (asked(resolution="4k"), "known to make 720p or 1080p"),
        (asked(duration_seconds=5), "known to make 4, 6 or 8 s"),
        (asked(model="veo-2", generate_audio=True), "silent"),
        (asked(aspect_ratio="9:16", resolution="1080p"), "1080p at 16:9 alone"),
        (asked(model="veo-3-fast", aspect_ratio="9:16", resolution="1080p"), "1080p at 16:9 alone"),
    ],
)
def test_what_the_model_behind_is_known_to_refuse_is_a_warning(request_: Any, expected: str) -> None:
    problems = OFFLINE.check(request_)
    assert expected in told(problems)
    assert {problem.severity for problem in problems} == {Severity.WARNING}
