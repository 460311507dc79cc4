"""Where a price is wanted: the line that goes into the manifest, as far as a provider knows one."""

from __future__ import annotations

from typing import Any

from pipeline.errors import InputError
from pipeline.providers.registry import find_provider

EXAMPLE = "{usd_per_second: 0.40}, for example"


def priced_line(named: str) -> str:
    """Return a line for the manifest's `prices`, for a model named as `provider/model`.

    It is what the provider's package knows from a list, with where that is from, else an example.
    """
    provider, _, model = named.partition("/")
    return known_line(provider, model) or f"{named}: {EXAMPLE}"


def known_line(provider: str, model: str) -> str:
    """Return what a provider's package knows of a model's price; empty where that is nothing."""
    try:
        hint: Any = getattr(find_provider(provider), "price_hint", None)
    except InputError:  # a plugin that is no longer installed
        return ""
    return str(hint(model)) if hint is not None else ""
