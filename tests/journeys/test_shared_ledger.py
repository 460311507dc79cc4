"""Several workers on one batch: real processes, a real PostgreSQL, the sandbox with limits, and SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.torture.verdict import MODELS, ask, environment, judge_clips, sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.jobs.job import Job
    from tests.support.postgres import Server

LEASE_S = 3.0
SPEED = 60
ITEMS = 40
LOOKS_PER_MINUTE = 480
FORM = """version: 1
name: journey
provider: {provider}
{model}
clips:
  - {{id: clip, prompt: "Wave {{n}}", matrix: {{n: {numbers}}}}}
limits: {{submits_per_minute: {submits}, looks_per_minute: {looks}, in_flight: 8}}
"""


class Shared:
    """One batch and the workers at it; the vendor keeps its limits and bills every claim."""

    def __init__(self, folder: Path, server: Server, urls: dict[str, str], provider: str) -> None:
        self.folder, self.server, self.urls = folder, server, urls
        self.root = folder / f"{provider}-{os.urandom(4).hex()}"
        self.environ = environment(urls, folder / "state")
        self.dsn = server.dsn
        self.workers: list[subprocess.Popen[str]] = []
        text = FORM.format(
            provider=provider,
            model=MODELS[provider],
            numbers=list(range(1, ITEMS + 1)),
            submits=40 * SPEED,
            looks=LOOKS_PER_MINUTE,
        )
        (folder / "m.yaml").write_text(text)

    def start(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipeline", "run", "m.yaml", "-o", str(self.root), "--yes", "--json"]
        command += ["--ledger", self.dsn, "--lease", str(LEASE_S), *more]
        pipe = subprocess.PIPE
        # As on another machine: nothing that a user's processes share on this one is there.
        around = {**self.environ, "XDG_STATE_HOME": str(self.folder / f"state{len(self.workers)}")}
        worker = subprocess.Popen(command, cwd=self.folder, env=around, text=True, stdout=pipe, stderr=pipe)
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """Leave nobody behind."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.communicate()
        self.server.drop(f"clipmill_{self.root.name}")

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environ, text=True, capture_output=True, timeout=60)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(self.server.connect(f'"clipmill_{self.root.name}"')) as database:
            try:
                return database.execute(query).fetchall()  # type: ignore[call-overload]
            except psycopg.errors.UndefinedTable:  # nobody has laid it out yet
                return [(0,)]

    def wait_until(self, what: str, at_least: int, within_s: float = 30.0) -> None:
        until_s = time.monotonic() + within_s
        while self.rows(what)[0][0] < at_least:
            assert time.monotonic() < until_s, f"{what} stayed below {at_least}"
            time.sleep(0.02)

    def jobs(self) -> list[Job]:
        from pipeline.ledger.reader import reading
        from pipeline.paths import BatchFolder
        from pipeline.system.effects import system

        with reading(BatchFolder(self.root).ledger, system()) as reader:
            return list(reader.jobs())

    def looks(self) -> int:
        """Return how many looks the vendor has seen."""
        endpoints = ask(f"{self.urls['sandbox']}/sandbox/requests")["endpoints"]
        return sum(sum(endpoints.get(name, {}).values()) for name in ("modelmax-status", "venice-retrieve"))

    def judge(self) -> Counter[str]:
        """Hold the vendor's bill and the clips against the ledger; return how many items are in each state."""
        jobs = self.jobs()
        charged = Counter(charge["prompt"] for charge in self.charges())
        states = Counter(job.state.value for job in jobs)
        assert len(jobs) == ITEMS
        assert max(charged.values()) == 1, "something was paid twice"
        for job in jobs:
            if job.state.value == "done":
                assert charged[job.request.prompt] == 1
        assert charged.total() <= states["done"] + states["claim_in_doubt"] + states["submit_in_doubt"]
        assert judge_clips(self.root, jobs) == []
        return states

    def charges(self) -> list[dict[str, Any]]:
        bill = ask(self.urls["bill"])
        prompts = {job_id: job["prompt"] for job_id, job in bill["jobs"].items()}
        return [{"prompt": prompts[job_id]} for job_id, job in bill["jobs"].items() for _ in range(job["charges"])]


@pytest.fixture(params=["modelmax", "venice"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, postgres: Server) -> Iterator[Shared]:
    options = ("--speed", str(SPEED), "--render", "template", "--claim-bills", "every")
    with sandbox(tmp_path, *options) as urls:
        batch = Shared(tmp_path, postgres, urls, request.param)
        yield batch
        batch.close()


def ended(worker: subprocess.Popen[str], *codes: int) -> dict[str, Any]:
    out, err = worker.communicate(timeout=90)
    assert worker.returncode in codes, err
    return json.loads(out)  # type: ignore[no-any-return]


AT_VENDOR = "SELECT count(*) FROM item WHERE state IN ('submitted', 'claiming', 'claimed')"


def test_two_workers_share_a_batch_and_each_buys_what_the_other_does_not(shared: Shared) -> None:
    began_s = time.monotonic()
    workers = [shared.start(), shared.start()]
    told = [ended(worker, 0) for worker in workers]
    took_s = time.monotonic() - began_s

    assert [each["done"] for each in told] == [ITEMS, ITEMS], "who ends first waits for the other"
    assert shared.judge() == {"done": ITEMS}
    by_epoch = shared.rows("SELECT epoch, count(*) FROM event WHERE kind = 'submit_started' GROUP BY epoch")
    assert sum(count for _, count in by_epoch) == ITEMS
    assert len(by_epoch) == 2, "both had a part in it"
    looks = shared.looks()
    assert ITEMS <= looks <= LOOKS_PER_MINUTE / 60 * took_s, "they keep to one limit together"


def test_what_a_killed_worker_had_is_taken_over_within_its_lease_and_nothing_is_paid_twice(shared: Shared) -> None:
    first, second = shared.start(), shared.start()
    shared.wait_until("SELECT count(DISTINCT epoch) FROM event WHERE kind = 'submit_accepted'", 2)
    first.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    first.communicate()
    (dead,) = (
        epoch for epoch, about in shared.rows("SELECT epoch, about FROM run") if json.loads(about)["pid"] == first.pid
    )
    shared.wait_until(f"SELECT count(*) FROM run WHERE epoch = {dead} AND lost", 1)
    took_s = time.monotonic() - killed_at
    had = f"SELECT count(*) FROM item WHERE owner = {dead} AND state IN ('planned', 'submitted', 'claimed')"
    told = ended(second, 0, 4)

    assert took_s < 2 * LEASE_S
    assert shared.rows(had) == [(0,)]
    states = shared.judge()
    assert states["done"] + states["claim_in_doubt"] + states["submit_in_doubt"] == ITEMS
    assert told["in_doubt"] <= 2, "no more than there are billing calls at once"


def test_a_worker_that_was_suspended_finds_itself_fenced_and_the_other_has_finished_its_work(shared: Shared) -> None:
    first, second = shared.start(), shared.start()
    shared.wait_until("SELECT count(DISTINCT epoch) FROM event WHERE kind = 'submit_accepted'", 2)
    first.send_signal(signal.SIGSTOP)
    shared.wait_until("SELECT count(*) FROM run WHERE lost", 1)
    told = ended(second, 0, 4)
    first.send_signal(signal.SIGCONT)
    out, err = first.communicate(timeout=60)

    assert first.returncode == (5 if told["in_doubt"] else 0), err
    assert "was silent for longer than its lease" in json.loads(out)["paused_because"]
    states = shared.judge()
    assert states["done"] + told["in_doubt"] == ITEMS


def test_commands_work_while_workers_do(shared: Shared) -> None:
    worker = shared.start()
    shared.wait_until("SELECT count(*) FROM item WHERE state = 'done'", 1)

    status = shared.call("status", str(shared.root), "--json")
    results = shared.call("results", str(shared.root), "--json")
    check = shared.call("check", str(shared.root), "--json")
    repair = shared.call("check", str(shared.root), "--repair")

    assert json.loads(status.stdout)["batches"][0]["running"] is True
    assert len(json.loads(results.stdout)["results"]) == ITEMS
    assert check.returncode == 0, check.stdout
    assert repair.returncode == 75
    assert f"process {worker.pid}" in repair.stderr
    ended(worker, 0)
    assert shared.call("check", str(shared.root)).returncode == 0


def test_a_password_is_kept_nowhere_and_shown_to_nobody(shared: Shared) -> None:
    secret = "canary-of-a-password"
    shared.dsn = shared.server.dsn.replace("@", f":{secret}@")
    worker = shared.start("--limit", "1")
    out, err = worker.communicate(timeout=60)

    assert worker.returncode == 0, err
    assert "PGPASSWORD" in err
    assert secret not in out + err
    told = [path for path in shared.root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert told == []
    assert secret not in str(shared.rows("SELECT value FROM meta UNION ALL SELECT about FROM run"))
    assert os.stat(shared.root / "ledger.postgresql").st_mode & 0o077 == 0
