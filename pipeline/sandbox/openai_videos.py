"""The OpenAI-style videos API on the wire: create (which charges), retrieve, list, content and delete.

Source: OpenAI API reference, videos and models; OpenAI error-codes guide; vLLM-Omni, Videos API (form fields beyond
OpenAI's, no key); SGLang Diffusion, OpenAI API (JSON bodies). `sora-*` models hold to OpenAI's seconds and sizes; any
other name is that of a server of one's own, which takes whatever can be rendered. When a server charges and whether it
gives anything back is not documented: it charges before it answers, and keeps the money.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.catalogue import Picture
from pipeline.sandbox.delivery import sever
from pipeline.sandbox.desk import REFUSE, Key, Order, Refused, read_key
from pipeline.sandbox.limits import Bucket
from pipeline.sandbox.settings import Fault, Provider, look_up
from pipeline.sandbox.state import CountKind, Ending

if TYPE_CHECKING:
    from pipeline.sandbox.desk import Desk
    from pipeline.sandbox.state import Job

BASE = "/openai/v1"
"""Of its own, because another vendor has a `/v1/models` too."""
SORA_SECONDS = ("4", "8", "12")
SORA_SIZES = {
    "sora-2": ("720x1280", "1280x720"),
    "sora-2-pro": ("720x1280", "1280x720", "1024x1792", "1792x1024"),
}
OPEN_MODEL = "wan-2.2-t2v"
"""Stands in the list for all the names that are taken beside OpenAI's."""
SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")
SIDE_MAX = 4096
SECONDS_MAX = 60.0
LIST_DEFAULT, LIST_MAX = 20, 100
ANONYMOUS = Key(fingerprint="anonymous", is_poor=False, is_admin=False)
TYPES = {429: "rate_limit_error", 500: "server_error", 502: "server_error", 503: "server_error"}
REASONS = {
    Ending.REFUSED: ("moderation_blocked", "Your request was blocked by our moderation system."),
    Ending.BROKEN: ("video_generation_failed", "The video could not be generated."),
}


def bad(message: str, *, param: str | None = None, code: str = "invalid_value") -> Refused:
    """Return the refusal of a request that is wrong."""
    return Refused(400, code, message, param=param)


async def read_fields(request: web.Request) -> dict[str, Any]:
    """Return the fields of a form or of a JSON object; a file comes as its name, type and digest.

    Raises:
        Refused: 400 for what is neither, 413 for what is too large.
    """
    try:
        if request.content_type == "multipart/form-data":
            return {name: told_of(value) for name, value in (await request.post()).items()}
        body = json.loads(await request.read())
    except (ValueError, UnicodeError):
        raise bad("We could not parse the body of your request.", code="invalid_body") from None
    if not isinstance(body, dict):
        raise bad("The body of your request is not an object.", code="invalid_body")
    return body


def told_of(value: object) -> object:
    """Return a form's field as what can be remembered of it."""
    if not isinstance(value, web.FileField):
        return value
    digest = hashlib.sha256(value.file.read()).hexdigest()
    return {"filename": value.filename, "type": value.content_type, "sha256": digest}


def wanted_picture(model: str, fields: dict[str, Any]) -> tuple[Picture, str, str]:
    """Return the picture that the fields ask for, with its `size` and `seconds` as the format writes them.

    Raises:
        Refused: 400, where they ask for what the model does not make.
    """
    size = fields.get("size") or "720x1280"
    seconds = str(fields.get("seconds") or "4")
    sides = SIZE.fullmatch(size) if isinstance(size, str) else None
    if sides is None or max(int(sides[1]), int(sides[2])) > SIDE_MAX:
        raise bad(f"Invalid size {size!r}: use WIDTHxHEIGHT, at most {SIDE_MAX} a side.", param="size")
    try:
        length_s = float(seconds)
    except ValueError:
        length_s = 0.0
    if not 0 < length_s <= SECONDS_MAX:
        raise bad(f"Invalid value: {seconds!r}. Supported values are up to {SECONDS_MAX:g}.", param="seconds")
    if model in SORA_SIZES:
        for name, value, allowed in (("seconds", seconds, SORA_SECONDS), ("size", size, SORA_SIZES[model])):
            if value not in allowed:
                listed = ", ".join(f"'{word}'" for word in allowed)
                raise bad(f"Invalid value: '{value}'. Supported values are: {listed}.", param=name)
    has_audio = model in SORA_SIZES or str(fields.get("generate_sound")).lower() == "true"
    width, height = (int(side) // 2 * 2 for side in sides.groups())
    return Picture(width=width, height=height, duration_s=length_s, has_audio=has_audio), size, seconds


def _key(request: web.Request) -> Key:
    """Return the key; a request without one is let in, as servers of one's own do."""
    try:
        key = read_key(request)
    except LookupError:
        return ANONYMOUS
    if key is None:
        raise Refused(401, "invalid_api_key", "Incorrect API key provided.")
    return key


def _told(refused: Refused) -> dict[str, Any]:
    error = {
        "message": refused.message,
        "type": TYPES.get(refused.status, "invalid_request_error"),
        "param": refused.more.get("param"),
        "code": refused.kind or None,
    }
    return {"error": error}


class OpenAIVideos:
    """The emulated server."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, named by endpoint."""
        submit, look = Bucket.OPENAI_VIDEOS_SUBMIT, Bucket.OPENAI_VIDEOS_LOOK
        guard = partial(self._desk.guarded, key=_key, told=_told)
        video = f"{BASE}/videos/{{id}}"
        return [
            web.post(f"{BASE}/videos", guard(self.create, submit), name="openai-videos-create"),
            web.get(f"{BASE}/videos", guard(self.list, look), name="openai-videos-list", allow_head=False),
            web.get(video, guard(self.retrieve, look), name="openai-videos-retrieve", allow_head=False),
            web.get(f"{video}/content", guard(self.content, look), name="openai-videos-content", allow_head=False),
            web.delete(video, guard(self.delete, look), name="openai-videos-delete"),
            web.get(f"{BASE}/models", guard(self.models, None), name="openai-videos-models", allow_head=False),
        ]

    async def create(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Accept a generation, and charge for it before the answer leaves."""
        desk = self._desk
        fields = await read_fields(request)
        occasion = desk.occasion(Provider.OPENAI_VIDEOS, "", fields)
        desk.throttle("create", occasion)
        if desk.strikes(Fault.DROP_BEFORE_ACCEPT, occasion):
            raise sever(request)
        order = self._order(fields, occasion)
        if not desk.can_pay(key, order.price_usd):
            message = "You exceeded your current quota, please check your plan and billing details."
            raise Refused(429, "insufficient_quota", message)
        secret = hashlib.sha256(f"{desk.identity}:{occasion}".encode()).hexdigest()
        job = desk.accept(order, key, job_id=f"video_{secret[:32]}", token=f"openai:{secret}", charge_now=True)
        if desk.strikes(Fault.DROP_AFTER_ACCEPT, occasion):
            raise sever(request)
        for fault, status in ((Fault.SUBMIT_500, 500), (Fault.SUBMIT_502, 502)):
            if desk.strikes(fault, occasion):
                raise Refused(status, "", "The server had an error while processing your request.")
        return web.json_response(self._video(job))

    def _order(self, fields: dict[str, Any], occasion: str) -> Order:
        prompt, model = fields.get("prompt"), fields.get("model") or "sora-2"
        if not isinstance(prompt, str) or not prompt.strip():
            raise bad("Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
        if not isinstance(model, str) or (model.startswith("sora-") and model not in SORA_SIZES):
            message = f"The model '{model}' does not exist or you do not have access to it."
            raise Refused(404, "model_not_found", message)
        picture, size, _ = wanted_picture(model, fields)
        self._check_reference(fields.get("input_reference"))
        if REFUSE in prompt:
            code, message = REASONS[Ending.REFUSED]
            raise bad(message, code=code)
        rate = look_up(self._desk.settings.prices_usd_per_second, f"openai-videos/{model}/{size}")
        return Order(
            provider=Provider.OPENAI_VIDEOS,
            model=model,
            prompt=prompt,
            picture=picture,
            resolution=size,
            price_usd=round(rate * picture.duration_s, 6),
            occasion=occasion,
        )

    def _check_reference(self, reference: object) -> None:
        """Refuse an `input_reference` that is neither an uploaded picture or video nor the object with an address."""
        if reference is None:
            return
        kind = reference.get("type") if isinstance(reference, dict) else None
        if isinstance(kind, str) and kind.startswith(("image/", "video/")):
            return
        address = reference.get("image_url") if isinstance(reference, dict) else None
        if not isinstance(address, str) or not address.startswith(("http://", "https://", "data:image/")):
            raise bad("Invalid input_reference: upload an image, or give its image_url.", param="input_reference")

    def _video(self, job: Job) -> dict[str, Any]:
        """Return the video object."""
        now_s, status = self._desk.now_s(), self._status(job)
        is_over = status in {"completed", "failed"}
        took = (now_s - job.starts_s) / max(job.ends_s - job.starts_s, 1e-9)
        error = None
        if status == "failed":
            code, message = REASONS[job.ending]
            error = {"code": code, "message": message}
        return {
            "id": job.id,
            "object": "video",
            "model": job.model,
            "status": status,
            "progress": 100 if status == "completed" else max(0, min(99, int(took * 100))),
            "created_at": int(job.accepted_s),
            "completed_at": int(job.ends_s) if is_over else None,
            "expires_at": int(job.ends_s + self._desk.settings.openai_videos_lifetime_s) if is_over else None,
            "seconds": f"{job.picture.duration_s:g}",
            "size": job.resolution,
            "prompt": job.prompt,
            "remixed_from_video_id": None,
            "error": error,
        }

    def _status(self, job: Job) -> str:
        now_s = self._desk.now_s()
        if now_s < job.ends_s:
            return "queued" if now_s < job.starts_s else "in_progress"
        return "completed" if job.ending is Ending.COMPLETED else "failed"

    def _job(self, request: web.Request, key: Key) -> Job:
        job_id, lifetime_s = request.match_info["id"], self._desk.settings.openai_videos_lifetime_s
        job = self._desk.find(Provider.OPENAI_VIDEOS, job_id, key, lifetime_s)
        if job is None or job.deleted:
            raise Refused(404, "not_found", f"Video with id '{job_id}' not found.")
        return job

    async def retrieve(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Tell how far a job is. Never bills."""
        job = self._job(request, key)
        nth = self._desk.state.count(CountKind.JOB, job.id, "retrieve")
        self._desk.disturb(request, "retrieve", job.occasion, nth)
        age_s = self._desk.now_s() - job.accepted_s
        early_s = self._desk.settings.early_404_s / self._desk.settings.speed
        if age_s < early_s and self._desk.strikes(Fault.EARLY_404, job.occasion):
            raise Refused(404, "not_found", f"Video with id '{job.id}' not found.")
        # The format's word for when to ask again (openai-python, videos.poll).
        pause_ms = max(50, round(10_000 / self._desk.settings.speed))
        return web.json_response(self._video(job), headers={"openai-poll-after-ms": str(pause_ms)})

    async def list(self, request: web.Request, key: Key) -> web.StreamResponse:
        """List the key's videos, the newest first unless told otherwise, page by page."""
        self._desk.disturb(request, "list", self._desk.state.count(CountKind.EVENT, "listed"))
        limit, order = request.query.get("limit", str(LIST_DEFAULT)), request.query.get("order", "desc")
        if not limit.isdecimal() or not 1 <= int(limit) <= LIST_MAX:
            raise bad(f"Invalid 'limit': expected an integer from 1 to {LIST_MAX}.", param="limit")
        if order not in {"asc", "desc"}:
            raise bad("Invalid 'order': expected 'asc' or 'desc'.", param="order")
        mine = [
            job
            for job in self._desk.state.jobs.values()
            if job.provider is Provider.OPENAI_VIDEOS and job.key == key.fingerprint and not job.deleted
        ]
        mine.sort(key=lambda job: (job.accepted_s, job.id), reverse=order == "desc")
        after = request.query.get("after")
        if after is not None:
            ids = [job.id for job in mine]
            mine = mine[ids.index(after) + 1 :] if after in ids else []
        page = [self._video(job) for job in mine[: int(limit)]]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        has_more = len(mine) > len(page)
        return web.json_response(
            {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": has_more}
        )

    async def content(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Send the clip of a completed job."""
        job = self._job(request, key)
        nth = self._desk.state.count(CountKind.JOB, job.id, "content")
        self._desk.disturb(request, "content", job.occasion, nth)
        if request.query.get("variant", "video") != "video":
            raise bad("The sandbox keeps the video alone, no thumbnail and no spritesheet.", param="variant")
        status = self._status(job)
        if status == "failed":
            raise Refused(404, "not_found", f"Video '{job.id}' failed and has no content.")
        if status != "completed":
            raise bad(f"Video is not ready yet, use GET /v1/videos/{job.id} to check status.", code="video_not_ready")
        return await self._desk.send_clip(request, job, 0, nth, ranges=True)

    async def delete(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Delete a completed or failed video and what is stored of it."""
        job = self._job(request, key)
        nth = self._desk.state.count(CountKind.JOB, job.id, "delete")
        self._desk.disturb(request, "delete", job.occasion, nth)
        if self._status(job) not in {"completed", "failed"}:
            raise bad("A video can be deleted once it is completed or failed.", code="video_not_ready")
        self._desk.state.delete_media(job)
        return web.json_response({"id": job.id, "object": "video.deleted", "deleted": True})

    async def models(self, _request: web.Request, _key: Key) -> web.StreamResponse:
        """List the models."""
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "sandbox"} for name in (*SORA_SIZES, OPEN_MODEL)
        ]
        return web.json_response({"object": "list", "data": data})
