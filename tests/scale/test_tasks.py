"""What a process of the cluster does with a task; Ray itself is not needed to say so."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest

from pipeline.dataset.build import Build
from pipeline.report.thumbnails import picture_of
from pipeline.scale.tasks import Piece, do_there, draw_there
from pipeline.system.files import SystemFiles
from tests.dataset.made import a_row, bytes_of, everything_below

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.dataset.rows import Row


@pytest.fixture
def fox(tmp_path: Path) -> Row:
    data = bytes_of("fox")
    row = replace(a_row("fox"), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (tmp_path / "clips").mkdir()
    (tmp_path / row.source).write_bytes(data)
    return row


@pytest.fixture
def build(tmp_path: Path) -> Build:
    made = Build(SystemFiles(), tmp_path, tmp_path / "part", Random())
    made.begin("plan")
    made.folder("train")
    return made


def piece(build: Build, row: Row, **changes: str) -> Piece:
    work = partial(Build.clips, placed=[(row, "train/fox.mp4")], link=False)
    made = Piece(work=work, batch=build.batch, part=build.part, stage=build.stage, **changes)
    return pickle.loads(pickle.dumps(made))  # type: ignore[no-any-return]


def test_a_piece_of_an_export_comes_back_as_what_was_written(build: Build, fox: Row) -> None:
    did = do_there(piece(build, fox))
    assert (did.refused, did.clip_bytes) == ("", fox.size_bytes)
    assert [(each.name, each.size_bytes, each.sha256) for each in did.written] == [
        ("train/fox.mp4", fox.size_bytes, fox.sha256)
    ]
    assert (build.part / "train" / "fox.mp4").read_bytes() == bytes_of("fox")


def test_a_node_that_does_not_see_the_disk_does_nothing(build: Build, fox: Row) -> None:
    build.stage.rmdir()
    before = everything_below(build.part)
    did = do_there(piece(build, fox))
    assert did.is_blind
    assert "does not see" in did.refused
    assert everything_below(build.part) == before


def test_a_node_with_another_version_does_nothing(build: Build, fox: Row) -> None:
    before = everything_below(build.part)
    did = do_there(piece(build, fox, version="0.0.0"))
    assert "0.0.0" in did.refused
    assert not did.is_blind
    assert everything_below(build.part) == before


def test_a_clip_that_was_changed_is_told_as_a_value(build: Build, fox: Row) -> None:
    (build.batch / fox.source).write_bytes(bytes_of("fox")[::-1])
    did = do_there(piece(build, fox))
    assert "clips/fox.mp4 is missing, or not what was published" in did.refused
    assert not did.written


def test_a_thumbnail_is_drawn_where_the_clip_is_seen_as_it_is(real_clip: Path) -> None:
    pytest.importorskip("av", reason="thumbnails are made with PyAV")
    pytest.importorskip("PIL", reason="thumbnails are made with Pillow")
    status = real_clip.stat()
    seen = status.st_size, status.st_mtime_ns
    assert draw_there(str(real_clip), seen) == picture_of(SystemFiles(), real_clip, lambda: 0.0) != b""
    assert draw_there(str(real_clip), (seen[0], seen[1] + 1)) is None
    assert draw_there(str(real_clip) + ".none", seen) is None
