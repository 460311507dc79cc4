"""The dialects of the package's providers. Another provider is one more line in `DIALECTS`, and a dialect above it."""

from __future__ import annotations

from pipeline.providers.answers import (
    Catalogue,
    Claimed,
    Deleted,
    Failed,
    Gone,
    Quoted,
    Ready,
    Refused,
    Running,
    Streaming,
    Throttled,
)
from pipeline.providers.modelmax.provider import ModelMax
from pipeline.providers.openai_videos.provider import OpenAIVideos
from pipeline.providers.venice.provider import Venice
from tests.providers.dialect import Dialect
from tests.providers.loopback import MP4, answer, asked

BASE = "/v1/queue/veo-3/requests/job-1"

MODELMAX = Dialect(
    factory=ModelMax,
    request=asked(duration_seconds=8, resolution="720p", aspect_ratio="16:9"),
    accepted={"request_id": "job-1", "status": "IN_QUEUE", "status_url": f"{BASE}/status", "response_url": BASE},
    running={"request_id": "job-1", "status": "IN_PROGRESS"},
    says={
        ("look", Ready): answer({"request_id": "job-1", "status": "COMPLETED"}),
        ("look", Failed): answer({"request_id": "job-1", "status": "FAILED", "error": "content policy violation"}),
        ("look", Gone): answer({"error": {"message": "invalid request ID", "type": "bad_request"}}, 400),
        ("claim", Claimed): answer(
            {
                "request_id": "job-1",
                "status": "COMPLETED",
                "model": "veo-3",
                "data": [{"url": f"{BASE}/content/0"}],
                "usage": {"video_seconds": 8, "video_resolution": "720p", "video_has_audio": True},
            }
        ),
        ("claim", Running): answer({"request_id": "job-1", "status": "IN_PROGRESS", "model": "veo-3"}),
        ("claim", Failed): answer({"request_id": "job-1", "status": "FAILED", "error": "video generation failed"}),
        ("fetch", Gone): answer({"error": {"message": "index out of range", "type": "bad_request"}}, 400),
    },
    cannot=frozenset({("look", Streaming)}),
    clip={"path": f"{BASE}/content/0"},
)

VENICE = Dialect(
    factory=Venice,
    request=asked("wan-2.6-text-to-video", duration_seconds=5, resolution="720p", aspect_ratio="16:9"),
    path="/api/v1",
    accepted={"model": "wan-2.6-text-to-video", "queue_id": "job-1"},
    running={"status": "PROCESSING", "average_execution_time": 145000, "execution_duration": 53200},
    says={
        ("look", Streaming): answer(MP4, headers={"Content-Type": "video/mp4"}),
        ("look", Ready): answer({"status": "COMPLETED", "download_url": "https://media.venice.ai/x"}),
        ("look", Failed): answer(
            {"error": {"message": "rejected", "type": "provider_content_policy", "credits_refunded": True}}, 422
        ),
        ("look", Gone): answer(
            {"error": "Media could not be found. Request may be invalid, expired, or deleted."}, 404
        ),
        ("fetch", Gone): answer(b"<Error><Code>NoSuchKey</Code></Error>", 404),
        ("cleanup", Deleted): answer({"success": True}),
        ("cleanup", Gone): answer({"error": "Media could not be found."}, 404),
        ("quote", Quoted): answer({"quote": 0.55}),
        ("models", Catalogue): answer({"data": [{"id": "wan-2.6-text-to-video", "type": "video", "model_spec": {}}]}),
    },
    # A link that is used too often, or that refuses, says nothing of the API's limits or of the key.
    cannot=frozenset({("fetch", Throttled), ("fetch", Refused)}),
    clip={"download_url": "{server}/clip"},
)

OPENAI_VIDEOS = Dialect(
    factory=OpenAIVideos,
    request=asked("sora-2", duration_seconds=8, resolution="720p", aspect_ratio="16:9"),
    path="/v1",
    accepted={
        "id": "job-1",
        "object": "video",
        "model": "sora-2",
        "status": "queued",
        "progress": 0,
        "created_at": 1712697600,
        "seconds": "8",
        "size": "1280x720",
    },
    running={"id": "job-1", "object": "video", "model": "sora-2", "status": "in_progress", "progress": 40},
    says={
        ("look", Ready): answer({"id": "job-1", "object": "video", "status": "completed", "progress": 100}),
        ("look", Failed): answer(
            {"id": "job-1", "status": "failed", "error": {"code": "moderation_blocked", "message": "Blocked."}}
        ),
        ("look", Gone): answer({"detail": "Video not found"}, 404),
        ("fetch", Gone): answer({"error": {"message": "Video content has expired", "code": None}}, 404),
        ("cleanup", Deleted): answer({"id": "job-1", "object": "video.deleted", "deleted": True}),
        ("cleanup", Gone): answer({"detail": "Video not found"}, 404),
        ("models", Catalogue): answer({"object": "list", "data": [{"id": "sora-2", "object": "model"}]}),
    },
    cannot=frozenset({("look", Streaming)}),
    clip={"variant": "video"},
)

DIALECTS = (MODELMAX, VENICE, OPENAI_VIDEOS)
