"""A proxy on loopback that answers late: every request is passed on at once, and its answer held back.

usage: proxy.py ORIGIN DELAY_S      (prints its own origin; ends when its standard input does)
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from aiohttp import web

from benchmarks.serving import serve

HOP = {"connection", "content-length", "content-encoding", "date", "keep-alive", "server", "transfer-encoding"}


async def main(origin: str, delay_s: float) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.Response:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP | {"host"}}
            body = await request.read()
            async with session.request(
                request.method, origin + request.path_qs, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                data, status = await answer.read(), answer.status
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
            await asyncio.sleep(delay_s)  # noqa: TID251
            return web.Response(body=data, status=status, headers=kept)

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", pass_on)
        await serve(app)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
