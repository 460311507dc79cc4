"""openai (`client.videos`) at the sandbox: BASE_URL FOLDER PICTURE. Prints what it saw as JSON.

Run by test_strangers.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import openai

warnings.simplefilter("ignore")  # its authors have deprecated the product, not the format


def complaint(base_url: str, key: str = "rehearsal", **fields: Any) -> list[str | None]:
    client = openai.OpenAI(api_key=key, base_url=base_url, max_retries=0)
    try:
        client.videos.create(**fields)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.code]
    return []


def use(base_url: str, folder: Path, picture: Path) -> dict[str, Any]:
    client = openai.OpenAI(api_key="rehearsal", base_url=base_url, max_retries=0)
    told: dict[str, Any] = {"models": [model.id for model in client.models.list()]}
    video = client.videos.create_and_poll(model="sora-2", prompt="A fox by form", seconds="8", size="1280x720")
    told["video"] = video.model_dump()
    client.videos.download_content(video.id).write_to_file(folder / "form.mp4")
    leaf = client.videos.create(prompt="A leaf", input_reference=(picture.name, picture.read_bytes(), "image/jpeg"))
    told["leaf"] = client.videos.poll(leaf.id).status
    told["listed"] = [each.id for each in client.videos.list(limit=1)] == [leaf.id, video.id]
    told["deleted"] = client.videos.delete(video.id).deleted
    try:
        client.videos.retrieve(video.id)
    except openai.NotFoundError as error:
        told["gone"] = error.code
    failed = client.videos.create_and_poll(prompt="[sandbox: fail]")
    told["failed"] = [failed.status, failed.error and failed.error.code]
    told["errors"] = {
        "refuse": complaint(base_url, prompt="[sandbox: refuse]"),
        "seconds": complaint(base_url, prompt="x", seconds="5"),
        "model": complaint(base_url, prompt="x", model="sora-9"),
        "key": complaint(base_url, "bad-key", prompt="x"),
        "money": complaint(base_url, "poor-key", prompt="x"),
    }
    return told


if __name__ == "__main__":
    print(json.dumps(use(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
