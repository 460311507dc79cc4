"""What can only be judged over all entries together, or with a top level that may stand below them.

Entries come in one by one, and little of each is kept; at the end the top level comes in and `Complaint`s go out.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pipeline.clips.compare import short_sides
from pipeline.errors import Severity
from pipeline.manifest.words import Complaint, nearest, shown
from pipeline.names import Names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

NEEDS_NO_PROMPT: Final = frozenset({"video", "upscale_factor"})
"""Parameters with which a model works on a given clip, and may need no words for it."""


@dataclass(slots=True)
class AllEntries:
    """Everything about the entries that outlives them; `note` adds one, `complaints` judges at the end."""

    ids: Names = field(default_factory=Names)
    """All ids, in small letters."""
    first_with_id: array[int] = field(default_factory=lambda: array("I"))
    """The index of the first entry with each of them."""
    used: set[tuple[str | None, str | None]] = field(default_factory=set)
    """Which providers and models the entries name; None where they inherit."""
    lacking: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By `provider` and `model`: the index of the first entry that names none, and how many there are."""
    without_prompt: array[int] = field(default_factory=lambda: array("I"))
    """The indices of the entries that have none of their own."""

    def note(self, index: int, sound: Mapping[str, Any], keys: Collection[str]) -> int | None:
        """Remember an entry by those of its values that are sound; `keys` are all that it has.

        Returns the index of an earlier entry with the same id, if there is one.
        """
        matrix = sound.get("matrix", {})
        named_later = "rows" in keys  # columns are read when the plan is made
        for model in matrix.get("model", (sound.get("model"),)):
            self.used.add((sound.get("provider"), model))
        if "provider" not in keys:
            self._lack("provider", index)
        if "model" not in keys and "model" not in matrix and not named_later:
            self._lack("model", index)
        if "prompt" not in keys and "prompt" not in matrix and not named_later:
            given = sound.get("parameters", {}).keys() | matrix.keys()
            if not given & NEEDS_NO_PROMPT:
                self.without_prompt.append(index)
        name = sound.get("id")
        if name is None:
            return None
        number = self.ids.add(name.lower())
        if number == len(self.first_with_id):
            self.first_with_id.append(index)
        first = self.first_with_id[number]
        return first if first != index else None

    def _lack(self, key: str, index: int) -> None:
        first, count = self.lacking.get(key, (index, 0))
        self.lacking[key] = first, count + 1

    def complaints(self, top: Mapping[str, Any]) -> Iterator[Complaint]:
        """Yield what is wrong with the whole; pointers begin at the top."""
        if not NEEDS_NO_PROMPT & top.get("parameters", {}).keys():
            for index in self.without_prompt:
                yield Complaint(("clips", index), "This entry has no `prompt`. Say what the clip shows.")
        for key, (first, count) in self.lacking.items():
            if key not in top:
                whom = "This entry has" if count == 1 else f"This entry and {count - 1:,} more have"
                example = "provider: modelmax" if key == "provider" else "model: veo-3"
                told = f"{whom} no `{key}`, and the top level names none for all. Add one, such as `{example}`."
                yield Complaint(("clips", first), told)
        yield from self._unused(top)
        yield from _contradictory(top.get("accept"))

    def _unused(self, top: Mapping[str, Any]) -> Iterator[Complaint]:
        """Yield prices and settings for what no clip uses, where something that has none is nearly called the same.

        A list of prices may well hold more models than one manifest uses; a price that misses its model by a letter
        leaves a clip without one.
        """
        used = {(provider or top.get("provider"), model or top.get("model")) for provider, model in self.used}
        prices, settings = top.get("prices", {}), top.get("providers", {})
        models = {f"{provider}/{model}" for provider, model in used if provider and model}
        providers = {provider for provider, _ in used if provider}
        for price in prices.keys() - models:
            meant = nearest(price, models - prices.keys())
            if meant:
                told = f"No clip uses `{shown(price)}`, and `{shown(meant)}` has no price. Did you mean that?"
                yield Complaint(("prices", price), told, on_key=True, severity=Severity.WARNING)
        for provider in settings.keys() - providers:
            meant = nearest(provider, providers - settings.keys())
            if meant:
                told = f"No clip uses the provider `{shown(provider)}`. Did you mean `{shown(meant)}`?"
                yield Complaint(("providers", provider), told, on_key=True, severity=Severity.WARNING)


def _contradictory(accept: Any) -> Iterator[Complaint]:
    """Yield pairs of bounds between which no clip can lie."""
    if not isinstance(accept, dict):
        return
    for name in ("duration_seconds", "resolution", "fps"):
        least, most = accept.get(f"min_{name}"), accept.get(f"max_{name}")
        low, high = (_size(least), _size(most)) if name == "resolution" else (_number(least), _number(most))
        if low is not None and high is not None and low > high:
            told = (
                f"`max_{name}` is {shown(str(most))}, less than `min_{name}`: {shown(str(least))}. No clip fits both."
            )
            yield Complaint(("accept", f"max_{name}"), told)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _size(value: Any) -> float | None:
    return float(max(short_sides(value), default=0)) or None
