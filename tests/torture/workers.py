"""Several workers on one shared ledger, and everything around them struck: workers, the server, connections.

    python -m tests.torture.workers --provider modelmax --batches 3 --seed 1

Each batch is carried out by some real `clipmill run` processes on a real PostgreSQL against the sandbox, which keeps
its limits and bills every claim. Meanwhile, at moments drawn from the seed, a worker is killed and another begins, the
server dies as with `pg_ctl stop -m immediate` and is started again, or all connections are cut. When the batch has come
to its end, the vendor's bill is held against the ledger and the folder. Violations make the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from pipeline.jobs.state import IN_DOUBT, State
from pipeline.ledger.postgres.address import Address
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.support.postgres import MISSING, Server, programs
from tests.torture.verdict import (
    CONCURRENT_BILLING,
    MODELS,
    accepted_since,
    ask,
    charges_by_prompt,
    environment,
    judge_charges,
    judge_clips,
    sandbox,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.jobs.job import Job

FORM = """version: 1
name: workers
provider: {provider}
{model}
clips:
  - {{id: clip, prompt: "Wave {{n}} of {batch}", matrix: {{n: {numbers}}}}}
limits: {{submits_per_minute: {submits}, looks_per_minute: {looks}, in_flight: {in_flight}}}
"""
SPEED = 60.0
LEASE_S = 2.0
STRIKES = {"worker": 0.5, "connections": 0.3, "server": 0.2}
ENDS_WITHIN_S = 240.0
FINE = {0, 4}
AGAIN = {5, 75}
"""Exit codes of a worker that was cut off, or taken over from: another is started in its place."""


@dataclass
class Seen:
    """What was done to batches, and what came of them."""

    batches: int = 0
    items: int = 0
    done: int = 0
    doubts: int = 0
    charges: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    took_over_s: list[float] = field(default_factory=list)
    """How long after each death of a worker its row was marked as lost."""
    throttled: int = 0
    violations: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the figures as one line."""
        strikes = ", ".join(f"{count} {name}" for name, count in sorted(self.strikes.items())) or "nothing"
        latest = f"{max(self.took_over_s):.1f} s after the death at the latest" if self.took_over_s else "none"
        return (
            f"{self.batches} batches, {self.items} items: {self.done} done, {self.doubts} in doubt, {self.charges} "
            f"charges; struck: {strikes}; taken over: {latest}; {self.throttled} answers of 429; "
            f"{len(self.violations)} violations"
        )


class Struck:
    """One batch and its workers. The mutable state is who is at work, and which deaths were not yet noticed."""

    def __init__(self, folder: Path, number: int, provider: str, server: Server, urls: Mapping[str, str]) -> None:
        self.root = folder / f"workers-{os.getpid()}-{number}"
        self.server, self.urls = server, urls
        self.provider = provider
        self.manifest = folder / f"{number}.yaml"
        self.environ = environment(urls, folder / "state")
        self.log = folder / f"{number}.log"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.deaths: dict[int, float] = {}
        self.before = set(ask(urls["bill"])["jobs"])
        self.crashes = 0

    def write(self, items: int, in_flight: int) -> None:
        """Write the manifest; every item has a prompt of its own."""
        self.manifest.write_text(
            FORM.format(
                provider=self.provider,
                model=MODELS[self.provider],
                batch=self.root.name,
                numbers=list(range(1, items + 1)),
                submits=40 * SPEED,
                looks=120 * SPEED,
                in_flight=in_flight,
            )
        )

    def start(self) -> None:
        """Start one more worker."""
        command = [sys.executable, "-m", "pipeline", "run", str(self.manifest), "-o", str(self.root), "--yes"]
        command += ["--ledger", self.server.dsn, "--lease", str(LEASE_S)]
        with self.log.open("ab") as log:
            self.workers.append(subprocess.Popen(command, env=self.environ, stdout=log, stderr=log))

    def strike(self, what: str) -> None:
        """Do one of the things that happen."""
        match what:
            case "worker":
                worker = self.workers.pop(0)
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                self.deaths[worker.pid] = time.monotonic()
                self.crashes += 1
                self.start()
            case "connections":
                self.server.cut_connections()
            case "server":
                self.server.crash()
                self.server.start()

    def look_for_the_dead(self, seen: Seen) -> None:
        """Note how long it took until somebody took over from whom was killed."""
        if not self.deaths:
            return
        schema = Address("", self.root.name).schema
        try:
            with closing(self.server.connect(schema)) as database:
                lost = database.execute("SELECT about FROM run WHERE lost").fetchall()
        except psycopg.Error:  # it is not there yet, or being struck
            return
        pids = {json.loads(str(about))["pid"] for (about,) in lost}
        for pid in pids & self.deaths.keys():
            seen.took_over_s.append(time.monotonic() - self.deaths.pop(pid))

    def close(self) -> None:
        """Leave nobody behind."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()

    def judge(self, seen: Seen) -> None:
        """Hold the finished batch against the vendor's bill and the folder."""
        wrong = seen.violations
        with reading(BatchFolder(self.root).ledger, system()) as reader:
            jobs = list(reader.jobs())
        bill = accepted_since(ask(self.urls["bill"]), self.before)
        charged = charges_by_prompt(bill)
        done = [job for job in jobs if job.state is State.DONE]
        doubts = [job for job in jobs if job.state in IN_DOUBT]
        wrong += [f"{job.item_id} ended {job.state}" for job in jobs if job.state not in {State.DONE, *IN_DOUBT}]
        wrong += [f"{prompt!r} was charged {times} times" for prompt, times in charged.items() if times > 1]
        wrong += [f"{job.item_id} is done and not paid for" for job in done if charged[job.request.prompt] != 1]
        wrong += judge_charges(self.root, jobs, bill) + judge_clips(self.root, jobs)
        wrong += self._judge_doubts(doubts)
        seen.batches += 1
        seen.items += len(jobs)
        seen.done += len(done)
        seen.doubts += len(doubts)
        seen.charges += charged.total()

    def _judge_doubts(self, doubts: Sequence[Job]) -> list[str]:
        most = CONCURRENT_BILLING * self.crashes
        return [f"{len(doubts)} doubts after {self.crashes} deaths of workers"] if len(doubts) > most else []


def carry_out(struck: Struck, rng: random.Random, seen: Seen, *, workers: int, strikes: int) -> None:
    """Let workers carry one batch out while things happen."""
    for _ in range(workers):
        struck.start()
    until_s = time.monotonic() + ENDS_WITHIN_S
    next_s = time.monotonic() + rng.uniform(1.0, 3.0)
    while struck.workers:
        struck.look_for_the_dead(seen)
        for worker in [worker for worker in struck.workers if worker.poll() is not None]:
            struck.workers.remove(worker)
            if worker.returncode in AGAIN:
                struck.start()
            elif worker.returncode not in FINE:
                seen.violations.append(f"{struck.root.name}: exit code {worker.returncode}; see {struck.log}")
        if time.monotonic() > until_s:
            seen.violations.append(f"{struck.root.name}: it did not come to its end; see {struck.log}")
            return
        if strikes and struck.workers and time.monotonic() >= next_s:
            what = rng.choices(list(STRIKES), list(STRIKES.values()))[0]
            struck.strike(what)
            seen.strikes[what] += 1
            strikes -= 1
            next_s = time.monotonic() + rng.uniform(0.5, 3.0)
        time.sleep(0.05)
    struck.judge(seen)


def torture(provider: str, seed: int, *, batches: int = 1, items: int = 40, workers: int = 3, strikes: int = 5) -> Seen:
    """Carry out so many batches, one server and one vendor for all of them, and return what was seen."""
    rng = random.Random(f"{provider}/{seed}")
    seen = Seen()
    with tempfile.TemporaryDirectory(prefix="clipmill-workers-") as temporary:
        folder = Path(temporary)
        server = Server()
        try:
            options = ("--speed", str(SPEED), "--render", "template", "--seed", str(seed), "--claim-bills", "every")
            with sandbox(folder, *options) as urls:
                for number in range(batches):
                    struck = Struck(folder, number, provider, server, urls)
                    struck.write(items, in_flight=3 * workers)
                    try:
                        carry_out(struck, rng, seen, workers=workers, strikes=strikes)
                    finally:
                        struck.close()
                    if seen.violations:
                        print(struck.log.read_text()[-6000:])
                        break
                endpoints = ask(f"{urls['sandbox']}/sandbox/requests")["endpoints"]
                seen.throttled = sum(statuses.get("429", 0) for statuses in endpoints.values())
        finally:
            server.close()
    return seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and torture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(MODELS), default="modelmax")
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--strikes", type=int, default=5, help="in each batch")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if programs() is None:
        print(MISSING)
        return 0
    began_s = time.monotonic()
    seen = torture(
        options.provider,
        options.seed,
        batches=options.batches,
        items=options.items,
        workers=options.workers,
        strikes=options.strikes,
    )
    print(f"workers {options.provider} seed {options.seed}: {seen.line()}; {time.monotonic() - began_s:.0f} s")
    for violation in seen.violations:
        print(f"  {violation}")
    return 1 if seen.violations else 0


if __name__ == "__main__":
    sys.exit(main())
