"""Child processes of the benchmarks: the real command, the sandbox, the plain script, and what each of them used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CLIPMILL = (sys.executable, "-m", "pipeline")
PLAIN = (sys.executable, str(Path(__file__).with_name("plain.py")))
KEY = "rehearsal"


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    exit_code: int
    stdout: str


def run(command: Sequence[str], environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Used:
    """Run a command to its end; its stderr is kept out of the tables."""
    began = time.perf_counter()
    # An installed package has its bytecode; without it each run would compile the whole product anew.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**inherited, **(environ or {})},
        cwd=folder,
        text=True,
    )
    assert child.stdout is not None
    stdout = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    return Used(
        wall_s=time.perf_counter() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
        exit_code=child.returncode,
        stdout=stdout,
    )


@contextmanager
def served(command: Sequence[str]) -> Iterator[str]:
    """Run a server that prints one line when it listens and ends when its standard input does; yield the line."""
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield child.stdout.readline()
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()


@contextmanager
def sandbox(*options: str) -> Iterator[str]:
    """Run `clipmill sandbox`; yield its origin."""
    with served([*CLIPMILL, "sandbox", "--until-eof", *options]) as line:
        yield json.loads(line)["sandbox"]


def ask(url: str) -> Any:
    """GET a JSON page of the sandbox's."""
    with urllib.request.urlopen(url) as answer:
        return json.loads(answer.read())


def environ_of(origin: str) -> dict[str, str]:
    """Return the variables that point the command at a sandbox."""
    return {
        "MODELMAX_BASE_URL": origin,
        "MODELMAX_API_KEY": KEY,
        "VENICE_BASE_URL": f"{origin}/api/v1",
        "VENICE_API_KEY": KEY,
    }


def write_manifest(
    path: Path, provider: str, clips: int, limits: Mapping[str, int] | None = None, *, decoded: bool = False
) -> Path:
    """Write a manifest of `clips` clips, whose frames are counted where they are to be `decoded`."""
    model, length = {"modelmax": ("veo-3", 8), "venice": ("wan-2-7-text-to-video", 5)}[provider]
    lines = ["version: 1", "name: bench", f"provider: {provider}", f"model: {model}"]
    lines += [f"parameters: {{duration_seconds: {length}, aspect_ratio: 16:9, resolution: 720p}}"]
    if limits:
        lines += ["limits: {" + ", ".join(f"{name}: {value}" for name, value in limits.items()) + "}"]
    if not decoded:
        lines += ["accept: {not_damaged: false}"]
    lines += ["clips:"] + [f"  - {{id: i{number}, prompt: Clip number {number}}}" for number in range(clips)]
    path.write_text("\n".join(lines) + "\n")
    return path
