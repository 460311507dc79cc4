"""A server on loopback that is both vendors, with answers at once and clips of a size of one's own.

The sandbox's packaged clips are of some kilobytes; those of life are of megabytes.

usage: instant_vendor.py CLIP_BYTES      (prints its origin; ends when its standard input does)
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiohttp import web

from benchmarks.laws import Law
from benchmarks.serving import serve
from benchmarks.vendor import Gate, LightVendor
from tests.support.mp4s import minimal


async def quote(_: web.Request) -> web.Response:
    return web.json_response({"quote": 0.5})


async def main(clip_bytes: int) -> None:
    at_once = Law(name="at once", draw=lambda _source, _model: 0.0, told_s=(None,))
    vendor = LightVendor(at_once, 0, time.monotonic, Gate(0.0, 0.0), clip=minimal(data=bytes(clip_bytes)))
    app = vendor.app()
    app.router.add_post("/api/v1/video/quote", quote)
    await serve(app)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
