"""The ledger held against the disk and against itself, after real runs in the simulated world."""

from __future__ import annotations

import errno
import signal
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import InputError
from pipeline.jobs.state import ClipState
from pipeline.ledger.mark import write_mark
from pipeline.paths import BatchFolder
from pipeline.runner.inspection import Inspection, Kind, inspect
from pipeline.runner.stop import Stop
from pipeline.system.effects import system
from tests.cli.batches import REJECTED, E, failure, make_batch, one_of_each
from tests.cli.batches import Item as WrittenItem
from tests.support.batches import ROOT, Batch, a_vendor, an_item, items
from tests.support.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = BatchFolder(ROOT)
MARKS = Path("/marks")


@contextmanager
def finished(count: int = 2, provider: str = "venice", **changes: Any) -> Iterator[World]:
    """Yield a world in which a batch has come to its end."""
    with World(seed=1) as world:
        a_vendor(world, duration_scale=0)
        Batch(world, items(count, provider, **changes)).run()
        yield world


def look(world: World, marks: Path | None = None) -> Inspection:
    return inspect(FOLDER, world.effects(world.process("check")), marks)


def told(world: World, marks: Path | None = None) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.says) for finding in look(world, marks).findings]


def change(world: World, statement: str) -> None:
    """Write into the ledger behind its back."""
    with closing(world.databases.open(FOLDER.ledger)) as database:
        database.execute(statement)


@pytest.mark.parametrize("provider", ["venice", "modelmax"])
def test_a_finished_batch_is_as_its_ledger_says(provider: str) -> None:
    with finished(3, provider) as world:
        found = look(world)
        sizes = [len(world.files.bytes_at(ROOT / f"clips/i{n}.mp4") or b"") for n in range(3)]
        assert found == Inspection(findings=(), items=3, clips=3, size_bytes=sum(sizes))


def test_an_interrupted_batch_is_as_its_ledger_says_whenever_it_was_left() -> None:
    with World(seed=1, latency_s=(0.05, 0.5)) as world:
        a_vendor(world)
        batch = Batch(world, items(4, "modelmax"))
        states = set()
        for after_s in (0.2, 0.7, 30, 60, 90, 110):
            stop, process = Stop(), world.process(f"after {after_s} s")
            run = world.start(batch.work(world.effects(process), stop), process)
            world.pass_time(after_s)
            stop.ask(signal.SIGINT)
            stop.ask(signal.SIGINT)
            world.finish(run)
            assert told(world) == []
            states |= set(batch.states().values())
        assert states >= {"planned", "submitted", "done"}


def test_a_missing_clip_is_told() -> None:
    with finished() as world:
        world.files.unlink(ROOT / "clips/i1.mp4")
        (finding,) = look(world).findings
        assert (finding.kind, finding.says) == (Kind.MISSING, "clips/i1.mp4 is missing.")
        assert (finding.item_id, finding.revision, finding.clip_index) == ("i1", 1, 0)


def test_every_clip_of_a_job_is_looked_at() -> None:
    with finished(1, "modelmax", sample_count=3) as world:
        for name in ("i0.mp4", "i0__2.mp4"):
            world.files.unlink(ROOT / "clips" / name)
        assert [finding.clip_index for finding in look(world).of_kind(Kind.MISSING)] == [0, 2]


def test_a_clip_that_was_cut_is_told_and_no_whole_mp4() -> None:
    with finished() as world:
        path = ROOT / "clips/i0.mp4"
        whole = world.files.bytes_at(path) or b""
        world.files.plant(path, whole[: len(whole) // 2])
        ((kind, says),) = told(world)
        assert kind is Kind.CHANGED
        assert f"{len(whole) // 2:,} bytes where {len(whole):,} were published; it is no whole MP4 any more" in says


def test_a_clip_that_was_exchanged_for_another_is_told_though_it_is_whole() -> None:
    with finished() as world:
        other = world.files.bytes_at(ROOT / "clips/i1.mp4") or b""
        world.files.plant(ROOT / "clips/i0.mp4", other)
        ((kind, says),) = told(world)
        assert kind is Kind.CHANGED
        assert "it is still a whole MP4. It is left as it is; move it away to have the clip fetched again." in says


def test_a_flipped_bit_is_found_though_the_size_is_right() -> None:
    with finished() as world:
        path = ROOT / "clips/i0.mp4"
        whole = bytearray(world.files.bytes_at(path) or b"")
        whole[-1] ^= 1
        world.files.plant(path, bytes(whole))
        assert [kind for kind, _ in told(world)] == [Kind.CHANGED]


def test_a_folder_or_a_link_in_a_clips_place_is_not_followed() -> None:
    with finished() as world:
        world.files.unlink(ROOT / "clips/i0.mp4")
        world.files.plant_link(ROOT / "clips/i0.mp4")
        assert told(world) == [(Kind.CHANGED, "clips/i0.mp4 is no longer a regular file.")]


def refuse_names(operation: str, subject: object) -> None:
    """Be a disk that gives no file a second name."""
    if operation == "link":
        raise OSError(errno.EIO, "the disk is failing")


def test_a_stored_part_is_in_order_and_one_whose_bytes_are_gone_is_told() -> None:
    with World(seed=1) as world:
        a_vendor(world, duration_scale=0)
        batch = Batch(world, items(1, "venice"))
        world.files.on_call = refuse_names
        assert batch.run().paused_because
        world.files.on_call = None
        ((clip,),) = (job.clips for job in batch.jobs())
        part = ROOT / clip.part
        assert clip.state is ClipState.STORED
        assert told(world) == []
        world.files.plant(ROOT / "clips/i0.mp4", world.files.bytes_at(part) or b"")
        world.files.unlink(part)
        assert told(world) == []  # published, and killed before that was written down
        world.files.unlink(ROOT / "clips/i0.mp4")
        ((kind, says),) = told(world)
        assert (kind, says.endswith("and its bytes are gone.")) == (Kind.PART_GONE, True)


@pytest.mark.parametrize("name", ["i0__r2.mp4", "i0__1.mp4", "i1__r3__2.mp4", "I0__r9.mp4"])
def test_a_file_that_bears_a_name_of_ours_is_told(name: str) -> None:
    with finished() as world:
        world.files.plant(ROOT / "clips" / name, b"mine")
        ((kind, says),) = told(world)
        assert kind is Kind.FOREIGN
        assert says.startswith(f"clips/{name} bears a name of i")


@pytest.mark.parametrize("name", ["holiday.mp4", "i0.mov", ".i0.0.1.part", "i0__x.mp4", "i0 copy.mp4", "i01.mp4"])
def test_a_file_of_the_users_own_is_nobodys_business(name: str) -> None:
    with finished() as world:
        world.files.plant(ROOT / "clips" / name, b"mine")
        assert told(world) == []


def test_a_clip_of_an_earlier_attempt_is_not_foreign(tmp_path: Path) -> None:
    (turtle, *_) = one_of_each()
    lost = {"index": 0}
    again: Any = [*turtle.events, (E.CLIP_MISSING, lost), (E.JOB_LOST, {"failure": failure("gone", "Gone.", "billed")})]
    root = make_batch(tmp_path / "out", replace(turtle, events=[*again, (E.RETRIED, {}), *REJECTED]))
    (root / "clips").mkdir()
    (root / "clips/turtle.mp4").write_bytes(b"of the first attempt")
    assert inspect(BatchFolder(root), system(), None).findings == ()


def test_an_item_that_is_not_what_its_events_make_it_is_told() -> None:
    with finished() as world:
        change(world, "UPDATE item SET record = json_set(record, '$.attempt', 7) WHERE id = 'i1'")
        ((kind, says),) = told(world)
        assert kind is Kind.DRIFTED
        assert says.startswith("i1 is not what its history makes of it: the ledger says attempt 7, and its events make")


def test_an_event_that_was_slipped_in_is_told() -> None:
    with finished() as world:
        change(
            world,
            "INSERT INTO event (at, epoch, item_id, revision, kind, data) "
            "VALUES ('2026-01-01T00:00:00+00:00', 1, 'i0', 1, 'claim_started', '{}')",
        )
        ((kind, says),) = told(world)
        assert (kind, "its events contradict each other" in says) == (Kind.DRIFTED, True)


def test_an_item_without_a_history_and_a_history_without_its_item_are_told() -> None:
    with finished() as world:
        Batch(world, [*items(2, "venice"), an_item("late", "venice")]).run(chosen=frozenset())
        change(world, "UPDATE item SET id = 'other', record = json_set(record, '$.item_id', 'other') WHERE id = 'late'")
        why = " Restore the ledger from a copy, or report this."
        assert [says for _, says in told(world)] == [
            f"late is not what its history makes of it: its events say that it was planned, and it is not there.{why}",
            f"other is not what its history makes of it: the ledger has no event of it.{why}",
        ]


def test_money_that_does_not_add_up_is_told() -> None:
    with finished() as world:
        change(world, "UPDATE money SET committed_micro_usd = committed_micro_usd + 1000000")
        ((kind, says),) = told(world)
        assert (kind, "counts $1.00 as spent, and its items add up to $0.00" in says) == (Kind.DRIFTED, True)


def test_rows_of_no_item_are_told() -> None:
    with finished() as world:
        columns = "(item_id, revision, idx, state, event, part, file, sha256, size_bytes, facts, warnings)"
        values = "('ghost', 1, 0, 'wanted', 'submit_accepted', '', '', '', 0, '{}', '[]')"
        change(world, f"INSERT INTO clip {columns} VALUES {values}")
        ((kind, says),) = told(world)
        assert (kind, "1 rows of items" in says) == (Kind.UNSOUND, True)


def test_a_damaged_file_is_told_and_nothing_else_is_believed(tmp_path: Path) -> None:
    many = [WrittenItem(id=f"i{n}") for n in range(60)]
    root = make_batch(tmp_path / "out", *many)
    ledger = BatchFolder(root).ledger
    with closing(sqlite3.connect(ledger)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'item_by_state'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    damaged = bytearray(ledger.read_bytes())
    damaged[(page - 1) * size : page * size] = bytes(size)
    ledger.write_bytes(damaged)
    found = inspect(BatchFolder(root), system(), None)
    assert {finding.kind for finding in found.findings} == {Kind.UNSOUND}
    assert found.items == 0


def test_a_ledger_older_than_its_mark_is_told() -> None:
    with finished() as world:
        with closing(world.databases.open(FOLDER.ledger)) as database:
            (identity,) = database.execute("SELECT json_extract(value, '$') FROM meta WHERE key = 'uuid'").fetchone()
            (last,) = database.execute("SELECT max(seq) FROM event").fetchone()
        write_mark(MARKS, identity, last, world.files)
        assert told(world, MARKS) == []
        write_mark(MARKS, identity, last + 1, world.files)
        ((kind, says),) = told(world, MARKS)
        assert (kind, "older than it was" in says) == (Kind.RESTORED, True)


def test_a_folder_without_a_ledger_is_refused() -> None:
    with World(seed=1) as world, pytest.raises(InputError, match="There is no ledger"):
        look(world)
