"""Prompts with `{name}` in them, cut once and filled many times. The grammar is the manifest's own (manifest.template).

Only names are known: no attributes, no formats, no expressions. What is filled in is never read as a template again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.manifest.template import PIECE, placeholders
from pipeline.planning.ids import value_text

if TYPE_CHECKING:
    from collections.abc import Mapping


class NameNotSet(InputError):
    """A name of the template has no value in this item."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The prompt needs {{{name}}}, which has no value here.")
        self.name = name


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A prompt, cut at its names."""

    texts: tuple[str, ...]
    """The text before each name, and after the last: one more than there are names."""
    names: tuple[str, ...]

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the prompt with every name replaced. Raises NameNotSet."""
        pieces = [self.texts[0]]
        for name, text in zip(self.names, self.texts[1:], strict=True):
            value = values.get(name)
            if value is None:
                raise NameNotSet(name)
            pieces.append(value_text(value))
            pieces.append(text)
        return "".join(pieces)


def parse_template(text: str) -> Template:
    """Cut a prompt at its `{name}`s. Raises manifest.template.BadTemplate."""
    placeholders(text)
    texts = [""]
    names: list[str] = []
    at = 0
    for piece in PIECE.finditer(text):
        texts[-1] += text[at : piece.start()]
        at = piece.end()
        if piece[1] is None:
            texts[-1] += piece[0][0]
        else:
            names.append(piece[1].strip())
            texts.append("")
    texts[-1] += text[at:]
    return Template(texts=tuple(texts), names=tuple(names))


def plain(text: str) -> Template:
    """Return a template that is the text itself: the prompt of an entry with neither matrix nor rows."""
    return Template(texts=(text,), names=())


FROM_PROMPT = Template(texts=("", ""), names=("prompt",))
"""For an entry without a prompt, whose matrix or table has one under that name."""
