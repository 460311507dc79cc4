"""Is the clip what was asked for?

A request's neutral parameters and the clip's facts come in, sentences come out: none where they agree. A difference
never makes a clip bad: it is whole and paid for, and the user decides. What cannot be compared (`auto`, an upscaling
factor, a word of tomorrow) is passed over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.clips.mp4 import ClipFacts

DURATION_SLACK_S = 0.5
DURATION_SLACK = 0.10
"""A duration may be off by half a second or a tenth, whichever is more: models count in frames of their own."""

ASPECT_SLACK = 0.02
"""Encoders want sides that divide by 8 or 16, so 480p at 16:9 is 848 or 854 wide."""

SIDE_SLACK = 0.02
"""For the same reason 1080p can be 1088 high."""

RATIO = re.compile(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", re.ASCII)
PIXELS = re.compile(r"(\d{2,5})x(\d{2,5})", re.ASCII)
LINES = re.compile(r"(?:true_)?(\d{3,4})p", re.ASCII | re.IGNORECASE)
SHORT_SIDES = {"2k": (1440, 1080), "4k": (2160,), "8k": (4320,)}
"""Names without a number of lines; "2k" is either of two, by vendor."""


TINY_BYTES = 100_000
"""Whole clips smaller than this were seen to be a refusal in disguise: a card, or a black picture."""


def differences(asked: Mapping[str, Any], facts: ClipFacts, size_bytes: int) -> tuple[str, ...]:
    """Say in sentences where a clip is not what was asked for.

    Args:
        asked: neutral parameters: `duration_seconds`, `aspect_ratio`, `resolution`, `generate_audio`; others are
            passed over.
        facts: what the clip says of itself.
        size_bytes: of the file.
    """
    found = (
        _duration(asked.get("duration_seconds"), facts),
        _resolution(asked.get("resolution"), facts),
        _aspect(asked.get("aspect_ratio"), facts),
        _audio(asked.get("generate_audio"), facts),
        _size(size_bytes),
    )
    return tuple(sentence for sentence in found if sentence)


def _duration(asked: Any, facts: ClipFacts) -> str:
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        return ""
    if abs(facts.duration_s - asked) <= max(DURATION_SLACK_S, DURATION_SLACK * asked):
        return ""
    return f"The clip lasts {facts.duration_s:.2f} s; {asked:g} s were asked for."


def _resolution(asked: Any, facts: ClipFacts) -> str:
    size = PIXELS.fullmatch(asked) if isinstance(asked, str) else None
    if size:
        sides = ((facts.width, int(size[1])), (facts.height, int(size[2])))
        agrees = all(abs(found - wanted) <= SIDE_SLACK * wanted for found, wanted in sides)
        return "" if agrees else f"The clip is {facts.width}x{facts.height}; {asked} was asked for."
    wanted = short_sides(asked)
    short = min(facts.width, facts.height)
    if not wanted or any(abs(short - side) <= SIDE_SLACK * side for side in wanted):
        return ""
    return f"The clip is {facts.width}x{facts.height}; {asked} was asked for."


def short_sides(asked: Any) -> tuple[int, ...]:
    """Return how long the shorter side is in a resolution such as 720p, in pixels; empty for any other word."""
    if not isinstance(asked, str):
        return ()
    lines = LINES.fullmatch(asked)
    return (int(lines[1]),) if lines else SHORT_SIDES.get(asked.lower(), ())


def _aspect(asked: Any, facts: ClipFacts) -> str:
    ratio = RATIO.fullmatch(asked) if isinstance(asked, str) else None
    if ratio is None or not float(ratio[1]) or not float(ratio[2]):
        return ""
    wanted = float(ratio[1]) / float(ratio[2])
    if abs(facts.width / facts.height / wanted - 1) <= ASPECT_SLACK:
        return ""
    return f"The clip is {facts.width}x{facts.height}; an aspect ratio of {asked} was asked for."


def _audio(asked: Any, facts: ClipFacts) -> str:
    if asked is True and not facts.has_audio:
        return "The clip has no sound; sound was asked for."
    if asked is False and facts.has_audio:
        return "The clip has sound; none was asked for, and sound may have been billed."
    return ""


def _size(size_bytes: int) -> str:
    if size_bytes >= TINY_BYTES:
        return ""
    return f"The clip has {size_bytes:,} bytes; one as small as that can be a refusal in disguise. Look at it."
