"""Real S3 servers and a stranger's client judge what is uploaded, through kills and over a line that is cut."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.system.effects import system
from tests.support import s3_servers
from tests.support.postgres import MISSING, Server, programs
from tests.support.s3_servers import BUCKET, serving
from tests.torture import uploads
from tests.torture.rough_line import rough_line
from tests.torture.verdict import environment, sandbox, worst_case, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.judge, pytest.mark.timeout(600)]

MANIFEST = """
version: 1
name: judged
provider: modelmax
model: veo-3
parameters: {duration_seconds: 4}
accept: {not_damaged: false}
clips:
  - {id: fox, prompt: "A fox, {n}", matrix: {n: [1, 2, 3, 4]}}
"""


@pytest.fixture(params=sorted(s3_servers.PROGRAMS))
def server(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    if why := s3_servers.missing(kind):
        pytest.skip(why)
    return kind


@pytest.fixture
def endpoint(server: str, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "server").mkdir()
    with serving(server, tmp_path / "server") as address:
        yield address


def clipmill(endpoint: str, folder: Path, *args: object, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **s3_servers.environment(endpoint), "XDG_STATE_HOME": str(folder / "state"), **more}
    command = [sys.executable, "-m", "pipeline", *map(str, args)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_every_object_is_whole_and_none_is_doubled_through_kills_and_cuts(server: str) -> None:
    seen = uploads.torture(server, kills=12, seed=7, items=12)
    assert seen.violations == []
    assert seen.crashes + seen.export_kills >= 12
    assert seen.objects == seen.done > 0


def test_a_stranger_finds_the_clips_with_their_digests_and_the_results_with_their_addresses(
    endpoint: str, tmp_path: Path
) -> None:
    manifest, root = tmp_path / "m.yaml", tmp_path / "batch"
    manifest.write_text(MANIFEST)
    ran = clipmill(
        endpoint, tmp_path, "run", manifest, "-o", root, "--sandbox", "--store", f"s3://{BUCKET}/a/b", "--json"
    )
    assert ran.returncode == 0, ran.stderr
    assert (json.loads(ran.stdout)["store"], json.loads(ran.stdout)["uploaded"]) == (f"s3://{BUCKET}/a/b", 4)
    stranger = s3_servers.client(endpoint)
    results = [json.loads(line) for line in (root / "results.jsonl").read_text().splitlines()]
    for clip in [clip for line in results for clip in line["clips"]]:
        key = clip["url"].removeprefix(f"s3://{BUCKET}/")
        found = stranger.get_object(Bucket=BUCKET, Key=key)
        assert hashlib.sha256(found["Body"].read()).hexdigest() == clip["sha256"] == found["Metadata"]["sha256"]
        assert (found["ContentType"], found["ContentLength"]) == ("video/mp4", clip["bytes"])
    assert (
        stranger.get_object(Bucket=BUCKET, Key="a/b/results.jsonl")["Body"].read()
        == (root / "results.jsonl").read_bytes()
    )


def test_workers_that_share_a_ledger_share_a_store_and_what_a_killed_one_had_begun_is_there_once(
    endpoint: str, tmp_path: Path
) -> None:
    if programs() is None:
        pytest.skip(MISSING)
    server = Server()
    try:
        _share(server, endpoint, tmp_path)
    finally:
        server.close()


def _share(server: Server, endpoint: str, folder: Path) -> None:
    """Run three workers on one batch, kill one that uploads, and look into the bucket when the others are done."""
    items, root, url = 24, folder / "shared", f"s3://{BUCKET}/shared"
    write_manifest(folder / "m.yaml", "modelmax", items, 200.0)
    bucket = uploads.Bucket(endpoint)
    with (
        rough_line(endpoint, random.Random(3), cut=0.0, pause_s=0.3) as (address, _),
        sandbox(folder, *worst_case(200.0, 3)) as urls,
    ):
        around = environment(urls, folder / "state") | s3_servers.environment(address)
        command = [sys.executable, "-m", "pipeline", "run", str(folder / "m.yaml"), "-o", str(root), "--yes"]
        command += ["--ledger", server.dsn, "--lease", "2", "--store", url]
        with (folder / "workers.log").open("ab") as log:
            workers = [subprocess.Popen(command, env=around, stdout=log, stderr=log) for _ in range(3)]
            try:
                while len(bucket.keys("shared/clips/")) < 4:
                    assert any(worker.poll() is None for worker in workers), (folder / "workers.log").read_text()
                    time.sleep(0.02)
                workers[0].kill()
                assert {worker.wait(120) for worker in workers[1:]} <= {0, 4}, (folder / "workers.log").read_text()
            finally:
                for worker in workers:
                    worker.kill()
                    worker.wait()
            assert subprocess.run(command, env=around, stdout=log, stderr=log, check=False).returncode in {0, 4}
    with reading(BatchFolder(root).ledger, system()) as reader:
        clips = [clip for job in reader.jobs() for clip in job.clips if clip.file]
    assert len(clips) >= items - 6, "each worker may leave two in doubt"
    told = {clip.remote.key: clip.sha256 for clip in clips if clip.remote and clip.remote.store == url}
    assert len(told) == len(clips)
    assert {key.removeprefix("shared/") for key in bucket.keys("shared/clips/")} == set(told)
    assert {key for key, count in bucket.versions("shared/").items() if count > 1} <= {"shared/results.jsonl"}
    for key, sha256 in told.items():
        assert hashlib.sha256(bucket.read(f"shared/{key}")).hexdigest() == sha256


def test_what_is_wrong_with_a_store_is_told_before_anything_is_submitted_and_without_a_secret(
    endpoint: str, server: str, tmp_path: Path
) -> None:
    manifest, root = tmp_path / "m.yaml", tmp_path / "batch"
    manifest.write_text(MANIFEST)

    def refused(store: str, **more: str) -> str:
        ran = clipmill(endpoint, tmp_path, "-v", "run", manifest, "-o", root, "--sandbox", "--store", store, **more)
        assert ran.returncode == 2, ran.stderr
        assert s3_servers.SECRET not in ran.stderr
        assert "hush-hush" not in ran.stderr
        assert not list((root / "clips").glob("*")) if root.exists() else True
        return ran.stderr

    if server != "seaweed":  # which makes a bucket as soon as somebody names it
        assert "Make the bucket first" in refused("s3://no-such-bucket/x")
    assert "cannot be reached. No clip was submitted." in refused("s3://clips/x", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    if server == "seaweed":  # moto lets everybody in
        assert "Look at the credentials" in refused(f"s3://{BUCKET}/x", AWS_SECRET_ACCESS_KEY="hush-hush-hush-hush")
    taken: Any = s3_servers.client(endpoint)
    taken.put_object(Bucket=BUCKET, Key="mine/clipmill.json", Body=b"{}")
    assert "holds something else under the name clipmill.json" in refused(f"s3://{BUCKET}/mine")
