"""A path comes in; a checked `Manifest` goes out, or everything that is wrong with the file, told at once.

Entries are checked while the file is read, so a list of any length is never held twice. What always holds: there is a
manifest exactly where no problem is an error, and it keeps the promises of `model`.
"""

from __future__ import annotations

import itertools
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.errors import Problem, ProblemsFound, Severity
from pipeline.manifest.accept import acceptor
from pipeline.manifest.across import AllEntries
from pipeline.manifest.feed import Feed, Refused, open_regular
from pipeline.manifest.load import PartReader
from pipeline.manifest.meaning import entry_complaints
from pipeline.manifest.model import Places
from pipeline.manifest.records import entry_of, manifest_of, pack_entry, unpack_entry
from pipeline.manifest.schema import schema, without_references
from pipeline.manifest.words import Complaint, Vocabulary, complaints
from pipeline.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from pipeline.manifest.load import Part
    from pipeline.manifest.model import Entry, Manifest, Place, Pointer

PROBLEMS_MAX: Final = 10_000
"""After so many errors the rest of the file is not read: nobody reads them, and each takes memory."""
WARNINGS_MAX: Final = 1_000
"""Further warnings are dropped; unlike errors, they must not keep the rest of the file from being read."""

JUDGED_ACROSS: Final[Mapping[str, type]] = {
    "provider": str,
    "model": str,
    "parameters": dict,
    "prices": dict,
    "providers": dict,
}
"""What of the top level all entries are held against, and of which kind it has to be for that."""
DEPENDS_ON_MATRIX: Final = frozenset({"exclude", "prompt"})
"""What cannot be judged in an entry whose matrix or rows are wrong."""


class Rules(NamedTuple):
    """The schema, made ready."""

    top: Mapping[str, Any]
    """Of the manifest without its entries."""
    entry: Mapping[str, Any]
    accepts_top: Callable[[Any], bool]
    accepts_entry: Callable[[Any], bool]
    words: Vocabulary


@lru_cache(maxsize=1)
def rules() -> Rules:
    """Return the schema's two halves and what they accept, made once."""
    whole = without_references(schema())
    properties = whole["properties"]
    entry = properties["clips"]["items"]
    clips = {keyword: value for keyword, value in properties["clips"].items() if keyword != "items"}
    top = {**whole, "properties": {**properties, "clips": clips}}
    words = Vocabulary(
        top=frozenset(properties),
        entry=frozenset(entry["properties"]),
        parameters=frozenset(properties["parameters"]["properties"]),
        limits=frozenset(properties["limits"]["properties"]),
    )
    return Rules(top, entry, acceptor(top), acceptor(entry), words)


def load_manifest(path: Path) -> Manifest:
    """Return a manifest without errors; warnings are dropped.

    Raises:
        ProblemsFound: with every error in the file.
    """
    manifest, problems = read_manifest(path)
    if manifest is None:
        raise ProblemsFound([problem for problem in problems if problem.severity is Severity.ERROR])
    return manifest


def read_manifest(path: Path) -> tuple[Manifest | None, list[Problem]]:
    """Return the manifest, None where there is an error, and all problems, warnings too, in the order of the file."""
    return ManifestCheck(path).run()


class ManifestCheck:
    """One reading of one file.

    The mutable state is what was read and found so far; it grows with each part and becomes the manifest at the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
        self._rules = rules()
        self._problems: list[Problem] = []
        self._errors = 0
        self._warnings = 0
        self._top_parts: dict[str, Part] = {}
        self._clips: Pages[array[int]] = Pages(array.tobytes, places_from)
        self._places = Places()
        self._entries: Pages[Entry] = Pages(pack_entry, unpack_entry)
        self._all = AllEntries()

    def run(self) -> tuple[Manifest | None, list[Problem]]:
        """Read, check, and return what there is to return."""
        try:
            digest = self._read()
        except Refused as refused:
            self._tell(refused.place, refused.message)
            digest = ""
        top = self._checked_top(whole=bool(digest))
        if digest:
            self._complain(self._all.complaints(in_shape(top)))
        self._problems.sort(key=lambda problem: (problem.line, problem.column))
        if self._errors >= PROBLEMS_MAX:
            self._problems.append(
                self._problem(None, f"There are more than {PROBLEMS_MAX:,} problems. Mend these first.")
            )
        if self._errors:
            return None, self._problems
        entries = self._entries.sealed()
        return manifest_of(self._path, self._folder, top, entries, self._places, digest), self._problems

    def _read(self) -> str:
        """Take in every part; return the file's digest, or nothing where reading stopped for too many problems."""
        with open_regular(self._path) as file:
            self._folder = self._path.parent.resolve()
            feed = Feed(file)
            reader = PartReader(feed, self._tell)
            # These grow while the file is read, so that a place can be told at once.
            self._places = Places(top=reader.top, clips=self._clips, names=reader.names)
            for part in reader.parts():
                if len(part.pointer) == 1:
                    self._top_parts[str(part.pointer[0])] = part
                else:
                    self._take_entry(part)
                if self._errors >= PROBLEMS_MAX:
                    return ""
        return feed.sha256

    def _take_entry(self, part: Part) -> None:
        index, value = len(self._clips), part.value
        self._clips.append(part.numbers)
        sound = value
        if not self._rules.accepts_entry(value):
            told = complaints(self._rules.entry, value, part.pointer, self._rules.words, written_in(part))
            found = list(itertools.islice(told, PROBLEMS_MAX))
            assert found, "the schema's two verdicts differ"
            sound = sound_part(value, {complaint.pointer[2] for complaint in found if len(complaint.pointer) > 2})
            self._complain(found)
        self._complain(entry_complaints(sound, part.pointer, self._folder))
        if part.plain:
            self._warn_of_lost_zeros(part)
        if isinstance(value, dict):
            self._note(index, sound, value)
        if not self._errors:
            self._entries.append(entry_of(index, value))

    def _note(self, index: int, sound: Mapping[str, Any], keys: Collection[str]) -> None:
        earlier = self._all.note(index, sound, keys)
        if earlier is not None:
            line = self._places.at(("clips", earlier, "id")).line
            told = f"The id `{sound['id']}` is taken by the entry on line {line}; ids must differ in more than case."
            self._complain([Complaint(("clips", index, "id"), told)])

    def _warn_of_lost_zeros(self, part: Part) -> None:
        """Warn of `0012` where a number may stand; where none may, the schema has said already what to write."""
        for offset, text in part.plain.items():
            if text[:1] == "0" and text.isdigit() and len(text) > 1 and not self._errors:
                told = f'`{text}` is the number {int(text)} in YAML. Quote it to keep its zeros: "{text}".'
                self._tell(part.tree.place(offset), told, Severity.WARNING)

    def _checked_top(self, *, whole: bool) -> Mapping[str, Any]:
        """Return the top level; where only a part of the file was read, what is missing is not missed."""
        top = {key: part.value for key, part in self._top_parts.items()}
        if self._clips:
            top["clips"] = [None]  # the entries were checked one by one; that there are some is all that matters here
        wanted = self._rules.top if whole else {**self._rules.top, "required": []}
        if not self._rules.accepts_top(top):
            self._complain(complaints(wanted, top, (), self._rules.words, self._written_at_top))
        return top

    def _written_at_top(self, pointer: Pointer) -> str | None:
        part = self._top_parts.get(str(pointer[0])) if pointer else None
        return written_in(part)(pointer) if part else None

    def _complain(self, found: Iterable[Complaint]) -> None:
        for complaint in found:
            if self._errors >= PROBLEMS_MAX:
                return
            place = self._places.at(complaint.pointer, key=complaint.on_key)
            self._tell(place, complaint.message, complaint.severity)

    def _tell(self, place: Place | None, message: str, severity: Severity = Severity.ERROR) -> None:
        if severity is Severity.ERROR:
            self._errors += 1
            kept = self._errors <= PROBLEMS_MAX
        else:
            self._warnings += 1
            kept = self._warnings <= WARNINGS_MAX
        if kept:
            self._problems.append(self._problem(place, message, severity))

    def _problem(self, place: Place | None, message: str, severity: Severity = Severity.ERROR) -> Problem:
        line, column = place or (0, 0)
        return Problem(message=message, file=str(self._path), line=line, column=column, severity=severity)


def places_from(kept: bytes) -> array[int]:
    """Return the places of an entry from what is kept of them in a page."""
    return array("I", kept)


def sound_part(value: Any, wrong: set[str | int]) -> dict[str, Any]:
    """Return what of an entry can be judged further although some of its keys are wrong."""
    if not isinstance(value, dict):
        return {}
    if wrong & {"matrix", "rows"}:
        wrong = wrong | DEPENDS_ON_MATRIX
    return {key: child for key, child in value.items() if key not in wrong}


def in_shape(top: Mapping[str, Any]) -> dict[str, Any]:
    """Return the top level with emptiness in the place of what is not even of the right kind, and was told to be so."""
    return {
        key: value if isinstance(value, JUDGED_ACROSS.get(key, object)) else JUDGED_ACROSS[key]()
        for key, value in top.items()
    }


def written_in(part: Part) -> Callable[[Pointer], str | None]:
    """Return what gives the unquoted text behind a value of a part that is not text."""

    def written(pointer: Pointer) -> str | None:
        inner = pointer[len(part.pointer) :]
        offset, steps = part.tree.find(inner)
        return part.plain.get(offset) if steps == len(inner) else None

    return written
