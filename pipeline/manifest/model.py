"""The manifest as records: faithful to the file, with nothing translated, defaulted or expanded.

What always holds of a `Manifest`: it obeys the schema and the rules of `meaning`; every number in it is finite; ids are
unique without regard to case. Its mappings are shared between entries where the file shares them: never change one.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.clips.acceptance import Acceptance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Pointer = tuple[str | int, ...]
"""The way to a node: `("clips", 3, "parameters", "duration_seconds")`."""


class Place(NamedTuple):
    """Where something stands in the file."""

    line: int
    """1-based."""
    column: int
    """1-based, in characters."""


STRIDE: Final = 6
"""A node is six numbers: name; line and column of the key, then of the value, 0-based; the end of its subtree."""
NAMES_FROM: Final = 1 << 31
"""Names of mapping keys are numbered from here on, so that none can be taken for an index in a list."""


class PlaceTree:
    """The places of one node and all below it, as a flat run of numbers in the order of the file."""

    __slots__ = ("_names", "_numbers")

    def __init__(self, numbers: Sequence[int], names: Mapping[str, int]) -> None:
        self._numbers = numbers
        self._names = names

    def find(self, pointer: Pointer) -> tuple[int, int]:
        """Return the offset of the nearest node on the way to `pointer`, and how many steps lead there."""
        numbers, at = self._numbers, 0
        for steps, step in enumerate(pointer):
            name = step if isinstance(step, int) else self._names.get(step, -1)
            child = child_of(numbers, at, name)
            if child is None:
                return at, steps
            at = child
        return at, len(pointer)

    def place(self, offset: int, *, key: bool = False) -> Place:
        """Return the place of the node at an offset, or of its key."""
        first = offset + 1 if key else offset + 3
        return Place(self._numbers[first] + 1, self._numbers[first + 1] + 1)


def child_of(numbers: Sequence[int], at: int, name: int) -> int | None:
    """Return the offset of the child that bears `name` below the node at `at`."""
    child, end = at + STRIDE, numbers[at + 5]
    while child < end:
        if numbers[child] == name:
            return child
        child = numbers[child + 5]
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """The line and column of every key and value of a manifest, in some 24 bytes each."""

    top: array[int] = field(default_factory=lambda: array("I", [0, 0, 0, 0, 0, STRIDE]), repr=False)
    """The tree of everything but the entries."""
    clips: Sequence[array[int]] = field(default=(), repr=False)
    """The tree of each entry."""
    names: Mapping[str, int] = field(default_factory=dict, repr=False)
    """The number of each key."""

    def at(self, pointer: Pointer, *, key: bool = False) -> Place:
        """Return where the value (or its key) at `pointer` stands; else where the nearest enclosing node does."""
        tree, inner = PlaceTree(self.top, self.names), pointer
        if len(pointer) > 1 and pointer[0] == "clips" and isinstance(pointer[1], int) and pointer[1] < len(self.clips):
            tree, inner = PlaceTree(self.clips[pointer[1]], self.names), pointer[2:]
        offset, steps = tree.find(inner)
        # An element of a list has no key of its own, and neither has an enclosing node that merely stands in.
        has_key = key and steps == len(inner) > 0 and isinstance(inner[-1], str)
        return tree.place(offset, key=has_key)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much to spend and how hard to press; None where the manifest is silent."""

    max_cost_usd: float | None = None
    in_flight: int | None = None
    submits_per_minute: float | None = None
    looks_per_minute: float | None = None
    concurrent_billing: int | None = None
    concurrent_downloads: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a model costs where its provider quotes nothing; exactly one of the two is given."""

    usd_per_second: float | Mapping[str, float] | None = None
    """One price, or a table by resolution; `default` in it stands for every resolution that it does not name."""
    usd_per_clip: float | None = None

    def per_second(self, resolution: str | None) -> float | None:
        """Return the price of a second at a resolution (None where none was asked for); None where nothing is said."""
        if self.usd_per_second is None or isinstance(self.usd_per_second, int | float):
            return self.usd_per_second
        found = self.usd_per_second.get(resolution) if resolution is not None else None
        return self.usd_per_second.get("default") if found is None else found


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderSettings:
    """What holds for one provider alone."""

    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Put into the request body verbatim; an entry's own options win."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One element of `clips`, as written."""

    index: int
    """Its position in `clips`, from 0; nothing but messages may depend on it."""
    id: str
    prompt: str | None = None
    """A template where the entry has a matrix or rows."""
    provider: str | None = None
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """None removes an inherited value."""
    options: Mapping[str, Any] = field(default_factory=dict)
    matrix: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    exclude: tuple[Mapping[str, Any], ...] = ()
    rows: str | None = None
    """A path relative to the manifest's folder."""
    repeat: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A checked manifest."""

    path: Path
    """As the user named it."""
    folder: Path
    """The folder that holds the file, resolved; inputs and rows lie in it or below."""
    version: int = 1
    name: str
    provider: str | None = None
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    entries: Sequence[Entry]
    """Of a long manifest they lie in a temporary file: read them one after the other."""
    limits: Limits = field(default_factory=Limits)
    cleanup: bool = False
    """Whether the provider's copies are deleted once a clip is here."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By `provider/model`."""
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    accept: Acceptance = field(default_factory=Acceptance)
    places: Places = field(default_factory=Places, repr=False, compare=False)
    text_sha256: str
    """Of the file's bytes, in hexadecimal."""
