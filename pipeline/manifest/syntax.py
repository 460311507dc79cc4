"""What the YAML parser says is wrong, told so that a person knows what to change.

A parser's error comes in, a `Refused` goes out. libyaml and PyYAML's own parser say the same in slightly different
words; the table below knows both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.manifest.feed import Refused
from pipeline.manifest.model import Place

if TYPE_CHECKING:
    import yaml

    from pipeline.manifest.feed import Feed

TAB: Final = "A tab cannot indent YAML. Use spaces."
CANNOT_BEGIN: Final = "found character"
"""How both parsers begin their complaint about a character that no value may begin with."""

ALIGN: Final = "This line fits no level of indentation above it. Align it with its neighbours."
ESCAPE: Final = "This escape is not whole. Write the character itself."
VERSION: Final = "This `%YAML` line asks for a version that is not known. Remove it."
ENDED: Final = "The manifest ended before this line. Check its indentation."

ADVICE: Final = {
    "mapping values are not allowed": "A key cannot stand here. If the colon belongs to the text before it, quote that "
    "text; else check the indentation of this line.",
    "found unexpected end of stream": "This quoted text is never closed. Add the closing quote.",
    "found unexpected document indicator": "The quoted text above is not closed before this line.",
    "tab character": TAB,
    "unknown escape character": "This backslash means nothing within double quotes. Write it twice, or use single "
    "quotes.",
    "invalid Unicode character escape code": ESCAPE,
    "escape sequence of": ESCAPE,
    "did not find expected hexdecimal number": ESCAPE,
    "undefined tag handle": "Tags (`!name`) have no meaning here. Remove it, or quote text that begins with `!`.",
    "sequence entries are not allowed": "A list item cannot stand here. Put its `-` on a line of its own, indented.",
    "found incompatible YAML": VERSION,
    "could not find expected ':'": "This line is neither `key: value` nor part of the text above it. Indent it, or add "
    "the colon.",
    "expected ',' or ']'": "The list opened with `[` on line %d goes wrong here. Put commas between its items, and "
    "`]` at its end.",
    "expected ',' or '}'": "The mapping opened with `{` on line %d goes wrong here. Put commas between its pairs, and "
    "`}` at its end.",
    "did not find expected key": ALIGN,
    "did not find expected '-' indicator": ALIGN,
    "expected <block end>": ALIGN,
    "expected node content": "A key or a value is missing here.",
    "expected the node content": "A key or a value is missing here.",
    "expected <document start>": ENDED,
    "expected '<document start>'": ENDED,
    "comment or line break": "Text after `|` or `>` begins on the next line.",
    "chomping or indentation indicators": "Text after `|` or `>` begins on the next line.",
    "alphabetic or numeric character": "A name must follow `&` and `*`. Quote text that begins with either.",
}
"""Ours for each piece of the parser's sentence; `%d` is the line on which what is wrong begins."""


def explain(error: yaml.YAMLError, feed: Feed) -> Refused:
    """Return what a parser's error means, and where to look."""
    problem = str(getattr(error, "problem", None) or error)
    mark = getattr(error, "problem_mark", None)
    if "end of stream" in problem:  # found at the end of the file; what the person must mend is where the quote opens
        mark = getattr(error, "context_mark", None) or mark
    place = Place(mark.line + 1, mark.column + 1) if mark is not None else None
    if problem.startswith(CANNOT_BEGIN) and "cannot start any token" in problem:
        character = feed.character(mark.index) if mark is not None else ""
        if character == "\t":
            return Refused(TAB, place)
        told = f"`{character}`" if character.isprintable() and character else "this character"
        return Refused(f"Unquoted text cannot begin with {told}. Quote it.", place)
    for piece, advice in ADVICE.items():
        if piece in problem:
            opened = getattr(error, "context_mark", None)
            return Refused(advice.replace("%d", str(opened.line + 1) if opened else "?"), place)
    return Refused(f"This is not YAML: {problem}.", place)
