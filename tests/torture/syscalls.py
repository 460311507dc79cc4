"""What a process asked of the kernel, in order: strace's log as records.

A command comes in; its calls to files and sockets come out. A call that waited stands in the log twice, and other
threads' calls in between: `begun` and `ended` are places in the log, so that "a before b" is `a.ended < b.begun`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TRACED = "openat,?open,pwrite64,write,writev,fsync,fdatasync,?unlink,unlinkat,?link,linkat,sendto,sendmsg"
WHOLE_PAGE_BYTES = 5000
LINE = re.compile(r"(?P<thread>\d+) +(?P<text>.*)")
WHOLE = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
BEGUN = re.compile(r"(?P<name>\w+)\((?P<arguments>.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)\) += (?P<result>-?\d+)")
DESCRIPTOR = re.compile(r"\d+<(?P<what>.*?)(?:\(deleted\))?>(?:,|$)")
PATH = re.compile(r'"(?P<path>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call that succeeded."""

    name: str
    on: str
    """What its descriptor led to, a path or a socket; empty where it takes none."""
    arguments: str
    begun: int
    ended: int

    @property
    def paths(self) -> tuple[str, ...]:
        """The quoted arguments: names of files, or what was written."""
        return tuple(match["path"] for match in PATH.finditer(self.arguments))


@cache
def missing_strace() -> str | None:
    """Return why nothing can be traced here; None where it can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    probe = subprocess.run(
        ["strace", "-f", "-yy", "-e", f"trace={TRACED}", "-o", "/dev/null", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    return f"strace cannot trace here: {probe.stderr.strip()}" if probe.returncode else None


def trace(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, list[Call]]:
    """Run a command under strace; return its exit code and its calls, in the order in which they began."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        strace = ["strace", "-f", "-yy", "-s", str(WHOLE_PAGE_BYTES), "-e", f"trace={TRACED}", "-o", str(log)]
        code = subprocess.run([*strace, *command], env=environment, check=False, capture_output=True).returncode
        return code, calls_in(log.read_text(errors="replace").splitlines())


def calls_in(lines: Iterable[str]) -> list[Call]:
    """Read a log of `strace -f -yy`; calls that failed or never returned are left out."""
    calls = []
    waiting: dict[str, tuple[int, str]] = {}
    for place, line in enumerate(lines):
        found = LINE.match(line)
        if found is None:
            continue
        thread, text = found["thread"], found["text"]
        if match := BEGUN.match(text):
            waiting[thread] = (place, match["arguments"])
        elif match := RESUMED.match(text):
            begun, arguments = waiting.pop(thread)
            calls.append(_call(match, arguments + match["arguments"], begun, place))
        elif match := WHOLE.match(text):
            calls.append(_call(match, match["arguments"], place, place))
    return sorted((call for call in calls if call is not None), key=lambda call: call.begun)


def _call(match: re.Match[str], arguments: str, begun: int, ended: int) -> Call | None:
    if int(match["result"]) < 0:
        return None
    on = DESCRIPTOR.match(arguments)
    return Call(name=match["name"], on=on["what"] if on else "", arguments=arguments, begun=begun, ended=ended)
