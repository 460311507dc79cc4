"""veniceresch at the sandbox: BASE_URL FOLDER. Prints what it saw as JSON. Run by test_strangers.

Its `wait_for_completion` reads every answer to a retrieve as JSON, so it cannot wait for a model whose retrieve answers
with the clip, which Venice's OpenAPI documents beside JSON; for such a model the clip itself is asked for until it is
there, which its `retrieve_binary` tells by an error of its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import veniceresch
from veniceresch import VeniceClient

BYTES, LINK = "wan-2-7-text-to-video", "grok-imagine-text-to-video-private"
ASKED: dict[str, Any] = {"duration": "5s", "resolution": "720p", "aspect_ratio": "16:9"}


def fetched(client: VeniceClient, model: str, queue_id: str) -> bytes:
    while True:
        try:
            return client.video.retrieve_binary(model=model, queue_id=queue_id)
        except veniceresch.VeniceUnexpectedContentTypeError:
            time.sleep(0.2)


def complaint(client: VeniceClient, prompt: str) -> str:
    try:
        job = client.video.queue(model=BYTES, prompt=prompt, **ASKED)
        client.video.wait_for_completion(model=BYTES, queue_id=job.queue_id, poll_interval_s=0.2, timeout_s=30)
    except Exception as error:  # the name of its own error is what is told
        return type(error).__name__
    return ""


def use(base_url: str, folder: Path) -> dict[str, Any]:
    client = VeniceClient(api_key="rehearsal", base_url=base_url)
    told: dict[str, Any] = {"models": [model["id"] for model in client.models.list(type="video").data], "quotes": {}}
    told["quotes"]["bytes"] = client.video.quote(model=BYTES, **ASKED).quote
    job = client.video.queue(model=BYTES, prompt="A fox by bytes", **ASKED)
    (folder / "bytes.mp4").write_bytes(fetched(client, BYTES, job.queue_id))
    client.video.complete(model=BYTES, queue_id=job.queue_id)
    told["quotes"]["link"] = client.video.quote(model=LINK, **ASKED).quote
    job = client.video.queue(model=LINK, prompt="A fox by link", **ASKED)
    client.video.wait_for_completion(model=LINK, queue_id=job.queue_id, poll_interval_s=0.2, raise_on_failed=True)
    clip = client.video.download(model=LINK, queue_id=job.queue_id, download_url=job.download_url)
    (folder / "link.mp4").write_bytes(clip)
    client.video.complete(model=LINK, queue_id=job.queue_id)
    told["errors"] = {phrase: complaint(client, f"[sandbox: {phrase}]") for phrase in ("refuse", "fail")}
    return told


if __name__ == "__main__":
    print(json.dumps(use(sys.argv[1], Path(sys.argv[2]))))
