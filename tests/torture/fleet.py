"""A crew on a real Ray cluster, its workers and nodes killed, against the sandbox in another process.

    python -m tests.torture.fleet --times 10 --seed 1       kill one worker and one node of each batch
    python -m tests.torture.fleet --makespans --seed 1      the same batch with 1, 2 and 4 workers, under one limit
    python -m tests.torture.fleet --decoding --seed 1        a batch that waits for nothing but processors, the same

The ledger is a real PostgreSQL server. The sandbox keeps its limits and its own bill; when a batch has come to its end,
the bill is held against the ledger and the folder. Violations are printed and make the exit code 1. The seed decides
whom to kill and when; the machine decides what happens then.
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
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from pipeline.errors import Exit
from pipeline.ledger.postgres.address import Address
from tests.support import postgres, rays
from tests.torture.verdict import MODELS, Tally, ask, environment, judge, requests_made, sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tests.support.rays import RayCluster

FORM = """version: 1
name: fleet
provider: venice
{model}
clips:
  - {{id: clip, prompt: "Wave {{n}}", matrix: {{n: {numbers}}}}}
limits: {{submits_per_minute: {submits}, looks_per_minute: {looks}}}
"""
KEY = "fleet-canary-5f1c9d2e7ab84036"
SPEED = 30
SUBMITS, LOOKS = 10, 120
"""A minute of the vendor's. Its window is a minute of ours, so that the last items wait for the first to leave it."""
LEASE_S = 4.0
LOOK_ROUND_S = LEASE_S / 3
SLACK_S = 2.0
"""For a machine of two processors on which a cluster, a server and a vendor run."""
ENDS_WITHIN_S = 300.0
PAUSES_MOST = 20
"""Of all batches: after three deaths in a row that each left a doubt nothing more is bought, and the next run does."""
STATES_AT_WORK = ("submitting", "submitted", "claiming", "claimed")


@dataclass
class Figures:
    """What was seen. All of it is added up over the batches."""

    workers_killed: int = 0
    nodes_killed: int = 0
    held: int = 0
    """Items that the dead had at a vendor."""
    taken_over_s: list[float] = field(default_factory=list)
    """After which time they were others', where others were at work."""
    waited_s: list[float] = field(default_factory=list)
    """The same where nobody was, so that they waited for the first that Ray started again."""
    throttled: int = 0
    paused: int = 0
    memory_bytes: list[int] = field(default_factory=list)
    """Of each worker, its own and its share of what it shares."""


class Ground:
    """Where batches are carried out: a server, a cluster, a folder. The mutable state is the count of batches."""

    def __init__(self, folder: Path, server: postgres.Server, cluster: RayCluster) -> None:
        self.folder, self.server, self.cluster = folder, server, cluster
        self._batches = 0

    def batch(self, items: int, seed: int, *options: str, submits: int = SUBMITS, speed: int = SPEED) -> Batch:
        """Make a batch that has not begun."""
        self._batches += 1
        root = self.folder / f"fleet{os.getpid()}-{self._batches}"
        manifest = root.with_suffix(".yaml")
        numbers = list(range(1, items + 1))
        manifest.write_text(
            FORM.format(model=MODELS["venice"], numbers=numbers, submits=submits * speed, looks=LOOKS * speed)
        )
        limits = ("--venice-submits-per-minute", str(submits), "--venice-looks-per-minute", str(LOOKS))
        return Batch(self, root, manifest, ("--speed", str(speed), "--seed", str(seed), *limits, *options))


class Batch:
    """One batch and the process that has a crew carry it out."""

    def __init__(self, ground: Ground, root: Path, manifest: Path, sandbox_options: Sequence[str]) -> None:
        self.ground, self.root, self.manifest = ground, root, manifest
        self.sandbox_options = sandbox_options
        self.log = root.with_suffix(".log")
        self.schema = Address("", root.name).schema

    def vendor(self) -> AbstractContextManager[dict[str, str]]:
        """Run the vendor of this batch alone: its limits, its jobs and its bill begin here."""
        folder = self.root.with_suffix(".vendor")
        folder.mkdir()
        return sandbox(folder, *self.sandbox_options)

    def command(self) -> list[str]:
        """Return the command of one process."""
        of_batch = [str(self.manifest), "-o", str(self.root), "--yes"]
        shared = ["--ledger", self.ground.server.dsn, "--lease", str(LEASE_S)]
        return [sys.executable, "-m", "pipeline", "run", *of_batch, *shared]

    def start(self, urls: Mapping[str, str], workers: int, *options: str) -> subprocess.Popen[bytes]:
        """Start the process that has a crew carry it out."""
        crew = ["--engine", "ray", "--workers", str(workers), "--address", self.ground.cluster.address, *options]
        with self.log.open("ab") as log:
            return subprocess.Popen([*self.command(), *crew], env=self.environ(urls), stdout=log, stderr=log)

    def environ(self, urls: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of that process; the nodes know neither the key nor the address."""
        return {**environment(urls, self.ground.folder / "driver"), "VENICE_API_KEY": KEY, **rays.ON_LOOPBACK}

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return what the ledger says; nothing while there is none."""
        with closing(self.ground.server.connect(self.schema)) as database:
            there = database.execute("SELECT to_regclass('item')").fetchone()
            return database.execute(query, values).fetchall() if there and there[0] else []  # type: ignore[call-overload]

    def at_work(self) -> dict[int, int]:
        """Return the workers that are at work: the process of each epoch."""
        found = self.rows("SELECT epoch, about FROM run WHERE ended_at IS NULL AND NOT lost ORDER BY epoch")
        pids = {epoch: json.loads(about)["pid"] for epoch, about in found}
        return {epoch: pid for epoch, pid in pids.items() if self.ground.cluster.node_of(pid) is not None}

    def held_by(self, epoch: int) -> int:
        """Return how many items an epoch has at a vendor."""
        query = "SELECT count(*) FROM item WHERE owner = %s AND state = ANY(%s)"
        found = self.rows(query, epoch, list(STATES_AT_WORK))
        return int(found[0][0]) if found else 0

    def submitted(self) -> int:
        """Return how many items have been submitted."""
        found = self.rows("SELECT count(*) FROM item WHERE state <> 'planned'")
        return int(found[0][0]) if found else 0

    def makespan_s(self, last: str = "clip_published") -> float:
        """Return how long it took from the first submit to the last event of a kind."""
        query = (
            "SELECT extract(epoch FROM max(at::timestamptz) FILTER (WHERE kind = %s)"
            " - min(at::timestamptz) FILTER (WHERE kind = 'submit_started')) FROM event"
        )
        return float(self.rows(query, last)[0][0])


def strike(batch: Batch, rng: random.Random, figures: Figures, *, node: bool) -> int:
    """Kill a worker, or the node of one, once it has something at the vendor; return how many workers died."""
    cluster = batch.ground.cluster
    until_s = time.monotonic() + 20
    while True:
        alive = {epoch: pid for epoch, pid in batch.at_work().items() if batch.held_by(epoch)}
        if alive or time.monotonic() > until_s:
            break
        time.sleep(0.1)
    if not alive:
        return 0
    victim = rng.choice(sorted(alive))
    home = cluster.node_of(alive[victim])
    at_work = batch.at_work()
    dead = [each for each, pid in at_work.items() if each == victim or (node and cluster.node_of(pid) is home)]
    survivors = len(at_work) > len(dead)
    figures.memory_bytes += [rays.resident_bytes(pid) for pid in alive.values()]
    killed_s = time.monotonic()
    if node:
        cluster.kill_node(home)
        figures.nodes_killed += 1
    else:
        os.kill(alive[victim], signal.SIGKILL)
    figures.workers_killed += len(dead)
    figures.held += sum(map(batch.held_by, dead))
    while any(map(batch.held_by, dead)) and time.monotonic() < killed_s + 60:
        time.sleep(0.05)
    (figures.taken_over_s if survivors else figures.waited_s).append(time.monotonic() - killed_s)
    return len(dead)


def struck_batch(batch: Batch, rng: random.Random, workers: int, figures: Figures) -> Tally:
    """Have a crew carry out a batch while one worker and one node of it are killed, and judge what came of it."""
    tally = Tally(batches=1)
    cluster = batch.ground.cluster
    with batch.vendor() as urls:
        child = batch.start(urls, workers)
        try:
            until_s = time.monotonic() + 60
            while batch.submitted() < 20 and time.monotonic() < until_s and child.poll() is None:
                time.sleep(0.1)
            for node in rng.sample([False, True], 2):
                time.sleep(rng.uniform(0.5, 5.0))
                tally.crashes += strike(batch, rng, figures, node=node)
            tally.violations += judge_secrecy(batch)
            child.wait(ENDS_WITHIN_S)
            while child.returncode == Exit.PAUSED and figures.paused < PAUSES_MOST:
                figures.paused += 1
                child = batch.start(urls, workers)
                child.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            tally.violations.append(f"{batch.root}: it did not come to an end; see {batch.log}")
        finally:
            child.kill()
            child.wait()
        if child.returncode not in {Exit.DONE, Exit.SOME_IN_DOUBT}:
            tally.violations.append(f"{batch.root}: it ended with exit code {child.returncode}; see {batch.log}")
        figures.throttled += ask(f"{urls['sandbox']}/sandbox/requests")["throttled"]
        before = requests_made(urls)
        again = subprocess.run(batch.command(), env=batch.environ(urls), check=False, capture_output=True)
        after = requests_made(urls)
        if again.returncode not in {0, 4} or after != before:
            tally.violations.append(f"{batch.root}: running it with nothing to do made {after - before} requests")
        judge(batch.root, ask(urls["bill"]), set(), tally)
    tally.violations += [f"the key is in {path}" for path in rays.written_down(cluster.session, KEY.encode())]
    return tally


def judge_secrecy(batch: Batch) -> list[str]:
    """Check that the key is in the memory of the workers, and in that of no process of Ray's own."""
    key, servants = KEY.encode(), batch.ground.cluster.servants()
    wrong = []
    if not all(rays.holds(pid, key) for pid in batch.at_work().values()):
        wrong.append(f"{batch.root}: not even the workers seem to have the key, so it is looked for wrongly")
    return wrong + [f"{batch.root}: Ray's {pid} has the key" for pid in servants if rays.holds(pid, key)]


def struck(ground: Ground, *, times: int, items: int, workers: int, seed: int) -> tuple[Tally, Figures]:
    """Strike so many batches; return what was seen."""
    rng, total, figures = random.Random(seed), Tally(), Figures()
    for number in range(times):
        batch = ground.batch(items, seed + number, "--render", "template")
        total.add(struck_batch(batch, rng, workers, figures))
        print(f"  {number + 1}: {told(total, figures)}", flush=True)
        if total.violations:
            print(batch.log.read_text()[-3000:])
        while len(ground.cluster.nodes) < 2 and number + 1 < times:
            ground.cluster.add_node()
    longest_s = LEASE_S + LOOK_ROUND_S + SLACK_S
    late = [seconds for seconds in figures.taken_over_s if seconds > longest_s]
    total.violations += [f"work of the dead was taken over after {seconds:.1f} s" for seconds in late]
    total.violations += [f"{figures.throttled} calls were over the limit"] if figures.throttled else []
    return total, figures


def told(tally: Tally, figures: Figures) -> str:
    """Return the figures as one line."""
    over, waited = figures.taken_over_s, figures.waited_s
    memory = [each / 1e6 for each in figures.memory_bytes]
    return "; ".join(
        (
            tally.line("workers killed"),
            f"{figures.nodes_killed} nodes killed",
            f"{figures.held} items of the dead at the vendor",
            f"others' after {mean(over or [0]):.1f} s (at most {max(over, default=0):.1f}; lease {LEASE_S:.0f})",
            f"{len(waited)} times nobody was left, and it took {max(waited, default=0):.1f} s at most",
            f"{figures.throttled} calls over the limit",
            f"paused {figures.paused} times",
            f"{mean(memory or [0]):.0f} MB a worker",
        )
    )


def timed(ground: Ground, seed: int, crews: Sequence[int], *, items: int, decoding: bool) -> list[str]:
    """Carry the same batch out with crews of several sizes; return what it took, and violations of the 3 % first."""
    took: dict[int, float] = {}
    for workers in crews:
        options = ("--render", "template", *(("--no-limits", "--instant") if decoding else ()))
        batch = ground.batch(items, seed, *options, submits=2000 if decoding else SUBMITS)
        with batch.vendor() as urls:
            child = batch.start(urls, workers)
            try:
                child.wait(ENDS_WITHIN_S)
            finally:
                child.kill()
                child.wait()
            throttled = ask(f"{urls['sandbox']}/sandbox/requests")["throttled"]
        assert child.returncode == 0, batch.log.read_text()[-3000:]
        took[workers] = batch.makespan_s("clip_decoded" if decoding else "clip_published")
        print(f"  {workers} workers: {took[workers]:.2f} s, {throttled} calls over the limit", flush=True)
    spread = max(took.values()) / min(took.values()) - 1
    print(f"  spread {spread:.1%}")
    return [f"makespans differ by {spread:.1%}"] if spread > 0.03 and not decoding else []


@contextmanager
def standing_ground(nodes: int = 2) -> Iterator[Ground]:
    """Yield the ground, and leave no process and no folder behind."""
    with tempfile.TemporaryDirectory(prefix="clipmill-fleet-") as temporary:
        folder = Path(temporary)
        with closing(postgres.Server()) as server, rays.ray_cluster(folder, nodes) as cluster:
            yield Ground(folder, server, cluster)


def main(arguments: Sequence[str] | None = None) -> int:
    """Strike a crew, or time it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--makespans", action="store_true")
    parser.add_argument("--decoding", action="store_true")
    options = parser.parse_args(arguments)
    if postgres.programs() is None or not rays.is_installed():
        print(postgres.MISSING if postgres.programs() is None else rays.MISSING)
        return 2
    began_s = time.monotonic()
    with standing_ground() as ground:
        if options.makespans or options.decoding:
            wrong = timed(ground, options.seed, (1, 2, 4), items=options.items, decoding=options.decoding)
            print(f"fleet seed {options.seed}: {options.items} items; {time.monotonic() - began_s:.0f} s")
        else:
            total, figures = struck(
                ground, times=options.times, items=options.items, workers=options.workers, seed=options.seed
            )
            wrong = total.violations
            print(f"fleet seed {options.seed}: {told(total, figures)}; {time.monotonic() - began_s:.0f} s")
        for each in wrong[:20]:
            print(f"  {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
