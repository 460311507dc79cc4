import importlib.util

import pytest

from pipeline.planning.inputs import InputRefused
from pipeline.planning.rows import TableRefused, open_table


def read(folder, content, name="t.csv"):
    """Return the columns, the rows as (line, cells), and what was told as (line, message)."""
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    told = []
    table = open_table(folder, name, lambda line, message: told.append((line, message)))
    rows = [(row.line, dict(row.cells)) for row in table.rows]
    return table.columns, rows, told


def refusal(folder, content, name="t.csv"):
    with pytest.raises(TableRefused) as refused:
        read(folder, content, name)
    return str(refused.value)


def test_a_plain_table(tmp_path):
    columns, rows, told = read(tmp_path, "id,caption\na,A fox\nb,A deer\n")
    assert columns == ("id", "caption")
    assert rows == [(2, {"id": "a", "caption": "A fox"}), (3, {"id": "b", "caption": "A deer"})]
    assert told == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_any_line_end_are_fine(tmp_path, end):
    content = ("﻿id,caption" + end + "a,x" + end + "b,y").encode()
    assert read(tmp_path, content)[1] == [(2, {"id": "a", "caption": "x"}), (3, {"id": "b", "caption": "y"})]


def test_quotes_commas_and_line_breaks_in_a_cell(tmp_path):
    _, rows, told = read(tmp_path, 'id,caption\na,"A fox, ""red"",\nat night"\nb,x\n')
    assert rows == [(2, {"id": "a", "caption": 'A fox, "red",\nat night'}), (4, {"id": "b", "caption": "x"})]
    assert told == []


def test_an_empty_cell_is_not_set_and_an_empty_row_is_none(tmp_path):
    _, rows, told = read(tmp_path, "id,caption,model\na,,\n\n, ,\n,x,\n")
    assert rows == [(2, {"id": "a"}), (5, {"caption": "x"})]
    assert told == []


def test_a_ragged_row_is_told_and_the_next_is_read(tmp_path):
    _, rows, told = read(tmp_path, "id,caption\na,x,y\nb\nc,z\n")
    assert [line for line, _ in told] == [2, 3]
    assert "3 cells and the header 2 columns" in told[0][1]
    assert rows == [(4, {"id": "c", "caption": "z"})]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "does not begin with a header"),
        ("\nid,caption\n", "does not begin with a header"),
        ("id,,caption\na,b,c\n", "Column 2 has no name"),
        ("id,caption,id\na,b,c\n", "Two columns are named 'id'"),
        ("id, id\na,b\n", "Two columns are named 'id'"),
        ("id;caption\na;b\n", "not separated by commas"),
        ("id\tcaption\na\tb\n", "not separated by commas"),
        ('"id', "header cannot be read"),
        ("id,caption\n".encode("utf-16"), "not UTF-8"),
        (b"id,caf\xe9\n", "byte 0xe9"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, told):
    assert told in refusal(tmp_path, content)


@pytest.mark.parametrize("row", ['a,"never closed\n', 'a,"x"y\n', "a," + "x" * 200_000])
def test_a_row_that_is_not_csv_is_told_with_its_line(tmp_path, row):
    _, rows, told = read(tmp_path, "id,caption\nz,fine\n" + row)
    assert rows == [(2, {"id": "z", "caption": "fine"})]
    assert [line for line, _ in told] == [3]


def test_a_byte_that_is_not_utf_8_further_down_is_told(tmp_path):
    content = b"id,caption\n" + b"a,x\n" * 5000 + b"b,caf\xe9\n"
    _, rows, told = read(tmp_path, content)
    assert len(rows) > 1000
    assert len(told) == 1
    assert "0xe9" in told[0][1]


def test_cells_are_read_by_the_type_of_their_parameter(tmp_path):
    columns = "duration_seconds,generate_audio,aspect_ratio,reference_images,keyframes,sample_count"
    cells = '8.0, TRUE ,16:9,a.png,"[{""image"": ""k.png"", ""frame_index"": 0}]", 2'
    _, [(_, row)], told = read(tmp_path, f"{columns}\n{cells}\n")
    assert told == []
    assert row == {
        "duration_seconds": 8,
        "generate_audio": True,
        "aspect_ratio": "16:9",
        "reference_images": ["a.png"],
        "keyframes": [{"image": "k.png", "frame_index": 0}],
        "sample_count": 2,
    }
    assert type(row["duration_seconds"]) is int


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("duration_seconds", "eight"),
        ("duration_seconds", "8.5"),
        ("duration_seconds", "0"),
        ("duration_seconds", "-4"),
        ("duration_seconds", "1_0"),
        ("duration_seconds", "nan"),
        ("duration_seconds", "1e999"),
        ("generate_audio", "maybe"),
        ("sample_count", "true"),
        ("reference_images", '"[1, 2]"'),
        ("elements", '"{""broken"": "'),
        ("keyframes", '"[' + "[" * 5000 + '"'),
    ],
)
def test_a_cell_of_the_wrong_type_is_told(tmp_path, column, cell):
    _, rows, told = read(tmp_path, f"caption,{column}\nx,{cell}\ny,\n")
    assert [line for line, _ in told] == [2]
    assert f"`{column}` is" in told[0][1]
    assert rows == [(3, {"caption": "y"})]


def test_json_lines(tmp_path):
    content = b'\xef\xbb\xbf{"id": "a", "duration_seconds": 8, "x": null}\n\n{"caption": "caf\\u00e9"}\r\n'
    columns, rows, told = read(tmp_path, content, "t.jsonl")
    assert columns is None
    assert rows == [(1, {"id": "a", "duration_seconds": 8}), (3, {"caption": "café"})]
    assert told == []


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1]",
        '"text"',
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        '{"a": 1} {"b": 2}',
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        b'{"a": "\xe9"}',
    ],
)
def test_a_broken_line_is_told_and_the_next_is_read(tmp_path, line):
    data = line if isinstance(line, bytes) else line.encode()
    _, rows, told = read(tmp_path, b'{"id": "a"}\n' + data + b'\n{"id": "b"}\n', "t.jsonl")
    assert [cells["id"] for _, cells in rows] == ["a", "b"]
    assert [line for line, _ in told] == [2]


def test_another_ending_is_refused(tmp_path):
    assert "not a .csv, .jsonl or .parquet" in refusal(tmp_path, "a\n", "t.xlsx")


@pytest.mark.parametrize("name", ["/etc/passwd.csv", "../t.csv", "missing.csv"])
def test_a_table_elsewhere_is_refused(tmp_path, name):
    folder = tmp_path / "batch"
    folder.mkdir()
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(InputRefused):
        open_table(folder, name, lambda line, message: None)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_its_package_names_the_extra(tmp_path):
    assert "clipmill[parquet]" in refusal(tmp_path, b"PAR1", "t.parquet")


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"id": ["a", "b"], "caption": ["x", None], "duration_seconds": [8, 6]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    columns, rows, told = read(tmp_path, content, "t.parquet")
    assert columns == ("id", "caption", "duration_seconds")
    assert rows == [(1, {"id": "a", "caption": "x", "duration_seconds": 8}), (2, {"id": "b", "duration_seconds": 6})]
    assert told == []
    assert "not a Parquet table" in refusal(tmp_path, b"PAR1", "u.parquet")
