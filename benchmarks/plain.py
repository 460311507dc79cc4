"""The baseline: submit, status, result, download with asyncio and aiohttp, no ledger, no fsync, no checks.

This is the vendors' own walk-throughs, made concurrent: look every few seconds, try again after a 429. It pays again
after every interruption; it is here to be raced.

usage: plain.py BASE_URL ITEMS CONCURRENCY FOLDER [POLL_S [modelmax|venice]]
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEADERS = {"Authorization": "Bearer plain"}
BACKOFF_S, BACKOFF_MOST_S = 1.0, 60.0
refusals = 0


@asynccontextmanager
async def call(session: aiohttp.ClientSession, method: str, url: str, **rest: Any) -> AsyncIterator[Any]:
    """Make a call, again after each 429, with doubling waits."""
    global refusals
    wait_s = BACKOFF_S
    while True:
        async with session.request(method, url, headers=HEADERS, **rest) as answer:
            if answer.status != 429:
                answer.raise_for_status()
                yield answer
                return
        refusals += 1
        await asyncio.sleep(wait_s)  # noqa: TID251
        wait_s = min(2 * wait_s, BACKOFF_MOST_S)


async def modelmax(session: aiohttp.ClientSession, base: str, number: int, folder: Path, poll_s: float) -> None:
    body = {"prompt": f"Clip number {number}"}
    async with call(session, "POST", f"{base}/v1/queue/veo-3", json=body) as answer:
        task = await answer.json()
    while True:
        async with call(session, "GET", base + task["status_url"]) as answer:
            status = (await answer.json())["status"]
        if status == "COMPLETED":
            break
        if status == "FAILED":
            raise RuntimeError(f"clip {number} failed")
        await asyncio.sleep(poll_s)  # noqa: TID251
    async with call(session, "GET", base + task["response_url"]) as answer:
        result = await answer.json()
    for index, video in enumerate(result["data"]):
        async with call(session, "GET", base + video["url"]) as answer:
            (folder / f"video_{number}_{index}.mp4").write_bytes(await answer.read())


async def venice(session: aiohttp.ClientSession, base: str, number: int, folder: Path, poll_s: float) -> None:
    body = {
        "model": "wan-2-7-text-to-video",
        "prompt": f"Clip number {number}",
        "duration": "5s",
        "aspect_ratio": "16:9",
        "resolution": "720p",
    }
    async with call(session, "POST", f"{base}/api/v1/video/queue", json=body) as answer:
        queued = await answer.json()
    look = {"model": queued["model"], "queue_id": queued["queue_id"]}
    while True:
        await asyncio.sleep(poll_s)  # noqa: TID251
        async with call(session, "POST", f"{base}/api/v1/video/retrieve", json=look) as answer:
            if answer.content_type == "video/mp4":
                (folder / f"video_{number}.mp4").write_bytes(await answer.read())
                return


async def main(base: str, items: int, concurrency: int, folder: Path, poll_s: float, vendor: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    slots = asyncio.Semaphore(concurrency)
    make_clip = {"modelmax": modelmax, "venice": venice}[vendor]

    async def one(number: int) -> None:
        async with slots:
            await make_clip(session, base, number, folder, poll_s)

    began = time.perf_counter()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for number in range(items):
            group.create_task(one(number))
    wall_s = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "clips": items,
        "refusals": refusals,
        "wall_s": wall_s,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    base, items, concurrency, folder, *rest = sys.argv[1:]
    poll_s, vendor = float(rest[0]) if rest else 5.0, rest[1] if len(rest) > 1 else "modelmax"
    asyncio.run(main(base, int(items), int(concurrency), Path(folder), poll_s, vendor))
