"""ModelMax's result: which clips it names, and whether it is what was asked for (ModelMax reference, queue result)."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from pipeline.providers.answers import Gone, Output, Streaming
from pipeline.providers.modelmax.paths import CONTENT, told_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pipeline.providers.origin import Origin

CLAIM_MAX_BYTES = 32 << 20
"""More than other answers may have: a clip can come inline, and an answer that was paid for is not thrown away."""
INLINE = "data:video/mp4;base64,"
CHUNK_BYTES = 1 << 16


class Inline:
    """A clip that came within the answer, as a body."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length: int | None = len(content)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        for start in range(0, len(self._content), CHUNK_BYTES):
            yield self._content[start : start + CHUNK_BYTES]

    async def close(self) -> None:
        """Do nothing: there is no connection."""


def packed(output: Output) -> Streaming | Gone:
    """Open a clip that came within the answer."""
    try:
        content = base64.b64decode(str(output.location["base64"]), validate=True)
    except (binascii.Error, ValueError):
        return Gone(message=f"Clip {output.index} came within the answer, and its base64 is broken.")
    return Streaming(source=Inline(content))


def outputs_of(origin: Origin, record: Mapping[str, Any]) -> tuple[list[Output], dict[str, Any], list[str]]:
    """Return the clips that a result names, the answer to keep, and what is odd about it.

    `data[].url` is a path of the content endpoint; the first-party client meets absolute and `data:` URLs too. Any
    other address is left out and told, never followed. An inline clip is kept in its output alone.
    """
    outputs: list[Output] = []
    warnings: list[str] = []
    data = record.get("data")
    kept: list[Any] = []
    entries = data if isinstance(data, list) else []
    for index, entry in enumerate(entries):
        url = entry.get("url") if isinstance(entry, dict) else None
        if isinstance(url, str) and url.startswith(INLINE):
            outputs.append(Output(index=index, location={"base64": url.removeprefix(INLINE)}))
            kept.append({**entry, "url": f"{INLINE} ({len(url)} characters, kept with the clip)"})
            continue
        kept.append(entry)
        path = told_path(origin, url, CONTENT)
        if path is None:
            warnings.append(f"The address of clip {index} is not one of ModelMax's; the clip cannot be fetched.")
        else:
            outputs.append(Output(index=index, location={"path": path}))
    if not entries:
        warnings.append("ModelMax billed the job and named no clip.")
    answer = dict(record)
    if isinstance(data, list):
        answer["data"] = kept
    return outputs, answer, warnings


def usage_warnings(asked: Mapping[str, Any], usage: Mapping[str, Any], clips: int) -> list[str]:
    """Say where the vendor's `usage` is not what was asked; a parameter that it ignored is billed at its default.

    `video_seconds` may count one clip or all of them: the reference does not say.
    """
    warnings = []
    seconds, asked_s = usage.get("video_seconds"), asked.get("duration_seconds")
    samples = asked.get("sample_count", 1)
    comparable = isinstance(seconds, int | float) and isinstance(asked_s, int | float) and isinstance(samples, int)
    if comparable and seconds not in {asked_s, asked_s * samples}:
        warnings.append(f"ModelMax billed {seconds} s where {asked_s} s were asked for.")
    resolution, asked_resolution = usage.get("video_resolution"), asked.get("resolution")
    if isinstance(resolution, str) and isinstance(asked_resolution, str) and resolution != asked_resolution:
        warnings.append(f"ModelMax billed {resolution} where {asked_resolution} was asked for.")
    audio, asked_audio = usage.get("video_has_audio"), asked.get("generate_audio")
    if isinstance(audio, bool) and isinstance(asked_audio, bool) and audio != asked_audio:
        named = {True: "with audio", False: "without audio"}
        warnings.append(f"ModelMax billed a clip {named[audio]} where one {named[asked_audio]} was asked for.")
    if "sample_count" in asked and clips != samples:
        warnings.append(f"ModelMax gave {clips} clips that can be fetched where {samples} were asked for.")
    return warnings
