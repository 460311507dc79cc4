"""The walk over an MP4's boxes to its last byte: is it whole, and what does it say of itself?

A function that reads and the file's size come in; `ClipFacts` come out, or `BrokenClip` with what is wrong. It costs a
fraction of a millisecond, decodes nothing, and finds what players and ffprobe let pass: a body cut after its headers.
What only a decoder can see (zeros or flipped bits inside the media data) is left to `probe`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from pipeline.clips.boxes import Box, Reader, broken
from pipeline.clips.sniff import EXCERPT_BYTES, refuse_disguise
from pipeline.clips.tracks import SOUND, VIDEO, Movie, Run, Track, check_index, read_fragment, read_movie

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFacts:
    """What a whole clip says of itself."""

    duration_s: float
    """Of the picture; 0 where the file does not say."""
    width: int
    """As shown, in pixels: a quarter turn in the header is taken into account."""
    height: int
    fps: float
    """Frames divided by duration; 0 where the duration is."""
    frames: int
    codec: str
    """The sample entry's code: avc1, hvc1, av01, vp09, ..."""
    has_audio: bool
    """There is a sound track with something in it."""
    fragmented: bool

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the facts that `to_json` told; what a later version adds is passed over."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})


def walk(read: Callable[[int, int], bytes], size_bytes: int) -> ClipFacts:
    """Walk a file's boxes from the first byte to the last.

    Args:
        read: returns the bytes at (offset, size), fewer only at the end of the file.
        size_bytes: the size of the file.

    Returns:
        What the file says of itself.

    Raises:
        BrokenClip: it is not one whole MP4 with a picture; the text says why.
        OSError: whatever `read` raises.
    """
    reader = Reader(read, size_bytes)
    refuse_disguise(reader.at(0, min(size_bytes, EXCERPT_BYTES)))
    movie: Movie | None = None
    in_fragments: dict[int, Run] = {}
    data_bytes = 0
    waiting: Box | None = None
    fragmented = False
    for box in reader.boxes(0, size_bytes):
        if box.kind == "moov":
            if movie is not None:
                raise broken(f"it has a second moov at {box.start}")
            movie = read_movie(reader, box)
        elif box.kind == "moof":
            _refuse_missing_data(waiting)
            if movie is None:
                raise broken(f"the fragment at {box.start} comes before moov")
            fragmented, waiting = True, box
            for run in read_fragment(reader, box, movie.default_ticks):
                so_far = in_fragments.get(run.track_id)
                in_fragments[run.track_id] = so_far.then(run) if so_far else run
        elif box.kind == "mdat":
            data_bytes += box.end - box.body
            waiting = None
        elif box.kind == "sidx":
            check_index(reader, box)
    _refuse_missing_data(waiting)
    if movie is None:
        raise broken("it has no moov, the box that describes the clip")
    if not data_bytes:
        raise broken("it has no mdat with anything in it, the box that holds the clip")
    return _facts(movie, in_fragments, data_bytes=data_bytes, fragmented=fragmented)


def _refuse_missing_data(moof: Box | None) -> None:
    if moof is not None:
        raise broken(f"the data of the fragment at {moof.start} is missing")


def _facts(movie: Movie, in_fragments: Mapping[int, Run], *, data_bytes: int, fragmented: bool) -> ClipFacts:
    video = movie.first(VIDEO)
    if video is None:
        raise broken("it has no video track")
    whole = _whole(video, in_fragments)
    if not whole.samples:
        raise broken("its video track has no frames")
    if whole.samples > data_bytes:
        raise broken(f"its video track states {whole.samples} frames in {data_bytes} bytes")
    if not (video.codec and video.width and video.height and video.timescale):
        raise broken("its video track lacks a codec, a size or a time scale")
    duration_s = whole.ticks / video.timescale if whole.ticks else movie.duration_s
    return ClipFacts(
        duration_s=duration_s,
        width=video.width,
        height=video.height,
        fps=whole.samples / duration_s if duration_s else 0.0,
        frames=whole.samples,
        codec=video.codec,
        has_audio=any(_whole(track, in_fragments).samples for track in movie.tracks if track.kind == SOUND),
        fragmented=fragmented,
    )


def _whole(track: Track, in_fragments: Mapping[int, Run]) -> Run:
    """Return all of a track's samples: those in `moov` and those in fragments."""
    fragments = in_fragments.get(track.id)
    if not track.samples and fragments:
        return fragments
    run = Run(track_id=track.id, samples=track.samples, ticks=track.ticks)
    return run.then(fragments) if fragments else run
