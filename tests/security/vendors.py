"""A vendor on this machine, in a thread of its own, and the command line called in this process against it.

The vendor is the sandbox, behind a door that can make its answers worse. The command is called in this process so that
a defence can be taken out of it (`tests.security.removed`).
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from click.exceptions import ClickException
from click.testing import CliRunner

from pipeline.cli.main import clipmill, log_handler
from pipeline.errors import ClipmillError, Exit
from pipeline.sandbox.app import make_app
from pipeline.sandbox.settings import Render, SandboxSettings
from pipeline.sandbox.state import open_state
from pipeline.system.databases import open_database
from pipeline.system.effects import SystemClock
from pipeline.system.threads import SystemThreads
from tests.cli.front_door import Said
from tests.providers.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp.typedefs import Handler

    from tests.providers.dialect import Dialect

KEY = "sk-canary-9d41/7e+c2b8a5f60"
"""With characters that URLs and JSON may escape."""
EMULATED = {"modelmax": "", "venice": "/api/v1", "openai-videos": "/openai/v1"}
"""What the sandbox stands in for, and where below its origin."""


def emulated() -> list[Dialect]:
    """Return the providers that the sandbox stands in for; a new one is there once the sandbox serves its path."""
    return [each for each in DIALECTS if each.can.name in EMULATED]


@dataclass
class Vendor:
    """The sandbox behind a door. The mutable state is what was asked."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environ(self, key: str = KEY) -> dict[str, str]:
        """Return the variables that point every provider here."""
        told = {}
        for dialect in DIALECTS:
            told[dialect.can.key_variable] = key
            told[dialect.can.base_url_variable] = self.url + EMULATED.get(dialect.can.name, dialect.path)
        return told


async def as_it_is(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let everything through."""
    return await handler(request)


async def echoing(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Repeat the key wherever an answer has room for it: plain, escaped, compressed, in headers."""
    response = await handler(request)
    key = request.headers.get("Authorization", "")
    if not key or not isinstance(response, web.Response) or response.content_type != "application/json":
        return response
    body = json.loads(response.body or b"{}")  # type: ignore[arg-type]  # the sandbox answers with bytes
    if not isinstance(body, dict):
        return response
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    text = json.dumps({**body, "echo": key}).removesuffix("}") + f', "echo_escaped": "{escaped}"}}'
    headers = {"X-Echo": key, "X-Balance-Remaining": "1"}
    if request.method == "POST" or request.path.endswith("/status"):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=gzip.compress(text.encode()), status=response.status, headers=headers)
    return web.Response(text=text, status=response.status, headers=headers, content_type="application/json")


@contextmanager
def vendor(door: Any = as_it_is, **settings: Any) -> Iterator[Vendor]:
    """Serve the sandbox in a thread."""
    place, ready, ended = Vendor(), threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    stops: list[asyncio.Event] = []

    @web.middleware
    async def at_the_door(request: web.Request, handler: Handler) -> web.StreamResponse:
        place.asked.append(f"{request.method} {request.path}")
        response: web.StreamResponse = await door(request, handler)
        return response

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append(asyncio.get_running_loop())
        state, threads = open_state(None, open_database), SystemThreads()
        chosen = SandboxSettings(
            render=Render.TEMPLATE, limits=False, durations_s=dict.fromkeys(EMULATED, 0.0), **settings
        )
        app = make_app(chosen, clock=SystemClock(), state=state, threads=threads)
        app.middlewares.insert(0, at_the_door)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        place.port = int(runner.addresses[0][1])
        stops.append(stop)
        ready.set()
        await stop.wait()
        await runner.cleanup()
        state.close()
        threads.close()
        ended.set()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(20), "the vendor did not come up"
    try:
        yield place
    finally:
        loops[0].call_soon_threadsafe(stops[0].set)
        assert ended.wait(20), "the vendor did not end"
        thread.join(20)


def call(*args: object, **environ: str) -> Said:
    """Call a command in this process as `main` would; all that is logged, in every detail, goes to stderr as well."""
    kept = io.StringIO()
    handler = log_handler()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(kept)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        result = CliRunner(env=environ).invoke(clipmill, [str(arg) for arg in args], standalone_mode=False)
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    code, told = result.return_value or 0, ""
    if isinstance(result.exception, ClipmillError):
        code, told = result.exception.exit_code, str(result.exception)
    elif isinstance(result.exception, ClickException):
        code, told = Exit.BAD_INPUT, result.exception.format_message()
    elif result.exception is not None:
        raise result.exception
    return Said(int(code), result.stdout, result.stderr + told + kept.getvalue())


def manifest_of(dialect: Dialect, *prompts: str, **more: Any) -> str:
    """Return a manifest with one entry for each prompt, as JSON, which is YAML too."""
    request = dialect.request
    clips = [{"id": f"c{number}", "prompt": prompt} for number, prompt in enumerate(prompts)]
    head = {"version": 1, "name": "attacked", "provider": dialect.can.name, "model": request.model}
    return json.dumps({**head, "parameters": dict(request.parameters), "clips": clips, **more})
