"""Seeded bugs in the ledger that several workers share: leases, fences, connections that are cut, the server's rules.

What a server's own locks are for cannot be seen here, since every transaction of a simulation ends before the next one
begins: that commits come one after the other is for real workers (`tests.torture.workers`). Nor can a second defence be
missed while the first one stands (the table of legal moves behind the runner's own): each of these has a test in
`tests/ledger`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.ledger.postgres import layout, writer
from pipeline.ledger.postgres.writer import SharedWriter
from pipeline.ledger.writer import Writer
from pipeline.runner.lane import Lane
from tests.torture.mutant import KILL, SHARED, mutant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.torture.mutant import Patch

FENCE = " AND ended_at IS NULL AND NOT lost"
TWINS = ("venice-twins", "modelmax-twins", "slow-twins")


@mutant("A write does not ask whether another worker has taken over.", *TWINS, stores=SHARED)
def fence_not_looked_at(patch: Patch) -> None:
    assert FENCE in writer.RENEW
    patch(writer, "RENEW", writer.RENEW.replace(FENCE, ""))


@mutant("A write names neither the state that it believes in nor who has the item.", *TWINS, stores=SHARED)
def shared_row_written_blindly(patch: Patch) -> None:
    fence_not_looked_at(patch)
    head, _, _ = writer.UPDATE_ITEM.partition("WHERE id")
    patch(SharedWriter, "_update_item", head + "WHERE id = :id AND revision = :revision")


@mutant("Others are taken over from before their lease is at its end.", *TWINS, stores=SHARED)
def taken_over_too_soon(patch: Patch) -> None:
    lease = "AND greatest(lease_until, pg_postmaster_start_time() + make_interval(secs => ?)) < clock_timestamp() "
    assert lease in writer.SILENT
    patch(writer, "SILENT", writer.SILENT.replace(lease, "AND make_interval(secs => ?) IS NOT NULL "))


@mutant("What a worker at work has is taken by whoever comes.", *TWINS, stores=SHARED)
def what_others_have_is_taken(patch: Patch) -> None:
    patch(writer, "NOBODYS", "true")


@mutant("Items that wait are handed out to several workers.", *TWINS, stores=SHARED)
def planned_items_are_not_leased(patch: Patch) -> None:
    patch(SharedWriter, "planned_after", Writer.planned_after)


@mutant("Writing does not renew the lease, and nothing else does.", "slow-twins", stores=SHARED)
def lease_not_renewed(patch: Patch) -> None:
    renewal = "lease_until = clock_timestamp() + make_interval(secs => ?)"
    assert renewal in writer.RENEW
    patch(writer, "RENEW", writer.RENEW.replace(renewal, "started_at = coalesce(started_at, (?)::text)"))


@mutant("A commit that was cut off is made again, whatever became of it.", "full-ledger", stores=SHARED)
def cut_commit_made_again(patch: Patch) -> None:
    patch(SharedWriter, "_has_landed", lambda self, number: False)


@mutant("A commit that was cut off is taken for one that landed.", "full-ledger", stores=SHARED)
def cut_commit_taken_for_landed(patch: Patch) -> None:
    patch(SharedWriter, "_has_landed", lambda self, number: True)


@mutant("What belongs together is written statement by statement.", "venice", "modelmax", flavours=KILL, stores=SHARED)
def no_transaction(patch: Patch) -> None:
    @contextmanager
    def fenced(self: SharedWriter, *, in_turn: bool) -> Iterator[Any]:
        self._renew()
        yield self._database

    patch(SharedWriter, "_fenced", fenced)


@mutant(
    "An answer that was saved beside the ledger is taken in, and nobody goes on with its job.",
    "broken-ledger",
    "venice-twins",
    stores=SHARED,
)
def taken_in_and_left(patch: Patch) -> None:
    patch(SharedWriter, "for_anybody", Writer.for_anybody)


@mutant("What recovery puts back to be submitted is kept.", "modelmax", flavours=KILL, stores=SHARED)
def put_back_and_kept(patch: Patch) -> None:
    patch(SharedWriter, "release", lambda self, keys: None)


@mutant(
    "A worker leaves while others may still fall silent.",
    "venice",
    "modelmax",
    flavours=KILL,
    stores=SHARED,
)
def leaves_before_the_others_are_through(patch: Patch) -> None:
    original = Lane.keep

    def keep(self: Lane, company: Any) -> None:
        original(self, company)
        self.others_at_work = False

    patch(Lane, "keep", keep)


def rule_replaced(patch: Patch, old: str, new: str) -> None:
    """Have the server keep another rule; it is made anew, since it is none of those that were there."""
    original = layout._text
    assert old in original("rules.sql")
    patch(layout, "_text", lambda name: original(name).replace(old, new))
    patch(layout, "rules_digest", lambda: f"with {new}")


@mutant("The server's sum of money does not follow what changes.", "venice", "modelmax", stores=SHARED)
def money_does_not_follow(patch: Patch) -> None:
    rule_replaced(patch, "WHEN (NEW.committed_micro_usd <> OLD.committed_micro_usd)", "WHEN (false)")


@mutant("The server's sum of money forgets what was reserved before.", "modelmax", "venice-faults", stores=SHARED)
def money_counted_again(patch: Patch) -> None:
    rule_replaced(patch, "WHEN 'UPDATE' THEN OLD.committed_micro_usd", "WHEN 'UPDATE' THEN 0")


@mutant("The server refuses a legal move.", "modelmax", "venice", stores=SHARED)
def legal_move_refused(patch: Patch) -> None:
    refusal = "to_state = NEW.state) THEN\n    RAISE EXCEPTION 'illegal move of a clip'"
    rule_replaced(patch, refusal, refusal.replace("NEW.state)", "NEW.state AND to_state <> 'done')"))
