"""ModelMax on the wire: submit, status, result (which bills) and content.

Source: ModelMax guide, steps 1 to 4; API reference, queue submit, result, status and content; error-handling page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.catalogue import MODELMAX_ASPECTS, MODELMAX_MODELS, MODELMAX_RESOLUTIONS, picture
from pipeline.sandbox.delivery import sever
from pipeline.sandbox.desk import REFUSE, Key, Order, Refused, read_key, read_object
from pipeline.sandbox.limits import Bucket
from pipeline.sandbox.settings import ClaimBills, Fault, Provider, look_up
from pipeline.sandbox.state import CountKind, Ending

if TYPE_CHECKING:
    from pipeline.sandbox.desk import Desk
    from pipeline.sandbox.state import Job

KINDS = {400: "bad_request", 401: "unauthorized", 402: "insufficient_balance", 500: "internal_error"}
"""The documented `type` of each status; a 429 is not documented, and any other is the gateway's."""
REASONS = {Ending.REFUSED: "content policy violation", Ending.BROKEN: "video generation failed"}
WHOLE_SECONDS_MAX = 8
SAMPLES_MAX = 4


def bad(message: str) -> Refused:
    """Return the refusal of a request that is wrong."""
    return Refused(400, "bad_request", message)


def opaque(*parts: object) -> str:
    """Return an id as ModelMax makes them: base64 of its parts, padding kept."""
    return base64.b64encode(":".join(map(str, parts)).encode()).decode()


def check_parameters(given: object) -> dict[str, Any]:
    """Return the parameters with their documented defaults filled in; unknown ones are ignored.

    Raises:
        Refused: 400, where a known one has a wrong type or value.
    """
    if not isinstance(given, dict):
        raise bad("parameters must be an object")
    known = {
        "aspect_ratio": "16:9",
        "resolution": "720p",
        "duration_seconds": 8,
        "generate_audio": True,
        "sample_count": 1,
        "negative_prompt": "",
        "image": "",
    }
    filled = known | {name: given[name] for name in known if given.get(name) is not None}
    if filled["aspect_ratio"] not in MODELMAX_ASPECTS:
        raise bad('aspect_ratio must be "16:9" or "9:16"')
    if filled["resolution"] not in MODELMAX_RESOLUTIONS:
        raise bad('resolution must be "720p", "1080p" or "4k"')
    for name, highest in (("duration_seconds", WHOLE_SECONDS_MAX), ("sample_count", SAMPLES_MAX)):
        value = filled[name]
        if type(value) is not int or not 1 <= value <= highest:
            raise bad(f"{name} must be an integer from 1 to {highest}")
    if not isinstance(filled["generate_audio"], bool):
        raise bad("generate_audio must be a boolean")
    if not isinstance(filled["negative_prompt"], str):
        raise bad("negative_prompt must be a string")
    check_image(filled["image"])
    return filled


def check_image(image: object) -> None:
    """Refuse an image that is not base64. Whether a data URL is taken is not documented; it is taken."""
    if not isinstance(image, str):
        raise bad("image must be a base64 string")
    try:
        base64.b64decode(image.partition(";base64,")[2] or image, validate=True)
    except (binascii.Error, ValueError):
        raise bad("image must be a base64 string") from None


def _key(request: web.Request) -> Key:
    try:
        key = read_key(request)
    except LookupError:
        key = None
    if key is None:
        raise Refused(401, "unauthorized", "invalid or missing API key")
    return key


def _told(refused: Refused) -> dict[str, Any]:
    return {"error": {"message": refused.message, "type": refused.kind or KINDS.get(refused.status, "bad_gateway")}}


class ModelMax:
    """The emulated ModelMax."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, named by endpoint."""
        job = "/v1/queue/{model}/requests/{id}"
        submit, look = Bucket.MODELMAX_SUBMIT, Bucket.MODELMAX_LOOK
        guard = partial(self._desk.guarded, key=_key, told=_told)
        get = partial(web.get, allow_head=False)
        return [
            web.post("/v1/queue/{model}", guard(self.submit, submit), name="modelmax-submit"),
            # A HEAD must not reach them: it would run the handler, and the result bills.
            get(f"{job}/status", guard(self.status, look), name="modelmax-status"),
            get(job, guard(self.result, look), name="modelmax-result"),
            get(f"{job}/content/{{index}}", guard(self.content, look), name="modelmax-content"),
            get("/v1/models", guard(self.models, None), name="modelmax-models"),
            get("/v1/config", guard(self.config, None), name="modelmax-config"),
        ]

    async def submit(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Accept a generation: 202 with the id and two relative URLs. Free."""
        desk = self._desk
        model = request.match_info["model"]
        try:
            body = await read_object(request)
        except ValueError:
            raise bad("invalid request body") from None
        occasion = desk.occasion(Provider.MODELMAX, model, body)
        desk.throttle("submit", occasion)
        if desk.strikes(Fault.DROP_BEFORE_ACCEPT, occasion):
            raise sever(request)
        order = self._order(model, body, occasion)
        if not desk.can_pay(key, order.price_usd):
            raise Refused(402, "insufficient_balance", "insufficient balance, please top up your account")
        job = self._accept(order, key)
        if desk.strikes(Fault.DROP_AFTER_ACCEPT, occasion):
            raise sever(request)
        if desk.strikes(Fault.SUBMIT_500, occasion):
            raise Refused(500, "internal_error", "internal error")
        if desk.strikes(Fault.SUBMIT_502, occasion):
            raise Refused(502, "bad_gateway", "upstream provider error")
        url = f"/v1/queue/{model}/requests/{job.id}"
        answer = {"request_id": job.id, "status": "IN_QUEUE", "status_url": f"{url}/status", "response_url": url}
        return web.json_response(answer, status=202)

    def _order(self, model: str, body: dict[str, Any], occasion: str) -> Order:
        if model not in MODELMAX_MODELS:
            raise bad(f"{model} is not a video model")
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise bad("prompt is required")
        given = body.get("parameters")
        parameters = check_parameters({} if given is None else given)
        if REFUSE in prompt:
            raise bad("the prompt was refused by the content policy")
        resolution, length, outputs = (parameters[n] for n in ("resolution", "duration_seconds", "sample_count"))
        rate = look_up(self._desk.settings.prices_usd_per_second, f"modelmax/{model}/{resolution}")
        return Order(
            provider=Provider.MODELMAX,
            model=model,
            prompt=prompt,
            picture=picture(
                resolution=resolution,
                aspect=parameters["aspect_ratio"],
                duration_s=float(length),
                has_audio=parameters["generate_audio"] and model != "veo-2",
            ),
            resolution=resolution,
            price_usd=round(rate * length * outputs, 6),
            occasion=occasion,
            outputs=outputs,
        )

    def _accept(self, order: Order, key: Key) -> Job:
        secret = f"{self._desk.identity}:{order.occasion}"
        operation = hashlib.sha256(f"request:{secret}".encode()).hexdigest()[:24]
        content = hashlib.sha256(f"content:{secret}".encode()).hexdigest()[:32]
        length = int(order.picture.duration_s)
        return self._desk.accept(
            order,
            key,
            job_id=opaque("gemini", order.model, length, order.resolution, order.outputs, f"op-{operation}"),
            token=opaque("gemini", order.model, "file", content),
            charge_now=False,
        )

    def _job(self, request: web.Request, key: Key) -> Job:
        job_id, lifetime_s = request.match_info["id"], self._desk.settings.modelmax_lifetime_s
        job = self._desk.find(Provider.MODELMAX, job_id, key, lifetime_s)
        if job is None:
            raise bad("invalid request ID")
        if job.model != request.match_info["model"]:
            raise bad("provider mismatch: the request ID does not belong to this model")
        return job

    def _word(self, job: Job) -> str:
        now_s = self._desk.now_s()
        if now_s < job.ends_s:
            return "IN_QUEUE" if now_s < job.starts_s else "IN_PROGRESS"
        return "COMPLETED" if job.ending is Ending.COMPLETED else "FAILED"

    async def status(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Tell the state of a job. Never bills."""
        job = self._job(request, key)
        nth = self._desk.state.count(CountKind.JOB, job.id, "status")
        self._desk.disturb(request, "status", job.occasion, nth)
        answer = {"request_id": job.id, "status": self._word(job)}
        if answer["status"] == "FAILED":
            answer["error"] = REASONS[job.ending]
        return web.json_response(answer)

    async def result(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Tell the full result; bills when the job is COMPLETED."""
        desk, job = self._desk, self._job(request, key)
        nth = desk.state.count(CountKind.JOB, job.id, "result")
        desk.throttle("result", job.occasion, nth)
        answer: dict[str, Any] = {"request_id": job.id, "status": self._word(job), "model": job.model}
        if answer["status"] == "FAILED":
            answer["error"] = REASONS[job.ending]
        if answer["status"] != "COMPLETED":
            return web.json_response(answer)
        if desk.settings.claim_bills is ClaimBills.EVERY or not desk.state.billed[job.id]:
            if not desk.can_pay(key, job.price_usd):
                raise Refused(402, "insufficient_balance", "insufficient balance, please top up your account")
            desk.state.enter(desk.charge(job))
        if desk.strikes(Fault.CLAIM_DROP, job.occasion, nth):
            raise sever(request)
        if desk.strikes(Fault.CLAIM_502, job.occasion, nth):
            raise Refused(502, "bad_gateway", "upstream provider error")
        empty = desk.strikes(Fault.CLAIM_EMPTY, job.occasion, nth)
        content = f"/v1/queue/{job.model}/requests/{job.token}/content"
        answer["data"] = [] if empty else [{"url": f"{content}/{index}"} for index in range(job.outputs)]
        answer["usage"] = {
            "video_seconds": int(job.picture.duration_s),
            "video_resolution": job.resolution,
            "video_has_audio": job.picture.has_audio,
        }
        return web.json_response(answer)

    async def content(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Send the bytes of one output, under the content id that the result named."""
        desk = self._desk
        job = desk.state.tokens.get(request.match_info["id"])
        if job is None or desk.find(Provider.MODELMAX, job.id, key, desk.settings.modelmax_lifetime_s) is None:
            raise bad("invalid request ID")
        if job.model != request.match_info["model"]:
            raise bad("provider mismatch: the request ID does not belong to this model")
        index = request.match_info["index"]
        if not index.isdecimal() or int(index) >= job.outputs:
            raise bad("index out of range")
        nth = desk.state.count(CountKind.JOB, job.id, "content")
        desk.disturb(request, "content", job.occasion, nth)
        name = f'inline; filename="video-{int(index)}.mp4"'
        return await desk.send_clip(request, job, int(index), nth, disposition=name, ranges=True)

    async def models(self, _request: web.Request, _key: Key) -> web.StreamResponse:
        """List the models."""
        data = [{"id": model, "object": "model", "owned_by": "gemini"} for model in MODELMAX_MODELS]
        return web.json_response({"object": "list", "data": data})

    async def config(self, _request: web.Request, key: Key) -> web.StreamResponse:
        """Tell the balance."""
        return web.json_response({"balance": self._desk.balance_usd(key), "currency": "USD"})
