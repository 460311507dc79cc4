"""What several workers tell becomes one account, read by the parser of Prometheus's own client."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from pipeline.cli.running.metrics import exposition
from pipeline.runner.meter import Among, Family, Type
from pipeline.scale.figures import Figures, Teller, Told

if TYPE_CHECKING:
    from collections.abc import Mapping

A, B = {"provider": "venice"}, {"provider": "modelmax"}


def counter(value: float, labels: Mapping[str, str] = A) -> Family:
    return Family(name="clipmill_looks_total", type=Type.COUNTER, says="Looks.", samples=[("", labels, value)])


def gauge(name: str, value: float, among: Among) -> Family:
    return Family(name=name, type=Type.GAUGE, says="So it is.", samples=[("", A, value)], among=among)


def report(life: str, *families: Family, number: int = 1) -> Told:
    return pickle.loads(pickle.dumps(Told(life=life, number=number, families=families)))  # type: ignore[no-any-return]


def read(figures: Figures) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read the account as Prometheus does: by name and labels, but for the batch."""
    found = {}
    names = []
    for family in text_string_to_metric_families(exposition(figures.families(), "reefs")):
        names.append(family.name)
        for sample in family.samples:
            assert sample.labels.pop("batch") == "reefs"
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    assert len(names) == len(set(names)), "each name stands once"
    return found


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_counters_and_sums_of_all_lives_are_added_by_their_labels() -> None:
    figures = Figures()
    lags = [("_sum", A, 2.5), ("_count", A, 2.0)]
    lag = Family(name="clipmill_detection_lag_seconds", type=Type.SUMMARY, says="Unseen.", samples=lags)
    figures.hear(1, report("a", counter(3), lag))
    figures.hear(2, report("b", counter(4), counter(5, B), lag))
    figures.hear(1, report("c", counter(1)))
    assert read(figures) == {
        of("clipmill_looks_total", **A): 8.0,
        of("clipmill_looks_total", **B): 5.0,
        of("clipmill_detection_lag_seconds_sum", **A): 5.0,
        of("clipmill_detection_lag_seconds_count", **A): 4.0,
        of("clipmill_worker_at_work", worker="1"): 1.0,
        of("clipmill_worker_at_work", worker="2"): 1.0,
    }


def test_a_report_that_was_overtaken_takes_nothing_back() -> None:
    figures = Figures()
    figures.hear(1, report("a", counter(7), number=2))
    figures.hear(1, report("a", counter(5), number=1))
    assert read(figures)[of("clipmill_looks_total", **A)] == 7.0


def test_what_is_so_now_is_that_of_the_present_lives_alone() -> None:
    figures = Figures()
    for worker, (shares, common, own) in {1: (2, 9, 4), 2: (3, 8, 5)}.items():
        families = (
            gauge("clipmill_items_to_upload", shares, Among.ADDED),
            gauge("clipmill_remaining_seconds", common, Among.MOST),
            gauge("clipmill_in_flight", own, Among.EACH),
        )
        figures.hear(worker, report(f"life-{worker}", *families))
    both = read(figures)
    assert both[of("clipmill_items_to_upload", **A)] == 5.0
    assert both[of("clipmill_remaining_seconds", **A)] == 9.0
    assert both[of("clipmill_in_flight", **A, worker="1")] == 4.0
    assert both[of("clipmill_in_flight", **A, worker="2")] == 5.0
    figures.miss(1)
    assert read(figures) == {
        of("clipmill_items_to_upload", **A): 3.0,
        of("clipmill_remaining_seconds", **A): 8.0,
        of("clipmill_in_flight", **A, worker="2"): 5.0,
        of("clipmill_worker_at_work", worker="1"): 0.0,
        of("clipmill_worker_at_work", worker="2"): 1.0,
    }


def test_a_teller_tells_of_the_life_that_it_is_in() -> None:
    teller = Teller()
    assert teller.tell() is None
    looks = [1.0]
    teller.begin("a", lambda: [counter(looks[0])])
    first, looks[0] = teller.tell(), 2.0
    second = teller.tell()
    teller.begin("b", tuple)
    third = teller.tell()
    assert first == Told(life="a", number=1, families=(counter(1.0),))
    assert second == Told(life="a", number=2, families=(counter(2.0),))
    assert third == Told(life="b", number=1, families=())
