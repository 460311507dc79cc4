"""The full decode: every frame of a clip through a real decoder, where the extra `media` is installed.

A path comes in, counts and shares come out. It sees what the walk cannot: zeros and most flipped bits inside the media
data (a flip that leaves a legal stream looks like a picture), a picture that is black or stands still, a sound track
with nothing to hear. It costs tens to hundreds of milliseconds for eight seconds of 720p, so it is done after the clip
is safe, in a process of its own (`decoders`).

PyAV's log level is never set: with a Python log callback installed, frame threads and a corrupt clip can dead-lock the
process (PyAV issues 751 and 2276). With its own defaults no Python code runs inside the decoder. The time limit is held
between frames; a decoder that hangs within one frame is stopped by `decoders`, with its process.
"""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pipeline.clips.impression import Ear, Eye
from pipeline.clips.readable import Readable
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pipeline.effects import Files

LIMIT_S = 300.0
NEARLY_ALL = 0.98
"""The share of its pictures from which on a clip is called black or frozen as a whole (ffmpeg's blackdetect)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeFacts:
    """What a decoder made of a clip."""

    frames: int
    """Pictures that came out, the corrupt ones included."""
    corrupt: int
    """Pictures that the decoder marked as damaged."""
    stopped_because: str = ""
    """Why the decode ended before the clip did; empty where it went to the end."""
    sound_damage: str = ""
    """What the decoder said of a sound track that it could not decode; empty where it could, or where there is none."""
    black: float = 0.0
    """The share of the pictures that are black, from 0 to 1."""
    frozen: float = 0.0
    """The share of the pictures, the first left out, that show the same as before, from 0 to 1."""
    silent: bool | None = None
    """Whether the sound track has nothing to hear; None where there is none."""

    @property
    def is_black(self) -> bool:
        """Whether (nearly) every picture is black."""
        return self.black >= NEARLY_ALL

    @property
    def is_frozen(self) -> bool:
        """Whether (nearly) every picture shows the same."""
        return self.frozen >= NEARLY_ALL

    def problems(self, stated_frames: int) -> tuple[str, ...]:
        """Say in sentences what is damaged, given how many frames the clip's boxes state."""
        found: list[str] = []
        if self.stopped_because:
            found.append(f"Decoding stopped after {self.frames} of {stated_frames} frames: {self.stopped_because}.")
        elif self.frames < stated_frames:
            found.append(f"Only {self.frames} of {stated_frames} frames could be decoded.")
        if self.corrupt:
            found.append(f"{self.corrupt} of {self.frames} frames are damaged.")
        if self.sound_damage:
            found.append(f"The sound track is damaged: {self.sound_damage}.")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the facts that `to_json` told; what a later version adds is passed over."""
        return cls(**{name: value[name] for name in cls.__slots__ if name in value})


def can_decode() -> bool:
    """Tell whether PyAV is installed, without importing it."""
    return importlib.util.find_spec("av") is not None


def decode(files: Files, path: Path, monotonic: Callable[[], float], limit_s: float = LIMIT_S) -> DecodeFacts:
    """Decode every frame of a clip's first video track, and its first sound track. Blocks.

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
    so_far = _SoFar(deadline=monotonic() + limit_s, limit_s=limit_s, monotonic=monotonic)
    try:
        # The format is named, so that no other demuxer (playlists, which open further files) is ever tried.
        with av.open(Readable(files, path), format="mp4", metadata_errors="replace") as container:
            _decode_tracks(container, so_far)
    except av.FFmpegError as error:
        so_far.stopped_because = _words(error)
    return so_far.facts()


@dataclass(kw_only=True)
class _SoFar:
    """What has come out of the decoder; it grows with every packet."""

    deadline: float
    limit_s: float
    monotonic: Callable[[], float]
    frames: int = 0
    corrupt: int = 0
    stopped_because: str = ""
    sound_damage: str = ""
    eye: Eye = field(default_factory=Eye)
    ear: Ear | None = None

    def see(self, frame: Any) -> bool:
        """Take in a picture; return whether there is time for another."""
        self.frames += 1
        self.corrupt += bool(frame.is_corrupt)
        self.eye.see(frame)
        if self.monotonic() > self.deadline:
            self.stopped_because = f"it took over {self.limit_s:g} s"
        return not self.stopped_because

    def facts(self) -> DecodeFacts:
        return DecodeFacts(
            frames=self.frames,
            corrupt=self.corrupt,
            stopped_because=self.stopped_because,
            sound_damage=self.sound_damage,
            black=self.eye.black,
            frozen=self.eye.frozen,
            silent=None if self.ear is None else not self.ear.heard,
        )


def _decode_tracks(container: Any, so_far: _SoFar) -> None:
    """Decode in the order of the file; damaged sound is noted and does not end the pictures.

    Raises:
        av.FFmpegError: the file, or its pictures, cannot be decoded any further.
    """
    import av

    if not container.streams.video:
        so_far.stopped_because = "it has no video track"
        return
    video, *_ = tracks = [container.streams.video[0], *container.streams.audio[:1]]
    # With slice threads, PyAV's default, FFmpeg's H.264 decoder turns its error detection off, and a clip of several
    # slices a frame passes with any damage. One thread sees it, and cannot dead-lock.
    video.thread_count = 1
    if len(tracks) > 1:
        so_far.ear = Ear()
    for packet in container.demux(*tracks):
        if packet.stream is video:
            for frame in packet.decode():
                if not so_far.see(frame):
                    return
        elif so_far.ear is not None and not so_far.sound_damage:
            try:
                for sound in packet.decode():
                    so_far.ear.hear(sound)
            except av.FFmpegError as error:
                so_far.sound_damage = _words(error)


def _words(error: Any) -> str:
    return error.strerror or type(error).__name__
