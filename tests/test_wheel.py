"""What is shipped: the wheel holds everything that the program opens, and works from where it is installed.

A checkout hides such mistakes: there, every file lies where the code looks for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline import __version__

ROOT = Path(__file__).parents[1]
CODE_AND_CACHES = {".py", ".pyc"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and source distribution from the checkout; return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel into a folder that nothing else is in."""
    folder = tmp_path_factory.mktemp("installed")
    wheel.extractall(folder)
    return folder


def run_installed(installed: Path, work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline` with the unpacked wheel and without the checkout."""
    # -S keeps the environment's own site-packages away, and with it the editable install; the dependencies are added
    # behind the wheel.
    others = [path for path in sys.path if path.endswith("site-packages")]
    start = (
        f"import sys; sys.path[:0] = {[str(installed)]!r}; sys.path += {others!r}; "
        "import pipeline; "
        f"assert pipeline.__file__.startswith({str(installed)!r}), pipeline.__file__; "
        "from pipeline.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, *arguments], cwd=work, capture_output=True, text=True, check=False
    )


def data_files() -> set[str]:
    """Return every file of the package that is not code, by its name in the wheel."""
    files = [path for path in (ROOT / "pipeline").rglob("*") if path.is_file() and path.suffix not in CODE_AND_CACHES]
    return {str(path.relative_to(ROOT)) for path in files}


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    data = data_files()
    assert {Path(name).suffix for name in data} >= {".json", ".sql", ".mp4", ".yaml"}
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "pipeline").rglob("*.py")}
    assert data | code <= set(wheel.namelist())


def test_the_wheel_holds_the_schema_as_it_is_in_the_repository(wheel: zipfile.ZipFile) -> None:
    for path in (ROOT / "schemas").iterdir():
        assert wheel.read(f"pipeline/_schemas/{path.name}") == path.read_bytes()


def test_the_wheel_holds_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    assert {name.partition("/")[0] for name in wheel.namelist()} == {"pipeline", f"clipmill-{__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if name.endswith(".pyc")]


def test_the_source_distribution_can_be_built_from_and_tested(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert data_files() <= names
    manifests = {str(path.relative_to(ROOT)) for path in (ROOT / "manifests").rglob("*") if path.is_file()}
    docs = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    papers = {
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "pyproject.toml",
    }
    assert manifests | docs | tests | papers | {"schemas/manifest.schema.json"} <= names


def test_an_installed_clipmill_finds_its_schema(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, tmp_path, "schema")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "schemas" / "manifest.schema.json").read_text(encoding="utf-8")


def test_an_installed_clipmill_writes_a_manifest_that_it_accepts(installed: Path, tmp_path: Path) -> None:
    written = run_installed(installed, tmp_path, "init", "new")
    assert written.returncode == 0, written.stderr
    checked = run_installed(installed, tmp_path, "validate", "new/manifest.yaml", "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["valid"] is True


def test_an_installed_clipmill_knows_its_models(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, tmp_path, "models", "--provider", "modelmax", "--json")
    assert done.returncode == 0, done.stderr
    assert "veo-3" in {model["id"] for model in json.loads(done.stdout)["models"]}
