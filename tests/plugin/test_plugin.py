"""The six steps of docs/adding-a-provider.md, followed by a package of a stranger's: built, installed, and used.

Nothing is patched: the package is installed with pip into a folder, and the commands find it by its entry point.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ACME = Path(__file__).parent / "acme"
PAGE = ROOT / "docs" / "adding-a-provider.md"
MANIFEST = """version: 1
name: acme
provider: acme
model: acme-1
parameters: {duration_seconds: 5}
clips:
  - {id: fox, prompt: A fox}
  - {id: deer, prompt: A deer}
prices: {acme/acme-1: {usd_per_clip: 0.25}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the package was installed."""
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    install += ["--no-deps", "--no-build-isolation", "--target", str(folder), str(ACME)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    """Run the stranger's emulator; yield its address."""
    child = subprocess.Popen([sys.executable, ACME / "acme_emulator.py"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    try:
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
    finally:
        child.kill()
        child.communicate()


def clipmill(site: Path, folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (site, ROOT))), **environ}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return tmp_path


def test_installing_it_is_enough_for_it_to_be_known(site: Path, manifest: Path) -> None:
    assert clipmill(site, manifest, "validate", "m.yaml").returncode == 0
    listed = clipmill(site, manifest, "models", "--provider", "acme")
    assert "acme-1" in listed.stdout
    told = clipmill(site, manifest, "validate", "m.yaml", PYTHONPATH=str(ROOT))
    assert told.returncode == 2
    assert "acme" in told.stderr
    assert "modelmax, openai-videos, venice" in told.stderr


def test_its_objections_are_places_in_the_file(site: Path, manifest: Path) -> None:
    (manifest / "m.yaml").write_text(MANIFEST.replace("duration_seconds: 5", "duration_seconds: 7"))
    told = clipmill(site, manifest, "validate", "m.yaml")
    assert told.returncode == 2
    assert re.search(r"m\.yaml:5:\d+: .*Acme makes 5 or 10 s, not 7\.", told.stderr)


def test_a_missing_key_is_named_and_nothing_is_made(site: Path, manifest: Path) -> None:
    told = clipmill(site, manifest, "run", "m.yaml", "-o", "out")
    assert told.returncode == 2
    assert "ACME_API_KEY is not set" in told.stderr
    assert not (manifest / "out").exists()


def test_it_makes_clips_once_against_an_emulator_of_its_own(site: Path, manifest: Path, emulator: str) -> None:
    environ = {
        "ACME_API_KEY": "rehearsal",
        "ACME_BASE_URL": f"{emulator}/v1",
        "XDG_STATE_HOME": str(manifest / "state"),
    }
    first = clipmill(site, manifest, "run", "m.yaml", "-o", "out", "--max-cost", "1", "--json", **environ)
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert (told["done"], told["spent_usd"]) == (2, 0.5)
    assert sorted(path.name for path in (manifest / "out" / "clips").iterdir()) == ["deer.mp4", "fox.mp4"]
    assert clipmill(site, manifest, "run", "m.yaml", "-o", "out", **environ).returncode == 0
    with urllib.request.urlopen(f"{emulator}/bill") as answer:
        assert json.load(answer) == {"jobs": 2}


def test_a_rehearsal_says_that_the_sandbox_does_not_know_it_and_what_to_do(site: Path, manifest: Path) -> None:
    told = clipmill(site, manifest, "run", "m.yaml", "--sandbox")
    assert told.returncode == 2
    assert "emulates modelmax, openai-videos, venice" in told.stderr
    assert "ACME_BASE_URL" in told.stderr


def test_it_holds_against_the_conformance_suite(site: Path) -> None:
    suite = [f"tests/providers/test_conformance{part}.py" for part in ("", "_hostile")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--dialect",
        "acme_dialect:DIALECT",
        *suite,
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (site, ACME)))}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 100


def test_the_page_shows_nothing_but_what_the_package_does() -> None:
    sources = [path.read_text(encoding="utf-8") for path in ACME.glob("*.*")]
    blocks = re.findall(r"^```(?:python|toml)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 5
    for block in blocks:
        assert any(block in textwrap.dedent(source) or indented(block) in source for source in sources), block


def indented(block: str) -> str:
    return textwrap.indent(block, "    ")
