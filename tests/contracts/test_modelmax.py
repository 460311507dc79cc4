"""ModelMax's contract, written from its documents: every request of the adapter's and every answer of the sandbox's."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipeline.providers.base import GenerationRequest, InputFile
from pipeline.providers.modelmax.provider import ModelMax
from pipeline.sandbox.desk import FAIL, REFUSE
from pipeline.sandbox.settings import Fault, Render, SandboxSettings
from pipeline.system.effects import system
from tests.support.batches import ORIGIN, Batch, Vendor, an_item
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from pipeline.planning.plan import Item

CONTRACT = json.loads((Path(__file__).parent / "modelmax.schema.json").read_text(encoding="utf-8"))
CALLS = {name: call for name, call in CONTRACT["calls"].items() if isinstance(call, dict)}
DEVIATIONS = {name: why for name, why in CONTRACT["deviations"].items() if name != "description"}
UNDOCUMENTED_TYPES = {"429": "rate_limit_exceeded"}
OFFLINE = ModelMax(None, system())
LEAF = base64.b64decode("iVBORw0KGgo=")


def faults_of(part: str, value: Any) -> list[str]:
    """Return in which places a value is not what a part of the contract wants."""
    schema = {"$ref": f"#/$defs/{part}", "$defs": CONTRACT["$defs"]}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]


class Notary:
    """Holds all that passes the vendor's door against the contract. The mutable state is what was wrong, and seen."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        name = request.match_info.route.name or ""
        if not name.startswith("modelmax"):
            return await handler(request)
        sent = await request.read()
        self._request(name, request, sent)
        response = await handler(request)
        self._answer(name, response)
        return response

    def _request(self, name: str, request: web.Request, sent: bytes) -> None:
        call = CALLS[name]
        line = f"{request.method} {request.raw_path}"
        if not re.fullmatch(call["line"], line):
            self.wrong.append(f"{line} is not {call['line']}")
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            self.wrong.append(f"{line} has no bearer token")
        if "request" in call:
            if request.headers.get("Content-Type") != "application/json":
                self.wrong.append(f"{line} is of type {request.headers.get('Content-Type')}")
            self.wrong += [f"{line}: {fault}" for fault in faults_of(call["request"], json.loads(sent))]
        elif sent:
            self.wrong.append(f"{line} has a body")

    def _answer(self, name: str, response: web.StreamResponse) -> None:
        status = f"{name} {response.status}"
        self.seen[status] += 1
        part = CALLS[name]["statuses"].get(str(response.status))
        if part is None and status not in DEVIATIONS:
            self.wrong.append(f"{status} is in no table")
        elif part == "video/mp4" or response.status == 206:
            if response.content_type != "video/mp4":
                self.wrong.append(f"{status} is of type {response.content_type}")
        elif isinstance(response, web.Response):
            self._json(status, part or "error_answer", response)

    def _json(self, status: str, part: str, response: web.Response) -> None:
        assert response.text is not None
        told = json.loads(response.text)
        if (odd := UNDOCUMENTED_TYPES.get(status.rpartition(" ")[2])) and told["error"]["type"] == odd:
            told["error"]["type"] = "bad_gateway"
        self.wrong += [f"{status}: {fault} in {response.text[:200]}" for fault in faults_of(part, told)]


def lived(items: list[Item], **settings: Any) -> Notary:
    """Let a batch be made by the emulated vendor, and return what the notary saw."""
    notary = Notary()
    with World(3, limit_s=30 * 86_400) as world:
        Vendor(
            world,
            SandboxSettings(render=Render.TEMPLATE, durations_s={"modelmax": 20.0}, **settings),
            doorkeepers=[notary.watch],
        )
        Batch(world, items).run()
    return notary


EVERY_FIELD = [
    an_item("plain"),
    an_item(
        "all",
        model="veo-3.1",
        aspect_ratio="9:16",
        resolution="4k",
        generate_audio=False,
        sample_count=4,
        negative_prompt="x",
    ),
    an_item("image", image="data:image/png;base64,iVBORw0KGgo="),
    an_item("short", model="veo-2", duration_seconds=5),
    an_item("refused", prompt=f"A fox {REFUSE}"),
    an_item("failed", prompt=f"A fox {FAIL}"),
    an_item("unknown", model="gpt-4"),
]


def test_a_whole_batch_keeps_to_the_documents() -> None:
    notary = lived(EVERY_FIELD)
    assert notary.wrong == []
    assert {"modelmax-submit 202", "modelmax-submit 400", "modelmax-status 200"} <= set(notary.seen)
    assert notary.seen["modelmax-content 200"] == 1 + 4 + 1 + 1


@pytest.mark.parametrize("fault", list(Fault))
def test_whatever_goes_wrong_at_the_vendor_its_answers_keep_to_the_documents(fault: Fault) -> None:
    assert lived([an_item(f"i{n}", prompt=f"A fox {n}") for n in range(4)], faults={fault: 0.4}).wrong == []


@pytest.mark.parametrize(("key", "status"), [("bad-key", 401), ("poor-key", 402)])
def test_a_refused_account_is_told_as_documented(key: str, status: int) -> None:
    notary = Notary()
    with World(3) as world:
        Vendor(world, SandboxSettings(render=Render.TEMPLATE), doorkeepers=[notary.watch])
        Batch(world, [an_item("i0")], key=key).run()
    assert notary.wrong == []
    assert notary.seen[f"modelmax-submit {status}"] == 1


def test_each_deviation_says_why_names_a_call_and_is_met() -> None:
    for name, why in DEVIATIONS.items():
        call, _, status = name.rpartition(" ")
        assert status not in CALLS[call]["statuses"]
        assert why.endswith(".")
    several = [an_item(f"i{n}", prompt=f"A fox {n}") for n in range(8)]
    faults = {Fault.THROTTLE: 0.3, Fault.SUBMIT_500: 0.2, Fault.ERROR_5XX: 0.4, Fault.TRUNCATE: 0.5}
    met = lived(several, faults=faults).seen | lived(several, balance_usd=3.2).seen | ranged().seen
    assert set(DEVIATIONS) - set(met) == set()


def ranged() -> Notary:
    """Ask for the end of a clip, as a download that was cut does."""
    notary = Notary()
    with World(3) as world:
        settings = SandboxSettings(render=Render.TEMPLATE, durations_s={"modelmax": 5.0})
        vendor = Vendor(world, settings, doorkeepers=[notary.watch])
        Batch(world, [an_item("i0")]).run()
        (job,) = vendor.state.jobs.values()
        headers = {"Authorization": "Bearer test-key", "Range": "bytes=1000-"}

        async def get() -> int:
            connector = world.network.connector(True)
            async with (
                aiohttp.ClientSession(connector=connector, headers=headers) as session,
                session.get(f"{ORIGIN}/v1/queue/veo-3/requests/{job.token}/content/0") as answer,
            ):
                return answer.status

        assert world.run(get()) == 206
    assert notary.wrong == []
    return notary


def test_the_samples_of_the_documents_are_what_the_contract_takes() -> None:
    request_id = "Z2VtaW5pOnZlby0zOjg6NzIwcDoxOm9wLTEyMzQ1"
    usage = {"video_seconds": 8, "video_resolution": "720p", "video_has_audio": True}
    url = "/v1/queue/veo-3/requests/Z2Vt.../content/0"
    parameters = {"aspect_ratio": "16:9", "resolution": "1080p", "duration_seconds": 6, "generate_audio": True}
    queue = "/v1/queue/veo-3/requests/Z2Vt..."
    result = {"request_id": request_id, "model": "veo-3"}
    samples = {
        "submit_request": [
            {"prompt": "A cat playing piano in a jazz club"},
            {"prompt": "A drone shot of ocean waves", "parameters": {**parameters, "negative_prompt": "blurry"}},
        ],
        "submit_answer": [
            {"request_id": request_id, "status": "IN_QUEUE", "status_url": f"{queue}/status", "response_url": queue}
        ],
        "result_answer": [
            {**result, "status": "COMPLETED", "data": [{"url": url}], "usage": usage},
            {**result, "status": "IN_PROGRESS"},
            {**result, "status": "FAILED", "error": "content policy violation"},
        ],
        "error_answer": [{"error": {"message": "no", "type": "bad_request"}}],
    }
    assert {part: [faults_of(part, sample) for sample in told] for part, told in samples.items()} == {
        part: [[]] * len(told) for part, told in samples.items()
    }


WRONG = {
    "submit_request": [
        {},
        {"prompt": 5},
        {"prompt": "x", "seed": 1},
        *(
            {"prompt": "x", "parameters": {name: value}}
            for name, value in {
                "duration_seconds": 8.5,
                "durationSeconds": 8,
                "sample_count": 5,
                "aspect_ratio": "1:1",
                "resolution": "4K",
                "generate_audio": "true",
                "image": "data:image/png;base64,AAAA",
            }.items()
        ),
    ],
    "status_answer": [{"request_id": "a", "status": "PROCESSING"}, {"request_id": "a", "status": "FAILED"}],
    "result_answer": [{"request_id": "a", "status": "COMPLETED", "model": "m"}],
    "error_answer": [{"error": "text"}],
}


@pytest.mark.parametrize(("part", "value"), [(part, value) for part, values in WRONG.items() for value in values])
def test_the_contract_can_fail(part: str, value: Any) -> None:
    assert faults_of(part, value)


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "duration_seconds": st.one_of(st.integers(-2, 12), st.floats(0, 12), st.text(max_size=3)),
        "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1", "", 5]),
        "resolution": st.sampled_from(["720p", "1080p", "4k", "4K", "480p", None]),
        "generate_audio": st.sampled_from([True, False, "yes", 1]),
        "sample_count": st.sampled_from([1, 2, 3, 4, 5, 0, "2", 2.0, True]),
        "negative_prompt": st.one_of(st.text(max_size=8), st.integers()),
        "image": st.sampled_from(["leaf.png", "data:image/png;base64,iVBORw0KGgo=", "https://x.org/a.png", "a", 5]),
    },
)


@given(parameters=PARAMETERS, prompt=st.text(max_size=20))
def test_whatever_the_check_lets_through_is_a_request_that_the_documents_allow(
    parameters: dict[str, Any], prompt: str
) -> None:
    files = {"leaf.png": InputFile(path="leaf.png", sha256="0" * 64, size_bytes=8, media_type="image/png")}
    request = GenerationRequest(model="veo-3", prompt=prompt, parameters=parameters, files=files)
    if any(problem.severity == "error" for problem in OFFLINE.check(request)):
        return
    body = json.loads(json.dumps(OFFLINE.request_body(request, {"leaf.png": LEAF})))
    assert faults_of("submit_request", body) == []
