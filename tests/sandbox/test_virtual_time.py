"""The same application over connections in memory, in virtual time: minutes pass in no time, and twice the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from pipeline.sandbox.app import make_app
from pipeline.sandbox.settings import Fault, Render, SandboxSettings
from pipeline.sandbox.state import open_state
from pipeline.system.databases import open_database
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from pipeline.effects import Effects

KEY = {"Authorization": "Bearer sk-one"}
ORIGIN = "http://127.0.0.1:8800"
SPOILT = {
    Fault.TRUNCATE: 0.2,
    Fault.TRUNCATE_SILENTLY: 0.2,
    Fault.SLOW: 0.3,
    Fault.LOSE_ANSWER: 0.2,
    Fault.DISGUISE: 0.1,
}


async def story(effects: Effects) -> dict[str, Any]:
    """Ten jobs at each vendor, looked at every 5 s until each clip has come whole, whatever gets in the way."""
    connector = effects.connector(True)
    async with aiohttp.ClientSession(ORIGIN, headers=KEY, connector=connector) as session:
        wanted = []
        for number in range(10):
            answer = await session.post("/v1/queue/veo-3", json={"prompt": f"{number}"})
            wanted.append(("GET", (await answer.json())["response_url"], None))
            body = {"model": "wan-2-7-text-to-video", "prompt": f"{number}", "duration": "5s", "aspect_ratio": "16:9"}
            job = await (await session.post("/api/v1/video/queue", json=body)).json()
            wanted.append(("POST", "/api/v1/video/retrieve", job))
        while wanted:
            method, path, body = wanted.pop(0)
            try:
                answer = await session.request(method, path, json=body)
                data = await answer.read()
            except (aiohttp.ClientError, ConnectionError):
                data = b""
            if b'"data"' in data[:4000] and data[:1] == b"{":
                wanted.append(("GET", (await answer.json())["data"][0]["url"], None))
            elif not (data[4:8] == b"ftyp" and data[-40:].rstrip().endswith(b"}")):
                wanted.append((method, path, body))
            await effects.clock.sleep(5)
        return await (await session.get("/sandbox/bill")).json()


def tell(seed: int) -> tuple[dict[str, Any], float]:
    with World(seed, latency_s=(0.001, 0.02)) as world:
        state = open_state(None, open_database)
        servers = world.effects(world.provider)
        settings = SandboxSettings(seed=seed, faults=SPOILT, render=Render.TEMPLATE)
        app = make_app(settings, clock=servers.clock, state=state, threads=servers.threads)
        link = urlsplit(ORIGIN)
        assert link.hostname is not None
        world.serve(app, link.hostname, link.port or 80)
        client = world.process("client")
        bill = world.run(story(world.effects(client)), client)
        state.close()
        return bill, world.loop.time()


def test_a_story_with_faults_runs_in_virtual_time_and_twice_the_same() -> None:
    bill, took_s = tell(1)
    assert took_s > 100
    assert bill["accepted"] == 20
    assert all(job["charges"] >= 1 for job in bill["jobs"].values())
    assert tell(1) == (bill, took_s)
    assert tell(2) != (bill, took_s)
