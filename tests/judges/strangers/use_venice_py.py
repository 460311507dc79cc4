"""venice-py (`venice_ai`) at the sandbox: BASE_URL FOLDER. Prints what it saw as JSON. Run by test_strangers."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from venice_ai import VeniceClient

MODELS = {"bytes": "wan-2-7-text-to-video", "link": "grok-imagine-text-to-video-private"}
ASKED: dict[str, Any] = {"duration_seconds": 5, "resolution": "720p", "aspect_ratio": "16:9"}


async def complaint(client: VeniceClient, prompt: str) -> str:
    try:
        await (await client.video.run(model=MODELS["bytes"], prompt=prompt, **ASKED)).wait(poll_interval=0.2)
    except Exception as error:  # the name of its own error is what is told
        return type(error).__name__
    return ""


async def use(base_url: str, folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = {"quotes": {}, "errors": {}}
    async with VeniceClient(api_key="rehearsal", base_url=base_url) as client:
        listed = await client.models.list(type="video")
        told["models"] = [model.id for model in listed.data]
        for name, model in MODELS.items():
            told["quotes"][name] = (await client.video.quote(model=model, **ASKED)).quote
            # Leaving the block releases what is stored at the vendor.
            async with await client.video.run(model=model, prompt=f"A fox by {name}", **ASKED) as job:
                await job.download(folder / f"{name}.mp4", await job.wait(poll_interval=0.2))
        for phrase in ("refuse", "fail"):
            told["errors"][phrase] = await complaint(client, f"[sandbox: {phrase}]")
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(use(sys.argv[1], Path(sys.argv[2])))))
