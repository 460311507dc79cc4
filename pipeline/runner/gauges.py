"""How a run and its batch stand now, as numbers for programs that watch them: limits, jobs, items, money."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pipeline.jobs.state import IN_DOUBT
from pipeline.runner.meter import Among, Family, Labels, Type, labels_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.ledger.tallies import Totals
    from pipeline.runner.lane import Lane
    from pipeline.runner.uploading import Uploading


def totals_families(totals: Totals) -> Iterator[Family]:
    """Yield what the ledger says of the batch's whole life: items, money, the cap."""
    of = [({"provider": row.provider, "model": row.model}, row) for row in totals.rows]
    items = [("", {**whose, "state": row.state.value}, float(row.items)) for whose, row in of]
    yield _gauge("clipmill_items", "Items by the state of each of their revisions.", items)
    for name, says, doubts in (
        ("clipmill_committed_usd", "What is spent, reserved or in doubt.", False),
        ("clipmill_in_doubt_usd", "What is in doubt: it may have been spent.", True),
    ):
        sums: Counter[Labels] = Counter()
        for whose, row in of:
            sums[labels_of(**whose)] += row.committed_micro_usd * (not doubts or row.state in IN_DOUBT)
        samples = [("", dict(labels), micro / 1_000_000) for labels, micro in sorted(sums.items())]
        yield _gauge(name, says, samples)
    if totals.max_cost_usd is not None:
        yield _gauge("clipmill_cap_usd", "The most that the batch may cost.", [("", {}, totals.max_cost_usd)])


def lane_families(lanes: Mapping[str, Lane]) -> Iterator[Family]:
    """Yield what each provider's lane has under way, what bounds it, and what it waits for."""
    in_flight, most, rates, left, waits = [], [], [], [], []
    for name, lane in sorted(lanes.items()):
        whose, limits, progress = {"provider": name}, lane.seat.limits, lane.run.progress
        in_flight.append(("", whose, float(len(lane.live))))
        most.append(("", whose, float(lane.in_flight_most)))
        for call, rate in (("submit", limits.submits_per_minute), ("look", limits.looks_per_minute)):
            if rate is not None:
                rates.append(("", {**whose, "call": call}, rate / 60))
        remaining_s = progress.remaining_s.get(name)
        if remaining_s is not None:
            left.append(("", whose, remaining_s))
        if name in progress.binding:
            waits.append(("", {**whose, "limit": progress.binding[name].value}, 1.0))
    each, of_all = Among.EACH, Among.MOST
    yield _gauge("clipmill_in_flight", "Jobs at the provider.", in_flight, each)
    yield _gauge("clipmill_in_flight_limit", "The most jobs that may be at the provider at once.", most, each)
    says = "How often a call may be made, on the average of a minute."
    yield _gauge("clipmill_calls_limit_per_second", says, rates, of_all)
    yield _gauge("clipmill_remaining_seconds", "About how long the provider's items will take.", left, of_all)
    yield _gauge("clipmill_waiting", "1 for the limit that the run waits for.", waits, of_all)


def upload_families(uploading: Uploading) -> Iterator[Family]:
    """Yield what is still to be uploaded, and whether the store lets it."""
    yield _gauge("clipmill_items_to_upload", "Finished items whose clips go to the store.", [("", {}, uploading.left)])
    down = float(uploading.down_since is not None or bool(uploading.stopped))
    yield _gauge(
        "clipmill_store_down", "1 while the store cannot be reached, or refuses.", [("", {}, down)], Among.MOST
    )


def _gauge(
    name: str, says: str, samples: Sequence[tuple[str, Mapping[str, str], float]], among: Among = Among.ADDED
) -> Family:
    return Family(name=name, type=Type.GAUGE, says=says, samples=samples, among=among)
