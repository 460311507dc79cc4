"""What a movie's headers say of its tracks: `moov` for the whole, `moof` for each fragment.

Boxes come in, frozen records come out. Durations stay in ticks of the track's own time scale, which is exact; the walk
turns them into seconds. Offsets are those of ISO/IEC 14496-12.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.clips.boxes import Box, Reader, broken

if TYPE_CHECKING:
    from collections.abc import Mapping

VIDEO = "vide"
SOUND = "soun"

UNKNOWN_TICKS = {0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF}
"""All ones: the duration cannot be told."""

ROW_FLAGS = (0x100, 0x200, 0x400, 0x800)
"""The fields that a row of `trun` may have: duration, size, flags, composition offset; 4 bytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """One track of the movie."""

    id: int = 0
    kind: str = ""
    """The handler: vide, soun, ..."""
    codec: str = ""
    """The first sample entry's code: avc1, hvc1, av01, vp09, mp4a, ..."""
    width: int = 0
    height: int = 0
    timescale: int = 0
    """Ticks in a second."""
    ticks: int = 0
    """How long the samples in `moov` last; 0 where all are in fragments, or where nothing says."""
    samples: int = 0
    """How many samples `moov` describes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Movie:
    """What `moov` says."""

    tracks: tuple[Track, ...] = ()
    duration_s: float = 0.0
    """As the movie's header states it, the fragments' header first; 0 where neither does."""
    default_ticks: Mapping[int, int] = field(default_factory=dict)
    """How long a sample of a track lasts in fragments that do not say."""

    def first(self, kind: str) -> Track | None:
        """Return the first track of a kind."""
        return next((track for track in self.tracks if track.kind == kind), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Consecutive samples of one track."""

    track_id: int
    samples: int
    ticks: int
    start: int | None = None
    """In ticks from the start of the track; None where it begins as the samples before it end."""

    def then(self, more: Run) -> Run:
        """Return this run with a later one behind it; where the two leave a gap, the last frame stands still."""
        start = self.start or 0
        end = start + self.ticks
        more_end = (end if more.start is None else more.start) + more.ticks
        return Run(
            track_id=self.track_id,
            samples=self.samples + more.samples,
            ticks=max(end, more_end) - start,
            start=self.start,
        )


def read_movie(reader: Reader, moov: Box) -> Movie:
    """Read the movie's tracks and its own idea of its duration."""
    tracks: list[Track] = []
    default_ticks: dict[int, int] = {}
    timescale = ticks = fragment_ticks = 0
    for box in reader.boxes(moov.body, moov.end, moov.kind):
        if box.kind == "mvhd":
            timescale, ticks = _timing(reader, box)
        elif box.kind == "trak":
            tracks.append(_read_track(reader, box))
        elif box.kind == "mvex":
            for extension in reader.boxes(box.body, box.end, box.kind):
                if extension.kind == "trex":
                    track_id, _, sample_ticks = reader.fields(extension, "III", 4)
                    default_ticks[track_id] = sample_ticks
                elif extension.kind == "mehd":
                    (version,) = reader.fields(extension, "B")
                    (fragment_ticks,) = reader.fields(extension, "Q" if version == 1 else "I", 4)
    stated = fragment_ticks or ticks
    duration_s = stated / timescale if timescale and stated not in UNKNOWN_TICKS else 0.0
    return Movie(tracks=tuple(tracks), duration_s=duration_s, default_ticks=default_ticks)


def read_fragment(reader: Reader, moof: Box, default_ticks: Mapping[int, int]) -> list[Run]:
    """Read how many samples a fragment adds to which tracks, and for how long."""
    return [
        _read_track_fragment(reader, box, default_ticks)
        for box in reader.boxes(moof.body, moof.end, moof.kind)
        if box.kind == "traf"
    ]


def check_index(reader: Reader, sidx: Box) -> None:
    """Hold a segment index against the file: a body cut between two boxes shows nowhere else."""
    (version,) = reader.fields(sidx, "B")
    (first_offset,) = reader.fields(sidx, "8xQ" if version else "4xI", 12)
    table = 28 if version else 20
    (count,) = reader.fields(sidx, "2xH", table)
    promised = sidx.end + first_offset
    promised += sum(size & 0x7FFF_FFFF for (size,) in reader.rows(sidx, "I8x", table + 4, count))
    if promised > reader.size_bytes:
        raise broken(f"sidx promises bytes up to {promised}, the file has {reader.size_bytes} bytes")


def _timing(reader: Reader, box: Box) -> tuple[int, int]:
    """Return (time scale, duration) of `mvhd` or `mdhd`, whose layouts agree so far."""
    (version,) = reader.fields(box, "B")
    timescale, ticks = reader.fields(box, "IQ", 20) if version == 1 else reader.fields(box, "II", 12)
    return timescale, ticks


def _read_track(reader: Reader, trak: Box) -> Track:
    track = Track()
    shown = (0, 0)
    turned = False
    for box in reader.boxes(trak.body, trak.end, trak.kind):
        if box.kind == "tkhd":
            (version,) = reader.fields(box, "B")
            (track_id,) = reader.fields(box, "I", 20 if version == 1 else 12)
            track = replace(track, id=track_id)
            a, b, c, d, width, height = reader.fields(box, "ii4xii16xII", 52 if version == 1 else 40)
            turned = a == d == 0 and b != 0 and c != 0
            shown = (width >> 16, height >> 16)
        elif box.kind == "mdia":
            track = _read_media(reader, box, track)
    width, height = track.width or shown[0], track.height or shown[1]
    if turned:  # a quarter turn in the header: what is shown is as wide as the coded picture is high
        width, height = height, width
    return replace(track, width=width, height=height)


def _read_media(reader: Reader, mdia: Box, track: Track) -> Track:
    tables: list[Box] = []
    for box in reader.boxes(mdia.body, mdia.end, mdia.kind):
        if box.kind == "mdhd":
            timescale, ticks = _timing(reader, box)
            track = replace(track, timescale=timescale, ticks=0 if ticks in UNKNOWN_TICKS else ticks)
        elif box.kind == "hdlr":
            (kind,) = reader.fields(box, "I", 8)
            track = replace(track, kind=kind.to_bytes(4, "big").decode("latin-1"))
        elif box.kind == "minf":
            tables += [
                table
                for inner in reader.boxes(box.body, box.end, box.kind)
                if inner.kind == "stbl"
                for table in reader.boxes(inner.body, inner.end, inner.kind)
            ]
    for table in tables:
        if table.kind == "stsd":
            track = _read_description(reader, table, track)
        elif table.kind in {"stsz", "stz2"}:
            (samples,) = reader.fields(table, "I", 8)
            track = replace(track, samples=samples)
        elif table.kind == "stts":
            (count,) = reader.fields(table, "I", 4)
            ticks = sum(samples * each for samples, each in reader.rows(table, "II", 8, count))
            track = replace(track, ticks=ticks or track.ticks)
    return track


def _read_description(reader: Reader, stsd: Box, track: Track) -> Track:
    """Take codec and picture size from the first sample entry; the others can only repeat or vary it."""
    entry = next(reader.boxes(stsd.body + 8, stsd.end, stsd.kind), None)
    if entry is None:
        return track
    track = replace(track, codec=entry.kind.strip())
    if track.kind == VIDEO and entry.end - entry.body >= 28:
        width, height = reader.fields(entry, "HH", 24)
        track = replace(track, width=width, height=height)
    return track


def _read_track_fragment(reader: Reader, traf: Box, default_ticks: Mapping[int, int]) -> Run:
    track_id = each = samples = ticks = 0
    start: int | None = None
    for box in reader.boxes(traf.body, traf.end, traf.kind):
        if box.kind == "tfhd":
            flags, track_id = reader.fields(box, "II")
            each = default_ticks.get(track_id, 0)
            if flags & 0x08:
                before = (8 if flags & 0x01 else 0) + (4 if flags & 0x02 else 0)
                (each,) = reader.fields(box, "I", 8 + before)
        elif box.kind == "tfdt":
            (version,) = reader.fields(box, "B")
            (start,) = reader.fields(box, "Q" if version == 1 else "I", 4)
        elif box.kind == "trun":
            flags, more = reader.fields(box, "II")
            table = 8 + (4 if flags & 0x01 else 0) + (4 if flags & 0x04 else 0)
            width = 4 * sum(bool(flags & flag) for flag in ROW_FLAGS)
            if flags & 0x100:
                ticks += sum(own for (own,) in reader.rows(box, f"I{width - 4}x", table, more))
            else:
                ticks += more * each
            samples += more
    return Run(track_id=track_id, samples=samples, ticks=ticks, start=start)
