"""Strangers' loaders read what was exported: every row equal, every clip's digest equal.

The clips are the sandbox's own, made by the real command: ten of them, and a thousand.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SIZES = {"ten": (5, 2), "a thousand": (10, 100)}
"""How many prompts, and how often each is repeated."""
MANIFEST = """
version: 1
name: judged
provider: modelmax
model: veo-3.1-fast
prices: {{modelmax/veo-3.1-fast: {{usd_per_second: 0.10}}}}
parameters: {{duration_seconds: 4, resolution: 720p}}
accept: {{not_damaged: false}}
clips:
  - id: test-fox
    prompt: "A fox, «number {{number}}»\\n=in snow"
    matrix: {{number: [{numbers}]}}
    repeat: {repeat}
    metadata: {{score: 3, place: wild, seen: 2024-01-01, tags: [a, 1]}}
  - id: dated
    prompt: A reef
    metadata: {{score: 0.5, seen: soon}}
"""
"""Ids, dates and gaps that a loader stumbles over where it is left to guess; what a decoder sees is not the point."""

pytestmark = [pytest.mark.judge, pytest.mark.timeout(900)]


def command(*args: object) -> None:
    line = [sys.executable, "-m", "pipeline", *map(str, args)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=SIZES)
def batch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    numbers, repeat = SIZES[request.param]
    folder = tmp_path_factory.mktemp("judged")
    text = MANIFEST.format(numbers=", ".join(map(str, range(1, numbers + 1))), repeat=repeat)
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")
    root = folder / "batch"
    command("run", folder / "manifest.yaml", "--sandbox", "--speed", 2000, "-o", root)
    for form in ("videofolder", "webdataset", "parquet", "sidecars"):
        command("export", root, "--to", form, "--split", "80/10/10", "--shard-mib", 8)
    return root


def results(batch: Path) -> dict[str, dict[str, Any]]:
    """Return what the batch itself says of each item."""
    lines = (batch / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["id"]: line for line in map(json.loads, lines)}


def agree(rows: list[dict[str, Any]], clips: list[bytes], batch: Path) -> None:
    """Hold rows and clips that a loader gave against the batch."""
    wanted = results(batch)
    assert sorted(row["item_id"] for row in rows) == sorted(wanted)
    for row, clip in zip(rows, clips, strict=True):
        line = wanted[row["item_id"]]
        (told,) = line["clips"]
        assert row["sha256"] == told["sha256"] == hashlib.sha256(clip).hexdigest()
        assert row["text"] == line["prompt"]
        names = ("duration_s", "fps", "width", "height", "frames", "has_audio", "codec", "bytes")
        columns = ("duration", "fps", "width", "height", "num_frames", "has_audio", "codec", "bytes")
        assert [row[name] for name in columns] == [told[name] for name in names]
        assert (row["provider"], row["model"], row["cost_usd"]) == (line["provider"], line["model"], line["cost_usd"])
        assert row["metadata.score"] == line["metadata"]["score"]
        assert (row["metadata.place"] or None) == line["metadata"].get("place")
        assert json.loads(row["metadata.seen"]) == line["metadata"]["seen"]


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    module = pytest.importorskip("datasets", reason="datasets is not installed (pip install --group judges)")
    module.disable_progress_bars()
    module.config.HF_DATASETS_CACHE = str(tmp_path / "hf")
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["videofolder", "parquet"])
@pytest.mark.parametrize("by", ["name", "folder"])
def test_hugging_face_reads_a_folder_of_videos(batch: Path, datasets: Any, tmp_path: Path, form: str, by: str) -> None:
    folder = str(batch / "exports" / form)
    where: Any = ("videofolder", {"data_dir": folder}) if by == "name" else (folder, {})
    found = datasets.load_dataset(where[0], cache_dir=str(tmp_path / "cache"), **where[1])
    rows: list[dict[str, Any]] = []
    clips: list[bytes] = []
    for split, part in found.items():
        for row in part.cast_column("video", datasets.Video(decode=False)):
            assert row["split"] == split
            clips.append(Path(row["video"]["path"]).read_bytes())
            rows.append(row)
    agree(rows, clips, batch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by", ["name", "folder"])
def test_hugging_face_reads_shards(batch: Path, datasets: Any, tmp_path: Path, by: str) -> None:
    folder = str(batch / "exports" / "webdataset")
    where: Any = ("webdataset", {"data_dir": folder}) if by == "name" else (folder, {})
    found = datasets.load_dataset(where[0], cache_dir=str(tmp_path / "cache"), **where[1])
    samples = [sample for part in found.values() for sample in part.cast_column("mp4", datasets.Video(decode=False))]
    assert [sample["txt"] for sample in samples] == [sample["json"]["text"] for sample in samples]
    agree([sample["json"] for sample in samples], [sample["mp4"]["bytes"] for sample in samples], batch)


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_shards(batch: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed (pip install --group judges)")
    index = json.loads((batch / "exports" / "webdataset" / "index.json").read_text(encoding="utf-8"))
    shards = [each for each in index["files"] if each["name"].endswith(".tar")]
    samples: list[dict[str, Any]] = []
    for shard in shards:
        path = batch / "exports" / "webdataset" / shard["name"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]
        read = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
        assert len(read) == shard["clips"]
        samples += read
    rows = [json.loads(sample["json"]) for sample in samples]
    assert [sample["txt"].decode() for sample in samples] == [row["text"] for row in rows]
    agree(rows, [sample["mp4"] for sample in samples], batch)


def test_pyarrow_reads_the_tables(batch: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    rows, clips = [], []
    for path in sorted((batch / "exports" / "parquet").glob("*/metadata.parquet")):
        for row in parquet.read_table(path).to_pylist():
            rows.append(row)
            clips.append((path.parent / row["file_name"]).read_bytes())
    agree(rows, clips, batch)


def test_duckdb_reads_the_tables(batch: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed (pip install --group judges)")
    pattern = str(batch / "exports" / "parquet" / "*" / "metadata.parquet")
    query = f"SELECT count(*), sum(cost_usd), count(DISTINCT sha256) FROM '{pattern}'"
    (found,) = duckdb.sql(query).fetchall()
    wanted = results(batch)
    assert found[0] == found[2] == len(wanted)
    assert found[1] == pytest.approx(sum(line["cost_usd"] for line in wanted.values()))


def test_a_trainers_eyes_find_a_caption_beside_each_clip(batch: Path) -> None:
    folder = batch / "exports" / "sidecars"
    clips = sorted(folder.rglob("*.mp4"))
    captions = {path.stem: path.with_suffix(".txt").read_text(encoding="utf-8") for path in clips}
    assert captions == {item: line["prompt"] for item, line in results(batch).items()}
    assert os.listdir(folder / "train").count("metadata.csv") == 1
