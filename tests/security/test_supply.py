"""What runs beside us and what we are made of (threats T24 and T25)."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from pipeline.system.locks import SystemLocks
from tests.security.vendors import KEY, call, emulated, manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.providers.dialect import Dialect

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipeline"
LOCKS = tuple(ROOT / "requirements" / f"{name}.txt" for name in ("dev", "judges", "supply"))

# T24

STARTED: list[tuple[Any, list[str], dict[str, str]]] = []
LISTENING: list[bool] = []


def note_children(event: str, arguments: tuple[Any, ...]) -> None:
    """Note every process that is started while somebody listens; an audit hook cannot be taken off again."""
    if LISTENING and event == "subprocess.Popen":
        executable, command, _, environ = arguments
        STARTED.append((executable, [str(part) for part in command], dict(environ or {})))


sys.addaudithook(note_children)


@contextmanager
def children() -> Iterator[list[tuple[Any, list[str], dict[str, str]]]]:
    """Yield the processes that are started inside."""
    STARTED.clear()
    LISTENING.append(True)
    try:
        yield STARTED
    finally:
        LISTENING.pop()


def judge_children(started: list[tuple[Any, list[str], dict[str, str]]]) -> None:
    assert started, "no process was started"
    for executable, command, environ in started:
        assert executable == command[0] == sys.executable, "a program of the package alone, by its whole path"
        assert environ, "a child would have the whole environment"
        told = " ".join([*command, *environ.values()])
        assert KEY not in told
        assert not [name for name in environ if name.endswith("_KEY") and environ[name]]


@pytest.mark.parametrize("dialect", emulated(), ids=lambda each: each.can.name)
def test_no_child_of_a_rehearsal_has_a_key(tmp_path: Path, dialect: Dialect) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(manifest_of(dialect, "-x;rm -rf /"))
    with children() as started:
        said = call(
            "run",
            path,
            "--sandbox",
            "--speed",
            1000,
            "-o",
            tmp_path / "out",
            **{dialect.can.key_variable: KEY},
        )
    assert said.code == 0, said.err
    judge_children(started)


def test_the_child_that_tries_a_lock_has_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENICE_API_KEY", KEY)
    locks = SystemLocks()
    release = locks.acquire(tmp_path / "a lock; touch pwned", "me")
    with children() as started:
        assert locks.is_seen(tmp_path / "a lock; touch pwned")
    release()
    judge_children(started)
    assert not list(tmp_path.glob("pwned*"))


def test_no_shell_is_ever_started() -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "S602,S604,S605,S606,S609",
        str(PACKAGE),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


# T25


def pins(lock: Path) -> dict[str, list[tuple[Requirement, int]]]:
    """Return what a lock pins: by name, each requirement and how many hashes it has."""
    found: dict[str, list[tuple[Requirement, int]]] = {}
    for entry in re.sub(r"\\\n", " ", lock.read_text(encoding="utf-8")).splitlines():
        text = entry.partition(" #")[0].strip()
        if text and not text.startswith("#"):
            requirement = Requirement(text.partition(" --hash")[0].strip())
            found.setdefault(requirement.name.lower(), []).append((requirement, text.count("--hash=sha256:")))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_of_a_lock_is_one_version_with_hashes(lock: Path) -> None:
    found = pins(lock)
    assert len(found) > 20
    for name, pinned in found.items():
        for requirement, hashes in pinned:
            assert [each.operator for each in requirement.specifier] == ["=="], name
            assert requirement.url is None, name
            assert hashes >= 1, name
    assert "://" not in lock.read_text(encoding="utf-8"), "where packages come from is the user's affair"


def wanted() -> list[Requirement]:
    """Return all that the project asks for, the package itself and development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    texts = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    texts += [text for name, group in extras.items() if name in all_extras(extras) for text in group]
    return [Requirement(text) for text in texts if not text.startswith("clipmill")]


def all_extras(extras: dict[str, list[str]]) -> set[str]:
    """Return the extras that `all` stands for."""
    return {name for text in extras["all"] for name in Requirement(text).extras}


def test_the_lock_holds_what_the_project_asks_for() -> None:
    found = pins(LOCKS[0])
    for requirement in wanted():
        pinned = [Version(str(each.specifier).removeprefix("==")) for each, _ in found[requirement.name.lower()]]
        assert all(requirement.specifier.contains(version) for version in pinned), requirement


FLOORS = {
    "aiohttp": "3.14.4",
    "jinja2": "3.1.6",
    "pillow": "12.3",
    "pyarrow": "23.0.1",
    "pyyaml": "6.0.2",
    "tqdm": "4.66.3",
}
"""The first releases without a known hole that we could be reached by."""


@pytest.mark.parametrize("name", FLOORS)
def test_no_release_with_a_known_hole_is_let_in(name: str) -> None:
    (requirement,) = (each for each in wanted() if each.name.lower() == name)
    lowest = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
    assert lowest
    assert max(lowest) >= Version(FLOORS[name])


def test_development_and_ci_install_from_the_lock_with_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--require-hashes --only-binary=:all:" in makefile
    installs = [
        line.strip() for line in makefile.splitlines() if " install " in line and not line.lstrip().startswith("@echo")
    ]
    locked = [line for line in installs if "$(LOCKED)" in line or "$(HASHED)" in line or "--no-deps" in line]
    users = [line for line in installs if '-e ".[media]"' in line or line.endswith("install -e .; }")]
    assert sorted(installs) == sorted({*locked, *users, "LOCKED := $(PIP) install $(HASHED)"})
    assert "pip install" not in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


IMPORTS_ALL = """
import importlib, pkgutil, sys

def refuse(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess", "os.system")):
        sys.exit(f"{event} {arguments}")

sys.addaudithook(refuse)
import pipeline
walked = pkgutil.walk_packages(pipeline.__path__, "pipeline.")
names = [each.name for each in walked if not each.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_importing_all_of_the_package_reaches_no_network_and_starts_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS_ALL], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_the_package_puts_nothing_beside_itself() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["pipeline"]
    assert all(target.startswith("pipeline/") for target in wheel["force-include"].values())
    assert not list(PACKAGE.rglob("*.pth"))
    assert len(project["project"]["dependencies"]) <= 5
