"""A real Ray cluster judges the tasks of `export` and `report`: the same bytes, through the death of who makes them."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.dataset.folders import STAGE
from pipeline.errors import Exit
from pipeline.jobs.state import EventKind
from pipeline.paths import BatchFolder
from tests.cli.batches import make_batch
from tests.cli.front_door import command_line, environment
from tests.dataset.made import a_batch, everything_below, finished
from tests.support import mp4s, rays
from tests.support.rays import RayCluster, ray_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = [
    pytest.mark.judge,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not rays.is_installed(), reason=rays.MISSING),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
WITHIN_S = 120.0
KILLS = 3
FORMS = {
    "videofolder": ("--split", "60/20/20"),
    "webdataset": ("--split", "60/20/20", "--shard-clips", "7"),
    "parquet": (),
    "sidecars": (),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path_factory.mktemp("machines")) as made:
        yield made


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return {**environment(), "XDG_STATE_HOME": str(tmp_path_factory.mktemp("state")), **rays.ON_LOOPBACK}


def started(environ: Mapping[str, str], *args: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command_line(*args), env=environ, cwd=cwd, stdout=pipe, stderr=pipe, text=True)


def ended(child: subprocess.Popen[str]) -> str:
    """Wait for a command that is to succeed; return what it said."""
    _, said = child.communicate(timeout=WITHIN_S)
    assert child.returncode == Exit.DONE, said
    return said


@pytest.mark.parametrize("form", FORMS)
def test_a_cluster_exports_the_same_to_the_byte(
    cluster: RayCluster, environ: Mapping[str, str], tmp_path: Path, form: str
) -> None:
    root = a_batch(tmp_path / "b", *(finished(f"fox-{number}", metadata={"n": number}) for number in range(90)))
    here, there = tmp_path / "here" / "reefs", tmp_path / "there" / "reefs"
    ended(started(environ, "export", root, "--to", form, "--dest", here, *FORMS[form]))
    on_ray = ("--engine", "ray", "--address", cluster.address)
    said = ended(started(environ, "export", root, "--to", form, "--dest", there, *FORMS[form], *on_ray))
    assert "done here" not in said
    assert everything_below(here) == everything_below(there)


def test_without_an_address_the_cluster_is_this_machines_own(environ: Mapping[str, str], tmp_path: Path) -> None:
    root = a_batch(tmp_path / "b", *(finished(f"fox-{number}") for number in range(5)))
    here = tmp_path / "here" / "webdataset"
    ended(started(environ, "export", root, "--to", "webdataset", "--dest", here))
    said = ended(started(environ, "export", root, "--to", "webdataset", "--engine", "ray"))
    assert "done here" not in said
    assert everything_below(here) == everything_below(root / "exports" / "webdataset")


PRINTS_WHAT_A_TASK_INHERITS = """
import os, sys
import ray
from pipeline.scale.ray import connected
withheld = sys.argv[1:] or None
with connected(None, withheld):
    inherited = ray.get(ray.remote(num_cpus=0.5)(lambda: sorted(os.environ)).remote())
os.write(1, "\\n".join([*inherited, "", *sorted(os.environ)]).encode())
"""


@pytest.mark.parametrize(
    ("withheld", "unseen"),
    [
        ((), {"VENICE_API_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"}),
        (("VENICE_API_KEY", "PGPASSWORD"), {"VENICE_API_KEY", "PGPASSWORD"}),
    ],
)
def test_a_cluster_of_this_machines_own_inherits_no_key(
    environ: Mapping[str, str], withheld: tuple[str, ...], unseen: set[str]
) -> None:
    ours = dict.fromkeys(("VENICE_API_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"), "a-secret")
    command = [sys.executable, "-c", PRINTS_WHAT_A_TASK_INHERITS, *withheld]
    told = subprocess.run(
        command, env={**environ, **ours}, capture_output=True, check=True, text=True, timeout=WITHIN_S
    )
    there, here = told.stdout.split("\n\n")
    assert ours.keys() - set(there.splitlines()) == unseen
    assert ours.keys() <= set(here.splitlines())


def strike_writers(cluster: RayCluster, child: subprocess.Popen[str], part: Path) -> int:
    """Kill the processes that write for an export while a file of theirs is not finished; return how often."""
    strikes = 0
    while child.poll() is None and strikes < KILLS:
        victims = cluster.at_work("do_there") if unfinished(part) else []
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if victims:
            left = unfinished(part)
            time.sleep(0.3)
            strikes += bool(left & unfinished(part))  # nobody has finished it since
        time.sleep(0.005)
    return strikes


def unfinished(part: Path) -> set[Path]:
    return {path for folder in part.glob(f"{STAGE}*") for path in folder.glob("*")}


@pytest.mark.parametrize("form", ["webdataset", "videofolder"])
def test_who_writes_is_killed_in_the_middle_and_nothing_shows_it(
    cluster: RayCluster, environ: Mapping[str, str], tmp_path: Path, form: str
) -> None:
    root = a_batch(tmp_path / "b", *(finished(f"fox-{number}", size=2_000_000) for number in range(120)))
    here, there = tmp_path / "here" / "reefs", tmp_path / "there" / "reefs"
    options = ("--to", form, "--shard-clips", "40")
    ended(started(environ, "export", root, *options, "--dest", here))
    child = started(environ, "export", root, *options, "--dest", there, "--engine", "ray", "--address", cluster.address)
    strikes = strike_writers(cluster, child, next_part(there, child))
    ended(child)
    assert strikes >= 1
    assert everything_below(here) == everything_below(there)
    assert [path.name for path in there.parent.iterdir()] == ["reefs"]


def next_part(dest: Path, child: subprocess.Popen[str]) -> Path:
    """Wait until an export is being built, and return where."""
    until_s = time.monotonic() + WITHIN_S
    while child.poll() is None and time.monotonic() < until_s:
        found = list(dest.parent.glob(f".{dest.name}.*.part"))
        if found:
            return found[0]
        time.sleep(0.005)
    raise AssertionError(child.communicate()[1])


def test_the_one_that_exports_is_killed_and_the_next_goes_on(
    cluster: RayCluster, environ: Mapping[str, str], tmp_path: Path
) -> None:
    root = a_batch(tmp_path / "b", *(finished(f"fox-{number}", size=2_000_000) for number in range(120)))
    here, there = tmp_path / "here" / "reefs", tmp_path / "there" / "reefs"
    options = ("--to", "webdataset", "--shard-clips", "10")
    ended(started(environ, "export", root, *options, "--dest", here))
    line = ("export", root, *options, "--dest", there, "--engine", "ray", "--address", cluster.address)
    child = started(environ, *line)
    part = next_part(there, child)
    while child.poll() is None and not (list(part.glob("train/*.tar")) and unfinished(part)):
        time.sleep(0.005)
    child.kill()
    child.communicate()
    assert not there.exists()
    ended(started(environ, *line))  # at once: some of Ray's may still write for the one that is gone
    assert everything_below(here) == everything_below(there)


def test_a_clip_that_was_changed_is_told_as_without_a_cluster(
    cluster: RayCluster, environ: Mapping[str, str], tmp_path: Path
) -> None:
    root = a_batch(tmp_path / "b", *(finished(f"fox-{number}") for number in range(5)))
    clip = root / "clips" / "fox-3.mp4"
    clip.write_bytes(clip.read_bytes()[::-1])
    child = started(environ, "export", root, "--to", "webdataset", "--engine", "ray", "--address", cluster.address)
    _, said = child.communicate(timeout=WITHIN_S)
    assert child.returncode == Exit.BAD_INPUT
    assert "clips/fox-3.mp4 is missing, or not what was published. See: clipmill check" in said
    assert not (root / "exports" / "webdataset").exists()


def filmed(root: Path, clips: int, *, decoded: bool = True) -> BatchFolder:
    """Make a batch whose clips can be decoded."""
    data = mp4s.encode(root.with_suffix(".mp4"), width=1280, height=720).read_bytes()
    items = [finished(f"fox-{number}", facts={"frames": 48, "duration_s": 2.0}) for number in range(clips)]
    if not decoded:
        items = [
            replace(item, events=[each for each in item.events if each[0] is not EventKind.CLIP_DECODED])
            for item in items
        ]
    for item in items:
        for kind, told in item.events:
            if kind is EventKind.CLIP_STORED:
                told.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))  # type: ignore[attr-defined]
    folder = BatchFolder(make_batch(root, *items))
    folder.clips.mkdir()
    for item in items:
        (folder.clips / f"{item.id}.mp4").write_bytes(data)
    return folder


def test_thumbnails_are_drawn_by_the_cluster_and_again_where_one_died(
    cluster: RayCluster, environ: Mapping[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="thumbnails are made with PyAV")
    pytest.importorskip("PIL", reason="thumbnails are made with Pillow")
    folder = filmed(tmp_path / "b", 60)
    ended(started(environ, "report", folder.root))
    here = everything_below(folder.thumbnails)
    assert len(here) == 60
    for path in folder.thumbnails.iterdir():
        path.unlink()
    child = started(environ, "report", folder.root, "--engine", "ray", "--address", cluster.address)
    kills = 0
    while child.poll() is None and kills < KILLS:
        for pid in cluster.at_work("draw_there")[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                kills += 1
        time.sleep(0.02)
    said = ended(child)
    assert kills >= 1
    assert "drawn here" not in said
    assert "Without a thumbnail" not in said
    assert everything_below(folder.thumbnails) == here


def test_what_no_decoder_has_seen_is_decoded_by_the_cluster_and_paths_may_be_relative(
    cluster: RayCluster, environ: Mapping[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="clips are decoded with PyAV")
    folder = filmed(tmp_path / "b", 12, decoded=False)
    on_ray = ("--engine", "ray", "--address", cluster.address)
    child = started(environ, "export", "b", "--to", "sidecars", *on_ray, cwd=tmp_path)
    decoding = False
    while child.poll() is None:
        decoding = decoding or bool(cluster.at_work("decode_there"))
        time.sleep(0.01)
    said = ended(child)
    assert decoding
    assert "Decoding the clips of 12 items" in said
    assert "done here" not in said
    assert len(list((folder.exports / "sidecars" / "train").glob("*.mp4"))) == 12
