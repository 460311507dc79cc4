"""A real Ray cluster and a real PostgreSQL server judge a crew, through the death of a worker and of a node."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import postgres, rays
from tests.torture import fleet
from tests.torture.verdict import ask

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.judge,
    pytest.mark.timeout(600),
    pytest.mark.skipif(postgres.programs() is None, reason=postgres.MISSING),
    pytest.mark.skipif(not rays.is_installed(), reason=rays.MISSING),
]


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_crew_loses_a_worker_and_a_node_and_nothing_else() -> None:
    with fleet.standing_ground() as ground:
        total, figures = fleet.struck(ground, times=1, items=150, workers=3, seed=7)
        assert total.violations == []
        assert total.done + total.doubts == total.items == 150
        assert total.crashes == figures.workers_killed >= 2
        assert (figures.nodes_killed, figures.throttled) == (1, 0)
        assert figures.held > 0


def told(file: Path) -> dict[tuple[str, str], float]:
    """Read the figures as Prometheus does: sums by name and worker."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(file.read_text() if file.exists() else ""):
        for sample in family.samples:
            assert sample.labels["batch"] == "fleet"
            key = sample.name, sample.labels.get("worker", "")
            found[key] = found.get(key, 0.0) + sample.value
    return found


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("kill", [False, True])
def test_the_figures_of_all_workers_are_told_in_one_place(tmp_path: Path, kill: bool) -> None:
    file = tmp_path / "fleet.prom"
    seen: list[dict[tuple[str, str], float]] = []
    with fleet.standing_ground() as ground:
        batch = ground.batch(60, 5, "--render", "template")
        with batch.vendor() as urls:
            child = batch.start(urls, 2, "--metrics", str(file))
            killed: list[int] = []
            try:
                while child.poll() is None:
                    seen.append(told(file))
                    at_work = batch.at_work()
                    if kill and not killed and len(at_work) == 2 and seen[-1].get(("clipmill_looks_total", ""), 0) > 20:
                        killed.append(at_work[max(at_work)])
                        os.kill(killed[0], signal.SIGKILL)
                    time.sleep(0.2)
            finally:
                child.kill()
                child.wait()
            assert child.returncode in ({0, 4} if kill else {0}), batch.log.read_text()[-3000:]
            requests = ask(f"{urls['sandbox']}/sandbox/requests")["endpoints"]
    last = told(file)
    assert len(killed) == kill
    for name in ("clipmill_submits_total", "clipmill_looks_total", "clipmill_downloaded_bytes_total"):
        values = [each.get((name, ""), 0.0) for each in (*seen, last)]
        assert values == sorted(values), f"{name} shrank"
    assert any(each.get(("clipmill_in_flight", worker), 0) > 0 for each in seen for worker in "12")
    assert all(any(each.get(("clipmill_worker_at_work", worker)) == 1.0 for each in seen) for worker in "12")
    assert (last["clipmill_run", ""], last["clipmill_worker_at_work", "1"]) == (0.0, 0.0)
    assert last["clipmill_items", ""] == 60
    assert last["clipmill_committed_usd", ""] > 0
    clips, submits = last["clipmill_clips_total", ""], last["clipmill_submits_total", ""]
    looks = last["clipmill_looks_total", ""], requests["venice-retrieve"]["200"]
    if kill:  # what a worker did between its last report and its death is in no counter
        assert 30 < clips <= 60
        assert 30 < submits <= 62
        assert looks[0] <= looks[1]
    else:
        assert clips == submits == 60
        assert looks[0] == looks[1]
