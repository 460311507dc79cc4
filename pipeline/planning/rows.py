"""Tables beside the manifest, read row by row: .csv, .jsonl, and .parquet with the extra.

A row has only the cells that are set: an empty CSV cell and a null elsewhere are no cell. CSV is UTF-8 with commas and
a header, quoted as RFC 4180 has it; its cells are text, read by the type of the parameter whose name the column bears.
Problems are told with the line of the table, and the reading goes on with the next row where it can.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.planning.inputs import open_inside
from pipeline.planning.parameters import SETTINGS, ValueRefused, read_cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Tell = Callable[[int, str], None]
"""Takes the line (1-based) and the message of a problem."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of a table."""

    line: int
    """Where it begins, 1-based; in a .parquet file the number of the row."""
    cells: Mapping[str, Any]
    """The cells that are set."""


_Opened = tuple[tuple[str, ...] | None, Iterator[Row]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """An open table."""

    columns: tuple[str, ...] | None
    """None where every row has its own (.jsonl)."""
    rows: Iterator[Row]
    """To be read once; the file is closed after the last."""
    close: Callable[[], None]
    """For a table whose rows are not read to the end."""


class TableRefused(InputError):
    """The table as a whole cannot be read."""


def open_table(folder: Path, name: str, tell: Tell, allowed: Sequence[Path] = ()) -> Table:
    """Open a table in the manifest's folder, in one of `allowed`, or below. It is closed when its last row is read.

    Raises:
        InputRefused: there is no such regular file.
        TableRefused: it is not a table.
    """
    reader = _READERS.get(name.rpartition(".")[2].lower())
    if reader is None:
        raise TableRefused(f"{name} is not a .csv, .jsonl or .parquet file, which are the tables that can be read.")
    stream: IO[Any] = open_inside(folder, name, allowed)
    if reader is _open_csv:
        stream = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        columns, rows = reader(stream, tell)
    except UnicodeDecodeError as error:
        stream.close()
        raise TableRefused(_not_utf8(error)) from error
    except BaseException:
        stream.close()
        raise
    return Table(columns=columns, rows=_closing(stream, rows, tell), close=stream.close)


def _closing(stream: IO[Any], rows: Iterator[Row], tell: Tell) -> Iterator[Row]:
    line = 1
    with stream:
        try:
            for row in rows:
                line = row.line
                yield row
        except UnicodeDecodeError as error:
            tell(line, _not_utf8(error))


def _not_utf8(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"The file is not UTF-8: from here on there is the byte 0x{byte:02x}. Save it as UTF-8."


# --- CSV ---


def _open_csv(stream: IO[Any], tell: Tell) -> _Opened:
    reader = csv.reader(stream, strict=True)
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise TableRefused(f"The header cannot be read: {error}.") from error
    if not header:
        raise TableRefused("The file does not begin with a header: its first line must name the columns.")
    columns = tuple(name.strip() for name in header)
    _check_header(columns)
    return columns, _csv_rows(reader, columns, tell)


def _check_header(columns: tuple[str, ...]) -> None:
    for number, name in enumerate(columns, start=1):
        if not name:
            raise TableRefused(f"Column {number} has no name. Name it in the first line, or remove it.")
        if name in columns[: number - 1]:
            raise TableRefused(f"Two columns are named {name!r}. Rename one.")
    if len(columns) == 1 and any(separator in columns[0] for separator in ";\t"):
        raise TableRefused("The columns are not separated by commas. Save the table as comma-separated values.")


def _csv_rows(reader: Any, columns: tuple[str, ...], tell: Tell) -> Iterator[Row]:
    settings = [name for name in columns if name in SETTINGS]
    while True:
        line = reader.line_num + 1
        try:
            texts = next(reader, None)
        except csv.Error as error:
            tell(line, f"The row cannot be read as CSV: {error}. A cell with a comma, a quote or a line break is "
                       'written in double quotes, and a quote in it twice ("").')  # fmt: skip
            return
        if texts is None:
            return
        if not any(text.strip() for text in texts):
            continue
        if len(texts) != len(columns):
            tell(line, f"The row has {len(texts)} cells and the header {len(columns)} columns. A cell with a comma in "
                       "it is written in double quotes.")  # fmt: skip
            continue
        cells: dict[str, Any] = {name: text for name, text in zip(columns, texts, strict=True) if text.strip()}
        try:
            for name in settings:
                if name in cells:
                    cells[name] = read_cell(name, cells[name])
        except ValueRefused as refused:
            tell(line, str(refused))
            continue
        yield Row(line=line, cells=cells)


# --- JSON lines ---


def _open_jsonl(stream: IO[Any], tell: Tell) -> _Opened:
    return None, _jsonl_rows(stream, tell)


def _jsonl_rows(stream: Iterable[bytes], tell: Tell) -> Iterator[Row]:
    for line, data in enumerate(stream, start=1):
        text = (data.removeprefix(b"\xef\xbb\xbf") if line == 1 else data).strip()
        if not text:
            continue
        try:
            value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            tell(line, _not_utf8(error))
            continue
        except (ValueError, RecursionError) as error:
            tell(line, f"The line is not one JSON object: {error}.")
            continue
        if not isinstance(value, dict):
            tell(line, 'The line is not a JSON object, as in {"id": "a", "caption": "A fox"}.')
            continue
        yield Row(line=line, cells={name: cell for name, cell in value.items() if cell is not None})


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


# --- Parquet ---


def _open_parquet(stream: IO[Any], tell: Tell) -> _Opened:  # noqa: ARG001  a typed table has no broken rows
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise TableRefused(
            "Reading .parquet needs a package that is not installed: pip install 'clipmill[parquet]'. Or save the "
            "table as .csv or .jsonl."
        ) from error
    try:
        file = pyarrow.parquet.ParquetFile(stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise TableRefused(f"The file is not a Parquet table: {error}.") from error
    columns = tuple(file.schema_arrow.names)
    for name in columns:
        if columns.count(name) > 1:
            raise TableRefused(f"Two columns are named {name!r}. Rename one.")
    return columns, _parquet_rows(file)


def _parquet_rows(file: Any) -> Iterator[Row]:
    number = 0
    for batch in file.iter_batches(batch_size=1024):
        for cells in batch.to_pylist():
            number += 1
            yield Row(line=number, cells={name: cell for name, cell in cells.items() if cell is not None})


_READERS: dict[str, Callable[[IO[Any], Tell], _Opened]] = {
    "csv": _open_csv,
    "jsonl": _open_jsonl,
    "parquet": _open_parquet,
}
