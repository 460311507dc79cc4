"""Prints what a request costs over the memory network: `python tests/simulation/measure_requests.py` from the root."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.simulation.world import World

REQUESTS = 10_000


async def echo(request: web.Request) -> web.Response:
    return web.json_response(await request.json())


async def ask(world: World, fresh: bool) -> None:
    async with aiohttp.ClientSession(connector=world.network.connector(fresh)) as session:

        async def worker() -> None:
            for number in range(REQUESTS // 8):
                async with session.post("http://api.test/echo", json={"number": number}) as response:
                    await response.json()

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(worker())


for fresh in (False, True):
    with World(latency_s=(0.02, 0.08)) as world:
        app = web.Application()
        app.router.add_post("/echo", echo)
        world.serve(app, "api.test")
        before = time.process_time()
        world.run(ask(world, fresh))
        cpu_s = time.process_time() - before
        kind = "fresh connections" if fresh else "kept-alive connections"
        print(  # noqa: T201  # the script's answer
            f"{REQUESTS} requests, {kind}: {cpu_s / REQUESTS * 1e3:.3f} ms of CPU each; "
            f"{world.network.connections} connections, {world.loop.time():.1f} virtual seconds"
        )
