"""Strangers' clients complete jobs at the sandbox: who wrote them knows the vendors, and nothing of this project.

Each is installed from the package index into a virtual environment that is thrown away, since what they need may
conflict; where the index cannot be reached they are skipped. Versions are pinned: a judge that changes every week
judges nothing. Where a client and the sandbox disagree, the vendor's documents decide.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.clips.mp4 import walk
from tests.torture.verdict import ask, sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.judge, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
STRANGERS = Path(__file__).parent / "strangers"
PINNED = {"venice-py": "2.9.0", "veniceresch": "0.6.2", "venice-cli": "0.83.48", "openai": "3.54.0"}
UNREACHABLE = ("No matching distribution", "Could not find a version", "Connection", "timed out", "Temporary failure")
BYTES, LINK = "wan-2-7-text-to-video", "grok-imagine-text-to-video-private"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Install a client into an environment of its own; return that environment's programs."""

    def install(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        command = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "20", f"{name}=={PINNED[name]}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and any(word in done.stderr for word in UNREACHABLE):
            pytest.skip(f"{name} {PINNED[name]} cannot be had from the package index")
        assert done.returncode == 0, done.stderr
        return folder / "bin"

    return install


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run the sandbox, fast."""
    with sandbox(tmp_path, "--speed", "200", "--render", "template", "--no-limits") as urls:
        yield urls


def used(programs: Path, script: str, *arguments: object) -> dict[str, Any]:
    """Run one of the strangers' scripts; return what it told."""
    command = [programs / "python", "-I", STRANGERS / script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def is_whole(path: Path, prompt: str) -> bool:
    """Tell whether a file is a whole MP4, and the very one that was made for the prompt."""
    data = path.read_bytes()
    facts = walk(lambda offset, size: data[offset : offset + size], len(data))
    return facts.width > facts.height and prompt.encode() in data


def jobs(vendor: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the bill's jobs by prompt."""
    return {job["prompt"]: job for job in ask(vendor["bill"])["jobs"].values()}


def assert_nothing_odd(vendor: dict[str, str]) -> None:
    """No key was shown to the clips' host, every job was charged once, and every call was one that the vendor has."""
    counted = ask(f"{vendor['sandbox']}/sandbox/requests")
    assert (counted["leaks"], counted["blocked"]) == (0, 0)
    assert "unknown" not in counted["endpoints"]
    assert {job["charges"] for job in jobs(vendor).values()} == {1}


@pytest.mark.parametrize(
    ("client", "script", "errors"),
    [
        ("venice-py", "use_venice_py.py", {"refuse": "UnprocessableEntityError", "fail": "VideoGenerationError"}),
        (
            "veniceresch",
            "use_veniceresch.py",
            {"refuse": "VeniceContentViolationError", "fail": "VeniceProviderContentPolicyError"},
        ),
    ],
)
def test_a_python_client_of_venice_makes_clips_by_both_ways(
    client: str,
    script: str,
    errors: dict[str, str],
    installed: Callable[[str], Path],
    vendor: dict[str, str],
    tmp_path: Path,
) -> None:
    told = used(installed(client), script, vendor["venice"], tmp_path)
    assert {BYTES, LINK} <= set(told["models"])
    assert is_whole(tmp_path / "bytes.mp4", "A fox by bytes")
    assert is_whole(tmp_path / "link.mp4", "A fox by link")
    assert told["errors"] == errors
    found = jobs(vendor)
    for name in ("bytes", "link"):
        assert found[f"A fox by {name}"]["charged_usd"] == told["quotes"][name]
        assert found[f"A fox by {name}"]["deleted"], "it cleans up after itself"
    assert found["[sandbox: fail]"]["refunded_usd"] == found["[sandbox: fail]"]["charged_usd"]
    assert_nothing_odd(vendor)


def test_the_command_venice_makes_a_clip_and_deletes_the_vendors_copy(
    installed: Callable[[str], Path], vendor: dict[str, str], tmp_path: Path
) -> None:
    programs = installed("venice-cli")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "VENICE_API_KEY": "rehearsal"}
    environ["VENICE_BASE_URL"] = vendor["venice"]

    def venice(model: str, prompt: str, file: str) -> subprocess.CompletedProcess[str]:
        options = "--duration 5s --resolution 720p --aspect-ratio 16:9 --poll-interval 1 --yes --no-balance --cleanup"
        command = [programs / "venice", "video", prompt, "--model", model, *options.split(), "-o", tmp_path / file]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)

    made = venice(BYTES, "A fox by bytes", "bytes.mp4")
    assert made.returncode == 0, made.stderr
    assert "Estimated cost: $0.55" in made.stderr
    assert is_whole(tmp_path / "bytes.mp4", "A fox by bytes")
    assert jobs(vendor)["A fox by bytes"]["deleted"]
    for phrase, told in (("refuse", "content policy"), ("fail", "provider_content_policy")):
        failed = venice(BYTES, f"[sandbox: {phrase}]", "none.mp4")
        assert failed.returncode == 3
        assert told in failed.stderr
    # It takes clips from https addresses alone, and the sandbox has none: a link model gets as far as its link.
    linked = venice(LINK, "A fox by link", "link.mp4")
    assert linked.returncode != 0
    assert "HTTPS required" in linked.stderr
    assert_nothing_odd(vendor)


def test_openais_client_makes_lists_and_deletes_videos(
    installed: Callable[[str], Path], vendor: dict[str, str], tmp_path: Path
) -> None:
    picture = ROOT / "manifests" / "inputs" / "leaf.jpg"
    told = used(installed("openai"), "use_openai.py", vendor["openai-videos"], tmp_path, picture)
    assert "sora-2" in told["models"]
    video = told["video"]
    assert (video["status"], video["progress"], video["seconds"], video["size"]) == ("completed", 100, "8", "1280x720")
    assert is_whole(tmp_path / "form.mp4", "A fox by form")
    assert (told["leaf"], told["listed"], told["deleted"], told["gone"]) == ("completed", True, True, "not_found")
    assert told["failed"] == ["failed", "moderation_blocked"]
    assert told["errors"] == {
        "refuse": ["BadRequestError", "moderation_blocked"],
        "seconds": ["BadRequestError", "invalid_value"],
        "model": ["NotFoundError", "model_not_found"],
        "key": ["AuthenticationError", "invalid_api_key"],
        "money": ["RateLimitError", "insufficient_quota"],
    }
    assert jobs(vendor)["A fox by form"]["charged_usd"] == 0.8
    assert_nothing_odd(vendor)
