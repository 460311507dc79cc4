"""The Venice models that the sandbox knows, family by family, and what each accepts.

Source: Venice `GET /models?type=video` as recorded in August 2026, with the corrections of October 2026 (Venice skills,
venice-video; Venice Seedance, reference-to-video and video-upscaling guides).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Kind(StrEnum):
    """What a Venice model makes a clip from."""

    TEXT = "text-to-video"
    IMAGE = "image-to-video"
    REFERENCE = "reference-to-video"
    TRANSITION = "transition"
    VIDEO = "video-to-video"
    UPSCALE = "upscale"


class Audio(StrEnum):
    """Whether a Venice model makes sound, and whether the request may choose."""

    ON = "on"
    SILENT = "silent"
    CHOICE = "choice"


@dataclass(frozen=True, kw_only=True, slots=True)
class VeniceModel:
    """One Venice model and its constraints."""

    id: str
    kind: Kind
    durations: tuple[str, ...]
    resolutions: tuple[str, ...] = ()
    aspects: tuple[str, ...] = ()
    audio: Audio = Audio.SILENT
    takes: frozenset[str] = frozenset()
    """Optional media fields that it accepts, beyond those of its kind."""
    prompt_limit: int = 2500
    most: Mapping[str, int] = field(default_factory=dict)
    """How many elements a list field may have, where that is less than the schema says."""
    most_pictures: int | None = None
    """How many reference images, scenes and elements together."""
    bitrate: bool = False
    asks_consent: bool = False
    """Answers 409 to media with faces until the attestations are given."""
    refunds_refusals: bool = True
    """Runway and the public Grok models keep the charge when the content is refused."""
    listed: bool = True
    """Whether `/models` names it."""
    is_recorded: bool = True
    """Whether its constraints are known here; where they are not, it takes all that the schema allows."""
    ends: Mapping[str, str] = field(default_factory=dict)
    """From when on it is deprecated and when it is removed, as moments; empty where it is not."""

    @property
    def has_link(self) -> bool:
        """Whether the clip comes by `download_url` and retrieve answers JSON alone (the Grok Imagine models)."""
        return self.id.startswith("grok-imagine")

    @property
    def privacy(self) -> str:
        """How Venice lists the model."""
        return "private" if self.id.endswith("-private") or self.id.startswith(("wan-", "ltx-")) else "anonymized"

    @property
    def model_type(self) -> str:
        """The coarser word that the model list gives; reference and transition models call themselves image models."""
        if self.kind in {Kind.VIDEO, Kind.UPSCALE}:
            return "video"
        return "text-to-video" if self.kind is Kind.TEXT else "image-to-video"


def seconds(*numbers: int) -> tuple[str, ...]:
    """Return Venice's duration words."""
    return tuple(f"{number}s" for number in numbers)


def every_second(first: int, last: int) -> tuple[str, ...]:
    """Return Venice's duration words for each second of a range, both ends included."""
    return seconds(*range(first, last + 1))


def model(name: str, durations: tuple[str, ...], kind: Kind | None = None, **facts: Any) -> VeniceModel:
    """Return one model; its id ends in its kind, where no other is given."""
    own = kind or next(each for each in Kind if f"-{each}" in name)
    takes = frozenset(facts.pop("takes", ()))
    return VeniceModel(id=name, kind=own, durations=durations, takes=takes, **facts)


FIRST_THREE = ("16:9", "9:16", "1:1")
FIVE = (*FIRST_THREE, "4:3", "3:4")
SIX = (*FIVE, "21:9")
NINE = (*SIX, "9:21", "5:4", "4:5")
GROK_ASPECTS = ("16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16")
TWO = ("16:9", "9:16")
HD = ("720p", "1080p")
SMALL = ("480p", "720p")
THREE = ("1080p", "720p", "480p")
TALL = ("1080p", "1440p", "2160p")
PIXVERSE_SIZES = ("360p", "540p", "720p", "1080p")
END, SOUND, IMAGES = "end_image_url", "audio_url", "reference_image_urls"
VIDEOS, SOUNDS = "reference_video_urls", "reference_audio_urls"
KLING_TAKES = (END, "elements", IMAGES, "scene_image_urls")


def grok() -> Iterator[VeniceModel]:
    """The Grok Imagine models: the public ones keep the charge of a refusal, and are not listed."""
    for suffix, private in (("", False), ("-private", True)):
        facts: dict[str, Any] = {"resolutions": SMALL, "refunds_refusals": private, "listed": private}
        name, five, aspects = "grok-imagine-{}" + suffix, seconds(5, 10, 15), GROK_ASPECTS
        yield model(name.format(Kind.TEXT), five, aspects=aspects, audio=Audio.ON, **facts)
        yield model(name.format(Kind.IMAGE), five, audio=Audio.ON, **facts)
        yield model(name.format(Kind.REFERENCE), seconds(5, 8, 10), aspects=aspects, most={IMAGES: 7}, **facts)
        yield model(name.format(Kind.VIDEO), five, aspects=aspects, **facts)


def happyhorse() -> Iterator[VeniceModel]:
    """HappyHorse 1.0 and 1.1."""
    for version, text, references, takes in (("1-0", FIRST_THREE, FIVE, ()), ("1-1", NINE, NINE, (SOUNDS,))):
        facts: dict[str, Any] = {"resolutions": HD, "audio": Audio.ON}
        name, span = f"happyhorse-{version}-", every_second(3, 15)
        yield model(name + Kind.TEXT, span, aspects=text, **facts)
        yield model(name + Kind.IMAGE, span, **facts)
        yield model(name + Kind.REFERENCE, span, aspects=references, takes=takes, **facts)


def kling() -> Iterator[VeniceModel]:
    """Kling 2.5 and 2.6, O3 and V3: one size but for the 4K models, whose K is a capital."""
    for name, audio in (("kling-2.5-turbo-pro-", Audio.SILENT), ("kling-2.6-pro-", Audio.ON)):
        yield model(name + Kind.TEXT, seconds(5, 10), aspects=FIRST_THREE, audio=audio)
        yield model(name + Kind.IMAGE, seconds(5, 10), audio=audio, takes=(END,))
    for name, images in (
        ("o3-4k", 7),
        ("o3-pro", 4),
        ("o3-standard", 4),
        ("v3-4k", 30),
        ("v3-pro", 0),
        ("v3-standard", 0),
    ):
        facts: dict[str, Any] = {"audio": Audio.ON, "resolutions": ("4K", "1080p", "720p") if "4k" in name else ()}
        span = every_second(3, 15)
        yield model(f"kling-{name}-{Kind.TEXT}", span, aspects=FIRST_THREE, **facts)
        if name != "v3-4k":
            yield model(f"kling-{name}-{Kind.IMAGE}", span, takes=(END,), **facts)
        if images:
            facts |= {"most": {IMAGES: images}, "most_pictures": 7 if "o3" in name else None}
            yield model(f"kling-{name}-{Kind.REFERENCE}", span, aspects=FIRST_THREE, takes=KLING_TAKES, **facts)


def longcat_and_ltx() -> Iterator[VeniceModel]:
    """LongCat, and the LTX 2 models, whose sound can be chosen."""
    for name in ("longcat-", "longcat-distilled-"):
        facts: dict[str, Any] = {"resolutions": ("720p",)}
        yield model(name + Kind.TEXT, seconds(5, 10, 15, 20, 30), aspects=FIRST_THREE, **facts)
        yield model(name + Kind.IMAGE, seconds(5, 10, 15, 20, 30), **facts)
    old = {"durations": seconds(5, 8, 10, 15, 18), "resolutions": ("720p",), "aspects": FIVE, "listed": False}
    fast, full = seconds(6, 8, 10, 12, 14, 16, 18, 20), seconds(6, 8, 10)
    families: dict[str, dict[str, Any]] = {"19b-distilled": old, "19b-full": old}
    families |= {
        name: {"durations": lengths, "resolutions": TALL, "aspects": aspects, "listed": listed}
        for name, lengths, aspects, listed in (
            ("fast", fast, ("16:9",), False),
            ("full", full, ("16:9",), False),
            ("v2-3-fast", fast, TWO, True),
            ("v2-3-full", full, TWO, True),
        )
    }
    for name, facts in families.items():
        for kind in (Kind.TEXT, Kind.IMAGE):
            yield model(f"ltx-2-{name}-{kind}", audio=Audio.CHOICE, **facts)


def minimax_and_pixverse() -> Iterator[VeniceModel]:
    """MiniMax H3, PixVerse C1 and V5.6, Ovi and Vidu Q3."""
    h3: dict[str, Any] = {"durations": every_second(5, 15), "resolutions": ("2K",), "audio": Audio.ON}
    yield model(f"minimax-h3-{Kind.TEXT}", aspects=SIX, **h3)
    yield model(f"minimax-h3-{Kind.IMAGE}", **h3)
    caps = {IMAGES: 9, VIDEOS: 3, SOUNDS: 3}
    yield model(f"minimax-h3-{Kind.REFERENCE}", aspects=SIX, takes=(SOUND, VIDEOS, SOUNDS), most=caps, **h3)
    yield model(f"ovi-{Kind.IMAGE}", seconds(5), audio=Audio.ON)
    for name, lengths, audio in (
        ("pixverse-c1-", seconds(3, 5, 8, 10, 15), Audio.CHOICE),
        ("pixverse-v5.6-", seconds(5, 8), Audio.ON),
    ):
        facts: dict[str, Any] = {"durations": lengths, "resolutions": PIXVERSE_SIZES, "audio": audio}
        yield model(name + Kind.TEXT, aspects=FIVE, **facts)
        yield model(name + Kind.IMAGE, **facts)
        yield model(name + Kind.TRANSITION, aspects=FIVE, **facts)
        if "c1" in name:
            yield model(name + Kind.REFERENCE, aspects=FIVE, **facts)
    vidu: dict[str, Any] = {"durations": seconds(3, 5, 8, 10, 12, 14, 16), "resolutions": PIXVERSE_SIZES}
    yield model(f"vidu-q3-{Kind.TEXT}", aspects=FIVE, audio=Audio.ON, takes=(IMAGES,), **vidu)
    yield model(f"vidu-q3-{Kind.IMAGE}", audio=Audio.ON, takes=(IMAGES,), **vidu)


def runway_sora_veo() -> Iterator[VeniceModel]:
    """Runway Gen-4, Sora 2, whose upstream is closed, and Veo 3 and 3.1."""
    runway: dict[str, Any] = {"aspects": SIX, "prompt_limit": 1000, "refunds_refusals": False}
    for name, kind in (("5", Kind.IMAGE), ("5-text", Kind.TEXT)):
        yield model(f"runway-gen4-{name}", every_second(2, 10), kind, **runway)
    yield model("runway-gen4-turbo", every_second(2, 10), Kind.IMAGE, **runway)
    yield model("runway-gen4-aleph", every_second(2, 10), Kind.IMAGE, listed=False, **runway)
    ends = {"startsAt": "2026-09-24T00:00:00.000Z", "removesAt": "2099-01-01T00:00:00.000Z"}
    for kind in (Kind.TEXT, Kind.IMAGE):
        sora: dict[str, Any] = {"aspects": TWO, "audio": Audio.ON, "ends": ends}
        yield model(f"sora-2-{kind}", seconds(4, 8, 12), resolutions=("720p",), **sora)
        yield model(f"sora-2-pro-{kind}", seconds(4, 8, 12, 16, 20), resolutions=(*HD, "true_1080p"), **sora)
    for speed in ("fast", "full"):
        yield model(f"veo3-{speed}-{Kind.TEXT}", seconds(4, 6, 8), resolutions=HD, aspects=TWO, audio=Audio.ON)
        yield model(f"veo3-{speed}-{Kind.IMAGE}", seconds(8), aspects=("16:9",), audio=Audio.ON)
        newer: dict[str, Any] = {"resolutions": (*HD, "4k"), "audio": Audio.ON}
        yield model(f"veo3.1-{speed}-{Kind.TEXT}", seconds(4, 6, 8), aspects=TWO, **newer)
        yield model(f"veo3.1-{speed}-{Kind.IMAGE}", seconds(4, 6, 8), **newer)


def seedance() -> Iterator[VeniceModel]:
    """Seedance 2.0 and 2.5: the public ids end in `-basic`; the others are unlisted and ask for consents."""
    steps, sizes = seconds(4, 5, 8, 10, 12, 15), (*SMALL, "1080p", "4k")
    rows: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
        ("2-0", "", steps, SMALL, FIVE),
        ("2-0-fast", "", every_second(4, 15), SMALL, FIVE),
        ("2-0-enhanced", "", steps, (*SMALL, "1080p"), FIVE),
        ("2-5", "", every_second(4, 30), SMALL, SIX),
        ("2-0", "-basic", every_second(4, 15), sizes, SIX),
        ("2-0-fast", "-basic", every_second(4, 15), SMALL, SIX),
        ("2-0-mini", "-basic", every_second(4, 15), SMALL, SIX),
        ("2-5", "-basic", every_second(4, 30), SMALL, SIX),
    )
    for name, suffix, lengths, resolutions, aspects in rows:
        public = bool(suffix)
        facts: dict[str, Any] = {"resolutions": resolutions, "audio": Audio.CHOICE, "bitrate": True, "listed": public}
        most = {IMAGES: 30, VIDEOS: 10, SOUNDS: 10} if name == "2-5" else {IMAGES: 9, VIDEOS: 3, SOUNDS: 3}
        own = (SOUND, VIDEOS, SOUNDS, *(("video_url",) if name == "2-5" else ()))
        references: dict[str, Any] = {"aspects": aspects, "takes": own, "most": most, "asks_consent": not public}
        yield model(f"seedance-{name}-{Kind.REFERENCE}{suffix}", lengths, **facts, **references)
        if name != "2-0-enhanced":
            yield model(f"seedance-{name}-{Kind.TEXT}{suffix}", lengths, aspects=aspects, **facts)
            images: dict[str, Any] = {"takes": (END,), "asks_consent": not public}
            yield model(f"seedance-{name}-{Kind.IMAGE}{suffix}", lengths, **facts, **images)


def wan() -> Iterator[VeniceModel]:
    """Wan 2.1 to 3.0: an image gives its own shape, but for 2.1."""
    five, ten = seconds(5, 10, 15), seconds(5, 10)
    yield model(f"wan-2.1-pro-{Kind.IMAGE}", seconds(6), aspects=("16:9",))
    yield model(f"wan-2.2-a14b-{Kind.TEXT}", seconds(5), resolutions=("720p", "580p", "480p"), aspects=FIRST_THREE)
    preview: dict[str, Any] = {"durations": ten, "resolutions": THREE, "audio": Audio.ON, "takes": (SOUND,)}
    yield model(f"wan-2.5-preview-{Kind.TEXT}", aspects=FIRST_THREE, **preview)
    yield model(f"wan-2.5-preview-{Kind.IMAGE}", **preview)
    heard: dict[str, Any] = {"resolutions": HD, "takes": (SOUND,)}
    yield model(f"wan-2.6-flash-{Kind.IMAGE}", five, audio=Audio.ON, **heard)
    yield model(f"wan-2.6-{Kind.TEXT}", five, aspects=FIRST_THREE, audio=Audio.CHOICE, **heard)
    yield model(f"wan-2.6-{Kind.IMAGE}", five, audio=Audio.CHOICE, **heard)
    yield model(f"wan-2.6-{Kind.REFERENCE}", ten, aspects=FIRST_THREE, audio=Audio.CHOICE, listed=False, **heard)
    yield model(f"wan-2-7-{Kind.TEXT}", five, aspects=FIRST_THREE, **heard)
    yield model(f"wan-2-7-{Kind.IMAGE}", five, **heard)
    yield model(f"wan-2-7-spicy-{Kind.IMAGE}", five, listed=False, **heard)
    yield model(f"wan-2-7-{Kind.VIDEO}", ("Auto", *five), **heard)
    known: dict[str, Any] = {"resolutions": HD, "takes": ("elements", SOUNDS)}
    yield model(f"wan-2-7-{Kind.REFERENCE}", ten, aspects=FIRST_THREE, **known)
    newest: dict[str, Any] = {"durations": seconds(5, 10, 15, 20, 25, 30), "resolutions": THREE, "audio": Audio.ON}
    newest |= {"prompt_limit": 20_000, "listed": False}
    yield model(f"wan-3-0-{Kind.IMAGE}", **newest)
    for name in ("wan-3-0-", "wan-3-0-enhanced-"):
        takes, most = (VIDEOS, SOUNDS, "reference_document_urls"), {IMAGES: 10, VIDEOS: 5, SOUNDS: 5}
        yield model(name + Kind.TEXT, aspects=FIVE, **newest)
        yield model(name + Kind.REFERENCE, aspects=FIVE, takes=takes, most=most, **newest)


def unrecorded() -> Iterator[VeniceModel]:
    """The models of the public list whose constraints nobody has recorded."""
    names = [f"{family}-{kind}" for family in ("flux-3", "gemini-omni-flash") for kind in (Kind.TEXT, Kind.IMAGE)]
    names += [f"grok-imagine-1-5-{kind}-private" for kind in (Kind.TEXT, Kind.IMAGE, Kind.REFERENCE)]
    names += [f"kling-v3-turbo-{tier}-{kind}" for tier in ("pro", "standard") for kind in (Kind.TEXT, Kind.IMAGE)]
    names += [f"ltx-2-5-{tier}-{kind}" for tier in ("fast", "pro") for kind in (Kind.TEXT, Kind.IMAGE)]
    names += [f"seedance-1-5-pro-{kind}-basic" for kind in (Kind.TEXT, Kind.IMAGE)]
    names += [f"wan-2-7-enhanced-{kind}" for kind in (Kind.TEXT, Kind.IMAGE)]
    names += [f"gemini-omni-flash-{Kind.REFERENCE}", f"happyhorse-1-0-{Kind.VIDEO}", f"wan-2-2-enhanced-{Kind.IMAGE}"]
    names += [f"minimax-h3-enhanced-{kind}" for kind in (Kind.TEXT, Kind.REFERENCE)]
    for name in names:
        yield model(name, (), is_recorded=False)
    yield model("flux-3-first-last-frame-to-video", (), Kind.TRANSITION, is_recorded=False)
    for tier in ("pro", "standard"):
        yield model(f"kling-v3-{tier}-motion-control", (), Kind.VIDEO, is_recorded=False)


def all_models() -> Iterator[VeniceModel]:
    """Return the table."""
    families = (grok, happyhorse, kling, longcat_and_ltx, minimax_and_pixverse, runway_sora_veo, seedance, wan)
    for family in families:
        yield from family()
    yield model("topaz-video-upscale", ("Auto",), Kind.UPSCALE)
    yield from unrecorded()


VENICE_MODELS = {each.id: each for each in all_models()}
