"""What trainers of video models read: beside each clip a `.txt` of the same name with its caption, and one CSV a split.

The `.txt` is musubi-tuner's and others'; `metadata.csv` with the columns `video` and `prompt`, everything quoted and
relative to the CSV, is DiffSynth-Studio's (their documentation).
"""

from __future__ import annotations

import csv
import io
from functools import partial
from typing import TYPE_CHECKING

from pipeline.dataset.build import CLIPS_AT_ONCE, Build, Options, Work, clip_work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.dataset.rows import Row, Selection

LOADING = """Point a trainer at `{dest}/{split}`: it finds a caption beside each clip, or all of them in `metadata.csv`
(columns `video` and `prompt`)."""


def work(build: Build, selection: Selection, options: Options) -> Iterator[Work]:
    """Yield the pieces of work that make the export, all but its card and its index."""
    yield from clip_work(build, selection, link=options.link)
    for split, rows in selection.splits.items():
        for first in range(0, len(rows), CLIPS_AT_ONCE):
            yield partial(_captions, split=split, rows=rows[first : first + CLIPS_AT_ONCE])
        yield partial(_table, split=split, rows=rows)


def _captions(build: Build, split: str, rows: Sequence[Row]) -> int:
    for row in rows:
        build.write(f"{split}/{row.key}.txt", row.text.encode())
    return 0


def _table(build: Build, split: str, rows: Sequence[Row]) -> int:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("video", "prompt"))
    writer.writerows((f"{row.key}.mp4", row.text) for row in rows)
    build.write(f"{split}/metadata.csv", text.getvalue().encode())
    return 0
