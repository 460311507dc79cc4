"""The providers of the package, held against the suite."""

from __future__ import annotations

from typing import ClassVar

from pipeline.providers.modelmax import ModelMax
from pipeline.providers.venice import Venice
from tests.providers.conformance import Conformance, Dialect
from tests.providers.loopback import MP4, answer, asked

BASE = "/v1/queue/veo-3/requests/job-1"


class TestModelMax(Conformance):
    dialect: ClassVar[Dialect] = Dialect(
        factory=ModelMax,
        request=asked(duration_seconds=8, resolution="720p", aspect_ratio="16:9"),
        path="",
        accepted={
            "request_id": "job-1",
            "status": "IN_QUEUE",
            "status_url": f"{BASE}/status",
            "response_url": BASE,
        },
        running={"request_id": "job-1", "status": "IN_PROGRESS"},
        finished=answer({"request_id": "job-1", "status": "COMPLETED"}),
        result={
            "request_id": "job-1",
            "status": "COMPLETED",
            "model": "veo-3",
            "data": [{"url": f"{BASE}/content/0"}],
            "usage": {"video_seconds": 8, "video_resolution": "720p", "video_has_audio": True},
        },
    )


class TestVenice(Conformance):
    dialect: ClassVar[Dialect] = Dialect(
        factory=Venice,
        request=asked("wan-2.6-text-to-video", duration_seconds=5, resolution="720p", aspect_ratio="16:9"),
        path="/api/v1",
        accepted={"model": "wan-2.6-text-to-video", "queue_id": "job-1"},
        running={"status": "PROCESSING", "average_execution_time": 145000, "execution_duration": 53200},
        finished=answer(MP4, headers={"Content-Type": "video/mp4"}),
        quoted={"quote": 0.55},
        listed={"data": [{"id": "wan-2.6-text-to-video", "type": "video", "model_spec": {}}]},
    )
