"""A Parquet table of each split, with the clips beside it: for duckdb, pandas, polars and pyarrow.

`file_name` is relative to the table, so that Hugging Face's `videofolder` reads the export as well.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.dataset.build import Build, Options, Work, clip_work
from pipeline.dataset.rows import Row, Selection, types_of, with_file_name
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOADING = """```python
import pyarrow.parquet

table = pyarrow.parquet.read_table("{dest}/{split}/metadata.parquet")
```

```sql
SELECT item_id, duration, cost_usd FROM '{dest}/*/metadata.parquet';
```"""


def work(build: Build, selection: Selection, options: Options) -> Iterator[Work]:
    """Yield the pieces of work that make the export, all but its card and its index.

    Raises:
        InputError: the extra `parquet` is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - refused before anything is built
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: install it with `pip install 'clipmill[parquet]'`.") from error
    types = types_of(selection.rows)
    yield from clip_work(build, selection, link=options.link)
    for split, rows in selection.splits.items():
        yield partial(_table, split=split, rows=rows, types=types)


def _table(build: Build, split: str, rows: Sequence[Row], types: dict[str, type]) -> int:
    import pyarrow
    import pyarrow.parquet

    arrow = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    fields = [("file_name", pyarrow.string()), *((name, arrow[kind]) for name, kind in types.items())]
    values: list[dict[str, Any]] = [with_file_name(row, f"{row.key}.mp4") for row in rows]
    table = pyarrow.Table.from_pylist(values, schema=pyarrow.schema(fields))
    data = io.BytesIO()
    pyarrow.parquet.write_table(table, data, compression="zstd")
    build.write(f"{split}/metadata.parquet", data.getvalue())
    return 0
