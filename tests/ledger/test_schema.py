"""The database by itself, with Python out of the way: what it refuses whatever our code asks of it."""

from __future__ import annotations

import itertools
from collections import deque
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from pipeline.jobs.state import CLIP_MOVES, COPY_MOVES, MOVES, ClipState, CopyState, EventKind, State
from pipeline.ledger.layout import fill_moves
from tests.ledger.shared import BOTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.ledger.interface import Database
    from tests.ledger.ledgers import Machine

STORES = BOTH
ITEM = (
    "INSERT INTO item VALUES "
    "(:id, 1, 0, :state, 'item_planned', 0, 1, 1, 'modelmax', 'veo-3', :job_id, :micro, '{}', '{}')"
)
CLIP = "INSERT INTO clip VALUES ('fox', 1, :idx, :state, 'submit_accepted', '', :file, '', 0, '{}', '[]', :copy, '{}')"


@pytest.fixture
def database(machine: Machine) -> Iterator[Database]:
    with closing(machine.open_writer()) as database:
        yield database


def an_item(database: Database, item_id: str = "fox", **changes: object) -> None:
    database.execute(ITEM, {"id": item_id, "state": "planned", "job_id": None, "micro": 0, **changes})


def a_clip(database: Database, idx: int = 0, state: str = "wanted", file: str = "", copy: str = "none") -> None:
    database.execute(CLIP, {"idx": idx, "state": state, "file": file, "copy": copy})


@contextmanager
def undone(database: Database) -> Iterator[None]:
    database.execute("BEGIN")
    try:
        yield
    finally:
        database.execute("ROLLBACK")


def way(moves: Iterable[tuple[str | None, str, str]], start: str, end: str) -> list[tuple[str, str]]:
    """Return the shortest way from one state to another, as events and the states they lead to."""
    ways: deque[tuple[str, list[tuple[str, str]]]] = deque([(start, [])])
    seen = {start}
    while ways:
        at, steps = ways.popleft()
        if at == end:
            return steps
        for source, kind, to in moves:
            if source == at and to not in seen:
                seen.add(to)
                ways.append((to, [*steps, (kind, to)]))
    raise AssertionError(f"no way from {start} to {end}")


def accepts(database: Database, table: str, kind: str, to: str) -> bool:
    with undone(database):
        try:
            database.execute(f"UPDATE {table} SET event = ?, state = ?", (kind, to))
        except database.IntegrityError as error:
            if "illegal move" not in str(error):
                raise
            return False
    return True


@pytest.mark.parametrize("state", sorted(State))
def test_the_database_takes_exactly_the_moves_of_the_table(database: Database, state: State) -> None:
    an_item(database)
    for kind, to in way(MOVES, State.PLANNED, state):
        database.execute("UPDATE item SET event = ?, state = ?", (kind, to))

    for kind, to in itertools.product(EventKind, State):
        assert accepts(database, "item", kind, to) == ((state, kind, to) in MOVES), (kind, to)


@pytest.mark.parametrize("state", sorted(ClipState))
def test_the_database_takes_exactly_the_moves_of_clips(database: Database, state: ClipState) -> None:
    an_item(database)
    a_clip(database)
    for kind, to in way(CLIP_MOVES, ClipState.WANTED, state):
        database.execute("UPDATE clip SET event = ?, state = ?", (kind, to))

    for kind, to in itertools.product(EventKind, ClipState):
        assert accepts(database, "clip", kind, to) == ((state, kind, to) in CLIP_MOVES), (kind, to)


@pytest.mark.parametrize("copy", sorted(CopyState))
def test_the_database_takes_exactly_the_moves_of_copies(database: Database, copy: CopyState) -> None:
    an_item(database)
    a_clip(database)
    for kind, to in way(CLIP_MOVES, ClipState.WANTED, ClipState.DONE):
        database.execute("UPDATE clip SET event = ?, state = ?", (kind, to))
    for kind, to in way(COPY_MOVES, CopyState.NONE, copy):
        database.execute("UPDATE clip SET event = ?, copy = ?, remote = '{\"key\":1}'", (kind, to))

    for _, kind, end in [move for move in CLIP_MOVES if move[0] is ClipState.DONE]:
        for to in CopyState:
            moved = "UPDATE clip SET event = ?, state = ?, copy = ?, remote = '{\"key\":2}'"
            refused = nullcontext() if (copy, kind, to) in COPY_MOVES else pytest.raises(database.IntegrityError)
            with undone(database), refused:
                database.execute(moved, (kind, end, to))


def test_a_clip_begins_without_a_copy(database: Database) -> None:
    an_item(database)
    with pytest.raises(database.IntegrityError, match="without a copy"):
        a_clip(database, copy="uploaded")


@pytest.mark.parametrize("column", ["state", "event"])
def test_neither_half_of_a_move_changes_alone(database: Database, column: str) -> None:
    an_item(database)
    value = {"state": "done", "event": "submit_started"}[column]

    with pytest.raises(database.IntegrityError, match="illegal move of an item"):
        database.execute(f"UPDATE item SET {column} = ?", (value,))


@pytest.mark.parametrize("state", sorted(set(State) - {State.PLANNED}))
def test_an_item_begins_planned(database: Database, state: State) -> None:
    with pytest.raises(database.IntegrityError, match="an item begins planned"):
        an_item(database, state=state)


@pytest.mark.parametrize("state", sorted(set(ClipState) - {ClipState.WANTED}))
def test_a_clip_begins_wanted(database: Database, state: ClipState) -> None:
    an_item(database)

    with pytest.raises(database.IntegrityError, match="a clip begins wanted"):
        a_clip(database, state=state)


def test_an_event_is_never_changed_and_never_deleted(database: Database) -> None:
    columns = "at, epoch, item_id, revision, kind, data"
    database.execute(f"INSERT INTO event ({columns}) VALUES ('', 1, 'fox', 1, 'item_planned', '{{}}')")

    for statement in ("UPDATE event SET data = '{\"x\":1}'", "DELETE FROM event", "DELETE FROM event WHERE seq = 1"):
        with pytest.raises(database.IntegrityError, match="an event is never"):
            database.execute(statement)

    assert database.execute("SELECT data FROM event").fetchall() == [("{}",)]


def test_an_item_that_cost_something_or_left_planned_cannot_be_deleted(database: Database) -> None:
    an_item(database, "free")
    an_item(database, "paid", micro=1)
    an_item(database, "gone")
    database.execute("UPDATE item SET event = 'submit_started', state = 'submitting' WHERE id = 'gone'")

    for item_id in ("paid", "gone"):
        with pytest.raises(database.IntegrityError, match="only an item that cost nothing"):
            database.execute("DELETE FROM item WHERE id = ?", (item_id,))
    database.execute("DELETE FROM item WHERE id = 'free'")

    assert database.execute("SELECT count(*) FROM item").fetchone() == (2,)


def test_the_clips_of_an_item_go_with_it_and_none_is_without_an_item(database: Database) -> None:
    with pytest.raises(database.IntegrityError, match=r"(?i)foreign key"):
        a_clip(database)
    an_item(database)
    a_clip(database)

    database.execute("DELETE FROM item")

    assert database.execute("SELECT count(*) FROM clip").fetchone() == (0,)


def test_two_clips_may_want_one_name_and_only_one_can_bear_it(database: Database) -> None:
    an_item(database)
    a_clip(database, 0, file="clips/fox.mp4")
    a_clip(database, 1, file="clips/fox.mp4")
    database.execute("UPDATE clip SET event = 'clip_stored', state = 'stored'")
    publish = "UPDATE clip SET event = 'clip_published', state = 'done' WHERE idx = ?"
    database.execute(publish, (0,))

    with pytest.raises(database.IntegrityError, match=r"(?i)unique"):
        database.execute(publish, (1,))


def test_a_vendors_id_belongs_to_one_item_and_its_absence_to_any_number(database: Database) -> None:
    an_item(database, "a", job_id="op-1")
    an_item(database, "b")
    an_item(database, "c")

    with pytest.raises(database.IntegrityError, match=r"item\.job_id|item_by_job"):
        an_item(database, "d", job_id="op-1")


def test_money_follows_every_item_by_itself(database: Database) -> None:
    def money() -> int:
        return int(database.execute("SELECT committed_micro_usd FROM money").fetchone()[0])

    assert money() == 0
    an_item(database, "a", micro=7)
    an_item(database, "b", micro=5)
    assert money() == 12
    database.execute("UPDATE item SET committed_micro_usd = 1 WHERE id = 'a'")
    assert money() == 6
    database.execute("UPDATE item SET position = 3")
    assert money() == 6


def test_there_is_one_row_of_money_and_no_item_has_less_than_none(database: Database) -> None:
    with pytest.raises(database.IntegrityError):
        database.execute("INSERT INTO money VALUES (2, 0)")
    with pytest.raises(database.IntegrityError):
        an_item(database, micro=-1)


def test_the_moves_can_be_filled_in_again(database: Database) -> None:
    def moves() -> set[tuple[str, ...]]:
        return set(
            database.execute("SELECT * FROM move UNION ALL SELECT * FROM clip_move UNION ALL SELECT * FROM copy_move")
        )

    before = moves()
    database.execute("DELETE FROM move WHERE event = 'retried'")

    fill_moves(database)

    assert moves() == before == {*(move for move in MOVES if move[0] is not None), *CLIP_MOVES, *COPY_MOVES}
