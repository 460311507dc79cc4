"""What the tortures share: a batch to torture, the sandbox as the vendor, and the verdict over money, clips and names.

The sandbox runs in another process and keeps a bill of its own; worst case, every claim bills. When a batch has come to
its end, the bill is held against the ledger and the folder, and every disagreement is a violation, in one sentence.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.clips.mp4 import walk
from pipeline.clips.publish import verify_file
from pipeline.errors import ClipmillError
from pipeline.jobs.state import IN_DOUBT, ClipState, State
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.providers.base import BilledAt
from pipeline.providers.registry import find_provider
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.jobs.job import Job

CONCURRENT_BILLING = 2
SHOWN_MOST = 20
MODELS = {
    "modelmax": "model: veo-3\nparameters: {duration_seconds: 4}",
    "venice": "model: wan-2-7-text-to-video\nparameters: {duration_seconds: 5, aspect_ratio: 16:9, resolution: 720p}",
}
FORM = """version: 1
name: torture
provider: {provider}
{model}
clips:
  - {{id: clip, prompt: "Wave {{n}}", matrix: {{n: {numbers}}}}}
limits: {{submits_per_minute: {submits}, looks_per_minute: {looks}}}
"""


@dataclass
class Tally:
    """What a torture has seen."""

    batches: int = 0
    crashes: int = 0
    items: int = 0
    done: int = 0
    doubts: int = 0
    charges: int = 0
    charged_doubts: int = 0
    doubts_most_a_crash: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add another batch's figures."""
        for name in ("batches", "crashes", "items", "done", "doubts", "charges", "charged_doubts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.doubts_most_a_crash = max(self.doubts_most_a_crash, other.doubts_most_a_crash)
        self.violations += other.violations

    def line(self, crashes: str) -> str:
        """Return the figures as one line; `crashes` is what the crashes are called, in the plural."""
        most = self.doubts_most_a_crash
        each = f"; {self.doubts / self.crashes:.2f} a crash, at most {most}" if most else ""
        return (
            f"{self.crashes} {crashes}, {self.batches} batches, {self.items} items: {self.done} done, {self.doubts} in "
            f"doubt (of which charged {self.charged_doubts}{each}), {self.charges} charges, "
            f"{len(self.violations)} violations"
        )


def write_manifest(path: Path, provider: str, items: int, speed: float) -> None:
    """Write the manifest of a batch: a prompt of its own for every item, and limits that keep up with the sandbox."""
    path.write_text(
        FORM.format(
            provider=provider,
            model=MODELS[provider],
            numbers=list(range(1, items + 1)),
            submits=40 * speed,
            looks=120 * speed,
        )
    )


def report(told: str, tally: Tally) -> int:
    """Print what a torture was and saw, with the first of its violations; return the exit code."""
    print(told)
    for violation in tally.violations[:SHOWN_MOST]:
        print(f"  {violation}")
    return 1 if tally.violations else 0


@contextmanager
def sandbox(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """Run `clipmill sandbox` as a process of its own, its state in `folder`; yield its addresses."""
    command = [sys.executable, "-m", "pipeline", "sandbox", "--state", str(folder / "vendor.sqlite"), *options]
    with (folder / "vendor.log").open("wb") as log:
        child = subprocess.Popen([*command, "--until-eof"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            assert child.stdout is not None
            yield json.loads(child.stdout.readline())
        finally:
            child.terminate()
            child.communicate()


def worst_case(speed: float, seed: int) -> tuple[str, ...]:
    """Return the sandbox's options for a torture: packaged clips, no limits, every claim bills."""
    quick = ("--speed", str(speed), "--render", "template", "--seed", str(seed), "--no-limits")
    return (*quick, "--claim-bills", "every")


def ask(url: str) -> Any:
    """Fetch JSON from the sandbox."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def environment(urls: Mapping[str, str], state_home: Path) -> dict[str, str]:
    """Return an environment in which every provider is the sandbox, and the user's marks lie in `state_home`."""
    return {
        **os.environ,
        "MODELMAX_API_KEY": "torture",
        "VENICE_API_KEY": "torture",
        "MODELMAX_BASE_URL": urls["modelmax"],
        "VENICE_BASE_URL": urls["venice"],
        "OPENAI_VIDEOS_BASE_URL": urls["openai-videos"],
        "XDG_STATE_HOME": str(state_home),
    }


def is_doubt(job: Job) -> bool:
    """Tell whether a job is in doubt, or will be found so by the next run."""
    return job.state in IN_DOUBT or job.state is (State.SUBMITTING if bills_at_submit(job.provider) else State.CLAIMING)


def bills_at_submit(provider: str) -> bool:
    """Tell whether the provider's submit is the call that costs money."""
    return find_provider(provider).capabilities.billed_at is BilledAt.SUBMIT


def requests_made(urls: Mapping[str, str]) -> int:
    """Return how many calls the vendors' endpoints have seen."""
    endpoints = ask(f"{urls['sandbox']}/sandbox/requests")["endpoints"]
    return sum(sum(statuses.values()) for name, statuses in endpoints.items() if not name.startswith("sandbox"))


def jobs_of(root: Path) -> list[Job]:
    """Read the jobs of a batch; one that died before it had a ledger has none.

    Raises:
        ClipmillError: the ledger is not sound.
    """
    folder = BatchFolder(root)
    if not folder.has_ledger():
        return []
    if folder.ledger.exists():
        with closing(sqlite3.connect(folder.ledger)) as database:
            if not database.execute("PRAGMA schema_version").fetchone()[0]:
                return []
    with reading(folder.ledger, system()) as reader:
        return list(reader.jobs())


def judge(root: Path, bill: Any, accepted_before: set[str], tally: Tally) -> None:
    """Hold a finished batch against the vendor's bill: money, clips, names."""
    wrong = tally.violations
    try:
        jobs = jobs_of(root)
    except (ClipmillError, sqlite3.Error) as error:
        wrong.append(f"{root}: the ledger cannot be read: {error}")
        return
    vendor = accepted_since(bill, accepted_before)
    done = [job for job in jobs if job.state is State.DONE]
    doubts = [job for job in jobs if job.state in IN_DOUBT]
    wrong += [f"{root}: {job.item_id} ended {job.state}" for job in jobs if job.state not in {State.DONE, *IN_DOUBT}]
    wrong += [f"{root}: {job_id} was charged {v['charges']} times" for job_id, v in vendor.items() if v["charges"] > 1]
    charged = charges_by_prompt(vendor)
    charges = charged.total()
    charged_doubts = sum(charged[job.request.prompt] for job in doubts)
    if charges != len(done) + charged_doubts or charged_doubts > len(doubts):
        wrong.append(f"{root}: {charges} charges for {len(done)} done and {len(doubts)} in doubt")
    if len(doubts) > CONCURRENT_BILLING * tally.crashes:
        wrong.append(f"{root}: {len(doubts)} doubts after {tally.crashes} crashes")
    for job in done:
        if vendor.get(job.job_id, {}).get("charges") != 1:
            wrong.append(f"{root}: {job.item_id} is done, and its job was charged {vendor.get(job.job_id)}")
    wrong += judge_charges(root, jobs, vendor)
    wrong += judge_files(root, jobs)
    tally.items += len(jobs)
    tally.done += len(done)
    tally.doubts += len(doubts)
    tally.charges += charges
    tally.charged_doubts += charged_doubts


def accepted_since(bill: Any, accepted_before: set[str]) -> dict[str, Any]:
    """Return the vendor's jobs that are not among some earlier ones, by their ids."""
    return {job_id: job for job_id, job in bill["jobs"].items() if job_id not in accepted_before}


def judge_charges(root: Path, jobs: Sequence[Job], vendor: Mapping[str, Any]) -> list[str]:
    """Check that no prompt was charged for more often than the ledger knows of calls for it that bill."""
    known = Counter(job.request.prompt for job in jobs if may_be_billed(job))
    return [
        f"{root}: {prompt!r} was charged {times} times, and the ledger knows of {known[prompt]}"
        for prompt, times in charges_by_prompt(vendor).items()
        if times > known[prompt]
    ]


def charges_by_prompt(vendor: Mapping[str, Any]) -> Counter[str]:
    """Return how often each prompt was charged for; in these batches every item has a prompt of its own."""
    charged: Counter[str] = Counter()
    for job in vendor.values():
        charged[job["prompt"]] += job["charges"]
    return charged


def may_be_billed(job: Job) -> bool:
    """Tell whether a call that costs money may have been made for the job, as far as the ledger knows."""
    before = {State.PLANNED, State.REJECTED}
    if not bills_at_submit(job.provider):
        before |= {State.SUBMITTING, State.SUBMITTED, State.SUBMIT_IN_DOUBT}
    return job.state not in before


def judge_files(root: Path, jobs: Sequence[Job]) -> list[str]:
    """Check that every final name bears a whole clip that the ledger knows, and that nothing else is left."""
    clips = {clip.file for job in jobs for clip in job.clips if clip.state is ClipState.DONE}
    present = {f"clips/{name}" for name in names_in(root / "clips")}
    return [
        *judge_clips(root, jobs),
        *(f"{root}: {name} is not in the ledger" for name in sorted(present - clips)),
    ]


def judge_clips(root: Path, jobs: Sequence[Job]) -> list[str]:
    """Check that every final name bears a whole clip, and the very one that the ledger says it does."""
    wrong = []
    files = SystemFiles()
    clips = {clip.file: clip for job in jobs for clip in job.clips if clip.state is ClipState.DONE}
    present = {f"clips/{name}" for name in names_in(root / "clips") if name.endswith(".mp4")}
    wrong += [f"{root}: {name} is missing" for name in sorted(clips.keys() - present)]
    for name in sorted(present):
        path = root / name
        try:
            walk(partial(files.read, path), path.stat().st_size)
        except ClipmillError as error:
            wrong.append(f"{root}: {name} bears a final name and is broken: {error}")
        if name in clips and not verify_file(files, path, clips[name].sha256, clips[name].size_bytes):
            wrong.append(f"{root}: {name} is not what the ledger says")
    return wrong


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder; none where there is no folder."""
    return sorted(os.listdir(folder)) if folder.exists() else []
