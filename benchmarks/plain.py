"""The baseline: submit, status, result, download with asyncio and aiohttp, no ledger, no fsync, no checks.

This is the vendor's own walk-through, made concurrent. It pays again after every interruption; it is here to be raced.

usage: plain.py BASE_URL ITEMS CONCURRENCY FOLDER [POLL_S]
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import aiohttp

HEADERS = {"Authorization": "Bearer plain"}


async def make_clip(session: aiohttp.ClientSession, base: str, number: int, folder: Path, poll_s: float) -> None:
    body = {"prompt": f"Clip number {number}"}
    async with session.post(f"{base}/v1/queue/veo-3", json=body, headers=HEADERS) as answer:
        task = await answer.json()
    while True:
        async with session.get(base + task["status_url"], headers=HEADERS) as answer:
            status = (await answer.json())["status"]
        if status == "COMPLETED":
            break
        if status == "FAILED":
            raise RuntimeError(f"clip {number} failed")
        await asyncio.sleep(poll_s)  # noqa: TID251
    async with session.get(base + task["response_url"], headers=HEADERS) as answer:
        result = await answer.json()
    for index, video in enumerate(result["data"]):
        async with session.get(base + video["url"], headers=HEADERS) as answer:
            (folder / f"video_{number}_{index}.mp4").write_bytes(await answer.read())


async def main(base: str, items: int, concurrency: int, folder: Path, poll_s: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    slots = asyncio.Semaphore(concurrency)

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
        "wall_s": wall_s,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mib": used.ru_maxrss / 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    base, items, concurrency, folder, *rest = sys.argv[1:]
    asyncio.run(main(base, int(items), int(concurrency), Path(folder), float(rest[0]) if rest else 5.0))
