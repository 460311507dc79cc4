"""Venice on the wire: quote, queue (which charges), retrieve (which may be the clip itself) and complete.

Source: Venice OpenAPI, /video/*; Venice video-generation guide.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.delivery import sever
from pipeline.sandbox.desk import REFUSE, Key, Order, Refused
from pipeline.sandbox.limits import Bucket
from pipeline.sandbox.settings import Fault, Provider, VeniceCharges, look_up
from pipeline.sandbox.state import CountKind, Ending
from pipeline.sandbox.venice.catalogue import VENICE_MODELS, Kind, VeniceModel
from pipeline.sandbox.venice.door import invalid, read_body
from pipeline.sandbox.venice.links import media_origin
from pipeline.sandbox.venice.media_rules import FACES, Issue
from pipeline.sandbox.venice.rules import (
    SOURCE_DURATIONS,
    SOURCE_LENGTH_S,
    length_s,
    needs_consent,
    queue_issues,
    quoted_durations,
    resolution,
    wanted_picture,
)

if TYPE_CHECKING:
    from pipeline.sandbox.desk import Desk
    from pipeline.sandbox.state import Job
    from pipeline.sandbox.venice.door import Door

RETRIEVE_FIELDS = {"model", "queue_id", "delete_media_on_completion"}
COMPLETE_FIELDS = {"model", "queue_id"}
ALTERNATIVE = "wan-2-7-text-to-video"
POLICY = "I confirm that I have the legal right to use the submitted media and accept that it may be screened."


class Venice:
    """The emulated Venice: its four video calls."""

    def __init__(self, desk: Desk, door: Door) -> None:
        self._desk = desk
        self._door = door

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, named by endpoint."""
        base, guard = "/api/v1/video", self._door.guard
        return [
            web.post(f"{base}/quote", self._door.open(self.quote), name="venice-quote"),
            web.post(f"{base}/queue", guard(self.queue, Bucket.VENICE_QUEUE), name="venice-queue"),
            web.post(f"{base}/retrieve", guard(self.retrieve, Bucket.VENICE_RETRIEVE), name="venice-retrieve"),
            web.post(f"{base}/complete", guard(self.complete, None), name="venice-complete"),
        ]

    def _model(self, body: dict[str, Any]) -> VeniceModel:
        name = body.get("model")
        if not isinstance(name, str):
            raise invalid([Issue("model", "Required", "string")])
        if name not in VENICE_MODELS:
            raise Refused(404, "MODEL_NOT_FOUND", "The specified model was not found")
        model = VENICE_MODELS[name]
        if model.ends and self._desk.clock.now().isoformat() >= model.ends["removesAt"]:
            raise Refused(410, "MODEL_RETIRED", f"The model {name} is no longer available")
        return model

    def _price_usd(self, model: VeniceModel, body: dict[str, Any]) -> float:
        name = f"venice/{model.id}/{resolution(model, body)}"
        rate = look_up(self._desk.settings.prices_usd_per_second, name)
        total_s = body.get("reference_video_total_duration")
        if body.get("duration") in SOURCE_DURATIONS and isinstance(total_s, int | float):
            return round(rate * math.ceil(total_s), 6)
        length = SOURCE_LENGTH_S if model.kind is Kind.UPSCALE else length_s(body.get("duration"))
        return round(rate * length, 6)

    async def quote(self, request: web.Request) -> web.StreamResponse:
        """Tell the price. Free; fields that the model does not support are dropped without a word.

        An upscaler's price is that of its clip, which is fetched for it: that takes a key, and the clip's address.
        """
        body = await read_body(request)
        model = self._model(body)
        if model.kind is Kind.UPSCALE:
            self._door.key_of(request)
            if not body.get("video_url"):
                raise invalid([Issue("video_url", "video_url is required for quotes on this model")])
        elif model.kind is not Kind.VIDEO and body.get("duration") not in quoted_durations(model, body):
            raise invalid([Issue("duration", "Invalid enum value", " | ".join(model.durations))])
        nth = self._desk.state.count(CountKind.EVENT, "quoted")
        self._desk.disturb(request, "quote", nth)
        return web.json_response({"quote": self._price_usd(model, body)})

    async def queue(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Accept a generation, and charge for it before the answer leaves."""
        desk = self._desk
        body = await read_body(request)
        occasion = desk.occasion(Provider.VENICE, "", body)
        desk.throttle("queue", occasion)
        if desk.strikes(Fault.DROP_BEFORE_ACCEPT, occasion):
            raise sever(request)
        model = self._model(body)
        order = self._order(model, body, occasion)
        if not desk.can_pay(key, order.price_usd):
            raise Refused(402, "INSUFFICIENT_BALANCE", "Insufficient USD or Diem balance to complete request")
        job = self._accept(order, key)
        if desk.strikes(Fault.DROP_AFTER_ACCEPT, occasion):
            raise sever(request)
        for fault, status in ((Fault.SUBMIT_500, 500), (Fault.SUBMIT_502, 502)):
            if desk.strikes(fault, occasion):
                raise Refused(status, "INFERENCE_FAILED", "Inference processing failed")
        answer = {"model": job.model, "queue_id": job.id}
        if model.has_link:
            answer["download_url"] = f"{media_origin(request)}/private-share/{job.token}"
        headers = {"X-Balance-Remaining": f"{desk.balance_usd(key):.6f}", "x-venice-model-id": job.model}
        if model.ends:
            headers["x-venice-model-deprecation-warning"] = f"The model {model.id} is deprecated and will be removed"
            headers["x-venice-model-deprecation-date"] = model.ends["removesAt"]
        return web.json_response(answer, headers=headers)

    def _order(self, model: VeniceModel, body: dict[str, Any], occasion: str) -> Order:
        issues = queue_issues(model, body)
        if issues:
            raise invalid(issues)
        prompt = body.get("prompt") or ""
        if REFUSE in prompt:
            raise Refused(
                422,
                "CONTENT_POLICY_VIOLATION",
                "Your prompt violates the content policy of Venice.ai or the model provider",
                suggested_prompt=prompt.replace(REFUSE, "").strip() or "A calm landscape.",
            )
        if needs_consent(model, body):
            raise self._consent_wanted(body)
        return Order(
            provider=Provider.VENICE,
            model=model.id,
            prompt=prompt,
            picture=wanted_picture(model, body),
            resolution=resolution(model, body),
            price_usd=self._price_usd(model, body),
            occasion=occasion,
            refunds=model.refunds_refusals,
        )

    def _consent_wanted(self, body: dict[str, Any]) -> Refused:
        return Refused(
            409,
            "needs_consent",
            "",
            error={"code": "needs_consent", "message": "Additional consent is required for media that shows faces."},
            consent_flow="seedance",
            face_media_roles=[field.removesuffix("s").removesuffix("_url") for field in FACES if body.get(field)],
            consent={"consent_version": "1", "policy_text": POLICY},
            docs_url="https://docs.venice.ai/guides/media/seedance-face-consent",
        )

    def _accept(self, order: Order, key: Key) -> Job:
        secret = hashlib.sha256(f"{self._desk.identity}:{order.occasion}".encode()).digest()
        return self._desk.accept(
            order,
            key,
            job_id=str(uuid.UUID(bytes=secret[:16], version=4)),
            token=hashlib.sha256(b"link" + secret).hexdigest(),
            charge_now=self._desk.settings.venice_charges is VeniceCharges.SUBMIT,
        )

    def _strict(self, body: dict[str, Any], fields: set[str]) -> str:
        """Check the body of a call that allows no other keys, and return its queue_id."""
        issues = [Issue(field, "Unrecognized key") for field in body if field not in fields]
        issues += [
            Issue(field, "Required", "string")
            for field in ("model", "queue_id")
            if not isinstance(body.get(field), str)
        ]
        if not isinstance(body.get("delete_media_on_completion", False), bool):
            issues.append(Issue("delete_media_on_completion", "Expected boolean", "boolean"))
        if issues:
            raise invalid(issues)
        return str(body["queue_id"])

    def _job(self, body: dict[str, Any], fields: set[str], key: Key) -> Job:
        job_id = self._strict(body, fields)
        job = self._desk.find(Provider.VENICE, job_id, key, self._desk.settings.venice_id_lifetime_s)
        if job is None or job.model != body["model"]:
            raise Refused(400, "REQUEST_ID_NOT_FOUND", "Invalid id")
        return job

    async def retrieve(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Tell how far a job is, or send the clip. Free, however often."""
        desk = self._desk
        body = await read_body(request)
        job = self._job(body, RETRIEVE_FIELDS, key)
        nth = desk.state.count(CountKind.JOB, job.id, "retrieve")
        desk.disturb(request, "retrieve", job.occasion, nth)
        age_s = desk.now_s() - job.accepted_s
        if age_s < desk.settings.early_404_s / desk.settings.speed and desk.strikes(Fault.EARLY_404, job.occasion):
            raise self._gone()
        usual_ms = round(desk.draws.usual_s(Provider.VENICE, job.model) * 1000)
        times = {"average_execution_time": usual_ms, "execution_duration": round(age_s * 1000)}
        if desk.now_s() < job.ends_s:
            return web.json_response({"status": "PROCESSING"} | times)
        if job.ending is not Ending.COMPLETED:
            raise self._failure(job)
        if job.deleted:
            raise self._gone()
        if not desk.state.billed[job.id]:
            desk.state.enter(desk.charge(job))
        if VENICE_MODELS[job.model].has_link:
            return web.json_response({"status": "COMPLETED"} | times)
        if body.get("delete_media_on_completion"):
            # Before the body has left: a transfer that breaks loses the clip, which is the worst that can be meant.
            desk.state.delete_media(job)
        return await desk.send_clip(request, job, 0, nth)

    def _gone(self) -> Refused:
        message = "Media could not be found. Request may be invalid, expired, or deleted."
        return Refused(404, "MEDIA_NOT_FOUND", message)

    def _failure(self, job: Job) -> Refused:
        """Return the refusal that a failed job gives now and ever after, the money returned where it is."""
        self._desk.settle(job)
        refunded = job.id in self._desk.state.refunded
        if job.ending is Ending.BROKEN:
            return Refused(500, "INFERENCE_FAILED", "Inference processing failed", credits_refunded=refunded)
        told = " Credits have been refunded." if refunded else ""
        message = f"The selected model provider rejected this request due to its content policies.{told}"
        error = {
            "message": f"{message} Try using {ALTERNATIVE} instead.",
            "type": "provider_content_policy",
            "recommended_model": ALTERNATIVE,
            "credits_refunded": refunded,
        }
        return Refused(422, "provider_content_policy", message, error=error)

    async def complete(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Delete the clip of a finished job."""
        body = await read_body(request)
        job = self._job(body, COMPLETE_FIELDS, key)
        nth = self._desk.state.count(CountKind.JOB, job.id, "complete")
        self._desk.disturb(request, "complete", job.occasion, nth)
        if not self._desk.settings.venice_complete_works:
            raise Refused(400, "REQUEST_ID_NOT_FOUND", "Invalid id")
        if self._desk.now_s() >= job.ends_s and not job.deleted:
            self._desk.state.delete_media(job)
        return web.json_response({"success": True})
