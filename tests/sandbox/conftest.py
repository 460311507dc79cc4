"""A sandbox behind a real loopback socket, with a clock that stands still until it is told to move."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from pipeline.sandbox.app import make_app
from pipeline.sandbox.settings import Render, SandboxSettings
from pipeline.sandbox.state import State, open_state
from pipeline.system.databases import open_database
from tests.contracts.contract import CONTRACT, PAGE, deviations, of_answer, unlisted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

DEVIATIONS = deviations(PAGE.read_text(encoding="utf-8"))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = {"Authorization": "Bearer sk-one"}
ADMIN = {"Authorization": "Bearer VENICE_ADMIN_KEY_one"}


@dataclass
class FakeClock:
    passed_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s

    def boottime(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed_s += seconds


class InlineThreads:
    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    run_busy = run

    async def run_alone(self, lane: str, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    def close(self) -> None:
        pass


@dataclass
class Sandbox:
    """One running sandbox, and short ways to speak to it."""

    client: TestClient[Any, Any]
    clock: FakeClock
    state: State
    stopped: bool = False

    def stop(self) -> None:
        """Let the state file go, so that another sandbox can go on from it."""
        if not self.stopped:
            self.state.close()
        self.stopped = True

    async def ask(
        self, method: str, path: str, *, key: dict[str, str] | None = None, **options: Any
    ) -> aiohttp.ClientResponse:
        headers = (KEY if key is None else key) | options.pop("headers", {})
        response = await self.client.request(method, path, headers=headers, **options)
        exchange = f"{method} {path.partition('?')[0].removeprefix('/api/v1')}"
        if exchange in CONTRACT["exchanges"] and response.content_type == "application/json":
            findings = of_answer(exchange, response.status, "application/json", await response.json())
            assert unlisted(findings, DEVIATIONS) == []
        return response

    async def submit(self, model: str = "veo-3", prompt: str = "A turtle", **parameters: Any) -> dict[str, Any]:
        response = await self.ask("POST", f"/v1/queue/{model}", json={"prompt": prompt, "parameters": parameters})
        assert response.status == 202, await response.text()
        return await response.json()

    async def try_queue(self, key: dict[str, str] | None = None, **body: Any) -> aiohttp.ClientResponse:
        return await self.ask("POST", "/api/v1/video/queue", key=key, json=venice_body(**body))

    async def queue(self, key: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        response = await self.try_queue(key, **body)
        assert response.status == 200, await response.text()
        return await response.json()

    async def retrieve(self, job: dict[str, Any], key: dict[str, str] | None = None, **more: Any) -> Any:
        body = {"model": job["model"], "queue_id": job["queue_id"]} | more
        return await self.ask("POST", "/api/v1/video/retrieve", key=key, json=body)

    async def bill(self) -> dict[str, Any]:
        return await (await self.ask("GET", "/sandbox/bill", key={})).json()

    async def requests(self) -> dict[str, Any]:
        return await (await self.ask("GET", "/sandbox/requests", key={})).json()

    def finish(self) -> None:
        """Let so much time pass that every generation has ended."""
        self.clock.passed_s += 3600


def venice_body(**changes: Any) -> dict[str, Any]:
    body = {
        "model": "wan-2-7-text-to-video",
        "prompt": "A turtle",
        "duration": "5s",
        "aspect_ratio": "16:9",
        "resolution": "720p",
    } | changes
    return {name: value for name, value in body.items() if value is not None}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def start(clock: FakeClock) -> AsyncIterator[Callable[..., Awaitable[Sandbox]]]:
    """Starts a sandbox: `await start(faults={...})`, on `state_file` where one is given."""
    async with AsyncExitStack() as stack:

        async def begin(state_file: Path | None = None, **settings: Any) -> Sandbox:
            state = open_state(state_file, open_database)
            chosen = SandboxSettings(**{"render": Render.TEMPLATE} | settings)
            app = make_app(chosen, clock=clock, state=state, threads=InlineThreads())
            # A fresh connection for each call: aiohttp would repeat a GET whose kept-alive connection was dropped.
            connector = aiohttp.TCPConnector(force_close=True)
            client: TestClient[Any, Any] = TestClient(TestServer(app), connector=connector)
            sandbox = Sandbox(client, clock, state)
            stack.callback(sandbox.stop)
            await stack.enter_async_context(client)
            return sandbox

        yield begin


@pytest.fixture
async def sandbox(start: Callable[..., Awaitable[Sandbox]]) -> Sandbox:
    return await start()
