"""The server as the command runs it: a real port, a state file, a stop, a kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from pipeline.errors import InputError
from pipeline.sandbox.app import serve
from pipeline.sandbox.settings import Render, SandboxSettings
from pipeline.system.effects import system

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INSTANT = SandboxSettings(duration_scale=0, render=Render.TEMPLATE)
KEY = {"Authorization": "Bearer sk-one"}


@asynccontextmanager
async def serving(state_file: Path | None = None) -> AsyncIterator[str]:
    effects = system()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(INSTANT, effects=effects, port=0, state_file=state_file, ready=ready.set_result))
    try:
        done, _ = await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            task.result()
        yield f"http://127.0.0.1:{ready.result()}"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        effects.threads.close()


async def test_a_job_is_made_claimed_and_fetched_over_a_real_port() -> None:
    async with serving() as origin, aiohttp.ClientSession(origin, headers=KEY) as session:
        job = await (await session.post("/v1/queue/veo-3", json={"prompt": "A turtle"})).json()
        status = await (await session.get(job["status_url"])).json()
        assert status["status"] == "COMPLETED"
        result = await (await session.get(job["response_url"])).json()
        data = await (await session.get(result["data"][0]["url"])).read()
        assert data[4:8] == b"ftyp"
        bill = await (await session.get("/sandbox/bill")).json()
        assert bill["totals"]["net_usd"] == pytest.approx(3.2)


async def test_a_stopped_sandbox_goes_on_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    async with serving(path) as origin, aiohttp.ClientSession(origin, headers=KEY) as session:
        job = await (await session.post("/v1/queue/veo-3", json={"prompt": "A turtle"})).json()
    async with serving(path) as origin, aiohttp.ClientSession(origin, headers=KEY) as session:
        assert (await (await session.get(job["status_url"])).json())["status"] == "COMPLETED"


async def test_a_host_that_is_not_loopback_is_refused() -> None:
    with pytest.raises(InputError, match="loopback"):
        await serve(INSTANT, effects=system(), port=0, state_file=None, host="0.0.0.0", ready=print)


async def test_a_port_that_is_taken_is_refused() -> None:
    async with serving() as origin:
        port = int(origin.rpartition(":")[2])
        with pytest.raises(InputError, match=f"Port {port} cannot be used"):
            await serve(INSTANT, effects=system(), port=port, state_file=None, ready=print)


CHILD = """
import asyncio, sys
from pathlib import Path
from pipeline.system.effects import system
from pipeline.sandbox.app import serve
from pipeline.sandbox.settings import SandboxSettings
asyncio.run(serve(SandboxSettings(duration_scale=0), effects=system(), port=0, state_file=Path(sys.argv[1]),
                  ready=lambda port: print(port, flush=True)))
"""


async def test_what_was_answered_before_a_kill_is_on_the_bill_after_it(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.sqlite"
    body = {"model": "wan-2-7-text-to-video", "duration": "5s", "aspect_ratio": "16:9"}
    answered: set[str] = set()
    for life in range(3):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(path), stdout=asyncio.subprocess.PIPE, cwd=os.getcwd()
        )
        assert child.stdout is not None
        port = int(await child.stdout.readline())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=KEY) as session:
            before = (await (await session.get("/sandbox/bill")).json())["jobs"]
            assert answered <= set(before)
            for number in range(10):
                job = body | {"prompt": f"{life} {number}"}
                response = await session.post("/api/v1/video/queue", json=job)
                answered.add((await response.json())["queue_id"])
            child.send_signal(signal.SIGKILL)
            await child.wait()
    async with serving(path) as origin, aiohttp.ClientSession(origin) as session:
        bill = await (await session.get("/sandbox/bill")).json()
    assert {charge["job"] for charge in bill["charges"]} == answered
    assert len(bill["charges"]) == 30
