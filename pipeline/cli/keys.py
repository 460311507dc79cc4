"""Keys and base URLs: from the environment, or from a `.env` in the working directory, and never from an option."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
KEYS = re.compile(r"[A-Z0-9_]+_(?:API|ADMIN)_KEY")
"""A `.env` may hold keys and nothing else; a base URL in a shared folder could send a key elsewhere."""

STORE_KEYS = re.compile(r"(?:AWS|AZURE|GOOGLE)_(?:[A-Z0-9]+_)*(?:KEY|KEY_ID|SECRET|TOKEN|PASSWORD|BASE64)")
"""Credentials of object stores; obstore reads them from the environment, and they come from there alone."""


def environment(environ: Mapping[str, str], working_folder: Path) -> dict[str, str]:
    """Return the environment with the keys of `.env` added where it does not set them itself.

    Raises:
        InputError: `.env` cannot be read, or has a line that is neither empty, a comment nor NAME=value.
    """
    path = working_folder / ".env"
    if not path.is_file():
        return dict(environ)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Make it a text file of lines NAME=value.") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise InputError(f"{path}:{number}:1: this is not NAME=value.")
        name, value = match.groups()
        if KEYS.fullmatch(name):
            found[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return {**found, **environ}
