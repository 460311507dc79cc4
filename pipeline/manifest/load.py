"""A manifest's text to plain values, one entry at a time, with the line and column of every node.

A `Feed` comes in; out go `Part`s: one for each key of the top level, one for each entry of `clips`. It is built on the
parser's events, so that a list of a million entries takes constant memory, and that what is refused is refused before
it is built: aliases that multiply, nesting beyond `DEPTH_MAX`, foreign tags, a second document. A long file is never
refused for its length.

Values are those of JSON: text, numbers, booleans, null, lists, and mappings with text for keys. What can be told and
read past (a key written twice, a merge key) goes to `report`; what cannot is raised as `Refused`.
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from pipeline.errors import Problem, ProblemsFound
from pipeline.manifest.feed import CHUNK_BYTES, Refused, open_regular
from pipeline.manifest.model import NAMES_FROM, STRIDE, Entry, Manifest, Place, PlaceTree, Pointer, child_of
from pipeline.manifest.parser import new_parser
from pipeline.manifest.scalars import CONSTANTS, NUMBER_STARTS, read_plain, read_tagged
from pipeline.manifest.syntax import explain
from pipeline.manifest.words import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Final

    from pipeline.manifest.feed import Feed

DEPTH_MAX: Final = 32
"""How deep lists and mappings may be nested, aliases counted as what they stand for."""
ALIASED_NODES_FREE: Final = 10_000
AMPLIFICATION_MAX: Final = 100
"""How many nodes all aliases together may stand for: the free ones, and this many for each node that is written out."""

PART_NODES_MAX: Final = 1_000_000
"""How many values one entry, or one key of the top level, may have: they are held in memory together."""
REPEATED_KEYS_MAX: Final = 100
"""After so many keys that are written twice the file is not read on: to find where each stood first takes time."""

MAYBE_NOT_TEXT: Final = NUMBER_STARTS | {text[0] for text in CONSTANTS if text}
"""What unquoted text begins with where it may be other than text."""
COLLECTION_TAGS: Final = {
    MappingStartEvent: {None, "!", "tag:yaml.org,2002:map"},
    SequenceStartEvent: {None, "!", "tag:yaml.org,2002:seq"},
}


class Part(NamedTuple):
    """One key of the top level, or one entry of `clips`, with the places of all its nodes."""

    pointer: Pointer
    """`("name",)` or `("clips", 3)`. A `clips` that is empty or no list comes as `("clips",)`."""
    value: Any
    tree: PlaceTree
    numbers: array[int]
    """What `tree` reads from."""
    plain: dict[int, str]
    """Unquoted text that was read as other than text, by the offset of its node."""


class PartReader:
    """Builds values from events.

    The mutable state is that of one pass through the file; `parts` may be called once.
    """

    def __init__(self, feed: Feed, report: Callable[[Place, str], None], *, pure: bool = False) -> None:
        self.top: array[int] = array("I", [0, 0, 0, 0, 0, STRIDE])
        """The places of everything but the entries; complete when `parts` is exhausted."""
        self.names: dict[str, int] = {}
        """The number of each key."""
        self._feed = feed
        self._report = report
        self._next = new_parser(feed, pure=pure).get_event
        self._keys: list[str] = []
        self._places: list[int] = []
        self._plain: dict[int, str] = {}
        self._nodes = 0
        self._aliased_nodes = 0
        self._deepest = 0
        self._repeated = 0
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        """The value of each anchor, for how many nodes it stands, and how many levels deep it is."""
        self._open_anchors: set[str] = set()

    def parts(self) -> Iterator[Part]:
        """Yield the file's parts in its order.

        Raises:
            Refused: the rest of the file cannot be read.
        """
        try:
            yield from self._document()
        except yaml.YAMLError as error:
            raise explain(error, self._feed) from error
        self._feed.drain()

    def _document(self) -> Iterator[Part]:
        self._next()  # the start of the stream
        if isinstance(self._next(), StreamEndEvent):
            raise Refused("The file is empty. `clipmill init` writes a manifest to begin with.")
        root: Any = self._next()
        if isinstance(root, ScalarEvent) and root.implicit[0] and CONSTANTS.get(root.value, "") is None:
            raise Refused("The file holds nothing. `clipmill init` writes a manifest to begin with.")
        if type(root) is not MappingStartEvent:
            raise Refused("A manifest is a mapping: lines such as `name: coral-reefs` and `clips:`.", place_of(root))
        mark: Any = root.start_mark
        self.top[3], self.top[4] = mark.line, mark.column
        yield from self._top_level(root)
        self._next()  # the end of the document
        after: Any = self._next()
        if isinstance(after, DocumentStartEvent):
            raise Refused("A second document begins here. A manifest is one; split the file.", place_of(after))

    def _top_level(self, root: Any) -> Iterator[Part]:
        self._check_collection(root, 1)
        seen: set[str] = set()
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event)
            value_event = self._next()
            if key is not None and key in seen:
                self._report_repeated(event, key, self.top, 0)
                key = None
            if key == "clips" and isinstance(value_event, AliasEvent):
                raise Refused("`clips` cannot be an alias. Write the list out here.", place_of(value_event))
            if key == "clips" and isinstance(value_event, SequenceStartEvent):
                seen.add(key)
                self._append_to_top(self._heading(event, value_event, key))
                yield from self._entries(event, value_event)
                continue
            part = self._part((key or "",), value_event, 2, *self._key_place(event, key))
            if key is not None:
                seen.add(key)
                self._append_to_top(part.numbers)
                yield part

    def _entries(self, key_event: Any, list_event: Any) -> Iterator[Part]:
        self._check_collection(list_event, 2)
        index = 0
        while not isinstance(event := self._next(), SequenceEndEvent):
            yield self._part(("clips", index), event, 3, index)
            index += 1
        if index == 0:
            numbers = self._heading(key_event, list_event, "clips")
            yield Part(("clips",), [], PlaceTree(numbers, self.names), numbers, {})

    def _part(self, pointer: Pointer, event: Any, depth: int, *key_place: int) -> Part:
        self._places, self._plain = [], {}
        value = self._node(event, depth, *key_place)
        numbers = array("I", self._places)
        self._feed.release()
        return Part(pointer, value, PlaceTree(numbers, self.names), numbers, self._plain)

    def _heading(self, key_event: Any, value_event: Any, key: str) -> array[int]:
        """Return the places of a key whose value's own nodes are kept elsewhere."""
        mark = value_event.start_mark
        return array("I", [*self._key_place(key_event, key), mark.line, mark.column, STRIDE])

    def _key_place(self, event: Any, key: str | None) -> tuple[int, int, int]:
        return self._number(key or ""), event.start_mark.line, event.start_mark.column

    def _append_to_top(self, numbers: array[int]) -> None:
        base = len(self.top)
        self.top.extend(numbers)
        for end in range(base + 5, len(self.top), STRIDE):
            self.top[end] += base
        self.top[5] = len(self.top)

    def _node(self, event: Any, depth: int, name: int, key_line: int = 0, key_column: int = 0) -> Any:
        mark = event.start_mark
        places = self._places
        at = len(places)
        if at > PART_NODES_MAX * STRIDE:
            raise Refused(
                f"One entry or key alone has more than {PART_NODES_MAX:,} values. Keep long lists in a table named by "
                "`rows`.",
                place_of(event),
            )
        places += (name, key_line, key_column, mark.line, mark.column, at + STRIDE)
        if type(event) is AliasEvent:
            return self._alias(event, depth)
        self._nodes += 1
        value = self._content(event, depth, at) if event.anchor is None else self._anchored(event, depth, at)
        places[at + 5] = len(places)
        return value

    def _content(self, event: Any, depth: int, at: int) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event, at)
        self._check_collection(event, depth)
        return self._mapping(depth, at) if kind is MappingStartEvent else self._sequence(depth)

    def _mapping(self, depth: int, at: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        next_event = self._next
        while type(event := next_event()) is not MappingEndEvent:
            mark = event.start_mark
            key = self._key(event)
            if key is not None and key in value:
                self._places[at + 5] = len(self._places)
                self._report_repeated(event, key, self._places, at)
                key = None
            number = NAMES_FROM - 1 if key is None else self._number(key)
            child = self._node(next_event(), depth + 1, number, mark.line, mark.column)
            if key is not None:
                value[self._keys[number - NAMES_FROM]] = child  # one text object for all keys that read the same
        return value

    def _sequence(self, depth: int) -> list[Any]:
        value: list[Any] = []
        next_event = self._next
        while type(event := next_event()) is not SequenceEndEvent:
            value.append(self._node(event, depth + 1, len(value)))
        return value

    def _key(self, event: Any) -> str | None:
        """Return a key's text, or None where it was reported and its value must not be used."""
        if type(event) is not ScalarEvent:
            raise Refused("A key must be plain text, not a list, a mapping or an alias.", place_of(event))
        text: str = event.value
        if event.tag is not None or event.anchor is not None:
            self._report(place_of(event), f"The key `{shown(text)}` bears a tag or an anchor. Remove it.")
        if not event.implicit[0] or (text and text[0] not in MAYBE_NOT_TEXT and text != "<<"):
            return text
        if text == "<<":
            self._report(
                place_of(event),
                "Merge keys (`<<`) are not part of YAML 1.2. Put what all clips share under `parameters` at the top; "
                "each clip's own parameters are laid over it.",
            )
            return None
        if not text:
            self._report(place_of(event), "A key is missing before this colon.")
            return None
        if not isinstance(read_plain_or_none(text), str):
            self._report(place_of(event), f'The key {shown(text)} is not text. Quote it: "{shown(text)}".')
        return text

    def _number(self, key: str) -> int:
        number = self.names.get(key)
        if number is None:
            number = self.names[key] = NAMES_FROM + len(self._keys)
            self._keys.append(key)
        return number

    def _scalar(self, event: Any, at: int) -> Any:
        text: str = event.value
        if event.tag is None and (not event.implicit[0] or (text and text[0] not in MAYBE_NOT_TEXT)):
            return text
        try:
            value = read_plain(text) if event.tag is None else read_tagged(text, event.tag)
        except ValueError:
            told = f"`{shown_tag(event.tag)}` does not fit here" if event.tag else "This number has too many digits"
            self._report(place_of(event), f"{told}. Quote the value if it is text.")
            return text
        if value is not text:
            self._plain[at] = text
            if isinstance(value, float) and not math.isfinite(value):
                self._report(
                    place_of(event), f"`{shown(text)}` is a number that no request can carry. If it is text, quote it."
                )
        return value

    def _anchored(self, event: Any, depth: int, at: int) -> Any:
        anchor: str = event.anchor
        nodes, aliased, deepest = self._nodes - 1, self._aliased_nodes, self._deepest
        self._deepest = depth
        self._open_anchors.add(anchor)
        value = self._content(event, depth, at)
        self._open_anchors.discard(anchor)
        weight = self._nodes - nodes + self._aliased_nodes - aliased
        self._anchors[anchor] = (value, weight, self._deepest - depth)
        self._deepest = max(deepest, self._deepest)
        return value

    def _alias(self, event: Any, depth: int) -> Any:
        anchor: str = event.anchor
        if anchor in self._open_anchors:
            raise Refused(f"`*{shown(anchor)}` refers to what it is itself a part of.", place_of(event))
        if anchor not in self._anchors:
            raise Refused(
                f"`*{shown(anchor)}` refers to an anchor `&{shown(anchor)}` that is not above it. "
                "If the value is text that begins with `*`, quote it.",
                place_of(event),
            )
        value, weight, levels = self._anchors[anchor]
        self._aliased_nodes += weight
        if self._aliased_nodes > ALIASED_NODES_FREE + AMPLIFICATION_MAX * self._nodes:
            raise Refused(
                f"The aliases up to here stand for {self._aliased_nodes:,} values, more than {AMPLIFICATION_MAX} times "
                "what is written out. Use `matrix`, `rows` or `repeat` to make many clips.",
                place_of(event),
            )
        self._go_down(event, depth + levels)
        return value

    def _check_collection(self, event: Any, depth: int) -> None:
        self._go_down(event, depth)
        if event.tag not in COLLECTION_TAGS[type(event)]:
            self._report(place_of(event), f"The tag `{shown_tag(event.tag)}` does not fit here. Remove it.")

    def _go_down(self, event: Any, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise Refused(f"Lists and mappings are nested more than {DEPTH_MAX} deep here.", place_of(event))
        self._deepest = max(self._deepest, depth)

    def _report_repeated(self, event: Any, key: str, numbers: Any, at: int) -> None:
        self._repeated += 1
        if self._repeated > REPEATED_KEYS_MAX:
            raise Refused(
                f"More than {REPEATED_KEYS_MAX} keys are written twice. Mend those above first.", place_of(event)
            )
        first = child_of(numbers, at, self.names[key])
        line = numbers[first + 1] + 1 if first is not None else 0
        self._report(
            place_of(event), f"The key `{shown(key)}` is written twice; it stands on line {line} already. Keep one."
        )


def place_of(event: Any) -> Place:
    """Return where an event stands."""
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def read_plain_or_none(text: str) -> Any:
    """Return the value of unquoted text, None for a number too long to be read."""
    try:
        return read_plain(text)
    except ValueError:
        return None


def shown_tag(tag: str) -> str:
    """Return a tag as a person writes it: `!!set` for `tag:yaml.org,2002:set`."""
    return shown(re.sub(r"^tag:yaml\.org,2002:", "!!", tag))


def manifest_from_jsonl(path: Path, provider: str, model: str) -> Manifest:
    """Make a manifest of a table alone: one entry whose rows are the file's and whose template is `{prompt}`.

    The file's stem, made into a slug, is the name of both the batch and the entry.

    Raises:
        ProblemsFound: the file does not exist, is not a regular one, or does not end in `.jsonl`.
    """
    try:
        if path.suffix.lower() != ".jsonl":
            raise Refused("This must be a .jsonl file: one JSON object a line, with a `prompt` in each.")
        digest = hashlib.sha256()
        with open_regular(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except Refused as refused:
        raise ProblemsFound([Problem(message=refused.message, file=str(path))]) from refused
    slug = re.sub(r"__+", "_", re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower())).strip("-_")[:100] or "rows"
    whole = path.resolve()
    return Manifest(
        path=path,
        folder=whole.parent,
        name=slug,
        provider=provider,
        model=model,
        entries=(Entry(index=0, id=slug, prompt="{prompt}", rows=whole.name),),
        text_sha256=digest.hexdigest(),
    )
