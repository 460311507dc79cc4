"""An export as a whole: each format, whole or absent wherever it is cut off, and nothing of the user's overwritten."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.clips.acceptance import Acceptance
from pipeline.dataset.build import ClipChanged, Options
from pipeline.dataset.export import Exported, Order, export
from pipeline.dataset.folders import INDEX
from pipeline.dataset.formats import FORMATS
from pipeline.dataset.rows import select
from pipeline.dataset.split import Shares
from pipeline.dataset.where import meeting
from pipeline.errors import InputError
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles
from tests.dataset.made import a_batch, everything_below, finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.effects import Effects

NAMES = ("turtle", "wave", "fox", "deer", "zoom", "reef", "test-fox")
HALVES = Shares(validation=0.3, test=0.3)


class PowerCut(BaseException):
    """Nothing after this happens."""


class NoThreads:
    """Work that is done at once."""

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    async def run_alone(self, lane: str, work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class CutFiles(SystemFiles):
    """The real file system until the `last`-th change. The mutable state is how many there were."""

    last: int = 1 << 30
    changes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__init__()

    def fsync(self, descriptor: int) -> None:
        """What a power cut does to bytes is the torture's to show; here it takes time alone."""

    def fsync_folder(self, path: Path) -> None:
        """As above."""

    def _change(self) -> None:
        self.changes += 1
        if self.changes > self.last:
            raise PowerCut

    def create(self, path: Path, mode: int = 0o666) -> int:
        self._change()
        return super().create(path, mode)

    def write(self, descriptor: int, data: bytes) -> None:
        try:
            self._change()
        except PowerCut:
            super().write(descriptor, data[: len(data) // 2])
            raise
        super().write(descriptor, data)

    def link(self, source: Path, target: Path) -> None:
        self._change()
        super().link(source, target)

    def replace(self, source: Path, target: Path) -> None:
        self._change()
        super().replace(source, target)

    def unlink(self, path: Path) -> None:
        self._change()
        super().unlink(path)

    def make_folder(self, path: Path) -> None:
        self._change()
        super().make_folder(path)


def order(root: Path, form: str, dest: Path | None = None, options: Options | None = None, **more: Any) -> Order:
    """Return the order of an export of everything in a batch."""
    with reading(BatchFolder(root).ledger, system()) as reader:
        selection = select(list(reader.with_clips()), Acceptance(), more.get("shares", HALVES), meeting([]), 9)
        uuid = reader.meta("uuid")
    return Order(
        batch=root,
        name="reefs",
        uuid=uuid,
        form=form,
        dest=dest or root / "exports" / form,
        selection=selection,
        options=options or Options(shard_clips=2),
    )


def carry_out(wanted: Order, files: SystemFiles | None = None) -> Exported:
    effects: Effects = replace(system(), threads=NoThreads(), files=files or CutFiles())
    done: list[int] = []
    try:
        exported = asyncio.run(export(wanted, effects, done.append))
    except BaseExceptionGroup as cut:
        raise PowerCut from cut
    if exported.fresh:
        assert sum(done) == sum(row.size_bytes for row in wanted.selection.rows)
    return exported


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    items = [finished(name, metadata={"n": number}) for number, name in enumerate(NAMES)]
    return a_batch(tmp_path_factory.mktemp("made") / "b", *items)


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "b"))


@pytest.mark.parametrize("form", FORMATS)
def test_the_index_names_every_file_with_its_size_and_digest(root: Path, form: str) -> None:
    exported = carry_out(order(root, form))
    there = everything_below(root / "exports" / form)
    index = json.loads(there.pop(INDEX))
    assert {each["name"]: (each["bytes"], each["sha256"]) for each in index["files"]} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in there.items()
    }
    assert (index["format"], index["batch"], index["clips"], sum(index["splits"].values())) == (form, "reefs", 7, 7)
    size_bytes = sum(map(len, everything_below(root / "exports" / form).values()))
    assert exported == Exported(fresh=True, size_bytes=size_bytes)


def test_a_videofolder_has_a_row_and_a_file_for_each_clip_of_a_split(root: Path) -> None:
    wanted = order(root, "videofolder")
    carry_out(wanted)
    for split, rows in wanted.selection.splits.items():
        folder = root / "exports" / "videofolder" / split
        read = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
        assert read == [{"file_name": f"{row.key}.mp4", **row.columns} for row in rows]
        for line in read:
            assert hashlib.sha256((folder / line["file_name"]).read_bytes()).hexdigest() == line["sha256"]
    assert len(wanted.selection.splits) == 3


def test_a_parquet_table_has_the_same_rows_and_typed_columns(root: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is pyarrow's")
    wanted = order(root, "parquet")
    carry_out(wanted)
    for split, rows in wanted.selection.splits.items():
        table = parquet.read_table(root / "exports" / "parquet" / split / "metadata.parquet")
        assert table.to_pylist() == [{"file_name": f"{row.key}.mp4", **row.columns} for row in rows]
        assert str(table.schema.field("metadata.n").type) == "int64"
        assert str(table.schema.field("cost_usd").type) == "double"


def test_sidecars_have_a_caption_beside_each_clip_and_all_of_them_in_a_table(tmp_path: Path) -> None:
    prompt = 'A "fox", =1+1\nin snow\u2028'
    root = a_batch(tmp_path / "b", finished("fox", prompt=prompt), finished("deer"))
    carry_out(order(root, "sidecars", shares=Shares()))
    folder = root / "exports" / "sidecars" / "train"
    assert (folder / "fox.txt").read_bytes().decode() == prompt
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"video": "fox.mp4", "prompt": prompt},
            {"video": "deer.mp4", "prompt": "A picture of deer"},
        ]


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_batch_makes_the_same_bytes_anywhere(root: Path, tmp_path: Path, form: str) -> None:
    first, second = tmp_path / "one" / "reefs", tmp_path / "two" / "reefs"
    carry_out(order(root, form, first))
    carry_out(order(root, form, second))
    assert everything_below(first) == everything_below(second)


@pytest.mark.parametrize("form", FORMATS)
def test_wherever_it_is_cut_off_it_is_absent_or_whole_and_the_next_one_finishes(root: Path, form: str) -> None:
    wanted = order(root, form)
    counting = CutFiles()
    carry_out(wanted, counting)
    whole = everything_below(wanted.dest)
    for last in range(counting.changes):
        for path in sorted(wanted.dest.parent.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        with pytest.raises(PowerCut):
            carry_out(wanted, CutFiles(last=last))
        assert not wanted.dest.exists() or everything_below(wanted.dest) == whole, last
        carry_out(wanted)
        assert everything_below(wanted.dest) == whole
        assert [path.name for path in wanted.dest.parent.iterdir()] == [wanted.dest.name]


class CountedSyncs(SystemFiles):
    """The real file system, and the files that it made durable."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: set[str] = set()

    def fsync_file(self, path: Path) -> None:
        self.synced.add(path.name)
        super().fsync_file(path)


def test_copies_that_a_killed_export_left_are_made_durable_by_the_next(root: Path) -> None:
    wanted = order(root, "videofolder")
    counting = CutFiles()
    carry_out(wanted, counting)
    sizes = {path.name: path.stat().st_size for path in wanted.dest.rglob("*.mp4")}
    for path in sorted(wanted.dest.parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(PowerCut):
        carry_out(wanted, CutFiles(last=counting.changes // 2))
    left = {path.name: path.stat().st_size for path in wanted.dest.parent.rglob("*.mp4")}
    whole = {name for name, size in left.items() if size == sizes[name]}
    assert whole
    files = CountedSyncs()
    carry_out(wanted, files)
    assert files.synced == whole


@pytest.mark.parametrize("form", ["videofolder", "webdataset"])
def test_wherever_it_is_cut_off_while_it_replaces_an_earlier_one_the_one_or_the_other_comes_out(
    root: Path, tmp_path: Path, form: str
) -> None:
    dest = tmp_path / "exports" / "reefs"
    early, late = order(root, form, dest, shares=Shares()), order(root, form, dest)
    carry_out(early)
    before = everything_below(dest)
    counting = CutFiles()
    carry_out(late, counting)
    after = everything_below(dest)
    assert before != after
    for last in range(counting.changes):
        carry_out(early)
        with pytest.raises(PowerCut):
            carry_out(late, CutFiles(last=last))
        there = everything_below(dest) if dest.exists() else None
        assert there in (before, after, None), last
        if there is None:
            assert any(path.name.endswith(".old") for path in dest.parent.iterdir())
        carry_out(late)
        assert everything_below(dest) == after
        assert [path.name for path in dest.parent.iterdir()] == [dest.name]


def test_clips_that_an_earlier_build_has_copied_are_kept_and_half_a_one_is_not(root: Path) -> None:
    wanted = order(root, "videofolder", shares=Shares())
    part = wanted.dest.with_name(f".videofolder.{wanted.uuid[:8]}.part")
    for last in range(100):
        with pytest.raises(PowerCut):
            carry_out(wanted, CutFiles(last=last))
        there = {path.name: path for path in part.rglob("*.mp4")}
        if len(there) == 4:
            break
    whole = [name for name, path in there.items() if path.read_bytes() == (root / "clips" / name).read_bytes()]
    assert len(whole) >= 3
    half, *kept = whole
    there[half].write_bytes(there[half].read_bytes()[:500])
    numbers = {name: there[name].stat().st_ino for name in kept}
    carry_out(wanted)
    assert {name: (wanted.dest / "train" / name).stat().st_ino for name in kept} == numbers
    assert (wanted.dest / "train" / half).read_bytes() == (root / "clips" / half).read_bytes()


def test_a_second_export_of_the_same_changes_nothing(root: Path) -> None:
    wanted = order(root, "videofolder")
    first = carry_out(wanted)
    files = CutFiles()
    assert carry_out(wanted, files) == replace(first, fresh=False)
    assert files.changes <= 1, "it may make sure that the folder above is there"


def test_a_batch_that_has_grown_is_exported_anew_and_nobody_changes_sides(tmp_path: Path) -> None:
    few = [finished(name) for name in NAMES[:4]]
    small = a_batch(tmp_path / "b", *few)
    dest = tmp_path / "reefs"
    sides = {row.key: row.split for row in order(small, "sidecars").selection.rows}
    carry_out(order(small, "sidecars", dest))
    grown = a_batch(tmp_path / "c", *few, *(finished(f"more-{number}") for number in range(20)))
    late = order(grown, "sidecars", dest)
    carry_out(late)
    assert {row.key: row.split for row in late.selection.rows if row.key in sides} == sides
    assert len(list(dest.rglob("*.mp4"))) == 24


@pytest.mark.parametrize("theirs", ["a file", "a folder", "an index of theirs", "a link"])
def test_what_is_not_ours_is_never_touched(root: Path, tmp_path: Path, theirs: str) -> None:
    dest = tmp_path / "mine"
    match theirs:
        case "a file":
            dest.write_text("mine")
        case "a folder":
            dest.mkdir()
            (dest / "notes.txt").write_text("mine")
        case "an index of theirs":
            dest.mkdir()
            (dest / INDEX).write_text('{"mine": 1}')
        case _:
            (tmp_path / "other").mkdir()
            (tmp_path / "other" / "notes.txt").write_text("mine")
            dest.symlink_to(tmp_path / "other")
    before = everything_below(tmp_path)
    with pytest.raises(InputError, match="Name another --dest"):
        carry_out(order(root, "videofolder", dest))
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("change", ["README.md", "train/notes.txt", "a clip", "a clip gone"])
def test_an_export_in_which_something_was_changed_stays_as_it_is(root: Path, tmp_path: Path, change: str) -> None:
    dest = tmp_path / "reefs"
    wanted = order(root, "videofolder", dest)
    carry_out(wanted)
    clip = dest / f"{wanted.selection.rows[0].split}" / f"{wanted.selection.rows[0].key}.mp4"
    match change:
        case "a clip":
            clip.write_bytes(clip.read_bytes()[::-1])
        case "a clip gone":
            clip.unlink()
        case name:
            (dest / name).write_text("license: mine")
    before = everything_below(dest)
    with pytest.raises(InputError, match="was changed since it was exported"):
        carry_out(wanted)
    with pytest.raises(InputError, match="was changed since it was exported"):
        carry_out(order(root, "videofolder", dest, shares=Shares()))
    assert everything_below(dest) == before


def test_an_empty_folder_is_as_good_as_none_and_what_a_finder_leaves_is_nothing(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "reefs"
    dest.mkdir()
    (dest / ".DS_Store").write_bytes(b"x")
    assert carry_out(order(root, "sidecars", dest)).fresh
    (dest / "train" / ".DS_Store").write_bytes(b"x")
    assert not carry_out(order(root, "sidecars", dest)).fresh
    assert carry_out(order(root, "sidecars", dest, shares=Shares())).fresh


def test_a_folder_of_a_strangers_in_the_way_of_the_build_is_left_alone(root: Path, tmp_path: Path) -> None:
    wanted = order(root, "videofolder", tmp_path / "reefs")
    part = tmp_path / f".reefs.{wanted.uuid[:8]}.part"
    part.mkdir()
    (part / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="move it away"):
        carry_out(wanted)
    assert (part / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_clip_that_is_not_what_was_published_stops_the_export(root: Path, form: str, harm: str) -> None:
    clip = root / "clips" / "zoom.mp4"
    clip.unlink() if harm == "gone" else clip.write_bytes(clip.read_bytes()[::-1])
    wanted = order(root, form)
    with pytest.raises(ClipChanged, match=r"clips/zoom\.mp4"):
        carry_out(wanted)
    assert not wanted.dest.exists()


def test_links_are_the_batchs_own_files_and_copies_are_not(root: Path) -> None:
    wanted = order(root, "videofolder", options=Options(link=True))
    carry_out(wanted)
    row = wanted.selection.rows[0]
    linked = wanted.dest / row.split / f"{row.key}.mp4"
    assert linked.samefile(root / row.source)
    carry_out(order(root, "videofolder"))
    assert not linked.samefile(root / row.source)
    assert linked.read_bytes() == (root / row.source).read_bytes()


def test_a_changed_clip_is_not_linked(root: Path) -> None:
    (root / "clips" / "fox.mp4").write_bytes(b"mine")
    with pytest.raises(ClipChanged):
        carry_out(order(root, "sidecars", options=Options(link=True)))


def test_large_clips_are_copied_piece_by_piece(tmp_path: Path) -> None:
    root = a_batch(tmp_path / "b", finished("big", size=(2 << 20) + 77))
    wanted = order(root, "videofolder", shares=Shares())
    carry_out(wanted)
    assert (wanted.dest / "train" / "big.mp4").read_bytes() == (root / "clips" / "big.mp4").read_bytes()
    (root / "clips" / "big.mp4").write_bytes(b"x" * ((2 << 20) + 89))
    with pytest.raises(ClipChanged):
        carry_out(order(root, "videofolder", tmp_path / "other", shares=Shares()))
