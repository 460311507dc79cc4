"""Uploads through SIGKILLs and cut lines, to a real S3 server: every object whole, none doubled, none written over.

    python -m tests.torture.uploads --kills 50 --seed 1
    python -m tests.torture.uploads --server moto --kills 50 --seed 2

A batch is run with a store, killed at a random moment, run again, until it comes to its end; then it is exported into
the store, and the export is killed in the same way. The line to the server is slow, and some of its connections are
cut, going or coming. The bucket keeps every version of every object. At the end a stranger's client looks into it: each
finished clip is there once, whole, in one version, where the ledger says it is; what the user had put there is as it
was; an export has an index only if it is whole; and no upload is left half done. The vendor's bill is judged, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import Exit
from pipeline.jobs.state import ClipState, CopyState
from pipeline.storage.mark import MARK
from tests.support import s3_servers
from tests.support.s3_servers import BUCKET, serving
from tests.torture.rough_line import rough_line
from tests.torture.verdict import (
    Tally,
    ask,
    environment,
    is_doubt,
    jobs_of,
    judge,
    report,
    sandbox,
    worst_case,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MINE = b"This is the user's own."
TAKEN = "clips/clip-3.mp4"
"""A name that the user's own object bears before the batch wants it."""
RENEWED = "results.jsonl"
TRIES_MOST = 6


@dataclass
class Uploads(Tally):
    """What a torture of uploads has seen."""

    objects: int = 0
    adopted: int = 0
    """Objects that were there before the ledger said so: the run that had put them died in between."""
    exports: int = 0
    export_kills: int = 0
    cut_going: int = 0
    cut_coming: int = 0

    def add(self, other: Tally) -> None:
        super().add(other)
        assert isinstance(other, Uploads)
        for name in ("objects", "adopted", "exports", "export_kills", "cut_going", "cut_coming"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Bucket:
    """The bucket, as a stranger's client sees it."""

    def __init__(self, endpoint: str) -> None:
        self._client = s3_servers.client(endpoint)

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def read(self, key: str) -> bytes:
        found: bytes = self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return found

    def keys(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def versions(self, prefix: str) -> dict[str, int]:
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix)
        counted: dict[str, int] = {}
        for page in pages:
            for each in page.get("Versions", ()):
                counted[each["Key"]] = counted.get(each["Key"], 0) + 1
        return counted

    def half_done(self) -> list[Any]:
        return list(self._client.list_multipart_uploads(Bucket=BUCKET).get("Uploads") or ())


def killed(command: Sequence[str], around: Mapping[str, str], log: Path, after_s: float | None) -> int | None:
    """Run a command and kill it after a while; return its exit code, None where it was killed."""
    with log.open("ab") as out:
        child = subprocess.Popen(command, env=dict(around), stdout=out, stderr=out)
        try:
            return child.wait(after_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            return None


def uploaded(root: Path) -> set[str]:
    """Return the keys of which the ledger says that they are there."""
    return {clip.remote.key for job in jobs_of(root) for clip in job.clips if clip.remote}


def torture_batch(
    root: Path,
    manifest: Path,
    urls: dict[str, str],
    store: str,
    bucket: Bucket,
    around: Mapping[str, str],
    rng: random.Random,
) -> Uploads:
    """Run one batch to its end through kills, export it through kills, and judge what is in the bucket."""
    tally = Uploads(batches=1)
    prefix = f"{root.name}/"
    accepted_before = set(ask(urls["bill"])["jobs"])
    bucket.put(prefix + TAKEN, MINE)
    python = [sys.executable, "-m", "pipeline"]
    command = [*python, "run", str(manifest), "-o", str(root), "--yes", "--store", f"{store}/{root.name}"]
    log = root.with_suffix(".log")
    kills, code, tries, doubts_before = rng.randint(3, 7), None, 0, 0
    while code not in {0, 4} and tries < TRIES_MOST:
        is_last = tally.crashes >= kills
        code = killed(command, around, log, None if is_last else rng.uniform(0.4, 2.2))
        if code is None:
            tally.crashes += 1
            in_doubt = sum(map(is_doubt, jobs_of(root)))
            tally.doubts_most_a_crash = max(tally.doubts_most_a_crash, in_doubt - doubts_before)
            doubts_before = in_doubt
            there = {key.removeprefix(prefix) for key in bucket.keys(prefix + "clips/")} - {TAKEN}
            tally.adopted += len(there - uploaded(root))
        elif code == Exit.BAD_INPUT and "clipmill.json" not in log.read_text()[-2000:]:
            break
        elif code not in {0, 4}:
            tries += 1  # a line that is cut for too long ends in a pause
    if code not in {0, 4}:
        tally.violations.append(f"{root}: the run ended with exit code {code}; see {log.read_text()[-800:]}")
        return tally
    judge(root, ask(urls["bill"]), accepted_before, tally)
    tally.violations += judge_bucket(root, prefix, store, bucket, tally)
    before = bucket.versions(prefix)
    code = killed(command, around, log, None)
    if code not in {0, 4, 5} or bucket.versions(prefix) != before:
        tally.violations.append(f"{root}: running it with nothing to do changed the bucket, or ended with {code}")
    torture_export(root, store, bucket, around, rng, tally)
    return tally


def torture_export(
    root: Path, store: str, bucket: Bucket, around: Mapping[str, str], rng: random.Random, tally: Uploads
) -> None:
    """Export a batch into the store through kills; at every moment it is whole there, or has no index."""
    prefix = f"exports/{root.name}/"
    dest = ["--dest", f"{store}/{prefix.rstrip('/')}", "--shard-clips", "4"]
    command = [sys.executable, "-m", "pipeline", "export", str(root), "--to", "webdataset", *dest]
    log, code, tries = root.with_suffix(".export.log"), None, 0
    tally.exports += 1
    while code != 0 and tries < TRIES_MOST:
        is_last = tally.export_kills >= 4
        code = killed(command, around, log, None if is_last else rng.uniform(0.5, 1.5))
        tally.export_kills += code is None
        tries += code is not None
        tally.violations += judge_export(root, prefix, bucket, finished=code == 0)
    if code != 0:
        tally.violations.append(f"{root}: the export ended with exit code {code}; see {log.read_text()[-800:]}")
    tally.violations += [f"{key} has {n} versions" for key, n in bucket.versions(prefix).items() if n != 1]


def judge_bucket(root: Path, prefix: str, store: str, bucket: Bucket, tally: Uploads) -> list[str]:
    """Hold a finished batch's objects against its ledger."""
    wrong = []
    told: dict[str, str] = {}
    for job in jobs_of(root):
        for clip in job.clips:
            if clip.state is not ClipState.DONE:
                continue
            if clip.copy is not CopyState.UPLOADED or clip.remote is None:
                wrong.append(f"{root}: {clip.file} is not uploaded")
            elif clip.remote.store != f"{store}/{root.name}" or clip.remote.key in told:
                wrong.append(f"{root}: {clip.file} is said to be at {clip.remote.url}")
            else:
                told[clip.remote.key] = clip.sha256
    there = {key.removeprefix(prefix) for key in bucket.keys(prefix)}
    extra = there - told.keys() - {TAKEN, MARK, RENEWED}
    wrong += [f"{root}: {key} is in the bucket and not in the ledger" for key in sorted(extra)]
    for key, sha256 in told.items():
        if key not in there or hashlib.sha256(bucket.read(prefix + key)).hexdigest() != sha256:
            wrong.append(f"{root}: {key} is missing from the bucket, or not whole")
    if bucket.read(prefix + TAKEN) != MINE:
        wrong.append(f"{root}: the user's own object was written over")
    written = {key.removeprefix(prefix): count for key, count in bucket.versions(prefix).items()}
    wrong += [f"{root}: {key} was written {n} times" for key, n in written.items() if n != 1 and key != RENEWED]
    wrong += [f"an upload of {each['Key']} was left half done" for each in bucket.half_done()]
    if bucket.read(prefix + RENEWED) != (root / RENEWED).read_bytes():
        wrong.append(f"{root}: the results in the bucket are not those on disk")
    tally.objects += len(told)
    return wrong


def judge_export(root: Path, prefix: str, bucket: Bucket, *, finished: bool) -> list[str]:
    """Check that an export with an index is whole, and one without is not said to be finished."""
    there = set(bucket.keys(prefix))
    if f"{prefix}index.json" not in there:
        return [f"{root}: the export is said to be in the bucket, and has no index"] if finished else []
    index = json.loads(bucket.read(f"{prefix}index.json"))
    return [
        f"{root}: {each['name']} of the export is missing or not whole, and there is an index"
        for each in index["files"]
        if prefix + each["name"] not in there
        or hashlib.sha256(bucket.read(prefix + each["name"])).hexdigest() != each["sha256"]
    ]


def torture(server: str, kills: int, seed: int, *, items: int = 16, speed: float = 200.0, cut: float = 0.4) -> Uploads:
    """Run batches through so many kills, against one server and one sandbox, and return what was seen."""
    rng = random.Random(f"{server}/{seed}")
    total = Uploads()
    with tempfile.TemporaryDirectory(prefix="clipmill-uploads-") as temporary:
        folder = Path(temporary)
        manifest = folder / "m.yaml"
        write_manifest(manifest, "modelmax", items, speed)
        with (
            serving(server, folder) as endpoint,
            rough_line(endpoint, random.Random(f"line/{seed}"), cut=cut, pause_s=0.05) as (address, line),
            sandbox(folder, *worst_case(speed, seed)) as urls,
        ):
            around = environment(urls, folder / "state") | s3_servers.environment(address)
            bucket = Bucket(endpoint)
            while total.crashes + total.export_kills < kills:
                root = folder / f"batch{total.batches}"
                total.add(torture_batch(root, manifest, urls, f"s3://{BUCKET}", bucket, around, rng))
            total.cut_going, total.cut_coming = line.cut_going, line.cut_coming
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture uploads to one server or to both, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=sorted(s3_servers.PROGRAMS), help="else one after the other")
    parser.add_argument("--kills", type=int, default=50, help="for each server")
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    worst = 0
    for server in [options.server] if options.server else sorted(s3_servers.PROGRAMS):
        if why := s3_servers.missing(server):
            print(f"uploads {server}: {why}")
            worst = 1
            continue
        began_s = time.monotonic()
        seen = torture(server, options.kills, options.seed, items=options.items)
        told = (
            f"uploads {server} seed {options.seed}: {seen.line('SIGKILLs of runs')}; {seen.export_kills} SIGKILLs of "
            f"{seen.exports} exports; {seen.cut_going} connections cut going and {seen.cut_coming} coming; "
            f"{seen.objects} objects whole and written once, {seen.adopted} found that a killed run had put there; "
            f"{time.monotonic() - began_s:.0f} s"
        )
        worst = max(worst, report(told, seen))
    return worst


if __name__ == "__main__":
    sys.exit(main())
