"""Acme on this machine, to rehearse against: real MP4 bytes, a bill, and nothing else. Prints its port, then serves."""

from __future__ import annotations

import asyncio
from importlib import resources

from aiohttp import web

CLIP = (resources.files("pipeline.sandbox") / "templates" / "landscape.mp4").read_bytes()


def make_app() -> web.Application:
    """Return the emulator; each job is done at the third look."""
    looks: dict[str, int] = {}

    async def submit(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer rehearsal":
            return web.json_response({"reason": "The key is not known."}, status=401)
        body = await request.json()
        if not body.get("prompt"):
            return web.json_response({"reason": "There is no prompt."}, status=400)
        job = f"job-{len(looks) + 1}"
        looks[job] = 0
        return web.json_response({"job": job}, status=201)

    async def look(request: web.Request) -> web.Response:
        job = request.match_info["job"]
        if job not in looks:
            return web.json_response({"reason": "There is no such job."}, status=404)
        looks[job] += 1
        return web.json_response({"status": ("waiting", "working", "done")[min(looks[job], 3) - 1]})

    async def clip(request: web.Request) -> web.Response:
        return web.Response(body=CLIP, content_type="video/mp4")

    async def bill(request: web.Request) -> web.Response:
        return web.json_response({"jobs": len(looks)})

    app = web.Application()
    app.add_routes([web.post("/v1/jobs", submit), web.get("/v1/jobs/{job}", look)])
    app.add_routes([web.get("/v1/jobs/{job}/clip", clip), web.get("/bill", bill)])
    return app


async def serve() -> None:
    """Serve on a free port until the process ends."""
    runner = web.AppRunner(make_app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201  # that is how it tells where it is
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
