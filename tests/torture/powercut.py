"""Real power cuts under the real command: its batch lies on a file system that forgets what was not synced.

    python -m tests.torture.powercut --provider venice --cuts 200 --seed 1
    python -m tests.torture.powercut --teeth            # every weakness must be noticed

A batch is run; at a random moment the command is killed and the power of its disk is cut; it is run again, cut again,
until it comes to its end. The vendor is the sandbox in another process, with its state on another disk, and every claim
bills. Half of the moments are times, half are changes of the disk ("the 57th sync does not return").

Judged after every cut, on a copy, so that judging mends nothing: the ledger is sound and knows of every charge, and
every final name bears a whole clip, the ledger's. Judged at the end: as under SIGKILL. Violations are printed and make
the exit code 1. The seed decides the moments and what is forgotten; the machine decides what happens in between.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ClipmillError, Exit
from pipeline.paths import BatchFolder
from tests.torture.forgetful_disk import Change, Forgotten
from tests.torture.forgetful_fs import Mount, mounted
from tests.torture.verdict import (
    MODELS,
    Tally,
    accepted_since,
    ask,
    environment,
    is_doubt,
    jobs_of,
    judge,
    judge_charges,
    judge_clips,
    report,
    requests_made,
    sandbox,
    worst_case,
    write_manifest,
)
from tests.torture.weakened import VARIABLE, WEAKNESSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.jobs.job import Job

SHORTEST_S = 0.25
LONGEST_S = 1.3
CHANGES_AN_ITEM = {Change.CREATE: 3, Change.WRITE: 60, Change.SYNC: 10, Change.NAME: 3}
"""About half of what a batch makes of each kind from its beginning to its end, for each of its items."""
POLL_S = 0.02
FADES_S = 0.05
"""How long the command may outlive its disk: calls that wait for no disk still leave."""
HANGS_S = 60.0
PAUSES_MOST = 3
"""How often a batch that paused is run again; it does so after three runs in a row that died and left a doubt."""


@dataclass(kw_only=True)
class Torture:
    """One series of batches on one disk. The mutable state is the figures."""

    provider: str
    mount: Mount
    manifest: Path
    items: int
    urls: Mapping[str, str]
    scratch: Path
    """A folder on a disk whose power is not cut."""
    rng: random.Random
    weakness: str | None = None
    total: Tally = field(default_factory=Tally)
    forgotten: Forgotten = field(default_factory=Forgotten)

    def run_batch(self, most_cuts: int) -> None:
        """Run the manifest in a new batch folder to its end, through cuts, and judge it."""
        batch = Batch(torture=self, root=self.mount.folder / f"batch{self.total.batches}")
        batch.run_to_the_end(most_cuts)
        self.total.add(batch.tally)

    def start(self, root: Path, log: Any) -> subprocess.Popen[bytes]:
        """Start the command on a batch folder."""
        around = environment(self.urls, self.mount.folder / "state")
        module = "pipeline"
        if self.weakness is not None:
            around[VARIABLE] = self.weakness
            module = "tests.torture.weakened"
        command = [sys.executable, "-m", module, "run", str(self.manifest), "-o", str(root), "--yes"]
        return subprocess.Popen(command, env=around, stdout=log, stderr=log)

    def strike(self, child: subprocess.Popen[bytes]) -> bool:
        """Cut the power at a random moment of a run; tell whether the run was still there to be struck."""
        if self.rng.random() < 0.5:
            kind = self.rng.choice(list(CHANGES_AN_ITEM))
            self.mount.fail_at(kind, self.rng.randint(1, CHANGES_AN_ITEM[kind] * self.items))
            most_s = HANGS_S
        else:
            most_s = self.rng.uniform(SHORTEST_S, LONGEST_S)
        ends = time.monotonic() + most_s
        while child.poll() is None:
            if self.mount.failing(POLL_S) or time.monotonic() > ends:
                time.sleep(self.rng.uniform(0, FADES_S))
                child.kill()
                self.mount.power_off()
                child.wait()
                self._count(self.mount.power_on())
                return True
        self.mount.fail_never()
        return False

    def _count(self, forgotten: Forgotten) -> None:
        for name in ("names", "lost", "torn", "kept"):
            setattr(self.forgotten, name, getattr(self.forgotten, name) + getattr(forgotten, name))


@dataclass(kw_only=True)
class Batch:
    """One batch under torture. The mutable state is its tally and how many doubts the last cut left."""

    torture: Torture
    root: Path
    tally: Tally = field(default_factory=lambda: Tally(batches=1))
    doubts_before: int = 0
    accepted_before: set[str] = field(default_factory=set)

    def run_to_the_end(self, most_cuts: int) -> None:
        """Run it until it ends by itself, cutting the power now and then, and judge it."""
        self.accepted_before = set(self._bill()["jobs"])
        log_file = self.torture.scratch / f"{self.root.name}.log"
        with log_file.open("wb") as log:
            code = self._run_through_cuts(most_cuts, log)
            if code not in {Exit.DONE, Exit.SOME_IN_DOUBT}:
                self._note(f"{self.root}: the run ended with exit code {code}; its log ends: {_last_line(log_file)}")
            before = requests_made(self.torture.urls)
            code = self._await(self.torture.start(self.root, log))
            after = requests_made(self.torture.urls)
        if code not in {Exit.DONE, Exit.SOME_IN_DOUBT} or after != before:
            self._note(f"{self.root}: run with nothing to do, exit code {code}, it made {after - before} requests")
        judge(self.root, self._bill(), self.accepted_before, self.tally)
        self.tally.violations = list(dict.fromkeys(self.tally.violations))

    def _run_through_cuts(self, most_cuts: int, log: Any) -> int:
        pauses = 0
        while True:
            child = self.torture.start(self.root, log)
            if self.tally.crashes < most_cuts and self.torture.strike(child):
                self.tally.crashes += 1
                self._judge_after_cut()
                continue
            code = self._await(child)
            pauses += 1
            if code != Exit.PAUSED or pauses > PAUSES_MOST:
                return code

    def _await(self, child: subprocess.Popen[bytes]) -> int:
        try:
            return child.wait(HANGS_S)
        except subprocess.TimeoutExpired:
            child.kill()
            self._note(f"{self.root}: the run was still not at its end after {HANGS_S:.0f} s")
            return child.wait()

    def _judge_after_cut(self) -> None:
        """Hold what survived a cut against the bill and the folder."""
        try:
            jobs = self._surviving_jobs()
        except (ClipmillError, sqlite3.Error) as error:
            self._note(f"{self.root}: a cut broke the ledger: {error}")
            return
        doubts = sum(map(is_doubt, jobs))
        self.tally.doubts_most_a_crash = max(self.tally.doubts_most_a_crash, doubts - self.doubts_before)
        self.doubts_before = doubts
        vendor = accepted_since(self._bill(), self.accepted_before)
        self._note(*judge_clips(self.root, jobs), *judge_charges(self.root, jobs, vendor))

    def _surviving_jobs(self) -> list[Job]:
        """Read a copy of the ledger as a cut left it, its journal included."""
        with tempfile.TemporaryDirectory(dir=self.torture.scratch) as folder:
            copy = BatchFolder(Path(folder))
            ledger = BatchFolder(self.root).ledger
            for file in ledger.parent.glob(f"{ledger.name}*"):
                shutil.copyfile(file, copy.root / file.name)
            jobs = jobs_of(copy.root)
            if jobs:
                with closing(sqlite3.connect(copy.ledger)) as database:
                    (said,) = database.execute("PRAGMA integrity_check(1)").fetchone()
                if said != "ok":
                    raise sqlite3.DatabaseError(said)
            return jobs

    def _bill(self) -> Any:
        return ask(self.torture.urls["bill"])

    def _note(self, *violations: str) -> None:
        self.tally.violations += violations


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or [""])[-1]


def torture(
    provider: str,
    *,
    cuts: int,
    seed: int,
    items: int = 16,
    cuts_per_batch: int = 8,
    speed: float = 200.0,
    weakness: str | None = None,
) -> Torture:
    """Cut the power so many times, or until the first violation where a weakness is to be noticed.

    Raises:
        NotMounted: there is no forgetful file system to be had here.
    """
    with tempfile.TemporaryDirectory(prefix="clipmill-powercut-") as temporary:
        scratch = Path(temporary)
        disk = scratch / "disk"
        disk.mkdir()
        manifest = scratch / "m.yaml"
        write_manifest(manifest, provider, items, speed)
        with mounted(disk, seed=seed) as mount, sandbox(scratch, *worst_case(speed, seed)) as urls:
            series = Torture(
                provider=provider,
                mount=mount,
                manifest=manifest,
                items=items,
                urls=urls,
                scratch=scratch,
                rng=random.Random(seed),
                weakness=weakness,
            )
            while series.total.crashes < cuts and not (weakness and series.total.violations):
                series.run_batch(min(cuts_per_batch, cuts - series.total.crashes))
            return series


def show_teeth(providers: Sequence[str], weaknesses: Sequence[str], cuts: int, seed: int) -> int:
    """Print for every weakness after how many cuts it was noticed; return 1 if one was not."""
    print(f"{'weakness':18}{'provider':10}{'cuts':>5}{'violations':>12}  the first")
    unnoticed = 0
    for weakness in weaknesses:
        for provider in providers:
            total = torture(provider, cuts=cuts, seed=seed, weakness=weakness).total
            first = total.violations[0].rpartition("/")[2] if total.violations else "NOT NOTICED"
            unnoticed += not total.violations
            print(f"{weakness:18}{provider:10}{total.crashes:5}{len(total.violations):12}  {first[:110]}", flush=True)
    return 1 if unnoticed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture one provider's path, or show that the torture notices weaknesses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(MODELS), default="modelmax")
    parser.add_argument("--cuts", type=int, default=40)
    parser.add_argument("--cuts-per-batch", type=int, default=8)
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=200.0)
    parser.add_argument("--mutant", choices=sorted(WEAKNESSES), help="weaken the command; stops at the first violation")
    parser.add_argument("--teeth", action="store_true", help="try every weakness on every provider")
    options = parser.parse_args(arguments)
    if options.teeth:
        return show_teeth(sorted(MODELS), list(WEAKNESSES), options.cuts, options.seed)
    began = time.monotonic()
    series = torture(
        options.provider,
        cuts=options.cuts,
        seed=options.seed,
        items=options.items,
        cuts_per_batch=options.cuts_per_batch,
        speed=options.speed,
        weakness=options.mutant,
    )
    gone = series.forgotten
    told = (
        f"powercut {options.provider} seed {options.seed}{f' {options.mutant}' if options.mutant else ''}: "
        f"{series.total.line('power cuts')}; forgotten: {gone.names} names, {gone.lost} files lost and {gone.torn} "
        f"torn; {time.monotonic() - began:.0f} s"
    )
    return report(told, series.total)


if __name__ == "__main__":
    sys.exit(main())
