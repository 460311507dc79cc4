"""The models that the sandbox knows, and what each accepts. A good part of Venice's catalogue, all of ModelMax's.

Source: ModelMax guide, "Available models"; Venice `GET /models?type=video`. The picture that a request asks for is
worked out here too, because the resolution names are the vendors'.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MODELMAX_MODELS = ("veo-3.1", "veo-3.1-fast", "veo-3", "veo-3-fast", "veo-2")
MODELMAX_ASPECTS = ("16:9", "9:16")
MODELMAX_RESOLUTIONS = ("720p", "1080p", "4k")


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
    reference_images: int = 9
    asks_consent: bool = False
    """Unlisted, and answers 409 to media with faces until the attestations are given."""
    refunds_refusals: bool = True
    """Runway and the public Grok models keep the charge when the content is refused."""

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


WIDE = ("16:9", "9:16", "1:1")
FIVE = ("16:9", "9:16", "1:1", "4:3", "3:4")
SIX = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
GROK = ("16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16")
HD = ("720p", "1080p")
LTX = ("1080p", "1440p", "2160p")
PIXVERSE = ("360p", "540p", "720p", "1080p")
SEEDANCE = ("480p", "720p", "1080p", "4k")
KLING = frozenset({"end_image_url"})
KLING_REFERENCES = frozenset({"end_image_url", "elements", "scene_image_urls"})
SEEDANCE_REFERENCES = frozenset({"reference_video_urls", "reference_audio_urls", "audio_url"})
AUDIO_IN = frozenset({"audio_url"})


def listed() -> tuple[VeniceModel, ...]:
    """Build the table. Families first, their members in the order text, image, reference."""
    model, text, image, reference = VeniceModel, Kind.TEXT, Kind.IMAGE, Kind.REFERENCE
    table: list[VeniceModel] = []
    for suffix, refunds in (("", False), ("-private", True)):
        table += [
            model(
                id=f"grok-imagine-text-to-video{suffix}", kind=text, durations=seconds(5, 10, 15),
                resolutions=("480p", "720p"), aspects=GROK, audio=Audio.ON, refunds_refusals=refunds,
            ),
            model(
                id=f"grok-imagine-image-to-video{suffix}", kind=image, durations=seconds(5, 10, 15),
                resolutions=("480p", "720p"), audio=Audio.ON, refunds_refusals=refunds,
            ),
            model(
                id=f"grok-imagine-reference-to-video{suffix}", kind=reference, durations=seconds(5, 8, 10),
                resolutions=("480p", "720p"), aspects=GROK, refunds_refusals=refunds,
            ),
        ]  # fmt: skip
    for tier in ("standard", "pro"):
        table += [
            model(id=f"kling-o3-{tier}-text-to-video", kind=text, durations=every_second(3, 15), aspects=WIDE,
                  audio=Audio.ON),
            model(id=f"kling-o3-{tier}-image-to-video", kind=image, durations=every_second(3, 15), audio=Audio.ON,
                  takes=KLING),
            model(id=f"kling-o3-{tier}-reference-to-video", kind=reference, durations=every_second(3, 15),
                  aspects=WIDE, audio=Audio.ON, takes=KLING_REFERENCES, reference_images=4),
        ]  # fmt: skip
    for speed, durations in (("fast", seconds(6, 8, 10, 12, 14, 16, 18, 20)), ("full", seconds(6, 8, 10))):
        table += [
            model(id=f"ltx-2-v2-3-{speed}-{kind}", kind=kind, durations=durations, resolutions=LTX,
                  aspects=("16:9", "9:16"), audio=Audio.CHOICE)
            for kind in (text, image)
        ]  # fmt: skip
        table += [
            model(id=f"veo3.1-{speed}-text-to-video", kind=text, durations=seconds(4, 6, 8),
                  resolutions=("720p", "1080p", "4k"), aspects=("16:9", "9:16"), audio=Audio.ON),
            model(id=f"veo3.1-{speed}-image-to-video", kind=image, durations=seconds(4, 6, 8),
                  resolutions=("720p", "1080p", "4k"), audio=Audio.ON),
            model(id=f"veo3-{speed}-text-to-video", kind=text, durations=seconds(4, 6, 8), resolutions=HD,
                  aspects=("16:9", "9:16"), audio=Audio.ON),
        ]  # fmt: skip
    for generation, durations, resolutions in (
        ("2-0", every_second(4, 15), SEEDANCE),
        ("2-5", every_second(4, 30), ("480p", "720p")),
    ):
        images = 9 if generation == "2-0" else 30
        for suffix, consent in (("-basic", False), ("", True)):
            table += [
                model(id=f"seedance-{generation}-text-to-video{suffix}", kind=text, durations=durations,
                      resolutions=resolutions, aspects=SIX, audio=Audio.CHOICE, prompt_limit=3500),
                model(id=f"seedance-{generation}-image-to-video{suffix}", kind=image, durations=durations,
                      resolutions=resolutions, audio=Audio.CHOICE, prompt_limit=3500, asks_consent=consent),
                model(id=f"seedance-{generation}-reference-to-video{suffix}", kind=reference, durations=durations,
                      resolutions=resolutions, aspects=SIX, audio=Audio.CHOICE, takes=SEEDANCE_REFERENCES,
                      prompt_limit=3500, reference_images=images, asks_consent=consent),
            ]  # fmt: skip
    table += [
        model(id="wan-2-7-text-to-video", kind=text, durations=seconds(5, 10, 15), resolutions=HD, aspects=WIDE,
              takes=AUDIO_IN),
        model(id="wan-2-7-image-to-video", kind=image, durations=seconds(5, 10, 15), resolutions=HD, takes=AUDIO_IN),
        model(id="wan-2-7-reference-to-video", kind=reference, durations=seconds(5, 10), resolutions=HD, aspects=WIDE,
              takes=frozenset({"elements", "reference_audio_urls"})),
        model(id="wan-2-7-video-to-video", kind=Kind.VIDEO, durations=("Auto", *seconds(5, 10, 15)), resolutions=HD,
              takes=AUDIO_IN),
        model(id="wan-2.6-text-to-video", kind=text, durations=seconds(5, 10, 15), resolutions=HD, aspects=WIDE,
              audio=Audio.CHOICE, takes=AUDIO_IN),
        model(id="wan-2.6-image-to-video", kind=image, durations=seconds(5, 10, 15), resolutions=HD,
              audio=Audio.CHOICE, takes=AUDIO_IN),
        model(id="wan-2.5-preview-text-to-video", kind=text, durations=seconds(5, 10),
              resolutions=("480p", "720p", "1080p"), aspects=WIDE, audio=Audio.ON, takes=AUDIO_IN),
        model(id="wan-2.5-preview-image-to-video", kind=image, durations=seconds(5, 10),
              resolutions=("480p", "720p", "1080p"), audio=Audio.ON, takes=AUDIO_IN),
        model(id="wan-2.2-a14b-text-to-video", kind=text, durations=seconds(5), resolutions=("480p", "580p", "720p"),
              aspects=WIDE),
        model(id="kling-2.5-turbo-pro-text-to-video", kind=text, durations=seconds(5, 10), aspects=WIDE),
        model(id="kling-2.6-pro-text-to-video", kind=text, durations=seconds(5, 10), aspects=WIDE, audio=Audio.ON),
        model(id="longcat-text-to-video", kind=text, durations=seconds(5, 10, 15, 20, 30), resolutions=("720p",),
              aspects=WIDE),
        model(id="longcat-distilled-text-to-video", kind=text, durations=seconds(5, 10, 15, 20, 30),
              resolutions=("720p",), aspects=WIDE),
        model(id="minimax-h3-text-to-video", kind=text, durations=every_second(5, 15), resolutions=("2K",),
              aspects=SIX, audio=Audio.ON),
        model(id="ovi-image-to-video", kind=image, durations=seconds(5), audio=Audio.ON),
        model(id="pixverse-c1-text-to-video", kind=text, durations=seconds(3, 5, 8, 10, 15), resolutions=PIXVERSE,
              aspects=FIVE, audio=Audio.CHOICE),
        model(id="pixverse-c1-transition", kind=Kind.TRANSITION, durations=seconds(3, 5, 8, 10, 15),
              resolutions=PIXVERSE, aspects=FIVE, audio=Audio.CHOICE),
        model(id="runway-gen4-5-text", kind=text, durations=every_second(2, 10), aspects=SIX, prompt_limit=1000,
              refunds_refusals=False),
        model(id="runway-gen4-5", kind=image, durations=every_second(2, 10), aspects=SIX, prompt_limit=1000,
              refunds_refusals=False),
        model(id="sora-2-text-to-video", kind=text, durations=seconds(4, 8, 12), resolutions=("720p",),
              aspects=("16:9", "9:16"), audio=Audio.ON),
        model(id="sora-2-pro-text-to-video", kind=text, durations=seconds(4, 8, 12, 16, 20),
              resolutions=("720p", "1080p", "true_1080p"), aspects=("16:9", "9:16"), audio=Audio.ON),
        model(id="wan-3-0-text-to-video", kind=text, durations=seconds(5, 10, 15, 20, 25, 30),
              resolutions=("480p", "720p", "1080p"), aspects=FIVE, audio=Audio.ON, prompt_limit=20_000),
        model(id="topaz-video-upscale", kind=Kind.UPSCALE, durations=("Auto",)),
    ]  # fmt: skip
    return tuple(table)


VENICE_MODELS = {model.id: model for model in listed()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What a clip has to be: even sides in pixels, its length, and whether it has sound."""

    width: int
    height: int
    duration_s: float
    has_audio: bool


SHORT_SIDES = {"2K": 1440, "4k": 2160, "4K": 2160, "true_1080p": 1080}
"""Resolution words whose short side is not the number in them."""


def picture(*, resolution: str, aspect: str, duration_s: float, has_audio: bool) -> Picture:
    """Return the picture that `resolution` (`720p`, `4k`, ...) and `aspect` (`16:9`) describe."""
    short = SHORT_SIDES.get(resolution) or int(resolution.rstrip("pP"))
    wide, high = (int(side) for side in aspect.split(":"))
    long = round(short * max(wide, high) / min(wide, high) / 2) * 2
    width, height = (long, short) if wide >= high else (short, long)
    return Picture(width=width, height=height, duration_s=duration_s, has_audio=has_audio)
