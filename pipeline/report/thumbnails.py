"""A small picture of every clip, in `thumbnails/`, made once and kept.

The name tells which bytes it is of, so what is there is never made again, and a clip that was replaced gets a new one.
The picture is that of one second into the clip, or of its middle where it is shorter: generated clips often begin with
a still or a fade. Nearly every one is a single group of pictures, where a seek lands at the first; so the way there is
decoded, which is why it is not the middle of a long one.

PyAV's log level is never set, and it decodes in one thread (see `clips.probe`). Without the extra `media` there are no
thumbnails, and the page shows the clips themselves.
"""

from __future__ import annotations

import importlib.util
import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.clips.readable import Readable
from pipeline.durable import write_atomically
from pipeline.report.gallery import address
from pipeline.together import some_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import av

    from pipeline.effects import Effects, Files
    from pipeline.jobs.job import Clip
    from pipeline.paths import BatchFolder

WIDTH, HEIGHT = 480, 480
"""The most that a side may have, in pixels: a card is half as wide, on screens of two pixels a point."""
QUALITY = 72
AT_S = 1.0
TOGETHER = 4
"""Clips decoded at once: while one waits for the disk, the others go on."""
LIMIT_S = 20.0
"""For one picture; held between frames."""
NAMED_BY: Final = 12
"""Digits of the clip's digest in a thumbnail's name."""


def can_make_thumbnails() -> bool:
    """Tell whether PyAV and Pillow are installed, without importing them."""
    return importlib.util.find_spec("av") is not None and importlib.util.find_spec("PIL") is not None


def thumbnail_name(clip: Clip) -> str:
    """Return a thumbnail's name, relative to the batch folder: the clip's own, and the beginning of its digest."""
    return f"thumbnails/{PurePosixPath(clip.file).stem}-{clip.sha256[:NAMED_BY]}.webp"


class Draws(Protocol):
    """Who draws, several at once."""

    at_once: int

    async def draw(self, clip: Path) -> bytes:
        """Return a small WebP of a clip; empty where it is gone or cannot be decoded."""


class Pencils:
    """The threads of this process; they need the extra `media`."""

    at_once = TOGETHER

    def __init__(self, effects: Effects) -> None:
        import av  # noqa: F401 - once, before threads do
        import PIL.WebPImagePlugin  # noqa: F401

        self._effects = effects

    async def draw(self, clip: Path) -> bytes:  # noqa: D102
        return await self._effects.threads.run(picture_of, self._effects.files, clip, self._effects.clock.monotonic)


async def make_thumbnails(
    clips: Iterable[Clip],
    folder: BatchFolder,
    effects: Effects,
    advanced: Callable[[], object],
    pencils: Draws | None = None,
) -> dict[str, str]:
    """Make the thumbnails that are missing, where the extra `media` is installed.

    Args:
        clips: finished clips.
        folder: the batch's folder; its `thumbnails/` is there.
        effects: files, threads and the clock.
        advanced: called after each clip.
        pencils: who draws; None for threads of this process.

    Returns:
        The address of each thumbnail that there is, by its clip's final name. A clip that is gone or cannot be decoded
        has none.

    Raises:
        DiskRefused: a thumbnail could not be written.
    """
    made: dict[str, str] = {}
    if pencils is None and can_make_thumbnails():
        pencils = Pencils(effects)

    async def make(clip: Clip) -> None:
        name = thumbnail_name(clip)
        is_there = effects.files.exists(folder.root / name)
        if not is_there and pencils is not None and (picture := await pencils.draw(folder.root / clip.file)):
            await effects.threads.run(write_atomically, effects.files, folder.root / name, picture)
            is_there = True
        if is_there:
            made[clip.file] = address(name)
        advanced()

    await some_at_once(clips, make, pencils.at_once if pencils else 1)  # a full disk refuses them all alike
    return made


def picture_of(files: Files, path: Path, monotonic: Callable[[], float]) -> bytes:
    """Return a small WebP of a clip; empty where it is gone or cannot be decoded. Blocks; run it in a thread."""
    import av

    deadline = monotonic() + LIMIT_S
    try:
        # The format is named, so that no other demuxer (playlists, which open further files) is ever tried.
        with av.open(Readable(files, path), format="mp4", metadata_errors="replace") as container:
            frame = _frame(container, lambda: monotonic() > deadline)
            return _webp(frame) if frame is not None else b""
    except (OSError, av.FFmpegError):
        return b""


def _frame(container: av.container.InputContainer, late: Callable[[], bool]) -> av.VideoFrame | None:
    if not container.streams.video:
        return None
    video = container.streams.video[0]
    video.thread_count = 1
    length_s = (container.duration or 0) / 1_000_000  # FFmpeg's AV_TIME_BASE
    at_s = min(AT_S, length_s / 2)
    frame = None
    for frame in container.decode(video):
        if (frame.time or 0.0) >= at_s or late():
            break
    return frame


def _webp(frame: av.VideoFrame) -> bytes:
    scale = min(1.0, WIDTH / frame.width, HEIGHT / frame.height)
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    picture = frame.reformat(width=width, height=height, format="rgb24").to_image()
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=QUALITY, method=3)
    return packed.getvalue()
