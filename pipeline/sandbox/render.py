"""The bytes of a clip: a packaged template or a real encoding, stamped so that every clip has bytes of its own.

What always holds: the same job and index give the same bytes for as long as the same parts are installed, and the file
is valid to its last box. The stamp is a `uuid` box at the end, which players and probes skip.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.errors import InputError
from pipeline.sandbox.settings import Render

if TYPE_CHECKING:
    from pipeline.effects import Threads
    from pipeline.sandbox.catalogue import Picture

STAMP = UUID("c71d3d1e-5a0b-4c53-8b9e-73616e64626f")
"""The extended type of the box that holds job, index and prompt as JSON."""
CACHE_BYTES = 128 * 1024 * 1024
LANE = "sandbox-render"


@dataclass(frozen=True, slots=True)
class Clip:
    """One finished clip."""

    data: bytes
    etag: str
    """Strong: it names these bytes and no others."""


def stamp(job: str, index: int, prompt: str) -> bytes:
    """Return the `uuid` box that makes a clip this job's."""
    payload = json.dumps({"job": job, "index": index, "prompt": prompt}, ensure_ascii=False).encode()
    return (24 + len(payload)).to_bytes(4, "big") + b"uuid" + STAMP.bytes + payload


def can_encode() -> bool:
    """Tell whether PyAV and Pillow, the `media` extra, are installed."""
    return find_spec("av") is not None and find_spec("PIL") is not None


def template_name(picture: Picture) -> str:
    """Return which packaged template has the shape of `picture`."""
    if picture.width == picture.height:
        return "square.mp4"
    return "landscape.mp4" if picture.width > picture.height else "portrait.mp4"


class Renderer:
    """Makes clips, off the event loop where that takes long, and keeps the recent ones."""

    def __init__(self, render: Render, threads: Threads, *, has_encoder: bool, cache_bytes: int = CACHE_BYTES) -> None:
        if render is Render.FULL and not has_encoder:
            raise InputError("render: full needs PyAV and Pillow; install clipmill[media], or use render: template.")
        self._full = render is Render.FULL or (render is Render.AUTO and has_encoder)
        self._threads = threads
        self._cache_bytes = cache_bytes
        self._templates: dict[str, Clip] = {}
        self._cache: OrderedDict[tuple[Picture, str], Clip] = OrderedDict()

    async def clip(self, picture: Picture, job: str, index: int, prompt: str) -> Clip:
        """Return output `index` of a job, from the cache, the template or the encoder."""
        if self._full:
            base = self._cache.get((picture, prompt))
            if base is None:
                base = await self._threads.run_alone(LANE, self._encode, picture, prompt)
        else:
            base = self._template(template_name(picture))
        mark = stamp(job, index, prompt)
        return Clip(base.data + mark, f'"{base.etag}-{hashlib.sha256(mark).hexdigest()[:16]}"')

    def _template(self, name: str) -> Clip:
        if name not in self._templates:
            data = (resources.files("pipeline.sandbox") / "templates" / name).read_bytes()
            self._templates[name] = Clip(data, hashlib.sha256(data).hexdigest()[:16])
        return self._templates[name]

    def _encode(self, picture: Picture, prompt: str) -> Clip:
        """Encode, unless a call before us in the lane just did. Only this lane changes the cache."""
        from pipeline.sandbox.synthesis import encode

        key = (picture, prompt)
        if key in self._cache:
            return self._cache[key]
        data = encode(picture, prompt)
        clip = self._cache[key] = Clip(data, hashlib.sha256(data).hexdigest()[:16])
        held = sum(len(kept.data) for kept in self._cache.values())
        while held > self._cache_bytes and len(self._cache) > 1:
            held -= len(self._cache.popitem(last=False)[1].data)
        return clip
