"""Every Venice model of the recorded constraint table: a request that it takes, and one for each rule broken.

`venice-models.tsv` is the table as recorded in mid-August 2026 (venice-video-harness, capabilities.json); `CORRECTED`
is what the vendor said of it since. Nothing here is read from the product.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

INHERITED = "an image gives its own shape (Venice skills, venice-video, October 2026)"
SEEDANCE = "takes a last frame (Venice Seedance guide)"
CORRECTED: dict[str, dict[str, tuple[tuple[str, ...], str]]] = {
    **{
        f"seedance-{version}-image-to-video": {"aspect_ratios": ((), INHERITED), "takes": (("end_image",), SEEDANCE)}
        for version in ("2-0", "2-0-fast", "2-5")
    },
    "wan-3-0-image-to-video": {"aspect_ratios": ((), INHERITED)},
}
"""By model and column: what holds instead, and who says so."""

CAPS: tuple[tuple[str, dict[str, int]], ...] = (
    ("seedance-2-0", {"reference_images": 9, "reference_videos": 3, "reference_audios": 3}),
    ("seedance-2-5", {"reference_images": 30, "reference_videos": 10, "reference_audios": 10}),
    ("wan-3-0", {"reference_images": 10, "reference_videos": 5, "reference_audios": 5}),
    ("minimax-h3", {"reference_images": 9, "reference_videos": 3, "reference_audios": 3}),
    ("kling-o3-4k", {"reference_images": 7}),
    ("kling-o3", {"reference_images": 4}),
    ("grok-imagine", {"reference_images": 7}),
)
"""How many references a family takes (Venice skills, venice-video; Venice reference-to-video guide)."""
CAPPED_TAKES = ("seedance-2", "wan-3-0", "minimax-h3")
"""Families that take reference videos and sounds by the same sources, whatever the table says."""
PROMPT_LIMITS = (("runway-", 1000), ("wan-3-0-", 20_000), ("", 2500))
URLS = {
    "image": "https://example.com/a.png",
    "video": "https://example.com/a.mp4",
    "audio": "https://example.com/a.mp3",
}
MEDIA: dict[str, Any] = {
    "image": URLS["image"],
    "end_image": URLS["image"],
    "audio": URLS["audio"],
    "video": URLS["video"],
    "reference_images": [URLS["image"]],
    "reference_videos": [URLS["video"]],
    "reference_audios": [URLS["audio"]],
    "reference_documents": ["https://example.com/a.pdf"],
    "elements": [{"frontal_image": URLS["image"]}],
    "scene_images": [URLS["image"]],
    "keyframes": [{"image": URLS["image"], "frame_index": 0}],
}
"""A value for every parameter that names a medium."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of the table."""

    id: str
    needs: tuple[str, ...]
    durations_s: tuple[int, ...]
    resolutions: tuple[str, ...]
    aspect_ratios: tuple[str, ...]
    audio: str
    takes: frozenset[str]

    @property
    def is_upscaler(self) -> bool:
        return self.id.endswith("-upscale")

    @property
    def prompt_limit(self) -> int:
        return next(limit for prefix, limit in PROMPT_LIMITS if self.id.startswith(prefix))

    @property
    def caps(self) -> dict[str, int]:
        if "references" not in self.needs:
            return {}
        return next((caps for prefix, caps in CAPS if self.id.startswith(prefix)), {})


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A request that breaks one rule of a model."""

    rule: str
    parameters: dict[str, Any]
    prompt: str
    field: str
    """Which parameter, or `prompt`, is to blame."""
    says: str
    """What the refusal must say of the rule, as a pattern."""


def whole_numbers(cell: str) -> tuple[int, ...]:
    """Read `5,10`, `3..15` and `-`."""
    first, dots, last = cell.partition("..")
    if dots:
        return tuple(range(int(first), int(last) + 1))
    return tuple(map(int, words(cell)))


def words(cell: str) -> tuple[str, ...]:
    return () if cell == "-" else tuple(cell.split(","))


def row_of(cells: dict[str, str]) -> Row:
    told = {name: words(cells[name]) for name in ("needs", "resolutions", "aspect_ratios", "takes")}
    told |= {name: value for name, (value, _) in CORRECTED.get(cells["model"], {}).items()}
    needs, takes = told["needs"], {*told["takes"]}
    if "references" in needs and cells["model"].startswith(CAPPED_TAKES):
        takes |= {"reference_videos", "reference_audios"}
        takes |= {"reference_documents"} if cells["model"].startswith("wan-3-0") else set()
    return Row(
        id=cells["model"],
        needs=needs,
        durations_s=whole_numbers(cells["durations_s"]),
        resolutions=told["resolutions"],
        aspect_ratios=told["aspect_ratios"],
        audio=cells["audio"],
        takes=frozenset(takes),
    )


def rows() -> list[Row]:
    """Return the table."""
    with (Path(__file__).parent / "venice-models.tsv").open(encoding="utf-8", newline="") as file:
        return [row_of(cells) for cells in csv.DictReader(file, delimiter="\t")]


ROWS = {row.id: row for row in rows()}


def good(row: Row, *, last: bool = False) -> dict[str, Any]:
    """Return parameters that a model takes: the first of everything that it lists, or the last."""
    end = -1 if last else 0
    choices = {
        "duration_seconds": row.durations_s,
        "resolution": row.resolutions,
        "aspect_ratio": row.aspect_ratios,
    }
    given: dict[str, Any] = {name: values[end] for name, values in choices.items() if values}
    if row.is_upscaler:
        given["upscale_factor"] = 4 if last else 2
    if row.audio == "optional":
        given["generate_audio"] = last
    for need in row.needs:
        name = "reference_images" if need == "references" else need
        given[name] = MEDIA[name]
    return given


def prompt_of(row: Row) -> str:
    return "" if row.is_upscaler else "A fox"


def broken(row: Row) -> Iterator[Broken]:
    """Yield one request for every rule of a model, each with that rule broken and all others kept."""
    fine = good(row)

    def wrong(rule: str, field: str, says: str, prompt: str | None = None, **changes: Any) -> Broken:
        parameters = {name: value for name, value in (fine | changes).items() if value is not None}
        own = prompt_of(row) if prompt is None else prompt
        return Broken(rule=rule, parameters=parameters, prompt=own, field=field, says=says)

    yield from broken_choices(row, wrong)
    yield from broken_media(row, wrong)
    if row.is_upscaler:
        yield wrong("no prompt", "prompt", "takes no prompt", "Sharper")
        yield wrong("a factor that exists", "upscale_factor", "1, 2 or 4", upscale_factor=3)
    else:
        yield wrong("a prompt", "prompt", "has no `prompt`|needs a prompt", "")
        too_long, says = "x" * (row.prompt_limit + 1), f"takes {row.prompt_limit} at most"
        yield wrong("a prompt not too long", "prompt", says, too_long)
        yield wrong("a negative prompt not too long", "negative_prompt", says, negative_prompt=too_long)
        yield wrong("no upscaling", "upscale_factor", "does not upscale", upscale_factor=2)
    yield wrong("one clip a job", "sample_count", "one clip a job", sample_count=2)


def broken_choices(row: Row, wrong: Any) -> Iterator[Broken]:
    """Yield broken durations, resolutions, shapes and sounds."""
    if row.durations_s:
        other = next(number for number in range(1, 40) if number not in row.durations_s)
        yield wrong("a listed duration", "duration_seconds", "makes .* s; the nearest is", duration_seconds=other)
        if row.needs != ("video",):
            yield wrong("a duration", "duration_seconds", "needs a duration", duration_seconds=None)
    else:
        yield wrong("no duration", "duration_seconds", "takes the length of the clip", duration_seconds=5)
    if row.resolutions:
        yield wrong("a listed resolution", "resolution", "makes .*; the nearest is", resolution="999p")
        for size in row.resolutions:
            if size.swapcase() not in row.resolutions:
                says = f"makes .*; the nearest is {size}"
                yield wrong(f"the case of {size}", "resolution", says, resolution=size.swapcase())
    else:
        yield wrong("no resolution", "resolution", "leave resolution out", resolution="720p")
    if row.aspect_ratios:
        yield wrong("a listed shape", "aspect_ratio", "makes .*; the nearest is", aspect_ratio="7:5")
        yield wrong("a shape", "aspect_ratio", "needs an aspect ratio", aspect_ratio=None)
    else:
        yield wrong("no shape", "aspect_ratio", "leave aspect_ratio out", aspect_ratio="16:9")
    if row.audio == "always":
        yield wrong("sound", "generate_audio", "always makes sound", generate_audio=False)
    if row.audio == "never":
        yield wrong("silence", "generate_audio", "makes silent clips", generate_audio=True)


def broken_media(row: Row, wrong: Any) -> Iterator[Broken]:
    """Yield inputs that are missing, not taken, or too many."""
    for need in row.needs:
        name = "reference_images" if need == "references" else need
        yield wrong(f"the {need}", name, f"needs (the {need}|a reference)", **{name: None})
    taken = {*row.needs, *row.takes} | ({"image"} if "scene_images" in row.takes else set())
    if "references" in row.needs:
        taken.add("reference_images")
    for name, value in MEDIA.items():
        if name not in taken:
            yield wrong(f"no {name}", name, f"text alone|not known to take {name}", **{name: value})
    for name, most in row.caps.items():
        says = f"takes {most} {name} at most"
        yield wrong(f"{most} {name}", name, says, **{name: MEDIA[name] * (most + 1)})
    if "kling-o3" in row.id and row.caps:
        together = {"reference_images": MEDIA["image"], "elements": 4, "scene_images": 3}
        lists = {name: MEDIA[name] * count for name, count in together.items() if isinstance(count, int)}
        yield wrong("seven pictures together", "reference_images", "takes 7 images, elements and scenes", **lists)
