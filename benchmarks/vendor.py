"""A vendor in a few lines, for long batches in virtual time: both wire formats, exact limits, durations by law.

It knows nothing of money, faults or pictures; the sandbox does. What it is for is to keep count: of looks, refusals,
lock-outs, and of how long each finished job stayed unseen.
"""

from __future__ import annotations

import random
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.mp4s import minimal

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.laws import Law

MINUTE_S = 60.0
FAILURES_MOST, FAILURE_WINDOW_S, BLOCK_S = 20, 30.0, 30.0
CLIP = minimal(data=bytes(64))


@dataclass
class Window:
    """A limit a minute, held both ways at once: in fixed windows of a phase of their own, and in a sliding one."""

    limit: float
    """0 for none."""
    phase_s: float = 0.0
    _sent: deque[float] = field(default_factory=deque)
    _window: float = -1.0
    _count: int = 0

    def refused_s(self, now: float) -> float | None:
        """Count a call; where it is too much, return the seconds until another may be made."""
        if not self.limit:
            return None
        window = (now + self.phase_s) // MINUTE_S
        if window != self._window:
            self._window, self._count = window, 0
        while self._sent and self._sent[0] <= now - MINUTE_S:
            self._sent.popleft()
        if self._count >= self.limit:
            return (window + 1) * MINUTE_S - self.phase_s - now
        if len(self._sent) >= self.limit:
            return self._sent[0] + MINUTE_S - now
        self._count += 1
        self._sent.append(now)
        return None


class Gate:
    """Two limits and the lock-out: more than 20 failed calls in 30 s, refusals among them, shut the key out for 30 s.

    Whether refusals count among the failures is not documented; that they do is the worse of the two readings.
    """

    def __init__(self, submits: float, looks: float, seed: int = 0) -> None:
        phase = random.Random(f"phase/{seed}")
        self.windows = {
            "submit": Window(submits, phase.random() * MINUTE_S),
            "look": Window(looks, phase.random() * MINUTE_S),
        }
        self.refusals = 0
        self.lockouts = 0
        self._failed: deque[float] = deque()
        self._shut_until = 0.0

    def admit(self, what: str, now: float) -> tuple[float, bool] | None:
        """Return None where a call may pass, else the seconds to wait and whether the key is shut out."""
        if now < self._shut_until:
            self.refusals += 1
            return self._shut_until - now, True
        wait_s = self.windows[what].refused_s(now)
        if wait_s is None:
            return None
        self.refusals += 1
        self._failed.append(now)
        while self._failed[0] <= now - FAILURE_WINDOW_S:
            self._failed.popleft()
        if len(self._failed) > FAILURES_MOST:
            self._failed.clear()
            self._shut_until = now + BLOCK_S
            self.lockouts += 1
        return wait_s, False


@dataclass
class Made:
    """One job."""

    submitted_at: float
    ends_at: float
    told_s: float | None
    looks: int = 0
    found_at: float | None = None


class LightVendor:
    """The application. The mutable state is its jobs, by the number of the clip."""

    def __init__(
        self,
        law: Law,
        seed: int,
        now: Callable[[], float],
        gate: Gate,
        queue_share: float = 0.0,
        *,
        clip: bytes = CLIP,
    ) -> None:
        """Make one.

        Args:
            law: of the durations.
            seed: of the draws.
            now: the virtual time.
            gate: the limits.
            queue_share: for how large a part of its duration a job is said to be queued, where the vendor says so.
            clip: what every job makes.
        """
        self.jobs: dict[int, Made] = {}
        self._clip = clip
        self._law, self._seed, self._now, self._gate, self._queue_share = law, seed, now, gate, queue_share

    def app(self) -> web.Application:
        """Return the routes of both vendors."""
        app = web.Application()
        queue = "/v1/queue/{model}"
        app.add_routes(
            [
                web.post("/api/v1/video/queue", self._venice_queue),
                web.post("/api/v1/video/retrieve", self._venice_retrieve),
                web.post(queue, self._modelmax_submit),
                web.get(queue + "/requests/{id}/status", self._modelmax_status),
                web.get(queue + "/requests/{id}", self._modelmax_result),
                web.get(queue + "/requests/{id}/content/{index}", self._modelmax_content),
            ]
        )
        return app

    @property
    def lags_s(self) -> list[float]:
        """How long each job had been finished when it was first seen to be."""
        return [job.found_at - job.ends_at for job in self.jobs.values() if job.found_at is not None]

    @property
    def looks(self) -> int:
        """How many looks were answered."""
        return sum(job.looks for job in self.jobs.values())

    def _refused(self, what: str) -> web.Response | None:
        verdict = self._gate.admit(what, self._now())
        if verdict is None:
            return None
        wait_s, shut_out = verdict
        text = "Too many failed attempts. Please wait 30s and try again." if shut_out else "Rate limit exceeded."
        return web.json_response({"error": text}, status=429, headers={"Retry-After": str(int(wait_s) + 1)})

    def _accept(self, prompt: str) -> int:
        number = int(re.split(r"\D", prompt)[-1])
        now = self._now()
        told_s = self._law.told_s[number % self._law.models]
        self.jobs[number] = Made(now, now + self._law.takes_s(self._seed, number, now), told_s)
        return number

    def _look(self, number: int) -> Made:
        job, now = self.jobs[number], self._now()
        job.looks += 1
        if now >= job.ends_at and job.found_at is None:
            job.found_at = now
        return job

    async def _venice_queue(self, request: web.Request) -> web.Response:
        if (refused := self._refused("submit")) is not None:
            return refused
        body = await request.json()
        return web.json_response({"model": body["model"], "queue_id": str(self._accept(body["prompt"]))})

    async def _venice_retrieve(self, request: web.Request) -> web.Response:
        if (refused := self._refused("look")) is not None:
            return refused
        job = self._look(int((await request.json())["queue_id"]))
        if job.found_at is not None:
            return web.Response(body=self._clip, content_type="video/mp4")
        told: dict[str, Any] = {"status": "PROCESSING"}
        told["execution_duration"] = round((self._now() - job.submitted_at) * 1000)
        if job.told_s is not None:
            told["average_execution_time"] = round(job.told_s * 1000)
        return web.json_response(told)

    async def _modelmax_submit(self, request: web.Request) -> web.Response:
        if (refused := self._refused("submit")) is not None:
            return refused
        number = self._accept((await request.json())["prompt"])
        url = f"/v1/queue/{request.match_info['model']}/requests/{number}"
        answer = {"request_id": str(number), "status": "IN_QUEUE", "status_url": f"{url}/status", "response_url": url}
        return web.json_response(answer, status=202)

    async def _modelmax_status(self, request: web.Request) -> web.Response:
        if (refused := self._refused("look")) is not None:
            return refused
        job = self._look(int(request.match_info["id"]))
        queued = self._now() < job.submitted_at + self._queue_share * (job.ends_at - job.submitted_at)
        word = "COMPLETED" if job.found_at is not None else "IN_QUEUE" if queued else "IN_PROGRESS"
        return web.json_response({"request_id": request.match_info["id"], "status": word})

    async def _modelmax_result(self, request: web.Request) -> web.Response:
        number, model = request.match_info["id"], request.match_info["model"]
        data = [{"url": f"/v1/queue/{model}/requests/{number}/content/0"}]
        told = {"request_id": number, "status": "COMPLETED", "model": model, "data": data, "usage": {}}
        return web.json_response(told)

    async def _modelmax_content(self, _: web.Request) -> web.Response:
        return web.Response(body=self._clip, content_type="video/mp4")
