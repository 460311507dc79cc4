"""A feed's events: from libyaml, or from PyYAML's own parser where libyaml is missing.

Both give the same events with the same marks; libyaml is some twenty times faster.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

import yaml
from yaml.events import ScalarEvent
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner, ScannerError

if TYPE_CHECKING:
    from pipeline.manifest.feed import Feed

HALF_A_PAIR: Final = re.compile("[\ud800-\udfff]")


class Events(Protocol):
    """A source of parser events."""

    def get_event(self) -> Any:
        """Return the next event, or None after the last one. Raises yaml.YAMLError."""


class PureParser(Reader, Scanner, Parser):
    """PyYAML's own parser."""

    def __init__(self, source: Any) -> None:
        Reader.__init__(self, source)
        Scanner.__init__(self)
        Parser.__init__(self)

    def get_event(self) -> Any:
        """Return the next event; refuse halves of surrogate pairs, as libyaml does, since no encoder takes them."""
        event: Any = super().get_event()  # type: ignore[no-untyped-call]
        if isinstance(event, ScalarEvent) and HALF_A_PAIR.search(event.value):
            mark: Any = event.start_mark
            raise ScannerError("in a scalar", mark, "found invalid Unicode character escape code", mark)
        return event


def new_parser(feed: Feed, *, pure: bool = False) -> Events:
    """Return a parser; libyaml's unless it is missing or `pure` is asked for."""
    if yaml.__with_libyaml__ and not pure:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # does not exist where libyaml is missing

        parser: Events = CParser(feed)
        return parser
    return PureParser(feed)
