"""What a clip looks and sounds like, as far as one can tell without understanding it: black, frozen, silent.

Decoded frames of PyAV come in one by one, shares come out. A picture is judged by a grid of its pixels: the brightness
of a thousand points says as much about "black" and "the same as before" as that of a million, in a tenth of a
millisecond. Thresholds are those of ffmpeg's blackdetect, freezedetect and silencedetect.
"""

from __future__ import annotations

from array import array
from itertools import starmap
from operator import sub
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY: Final = 3
"""Which pictures are looked at: every third, the first one first; eight a second of most clips."""
GRID: Final = (24, 40)
"""Rows and columns of the points that are looked at."""
EIGHT_BIT: Final = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "nv21", "gray")
"""Formats whose first plane is one byte of brightness a pixel; any other is converted."""
BLACK_LEVEL: Final = 16 + 0.10 * 219
"""As bright as a black point may be: a tenth of the range above black, where black is 16."""
BLACK_LEVEL_FULL_RANGE: Final = 0.10 * 255
FULL_RANGE: Final = 2
BLACK_POINTS: Final = 0.98
"""The share of its points that are black in a black picture."""
SAME: Final = 0.001 * 255
"""How much the points of two pictures that show the same may differ, on average: encoders repaint what stands still."""
SILENCE: Final = 0.001
"""The amplitude that counts as silence, of 1: -60 dB."""
SAMPLE_TYPES: Final = {"u8": ("B", 128, 128), "s16": ("h", 0, 1 << 15), "s32": ("i", 0, 1 << 31)} | {
    "flt": ("f", 0, 1),
    "dbl": ("d", 0, 1),
}
"""By format: the type of a sample, the value of silence and that of the greatest amplitude."""


class Eye:
    """Counts pictures that are black and pictures that show what the one before them showed.

    The mutable state is the counts, and the points of the last picture that showed something new: slow movement adds
    up until it is seen.
    """

    def __init__(self) -> None:
        self._passed = 0
        self._seen = 0
        self._black = 0
        self._same = 0
        self._before: Sequence[int] = b""

    @property
    def black(self) -> float:
        """The share of black pictures among those looked at."""
        return self._black / self._seen if self._seen else 0.0

    @property
    def frozen(self) -> float:
        """The share of pictures looked at, the first left out, that show nothing new."""
        return self._same / (self._seen - 1) if self._seen > 1 else 0.0

    def see(self, frame: Any) -> None:
        """Take in an `av.VideoFrame`."""
        self._passed += 1
        if (self._passed - 1) % EVERY:
            return
        points = _points(frame)
        level = BLACK_LEVEL_FULL_RANGE if frame.color_range == FULL_RANGE else BLACK_LEVEL
        dark = bytes(range(int(level) + 1))
        self._black += len(points) - len(points.translate(None, dark)) >= BLACK_POINTS * len(points)
        if len(points) == len(self._before) and _difference(points, self._before) <= SAME:
            self._same += 1
        else:
            self._before = points
        self._seen += 1


def _difference(points: bytes, before: Sequence[int]) -> float:
    if points == before:
        return 0.0
    total: int = sum(map(abs, starmap(sub, zip(points, before, strict=True))))
    return total / len(points)


def _points(frame: Any) -> bytes:
    """Return the brightness of a grid of points."""
    if frame.format.name not in EIGHT_BIT:
        frame = frame.reformat(format="gray")
    plane = frame.planes[0]
    pixels = memoryview(plane)
    rows, columns = GRID
    height, width, line = frame.height, frame.width, plane.line_size
    step = max(1, width // columns)
    starts = (row * line for row in range(0, height, max(1, height // rows)))
    return b"".join(bytes(pixels[start : start + width : step]) for start in starts)


class Ear:
    """Listens until there is something to hear. The mutable state is whether there was."""

    def __init__(self) -> None:
        self.heard = False

    def hear(self, frame: Any) -> None:
        """Take in an `av.AudioFrame`."""
        if self.heard:
            return
        kind = SAMPLE_TYPES.get(frame.format.packed.name)
        if kind is None:
            self.heard = True  # nobody knows, so nobody says that it is silent
            return
        code, middle, greatest = kind
        packed = frame.format.is_planar is False
        used = frame.samples * frame.format.bytes * (frame.layout.nb_channels if packed else 1)
        for plane in frame.planes:
            samples = array(code, bytes(memoryview(plane)[:used]))
            if samples and max(max(samples) - middle, middle - min(samples)) > SILENCE * greatest:
                self.heard = True
                return
