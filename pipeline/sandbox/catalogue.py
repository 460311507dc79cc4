"""ModelMax's models, and the picture that a request asks for, whoever the vendor is.

Source: ModelMax guide, "Available models"; the resolution names are the vendors'.
"""

from __future__ import annotations

from dataclasses import dataclass

MODELMAX_MODELS = ("veo-3.1", "veo-3.1-fast", "veo-3", "veo-3-fast", "veo-2")
MODELMAX_ASPECTS = ("16:9", "9:16")
MODELMAX_RESOLUTIONS = ("720p", "1080p", "4k")


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What a clip has to be: even sides in pixels, its length, and whether it has sound."""

    width: int
    height: int
    duration_s: float
    has_audio: bool


SHORT_SIDES = {"2K": 1440, "4k": 2160, "4K": 2160, "true_1080p": 1080, "2x": 1440, "4x": 2160}
"""Resolution words whose short side is not the number in them."""


def picture(*, resolution: str, aspect: str, duration_s: float, has_audio: bool) -> Picture:
    """Return the picture that `resolution` (`720p`, `4k`, ...) and `aspect` (`16:9`) describe."""
    short = SHORT_SIDES.get(resolution) or int(resolution.rstrip("pP"))
    wide, high = (int(side) for side in aspect.split(":"))
    long = round(short * max(wide, high) / min(wide, high) / 2) * 2
    width, height = (long, short) if wide >= high else (short, long)
    return Picture(width=width, height=height, duration_s=duration_s, has_audio=has_audio)
