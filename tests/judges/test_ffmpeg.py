"""A stranger looks at the clips: what ffprobe says of them is what `results.jsonl` says, and ffmpeg decodes them whole.

The command runs as the user runs it, in a process of its own, on the quickstart manifest and the sandbox.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.judge,
    pytest.mark.skipif(
        not (shutil.which("ffprobe") and shutil.which("ffmpeg")),
        reason="ffprobe and ffmpeg are not installed (Debian: apt-get install ffmpeg)",
    ),
]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal") / "batch"
    manifest = ROOT / "manifests" / "quickstart.yaml"
    command = [sys.executable, "-m", "pipeline", "run", str(manifest), "--sandbox", "-o", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def clips(batch: Path) -> list[dict[str, Any]]:
    """Return the clips of the batch as the results tell them."""
    lines = (batch / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [clip for line in lines for clip in json.loads(line)["clips"]]


def probed(path: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return told


def test_there_are_clips_to_judge(clips: list[dict[str, Any]]) -> None:
    assert len(clips) == 8


def test_ffprobe_sees_what_the_results_say(batch: Path, clips: list[dict[str, Any]]) -> None:
    for clip in clips:
        streams = {stream["codec_type"]: stream for stream in probed(batch / clip["file"])["streams"]}
        picture = streams["video"]
        assert (picture["width"], picture["height"]) == (clip["width"], clip["height"]), clip
        assert float(Fraction(picture["avg_frame_rate"])) == pytest.approx(clip["fps"], abs=0.01), clip
        assert float(picture["duration"]) == pytest.approx(clip["duration_s"], abs=0.05), clip
        assert ("audio" in streams) is clip["has_audio"], clip


def test_ffmpeg_decodes_every_frame_without_a_complaint(batch: Path, clips: list[dict[str, Any]]) -> None:
    for clip in clips:
        command = ["ffmpeg", "-v", "warning", "-xerror", "-i", str(batch / clip["file"]), "-f", "null", "-"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), clip
