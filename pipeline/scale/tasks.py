"""What processes of a Ray cluster do on their own: decode a clip, draw a thumbnail, do a piece of an export.

Each is a task, a function that Ray calls somewhere, and once more where its process or node dies ("Ray Core", "Task
fault tolerance"). Ray makes no promise that the first has ended when it calls again; none of the three minds. Decoding
and drawing only read; a piece of an export may be done twice at the same time (`dataset.build`). What cannot be done
elsewhere, whatever the reason, is done here, and what is said of it then is what counts.
"""

from __future__ import annotations

import asyncio
import atexit
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline import __version__
from pipeline.clips.decoders import Decoders
from pipeline.clips.probe import DecodeFacts, can_decode
from pipeline.dataset.build import Build
from pipeline.dataset.export import OwnHands
from pipeline.errors import ClipmillError, DiskRefused
from pipeline.report.thumbnails import Pencils, can_make_thumbnails, picture_of
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.dataset.build import Work, Written
    from pipeline.effects import Effects

TASK_CPUS = 0.9
"""So that a node of one processor has room for a task beside workers."""
DECODING_MOST = 8
"""Clips that one worker has decoded at once, or waiting for a processor of the cluster."""
TRIES_AGAIN = 3
"""How often Ray calls a task again whose process died, which may be no fault of its own."""


class RayDecoders:
    """Decodes clips wherever in the cluster a processor is free, and here where others do not see the file.

    The mutable state is `_elsewhere`: whether others are asked at all.
    """

    def __init__(self, at_once: int) -> None:
        import ray

        self.at_once = max(at_once, min(DECODING_MOST, _processors()))
        self._here = Decoders(at_once)
        self._decode_there = ray.remote(num_cpus=TASK_CPUS, max_retries=1)(decode_there)
        self._elsewhere = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._here.__aexit__()

    async def decode(self, path: Path) -> DecodeFacts:
        """Decode a clip to its last frame. Raises DiskRefused where the file or the decoder cannot be had."""
        from ray.exceptions import RayError

        if self._elsewhere:
            try:
                told = await self._decode_there.remote(*_told(path))
            except (RayError, OSError):
                told = None  # a node died, or the file is not to be had, which is found out here
            else:
                self._elsewhere = told is not None
            if told is not None:
                if "refused" in told:
                    raise DiskRefused(told["refused"])
                return DecodeFacts.from_json(told)
        return await self._here.decode(path)


def _told(path: Path) -> tuple[str, tuple[int, int]]:
    """Return what another process is told of a file: where it is, and what `_seen` says of it."""
    return str(path.absolute()), _seen(path)


def _seen(path: Path) -> tuple[int, int]:
    """Return what tells a file from another of the same name on another machine: its size, and when it was written."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _is_here(path: str, seen: tuple[int, int]) -> bool:
    """Tell whether a file that another process was asked about is here, and is not another one of the same name."""
    try:
        return _seen(Path(path)) == seen
    except OSError:
        return False


def decode_there(path: str, seen: tuple[int, int]) -> dict[str, Any] | None:
    """Decode a clip in a process beside this one, which has no keys and may hang or crash.

    Args:
        path: the clip's.
        seen: what `_seen` says of it where it was asked for.

    Returns:
        The facts as JSON; `refused` with a sentence where it could not be decoded; None where nothing decodes here, or
        the file is not here, or is another one of the same name.
    """
    if not _is_here(path, seen) or not can_decode():
        return None
    loop, decoders = _decoders()
    try:
        return loop.run_until_complete(decoders.decode(Path(path))).to_json()
    except DiskRefused as refused:
        return {"refused": str(refused)}


@cache
def _decoders() -> tuple[asyncio.AbstractEventLoop, Decoders]:
    """Return this process's own; Ray gives one process task after task."""
    loop, decoders = asyncio.new_event_loop(), Decoders(1)
    atexit.register(_end, loop, decoders)
    return loop, decoders


def _end(loop: asyncio.AbstractEventLoop, decoders: Decoders) -> None:
    loop.run_until_complete(decoders.__aexit__())
    loop.close()


class RayPencils:
    """Draws thumbnails wherever in the cluster a processor is free, and here where others do not see the clip.

    The mutable state is `_elsewhere`: whether others are asked at all.
    """

    def __init__(self, effects: Effects, note: Callable[[str], None]) -> None:
        """`note` is given sentences for the user."""
        import ray

        self.at_once = 2 * _processors()  # so that a processor that is free finds the next one waiting
        self._here = Pencils(effects)
        self._note = note
        self._draw_there = ray.remote(num_cpus=TASK_CPUS, max_retries=TRIES_AGAIN)(draw_there)
        self._elsewhere = True

    async def draw(self, clip: Path) -> bytes:
        """Return a small WebP of a clip; empty where it is gone or not to be decoded, or ends whoever tries."""
        from ray.exceptions import RayError, WorkerCrashedError

        if self._elsewhere:
            try:
                picture: bytes | None = await self._draw_there.remote(*_told(clip))
            except WorkerCrashedError:
                return b""
            except (RayError, OSError):
                picture = None
            else:
                if picture is None and self._elsewhere:
                    self._elsewhere = False
                    self._note(f"A node of the cluster does not see {clip}, or has no PyAV; all is drawn here.")
            if picture is not None:
                return picture
        return await self._here.draw(clip)


def draw_there(path: str, seen: tuple[int, int]) -> bytes | None:
    """Draw a clip's thumbnail.

    Args:
        path: the clip's.
        seen: what `_seen` says of it where it was asked for.

    Returns:
        A small WebP; empty where it cannot be decoded; None where nothing draws here, or the file is not here, or is
        another one of the same name.
    """
    if not _is_here(path, seen) or not can_make_thumbnails():
        return None
    return picture_of(SystemFiles(), Path(path), time.monotonic)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of an export's work, as it goes to another process."""

    work: Work
    batch: Path
    part: Path
    stage: Path
    """Of the build. Nobody else has a folder of that name, so who sees it sees the same disk."""
    version: str = __version__
    """The program's, where the export was begun."""


@dataclass(frozen=True, kw_only=True)
class Did:
    """What came of a piece."""

    clip_bytes: int = 0
    written: tuple[Written, ...] = ()
    refused: str = ""
    """Why it was not done, as a sentence; empty where it was."""
    is_blind: bool = False
    """Whether it could not be done because the disk is another one."""


def _piece(work: Work, build: Build) -> Piece:
    return Piece(work=work, batch=build.batch.absolute(), part=build.part.absolute(), stage=build.stage.absolute())


class RayHands:
    """Does pieces of an export wherever in the cluster a processor is free, and here those that are not done there.

    The mutable state is `_elsewhere`: whether others are asked at all, and what the user was told.
    """

    def __init__(self, effects: Effects, note: Callable[[str], None]) -> None:
        """`note` is given sentences for the user."""
        import ray

        self.at_once = _processors() + 1  # so that a processor that is free finds the next one waiting
        self._here = OwnHands(effects.threads)
        self._note = note
        self._told: set[str] = set()
        self._do_there = ray.remote(num_cpus=TASK_CPUS, max_retries=TRIES_AGAIN)(do_there)
        self._elsewhere = True

    async def do(self, work: Work, build: Build) -> int:
        """Do a piece; the build then knows what was written. Return how many bytes of clips it has dealt with.

        Raises:
            InputError: a clip is not what was published. DiskRefused: the disk said no.
        """
        from ray.exceptions import RayError

        if self._elsewhere:
            try:
                did: Did = await self._do_there.remote(_piece(work, build))
            except RayError as error:
                did = Did(refused=f"Ray says: {str(error).splitlines()[0]}")
            if not did.refused:
                build.take(did.written)
                return did.clip_bytes
            self._elsewhere = self._elsewhere and not did.is_blind
            if did.refused not in self._told:
                self._told.add(did.refused)
                self._note(f"{did.refused} What was not done elsewhere is done here.")
        return await self._here.do(work, build)


def do_there(piece: Piece) -> Did:
    """Do a piece of an export that another process has begun, on a disk that both see."""
    if piece.version != __version__:
        return Did(refused=f"A node of the cluster has clipmill {__version__}, and this one {piece.version}.")
    effects = system()
    if not effects.files.exists(piece.stage):
        return Did(refused=f"A node of the cluster does not see {piece.part.parent}.", is_blind=True)
    build = Build(effects.files, piece.batch, piece.part, effects.random, piece.stage)
    try:
        clip_bytes = piece.work(build)
    except ClipmillError as error:
        return Did(refused=str(error))
    return Did(clip_bytes=clip_bytes, written=tuple(build.written.values()))


def _processors() -> int:
    """Return how many processors the cluster has."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))
