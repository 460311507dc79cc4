"""The full decode: every frame of a clip through a real decoder, where the extra `media` is installed.

A path comes in, counts come out. It sees what the walk cannot: zeros and most flipped bits inside the media data (a
flip that leaves a legal stream looks like a picture). It costs tens to hundreds of milliseconds for eight seconds of
720p, so it runs in a thread, after the clip is safe.

PyAV's log level is never set: with a Python log callback installed, frame threads and a corrupt clip can dead-lock the
process (PyAV issues 751 and 2276). With its own defaults no Python code runs inside the decoder. The time limit is held
between frames; a decoder that hangs within one frame is not stopped by it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.clips.readable import Readable
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.clips.mp4 import ClipFacts
    from pipeline.effects import Files

LIMIT_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeFacts:
    """What a decoder made of a clip."""

    frames: int
    """Pictures that came out, the corrupt ones included."""
    corrupt: int
    """Pictures that the decoder marked as damaged."""
    stopped_because: str = ""
    """Why the decode ended before the clip did; empty where it went to the end."""

    def problems(self, facts: ClipFacts) -> tuple[str, ...]:
        """Say in sentences what is wrong with the pictures, given what the clip's boxes state."""
        found: list[str] = []
        if self.stopped_because:
            found.append(f"Decoding stopped after {self.frames} of {facts.frames} frames: {self.stopped_because}.")
        elif self.frames < facts.frames:
            found.append(f"Only {self.frames} of {facts.frames} frames could be decoded.")
        if self.corrupt:
            found.append(f"{self.corrupt} of {self.frames} frames are damaged.")
        return tuple(found)


def can_decode() -> bool:
    """Tell whether PyAV is installed, without importing it."""
    return importlib.util.find_spec("av") is not None


def decode(files: Files, path: Path, monotonic: Callable[[], float], limit_s: float = LIMIT_S) -> DecodeFacts:
    """Decode every frame of a clip's first video track. Blocks; run it in a thread.

    Args:
        files: the file system.
        path: the clip, which has been walked.
        monotonic: the clock for the time limit.
        limit_s: how long the decode may take.

    Raises:
        InputError: the extra `media` is not installed.
        OSError: the file cannot be read.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("Decoding needs PyAV: install it with `pip install 'clipmill[media]'`.") from error
    deadline = monotonic() + limit_s
    frames = corrupt = 0
    try:
        # The format is named, so that no other demuxer (playlists, which open further files) is ever tried.
        with av.open(Readable(files, path), format="mp4", metadata_errors="replace") as container:
            if not container.streams.video:
                return DecodeFacts(frames=0, corrupt=0, stopped_because="it has no video track")
            video = container.streams.video[0]
            # With slice threads, PyAV's default, FFmpeg's H.264 decoder turns its error detection off, and a clip of
            # several slices a frame passes with any damage. One thread sees it, and cannot dead-lock.
            video.thread_count = 1
            for frame in container.decode(video):
                frames += 1
                corrupt += bool(frame.is_corrupt)
                if monotonic() > deadline:
                    return DecodeFacts(frames=frames, corrupt=corrupt, stopped_because=f"it took over {limit_s:g} s")
    except av.FFmpegError as error:
        return DecodeFacts(frames=frames, corrupt=corrupt, stopped_because=error.strerror or type(error).__name__)
    return DecodeFacts(frames=frames, corrupt=corrupt)
