"""Hugging Face's `videofolder`: the clips of each split in a folder of its own, and a `metadata.jsonl` beside them.

The folder of the split is there even where there is but one: without it, the loader guesses splits from the names of
the clips, and takes one called `test-fox` for a test set (documentation of `datasets`, "Create a video dataset").
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from pipeline.dataset.build import Build, Options, Work, clip_work
from pipeline.dataset.rows import Row, Selection, with_file_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOADING = """```python
from datasets import load_dataset

dataset = load_dataset("videofolder", data_dir="{dest}")
```"""


def work(build: Build, selection: Selection, options: Options) -> Iterator[Work]:
    """Yield the pieces of work that make the export, all but its card and its index."""
    yield from clip_work(build, selection, link=options.link)
    for split, rows in selection.splits.items():
        yield partial(_metadata, split=split, rows=rows)


def _metadata(build: Build, split: str, rows: Sequence[Row]) -> int:
    lines = [json.dumps(with_file_name(row, f"{row.key}.mp4"), ensure_ascii=False) for row in rows]
    build.write(f"{split}/metadata.jsonl", ("\n".join(lines) + "\n").encode())
    return 0
