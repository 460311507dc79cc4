"""Media in a request: from the text that the user wrote to what goes into a vendor's JSON. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.providers.base import InputFile

DATA_URL = re.compile(r"data:([A-Za-z0-9.+/-]+);base64,(.*)", re.DOTALL)


def base64_characters(size_bytes: int) -> int:
    """Return how long a file of so many bytes is in base64."""
    return 4 * -(-size_bytes // 3)


def data_url(media_type: str, content: bytes) -> str:
    """Return the content as a `data:` URL."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def data_url_payload(text: str) -> str | None:
    """Return the base64 text of a `data:` URL that is well formed, else None."""
    match = DATA_URL.fullmatch(text)
    if match is None:
        return None
    try:
        base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return match[2]


def is_web_url(text: str) -> bool:
    """Tell whether a medium is named by an http(s) URL."""
    return text.lower().startswith(("http://", "https://"))


def with_files(value: Any, files: Mapping[str, InputFile], contents: Mapping[str, bytes]) -> Any:
    """Return a media value with each text that names a local file replaced by the file as a `data:` URL."""
    if isinstance(value, str):
        return data_url(files[value].media_type, contents[value]) if value in files else value
    if isinstance(value, list | tuple):
        return [with_files(element, files, contents) for element in value]
    if isinstance(value, dict):
        return {key: with_files(element, files, contents) for key, element in value.items()}
    return value


def texts_in(value: Any) -> list[str]:
    """Return every text within a media value, in order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple):
        return [text for element in value for text in texts_in(element)]
    if isinstance(value, dict):
        return [text for element in value.values() for text in texts_in(element)]
    return []
