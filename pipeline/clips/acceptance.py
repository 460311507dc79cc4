"""Which clips the user wants to have in a dataset, and why another is left out.

The rules of a manifest's `accept` and what is known of a clip come in; a `Verdict` goes out. A clip that fails is kept
where it is: it is whole as far as the vendor goes, it is paid for, and the rules may change. Nothing is stored of a
verdict, so it always is that of the rules as they now are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

from pipeline.clips.compare import SIDE_SLACK, short_sides
from pipeline.clips.probe import DecodeFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HAIR: Final = 0.001
"""Durations and frame rates are quotients; those that differ by less are the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """The rules; None and False where there is none."""

    min_duration_s: float | None = None
    max_duration_s: float | None = None
    min_resolution: str | None = None
    """In the field's word, such as 720p: the least that the shorter side may have."""
    max_resolution: str | None = None
    min_fps: float | None = None
    max_fps: float | None = None
    audio: bool | None = None
    """True for clips with something to hear, False for clips without a sound track."""
    not_black: bool = False
    not_frozen: bool = False
    not_damaged: bool = True
    """Whether every frame must decode; what no decoder has seen passes."""
    min_size_bytes: int | None = None

    @property
    def needs_decoding(self) -> bool:
        """Whether there are rules that only a decoder can tell."""
        return self.not_black or self.not_frozen or self.audio is True

    @property
    def wants_decoding(self) -> bool:
        """Whether there is a rule that decoding helps to tell."""
        return self.needs_decoding or self.not_damaged

    def to_json(self) -> dict[str, Any]:
        """Return the rules as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the rules that `to_json` told; what a later version adds is passed over."""
        return cls(**{field.name: value[field.name] for field in fields(cls) if field.name in value})


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the rules say of one clip."""

    accepted: bool | None
    """None where no rule speaks against it and some can only be told by a decoder, which has not seen it."""
    reasons: tuple[str, ...] = ()
    """Why it is not accepted, in sentences."""


def judge(rules: Acceptance, facts: Mapping[str, Any], size_bytes: int) -> Verdict:
    """Hold a finished clip against the rules.

    Args:
        rules: the manifest's.
        facts: what is known of the clip, as the ledger keeps it: those of `ClipFacts`, and those of `DecodeFacts`
            under `decoded` where a decoder has seen it.
        size_bytes: of its file.
    """
    decoded = decoded_facts(facts)
    reasons = [*_of_boxes(rules, facts, size_bytes), *(_of_decode(rules, facts, decoded) if decoded else ())]
    if reasons:
        return Verdict(accepted=False, reasons=tuple(reasons))
    return Verdict(accepted=None if rules.needs_decoding and decoded is None else True)


def contradictions(rules: Acceptance, asked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each neutral parameter that asks for what the rules turn down, with a sentence that says so."""
    for name, told in (
        ("duration_seconds", _duration_against(rules, asked.get("duration_seconds"))),
        ("resolution", _resolution_against(rules, asked.get("resolution"))),
        ("generate_audio", _audio_against(rules, asked.get("generate_audio"))),
    ):
        if told:
            yield name, f"{told}: the clip would be paid for and left out of every export. Change one of the two."


def _duration_against(rules: Acceptance, asked: Any) -> str:
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        return ""
    if rules.min_duration_s is not None and asked < rules.min_duration_s:
        return f"`duration_seconds` is {asked:g}, and `accept` wants at least {rules.min_duration_s:g}"
    if rules.max_duration_s is not None and asked > rules.max_duration_s:
        return f"`duration_seconds` is {asked:g}, and `accept` wants at most {rules.max_duration_s:g}"
    return ""


def _resolution_against(rules: Acceptance, asked: Any) -> str:
    sides = short_sides(asked)
    if sides and rules.min_resolution and max(sides) < min(short_sides(rules.min_resolution)):
        return f"`resolution` is {asked}, and `accept` wants at least {rules.min_resolution}"
    if sides and rules.max_resolution and min(sides) > max(short_sides(rules.max_resolution)):
        return f"`resolution` is {asked}, and `accept` wants at most {rules.max_resolution}"
    return ""


def _audio_against(rules: Acceptance, asked: Any) -> str:
    if asked is False and rules.audio is True:
        return "`generate_audio` is false, and `accept` wants sound"
    if asked is True and rules.audio is False:
        return "`generate_audio` is true, and `accept` wants clips without sound"
    return ""


def decoded_facts(facts: Mapping[str, Any]) -> DecodeFacts | None:
    """Return what a decoder made of a clip; None where none has seen it."""
    told = facts.get("decoded")
    return DecodeFacts.from_json(told) if told else None


def _of_boxes(rules: Acceptance, facts: Mapping[str, Any], size_bytes: int) -> Iterator[str]:
    lasts, fps = facts.get("duration_s") or 0.0, facts.get("fps") or 0.0
    if rules.min_duration_s is not None and lasts < rules.min_duration_s - HAIR:
        yield f"It lasts {lasts:.2f} s; at least {rules.min_duration_s:g} s are wanted."
    if rules.max_duration_s is not None and lasts > rules.max_duration_s + HAIR:
        yield f"It lasts {lasts:.2f} s; at most {rules.max_duration_s:g} s are wanted."
    width, height = facts.get("width") or 0, facts.get("height") or 0
    if rules.min_resolution and min(width, height) < (1 - SIDE_SLACK) * min(short_sides(rules.min_resolution)):
        yield f"It is {width}x{height}; at least {rules.min_resolution} is wanted."
    if rules.max_resolution and min(width, height) > (1 + SIDE_SLACK) * max(short_sides(rules.max_resolution)):
        yield f"It is {width}x{height}; at most {rules.max_resolution} is wanted."
    if rules.min_fps is not None and fps < rules.min_fps - HAIR:
        yield f"It has {fps:.2f} frames a second; at least {rules.min_fps:g} are wanted."
    if rules.max_fps is not None and fps > rules.max_fps + HAIR:
        yield f"It has {fps:.2f} frames a second; at most {rules.max_fps:g} are wanted."
    if rules.audio is True and not facts.get("has_audio"):
        yield "It has no sound track; sound is wanted."
    if rules.audio is False and facts.get("has_audio"):
        yield "It has a sound track; none is wanted."
    if rules.min_size_bytes is not None and size_bytes < rules.min_size_bytes:
        yield f"It has {size_bytes:,} bytes; at least {rules.min_size_bytes:,} are wanted."


def _of_decode(rules: Acceptance, facts: Mapping[str, Any], decoded: DecodeFacts) -> Iterator[str]:
    if rules.not_damaged:
        yield from decoded.problems(facts.get("frames") or 0)
    if rules.not_black and decoded.is_black:
        yield "Its picture is black."
    if rules.not_frozen and decoded.is_frozen:
        yield "Its picture stands still."
    if rules.audio is True and decoded.silent:
        yield "Its sound track is silent; sound is wanted."
