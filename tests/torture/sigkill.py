"""Real SIGKILLs of the real command, against the sandbox in another process, worst-case billing: every claim bills.

    python -m tests.torture.sigkill --provider modelmax --kills 200 --seed 1

A batch is run, killed at a random moment, run again, killed again, until it comes to its end; then the sandbox's own
bill is held against the ledger and the folder. Violations are printed and make the exit code 1. The seed decides the
moments; the machine decides what happens in them.
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
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.clips.mp4 import walk
from pipeline.clips.publish import verify_file
from pipeline.effects import SystemFiles, system
from pipeline.jobs.state import IN_DOUBT, ClipState, State
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.providers.base import BilledAt
from pipeline.providers.registry import find_provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.jobs.job import Job

CONCURRENT_BILLING = 2
MODELS = {
    "modelmax": "model: veo-3\nparameters: {duration_seconds: 4}",
    "venice": "model: wan-2-7-text-to-video\nparameters: {duration_seconds: 5, aspect_ratio: 16:9, resolution: 720p}",
}
FORM = """version: 1
name: torture
provider: {provider}
{model}
clips:
  - {{id: clip, prompt: A wave, repeat: {items}}}
"""


@dataclass
class Tally:
    """What a torture run has seen."""

    batches: int = 0
    kills: int = 0
    items: int = 0
    done: int = 0
    doubts: int = 0
    charges: int = 0
    charged_doubts: int = 0
    doubts_most_a_kill: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add another run's figures."""
        for name in ("batches", "kills", "items", "done", "doubts", "charges", "charged_doubts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.doubts_most_a_kill = max(self.doubts_most_a_kill, other.doubts_most_a_kill)
        self.violations += other.violations

    def line(self) -> str:
        """Return the figures as one line."""
        return (
            f"{self.kills} SIGKILLs, {self.batches} batches, {self.items} items: {self.done} done, {self.doubts} in "
            f"doubt (of which charged {self.charged_doubts}; {self.doubts / max(self.kills, 1):.2f} a kill, at most "
            f"{self.doubts_most_a_kill}), {self.charges} charges, {len(self.violations)} violations"
        )


@contextmanager
def sandbox(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """Run `clipmill sandbox` as a process of its own; yield its addresses."""
    command = [sys.executable, "-m", "pipeline", "sandbox", "--state", str(folder / "vendor.sqlite"), *options]
    with (folder / "vendor.log").open("wb") as log:
        child = subprocess.Popen([*command, "--until-eof"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            assert child.stdout is not None
            yield json.loads(child.stdout.readline())
        finally:
            child.terminate()
            child.communicate()


def ask(url: str) -> Any:
    """Fetch JSON from the sandbox."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def environment(urls: dict[str, str]) -> dict[str, str]:
    """Return an environment in which both providers are the sandbox."""
    return {
        **os.environ,
        "MODELMAX_API_KEY": "torture",
        "VENICE_API_KEY": "torture",
        "MODELMAX_BASE_URL": urls["modelmax"],
        "VENICE_BASE_URL": urls["venice"],
    }


def torture_batch(
    manifest: Path, root: Path, urls: dict[str, str], rng: random.Random, most_kills: int, *, longest_s: float
) -> Tally:
    """Run one manifest to its end through kills, and judge it by the vendor's bill."""
    tally = Tally(batches=1)
    command = [sys.executable, "-m", "pipeline", "run", str(manifest), "-o", str(root), "--yes"]
    accepted_before = set(ask(urls["bill"])["jobs"])
    doubts_before = 0
    with root.with_suffix(".log").open("wb") as log:
        while True:
            child = subprocess.Popen(command, env=environment(urls), stdout=log, stderr=log)
            if tally.kills >= most_kills:
                child.wait()
                break
            try:
                child.wait(rng.uniform(0.25, longest_s))
                break
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
                tally.kills += 1
                in_doubt = sum(map(is_doubt, jobs_of(root)))
                tally.doubts_most_a_kill = max(tally.doubts_most_a_kill, in_doubt - doubts_before)
                doubts_before = in_doubt
    if child.returncode not in {0, 4}:
        tally.violations.append(f"{root}: the run ended with exit code {child.returncode}; see {log.name}")
    before = requests_made(urls)
    again = subprocess.run([*command], env=environment(urls), check=False, capture_output=True)
    after = requests_made(urls)
    if again.returncode not in {0, 4} or after != before:
        tally.violations.append(f"{root}: running it with nothing to do made {after - before} requests")
    judge(root, ask(urls["bill"]), accepted_before, tally)
    return tally


def is_doubt(job: Job) -> bool:
    """Tell whether a job is in doubt, or will be found so by the next run."""
    bills_at_submit = find_provider(job.provider).capabilities.billed_at is BilledAt.SUBMIT
    return job.state in IN_DOUBT or job.state is (State.SUBMITTING if bills_at_submit else State.CLAIMING)


def requests_made(urls: dict[str, str]) -> int:
    """Return how many calls both vendors' endpoints have seen."""
    endpoints = ask(f"{urls['sandbox']}/sandbox/requests")["endpoints"]
    return sum(
        sum(statuses.values()) for name, statuses in endpoints.items() if name.startswith(("modelmax", "venice"))
    )


def jobs_of(root: Path) -> list[Job]:
    """Read the jobs of a batch; a batch that was killed before it had a ledger has none."""
    folder = BatchFolder(root)
    if not folder.ledger.exists() or not folder.ledger.stat().st_size:
        return []
    with reading(folder.ledger, system()) as reader:
        return list(reader.jobs())


def judge(root: Path, bill: Any, accepted_before: set[str], tally: Tally) -> None:
    """Hold a finished batch against the vendor's bill: money, clips, names."""
    wrong = tally.violations
    jobs = jobs_of(root)
    vendor = {job_id: job for job_id, job in bill["jobs"].items() if job_id not in accepted_before}
    done = [job for job in jobs if job.state is State.DONE]
    doubts = [job for job in jobs if job.state in IN_DOUBT]
    wrong += [f"{root}: {job.item_id} ended {job.state}" for job in jobs if job.state not in {State.DONE, *IN_DOUBT}]
    wrong += [f"{root}: {job_id} was charged {v['charges']} times" for job_id, v in vendor.items() if v["charges"] > 1]
    charges = sum(job["charges"] for job in vendor.values())
    if not len(done) <= charges <= len(done) + len(doubts):
        wrong.append(f"{root}: {charges} charges for {len(done)} done and {len(doubts)} in doubt")
    if len(doubts) > CONCURRENT_BILLING * tally.kills:
        wrong.append(f"{root}: {len(doubts)} doubts after {tally.kills} kills")
    for job in done:
        if vendor.get(job.job_id, {}).get("charges") != 1:
            wrong.append(f"{root}: {job.item_id} is done, and its job was charged {vendor.get(job.job_id)}")
    wrong += judge_files(root, jobs)
    tally.items += len(jobs)
    tally.done += len(done)
    tally.doubts += len(doubts)
    tally.charges += charges
    tally.charged_doubts += charges - len(done)


def judge_files(root: Path, jobs: Sequence[Job]) -> list[str]:
    """Check that every final name bears a whole clip that the ledger knows, and that nothing else is left."""
    wrong = []
    files = SystemFiles()
    clips = {clip.file: clip for job in jobs for clip in job.clips if clip.state is ClipState.DONE}
    present = {f"clips/{path.name}" for path in (root / "clips").iterdir()}
    wrong += [f"{root}: {name} is missing" for name in clips.keys() - present]
    wrong += [f"{root}: {name} is not in the ledger" for name in present - clips.keys()]
    for name in clips.keys() & present:
        path = root / name
        walk(lambda offset, size, path=path: files.read(path, offset, size), path.stat().st_size)
        if not verify_file(files, path, clips[name].sha256, clips[name].size_bytes):
            wrong.append(f"{root}: {name} is not what the ledger says")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture one provider's path until enough kills are seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=sorted(MODELS), default="modelmax")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kills-per-batch", type=int, default=8)
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=200.0)
    parser.add_argument("--longest-s", type=float, default=1.6)
    parser.add_argument("--manifest", type=Path, help="run this manifest instead of a generated one")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    total = Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clipmill-torture-") as temporary:
        folder = Path(temporary)
        manifest = options.manifest or folder / "m.yaml"
        if options.manifest is None:
            manifest.write_text(
                FORM.format(provider=options.provider, model=MODELS[options.provider], items=options.items)
                + f"limits: {{submits_per_minute: {40 * options.speed}, looks_per_minute: {120 * options.speed}}}\n"
            )
        flags = ("--speed", str(options.speed), "--render", "template", "--seed", str(options.seed))
        with sandbox(folder, *flags, "--claim-bills", "every", "--no-limits") as urls:
            while total.kills < options.kills:
                most = min(options.kills_per_batch, options.kills - total.kills)
                root = folder / f"batch{total.batches}"
                total.add(torture_batch(manifest, root, urls, rng, most, longest_s=options.longest_s))
    print(f"sigkill {options.provider} seed {options.seed}: {total.line()}; {time.monotonic() - began:.0f} s")
    for violation in total.violations[:20]:
        print(f"  {violation}")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
