"""What all vendors' handlers share: who asks, what it counts as, which fault strikes, and what it costs.

A call comes in with a key, is admitted or refused, may be struck by a fault, and goes on to the vendor's own code. How
a refusal looks on the wire is the vendor's; that it is one is said here.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.delivery import deliver, sever
from pipeline.sandbox.settings import Fault, Provider
from pipeline.sandbox.state import Charge, ChargeKind, CountKind, Ending, Job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pipeline.effects import Clock
    from pipeline.sandbox.catalogue import Picture
    from pipeline.sandbox.faults import Draws
    from pipeline.sandbox.limits import Bucket, Limits
    from pipeline.sandbox.render import Renderer
    from pipeline.sandbox.settings import SandboxSettings
    from pipeline.sandbox.state import State

REFUSE = "[sandbox: refuse]"
FAIL = "[sandbox: fail]"
BAD, POOR = "bad-", "poor-"


class Refused(Exception):
    """A call that is answered with an error: the status, the vendor's word for it, a sentence, and more fields."""

    def __init__(self, status: int, kind: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.more = more
        self.headers: dict[str, str] = {}
        self.wait_s = 0.0
        """How long to wait before another try, where the status is 429."""


@dataclass(frozen=True, slots=True)
class Key:
    """A bearer token, without the token: what it may do, and its fingerprint."""

    fingerprint: str
    is_poor: bool
    is_admin: bool


def read_key(request: web.Request) -> Key | None:
    """Return the key that a request brings; None for a token that is refused.

    Raises:
        LookupError: the request brings no token at all.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise LookupError
    if token.startswith(BAD):
        return None
    fingerprint = hashlib.sha256(token.encode()).hexdigest()[:12]
    return Key(fingerprint, token.startswith(POOR), "ADMIN" in token)


async def read_object(request: web.Request) -> dict[str, Any]:
    """Return the JSON object in the body. Raises `ValueError` for anything else."""
    body = json.loads(await request.read())
    if not isinstance(body, dict):
        raise ValueError("the body is not a JSON object")
    return body


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A request that was found acceptable: what it asks for, in terms that all vendors share."""

    provider: Provider
    model: str
    prompt: str
    picture: Picture
    resolution: str
    price_usd: float
    occasion: str
    outputs: int = 1
    refunds: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """The shared part of one sandbox."""

    settings: SandboxSettings
    clock: Clock
    state: State
    limits: Limits
    draws: Draws
    renderer: Renderer
    identity: str
    """Tells this sandbox's ids from those of any other."""

    def now_s(self) -> float:
        """Return seconds since the epoch."""
        return self.clock.now().timestamp()

    def strikes(self, fault: Fault, *occasion: object) -> bool:
        """Draw a fault and count it where it strikes."""
        struck = self.draws.strikes(fault, *occasion)
        if struck:
            self.state.count(CountKind.FAULT, fault)
        return struck

    def occasion(self, provider: Provider, model: str, body: dict[str, Any]) -> str:
        """Name one submit: the digest of its request, and how often that request was submitted."""
        text = json.dumps([provider, model, body], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{digest}:{self.state.count(CountKind.SUBMIT, digest)}"

    def throttle(self, *occasion: object) -> None:
        """Refuse with 429 where that fault strikes; the reset is 5 s away."""
        if self.strikes(Fault.THROTTLE, *occasion):
            raise self.too_many(5.0 / self.settings.speed)

    def too_many(self, wait_s: float, message: str = "Rate limit exceeded. Please try again later.") -> Refused:
        """Return the refusal for too many requests, counted."""
        self.state.count(CountKind.EVENT, "throttled")
        refused = Refused(429, "rate_limit_exceeded", message)
        refused.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
        refused.wait_s = wait_s
        return refused

    def guarded(
        self,
        handle: Callable[[web.Request, Key], Awaitable[web.StreamResponse]],
        bucket: Bucket | None,
        *,
        key: Callable[[web.Request], Key],
        told: Callable[[Refused], dict[str, Any]],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return a handler that lets a call in, if its key and the limits allow it, and words every refusal.

        Args:
            handle: what is done with a call that is let in.
            bucket: the limit that it counts against; None for none.
            key: reads the key, or raises Refused.
            told: the vendor's JSON for a refusal.
        """

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                who = key(request)
                if bucket is not None:
                    allowance = self.limits.admit(bucket, who.fingerprint)
                    if allowance is not None and not allowance.admitted:
                        raise self.too_many(allowance.reset_s)
                return await handle(request, who)
            except Refused as refused:
                return web.json_response(told(refused), status=refused.status, headers=refused.headers)

        return answer

    def disturb(self, request: web.Request, *occasion: object) -> None:
        """Let a call that cannot bill be struck: throttled, lost, or answered with an error."""
        self.throttle(*occasion)
        if self.strikes(Fault.LOSE_ANSWER, *occasion):
            raise sever(request)
        if self.strikes(Fault.ERROR_5XX, *occasion):
            status = (500, 502, 503)[int(self.draws.fraction("which 5xx", *occasion) * 3)]
            raise Refused(status, "", "The service is temporarily unavailable. Please try again.")

    def can_pay(self, key: Key, amount_usd: float) -> bool:
        """Tell whether the key's balance covers the amount."""
        return not key.is_poor and self.balance_usd(key) >= amount_usd

    def balance_usd(self, key: Key) -> float:
        """Return what the key has left to spend."""
        return round(self.settings.balance_usd - self.state.spent_usd.get(key.fingerprint, 0.0), 6)

    def ending(self, order: Order) -> Ending:
        """Decide how the generation will end."""
        if FAIL in order.prompt or self.strikes(Fault.GENERATION_FAILURE, order.occasion):
            return Ending.REFUSED
        if self.strikes(Fault.GENERATION_ERROR, order.occasion):
            return Ending.BROKEN
        return Ending.COMPLETED

    def accept(self, order: Order, key: Key, *, job_id: str, token: str, charge_now: bool) -> Job:
        """Make the job, durably, and charge for it where this vendor charges at once."""
        now_s = self.now_s()
        takes_s = self.draws.generation_s(order.provider, order.model, order.occasion)
        job = Job(
            id=job_id,
            provider=order.provider,
            key=key.fingerprint,
            occasion=order.occasion,
            model=order.model,
            prompt=order.prompt,
            picture=order.picture,
            resolution=order.resolution,
            outputs=order.outputs,
            price_usd=order.price_usd,
            accepted_s=now_s,
            starts_s=now_s + takes_s / 10,
            ends_s=now_s + takes_s,
            ending=self.ending(order),
            refunds=order.refunds,
            token=token,
        )
        self.state.count(CountKind.JOB, job.id, "submit")
        self.state.accept(job, self.charge(job) if charge_now else None)
        return job

    def charge(self, job: Job, kind: ChargeKind = ChargeKind.CHARGE) -> Charge:
        """Return the row of the bill for one charge or refund of a job."""
        return Charge(
            provider=job.provider,
            key=job.key,
            job=job.id,
            model=job.model,
            kind=kind,
            amount_usd=job.price_usd,
            at_s=self.now_s(),
        )

    def settle(self, job: Job) -> None:
        """Give the money back for a job that failed, where the vendor does, once."""
        failed = job.ending is not Ending.COMPLETED and self.now_s() >= job.ends_s
        if failed and job.refunds and self.state.billed[job.id] and job.id not in self.state.refunded:
            self.state.enter(self.charge(job, ChargeKind.REFUND))

    def find(self, provider: Provider, job_id: str, key: Key, lifetime_s: float) -> Job | None:
        """Return the key's own job, unless it is unknown or too old."""
        job = self.state.jobs.get(job_id)
        if job is None or job.provider is not provider or job.key != key.fingerprint:
            return None
        return job if self.now_s() < job.accepted_s + lifetime_s else None

    async def send_clip(
        self,
        request: web.Request,
        job: Job,
        index: int,
        occasion: object,
        *,
        disposition: str = "",
        ranges: bool = False,
    ) -> web.StreamResponse:
        """Answer with output `index` of a finished job, or with what the faults make of it."""
        clip = await self.renderer.clip(job.picture, job.id, index, job.prompt)
        return await deliver(
            request,
            clip,
            settings=self.settings,
            clock=self.clock,
            strikes=lambda fault: self.strikes(fault, job.occasion, index, occasion),
            disposition=disposition,
            ranges=ranges,
        )
