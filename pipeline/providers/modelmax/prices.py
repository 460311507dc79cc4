"""What a second is listed at upstream of ModelMax, as a line for the manifest's `prices`.

ModelMax quotes nothing and publishes no list (ModelMax billing page), so these are no prices of its own and are never
reckoned with by themselves: they are shown where a price is wanted, for the user to take over or to correct.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def listed() -> dict[str, Any]:
    """Return the packaged list, read once."""
    record: dict[str, Any] = json.loads((files("pipeline.providers.modelmax") / "prices.json").read_text("utf-8"))
    return record


def price_hint(model: str) -> str:
    """Return the line for the manifest and where it is from; empty for a model that the list does not have."""
    known = listed()["usd_per_second"].get(model)
    if known is None:
        return ""
    table = ", ".join(f"{name}: {usd:.2f}" for name, usd in known.items())
    value = f"{known['default']:.2f}" if set(known) == {"default"} else f"{{{table}}}"
    return (
        f"modelmax/{model}: {{usd_per_second: {value}}} (Google's list on {listed()['as_of']}, to which ModelMax says "
        "that it adds nothing; compare it with your own bill)"
    )
