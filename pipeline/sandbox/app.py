"""The server: all vendors and the sandbox's own pages behind one origin.

`make_app` builds it from effects that are passed in and runs over any transport, in virtual time too; `serve` puts it
on a loopback port until cancelled.
"""

from __future__ import annotations

import asyncio
import random
from email.utils import format_datetime
from typing import TYPE_CHECKING

from aiohttp import web

from pipeline.errors import InputError
from pipeline.sandbox import bill
from pipeline.sandbox.delivery import Severed
from pipeline.sandbox.desk import Desk
from pipeline.sandbox.faults import Draws
from pipeline.sandbox.limits import Limits
from pipeline.sandbox.modelmax import ModelMax
from pipeline.sandbox.openai_videos import OpenAIVideos
from pipeline.sandbox.render import Renderer, can_encode
from pipeline.sandbox.state import CountKind, State, open_state
from pipeline.sandbox.venice.account import Account
from pipeline.sandbox.venice.api import Venice
from pipeline.sandbox.venice.door import HEADERS, Door
from pipeline.sandbox.venice.links import Links

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from pipeline.effects import Clock, Effects, Threads
    from pipeline.sandbox.settings import SandboxSettings

BODY_BYTES_MAX = 35 * 1024 * 1024
"""Venice refuses a larger JSON body with 413."""
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
DROPPED = "dropped"
"""Stands for the status of a call whose connection was closed on purpose."""


def make_app(
    settings: SandboxSettings,
    *,
    clock: Clock,
    state: State,
    threads: Threads,
    source: random.Random | None = None,
) -> web.Application:
    """Return the application.

    Args:
        settings: how it behaves.
        clock: all its time; `now` for what it remembers, `monotonic` for limits, `sleep` for trickled bodies.
        state: what it remembers; the caller closes it.
        threads: where clips are encoded.
        source: gives a fresh state its identity, so that its ids differ from another sandbox's; the seed by default.
    """
    desk = Desk(
        settings=settings,
        clock=clock,
        state=state,
        limits=Limits(settings, clock),
        draws=Draws(settings),
        renderer=Renderer(settings.render, threads, has_encoder=can_encode()),
        identity=state.identity(source or random.Random(settings.seed)),  # noqa: S311  (no secret: it names a rehearsal)
    )

    @web.middleware
    async def account(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count every answer, and the calls that get none."""
        endpoint = request.match_info.route.name or "unknown"
        status = "500"
        try:
            response = await handler(request)
            status = str(response.status)
        except Severed:
            # Nothing can reach the client any more; the server only needs something to finish with.
            response = web.Response(status=502)
            status = DROPPED
        except web.HTTPException as refusal:
            status = str(refusal.status)
            response = web.json_response({"error": refusal.reason}, status=refusal.status)
        finally:
            state.count(CountKind.ANSWER, endpoint, status)
        return response

    async def complete_headers(request: web.Request, response: web.StreamResponse) -> None:
        """Stamp the answer with the emulated time, against which clients read reset stamps."""
        response.headers["Date"] = format_datetime(clock.now(), usegmt=True)
        for name, value in request.get(HEADERS, {}).items():
            response.headers.setdefault(name, value)

    app = web.Application(middlewares=[account], client_max_size=BODY_BYTES_MAX)
    app.on_response_prepare.append(complete_headers)
    door = Door(desk)
    for part in (ModelMax(desk), Venice(desk, door), Account(desk, door), Links(desk), OpenAIVideos(desk)):
        app.add_routes(part.routes())
    app.add_routes(bill.routes(desk))
    return app


async def serve(
    settings: SandboxSettings,
    *,
    effects: Effects,
    port: int,
    state_file: Path | None,
    host: str = "127.0.0.1",
    ready: Callable[[int], None],
) -> None:
    """Serve on a loopback port until cancelled; `ready(port)` is called when it listens. Port 0 picks a free one.

    Raises:
        InputError: the host is not loopback, the port is taken, or the state file cannot be used.
    """
    if host not in LOOPBACK:
        raise InputError(f"The sandbox serves on loopback alone, and {host} is not; use 127.0.0.1.")
    state = open_state(state_file, effects.open_database)
    try:
        app = make_app(settings, clock=effects.clock, state=state, threads=effects.threads, source=effects.random)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise InputError(
                    f"Port {port} cannot be used ({error.strerror}); name another, or 0 for any."
                ) from error
            ready(int(runner.addresses[0][1]))
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
    finally:
        state.close()
