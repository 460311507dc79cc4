"""Jobs as rows, read while somebody else writes."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from pipeline.jobs.state import EventKind
from pipeline.ledger import rows
from tests.jobs.histories import HERE, outputs, planned, price, receipt, stored
from tests.ledger.ledgers import Machine, follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.ledger.interface import Database

E = EventKind


class Found(list[Any]):
    """What a statement found, read to its end."""

    def fetchall(self) -> list[Any]:
        return self


class Overtaken:
    """A connection beside which somebody writes after each of its statements."""

    def __init__(self, database: Database, write: Callable[[], object]) -> None:
        self._database, self._write = database, write

    def execute(self, query: str, values: Any = (), /) -> Found:
        found = Found(self._database.execute(query, values).fetchall())
        self._write()
        return found


async def test_a_job_has_its_clips_whatever_is_written_between_two_statements(sqlite_machine: Machine) -> None:
    machine = sqlite_machine
    async with machine.ledger() as ledger:
        claimed = (E.CLAIM_STARTED, {}), (E.CLAIM_RECEIVED, {"outputs": outputs(2), "usage": {}, "cost_usd": 1.5})
        clips = [(kind, stored(index, "fox")) for index in (0, 1) for kind in (E.CLIP_STORED, E.CLIP_PUBLISHED)]
        submitted = (E.SUBMIT_STARTED, HERE | price(3.2)), (E.SUBMIT_ACCEPTED, {"receipt": receipt("op-1")})
        await follow(ledger, (E.ITEM_PLANNED, planned()), *submitted, *claimed, *clips)
    opened = machine.effects.open_database
    with closing(opened(machine.path)) as database, closing(opened(machine.path)) as other:
        overtaken: Any = Overtaken(database, lambda: other.execute("UPDATE item SET position = position + 1"))
        (job,) = rows.read_jobs(overtaken, "WHERE position = 0")
    assert [clip.index for clip in job.clips] == [0, 1]
