"""A server on loopback that hands out one clip under any name (prints its origin; ends when its input does).

usage: files_server.py FILE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from benchmarks.serving import serve


async def main(path: Path) -> None:
    async def send(_: web.Request) -> web.FileResponse:
        return web.FileResponse(path, headers={"Content-Type": "video/mp4"})

    app = web.Application()
    app.router.add_get("/{name}", send)
    await serve(app)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
