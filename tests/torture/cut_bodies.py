"""A clip's download, cut at each of its bytes: what is collected is the whole clip or nothing.

The real wire and the real download run over memory. The vendor names the bytes with a strong validator, or does not;
the body is announced with its length, or ends when the connection does, which looks like its end.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.clips.download import DownloadLimits, collect
from pipeline.errors import BrokenClip
from pipeline.providers.exchange import Opened
from pipeline.providers.http import Wire
from pipeline.providers.origin import origin_of
from tests.support import mp4s
from tests.support.simulation.memory_network import Action, Direction, Fault
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from tests.support.simulation.memory_network import Exchange

HOST, PORT = "127.0.0.1", 8000
CLIP = mp4s.minimal(data=bytes(range(256)))
KINDS = ("named", "unnamed", "open-ended")


async def serve(request: web.Request) -> web.StreamResponse:
    """Send the clip, or the rest of it that is asked for."""
    kind = request.path.removeprefix("/")
    headers = {"ETag": '"clip"'} if kind == "named" else {}
    asked = request.headers.get("Range")
    if asked and kind == "named":
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        headers["Content-Range"] = f"bytes {start}-{len(CLIP) - 1}/{len(CLIP)}"
        return web.Response(body=CLIP[start:], status=206, headers=headers)
    if kind != "open-ended":
        return web.Response(body=CLIP, headers=headers)
    response = web.StreamResponse()
    response.force_close()
    request.protocol.keep_alive(False)
    await response.prepare(request)
    await response.write(CLIP)
    return response


def download(world: World, effects: Any, kind: str, part: Path) -> bool:
    """Download the clip once; tell whether it came."""

    async def fetch() -> bool:
        wire = Wire(origin_of(f"http://{HOST}:{PORT}"), "a-key", effects)
        try:
            outcome = await wire.open("GET", f"/{kind}")
            if not isinstance(outcome, Opened):
                return False
            here = {"files": effects.files, "threads": effects.threads, "clock": effects.clock}
            found = await collect(outcome.source, part, **here, limits=DownloadLimits())
            assert found.sha256 == hashlib.sha256(CLIP).hexdigest(), "half a clip was taken for the whole"
            return True
        except BrokenClip:
            return False
        finally:
            await wire.close()

    return world.run(fetch())


def cut_bodies(_folder: Path, every: int = 1) -> int:
    """Cut the download at each byte of the answer; print the figures; return the exit code."""
    wrong: list[str] = []
    for kind in KINDS:
        whole = given_up = 0
        with World(1) as world:
            app = web.Application()
            app.router.add_get("/{kind}", serve)
            world.serve(app, HOST, PORT)
            effects = world.effects(world.process("downloader"))
            part = Path("/clips/.a.0.1.part")
            world.files.plant_folder(part.parent)
            assert download(world, effects, kind, part)
            world.files.unlink(part)
            size = world.network.exchanges[-1].sent_bytes[Direction.RESPONSE]
            for after in range(0, size, every):
                for action in Action:
                    fault = Fault(action=action, direction=Direction.RESPONSE, after_bytes=after)
                    world.network.fault_for = once(fault)
                    came = download(world, effects, kind, part)
                    there = world.files.bytes_at(part)
                    whole, given_up = whole + came, given_up + (not came)
                    if there != (CLIP if came else None):
                        wrong.append(f"{kind}: {action} after {after} bytes left {there and len(there)} bytes")
                    if came:
                        world.files.unlink(part)
        print(
            f"bodies, {kind}: {whole + given_up} cuts, {whole} went on to the whole, {given_up} were given up",
            flush=True,
        )
    for each in wrong[:10]:
        print(f"  {each}")
    print(f"{len(wrong)} violations")
    return 1 if wrong else 0


def once(fault: Fault) -> Any:
    """Return what breaks the next exchange and no other."""
    left = [fault]

    def fault_for(exchange: Exchange) -> Fault | None:
        return left.pop() if left else None

    return fault_for
