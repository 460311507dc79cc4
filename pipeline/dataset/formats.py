"""The formats that there are: a name, and the module that makes it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.dataset.build import Build, Options, Work
    from pipeline.dataset.rows import Selection

FORMATS: Final[Mapping[str, str]] = {
    "videofolder": "Hugging Face: clips and metadata.jsonl",
    "webdataset": "tar shards with an index",
    "parquet": "clips and a Parquet table",
    "sidecars": "clips, each with its caption in a .txt, and a CSV",
}


class Format(Protocol):
    """What a module of a format has."""

    LOADING: str
    """How the export is opened, in Markdown. Filled in: `{dest}`, `{split}`, and `{last}`, its last shard's number."""

    def work(self, build: Build, selection: Selection, options: Options) -> Iterator[Work]:
        """Yield the pieces of work that make the export, all but its card and its index."""


def format_of(name: str) -> Format:
    """Return a format by its name, which is one of `FORMATS`."""
    return cast("Format", import_module(f"pipeline.dataset.{name}"))
