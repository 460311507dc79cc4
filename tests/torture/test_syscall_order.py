"""The order of what the real command asks of the kernel: durable first, then sent; bytes first, then the name.

A power cut finds a wrong order by chance. Here every call is in the log, and the order itself is the assertion.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from tests.torture.syscalls import Call, calls_in, missing_strace, trace
from tests.torture.verdict import environment, jobs_of, sandbox, worst_case, write_manifest
from tests.torture.weakened import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pipeline.jobs.job import Job

reason = missing_strace()
needs_strace = pytest.mark.skipif(reason is not None, reason=f"no order is checked: {reason}")

ITEMS = 3
SPEED = 200.0
SYNCS = {"fsync", "fdatasync"}


class Log:
    """The calls of one run of a batch in `root`."""

    def __init__(self, calls: Sequence[Call], root: Path) -> None:
        self.calls = calls
        self.root = root
        self.ledger = str(root / "ledger.sqlite")
        self.journal = f"{self.ledger}-journal"

    def all(self, names: set[str], on: str, *, since: int = -1, until: float = float("inf")) -> list[Call]:
        """Return the calls on a file or with a path among their arguments, begun after a place and ended before one."""
        return [
            call
            for call in self.calls
            if call.name in names and on in {call.on, *call.paths} and since < call.begun and call.ended < until
        ]

    def first(self, names: set[str], on: str, *, since: int = -1, until: float = float("inf")) -> Call:
        """Return the first of them; that there is one is the assertion."""
        found = self.all(names, on, since=since, until=until)
        assert found, f"there is no {' or '.join(sorted(names))} of {on} between lines {since} and {until}"
        return found[0]

    def last(self, names: set[str], on: str, *, since: int = -1, until: float = float("inf")) -> Call:
        """Return the last of them, which there has to be."""
        self.first(names, on, since=since, until=until)
        return self.all(names, on, since=since, until=until)[-1]

    def sends(self, text: str) -> list[Call]:
        """Return what was sent over sockets of TCP and holds a text."""
        sent = (call for call in self.calls if call.name in {"sendto", "sendmsg"} and call.on.startswith("TCP"))
        return [call for call in sent if text in unquote(call.arguments.replace('\\"', '"'))]

    def first_write_of(self, item_id: str, event: str) -> Call:
        """Return the first write into the ledger itself that holds an event's row."""
        row = re.compile(rf"{item_id}(?:\\\d+|[^\\]){{0,2}}{event}")
        return next(call for call in self.all({"pwrite64"}, self.ledger) if row.search(call.arguments))

    def durable_from(self, item_id: str, event: str) -> int:
        """Check the commit that holds an event, call by call, and return the place where it can no more be undone."""
        write = self.first_write_of(item_id, event)
        created = self.last({"openat", "open"}, self.journal, until=write.begun)
        first_write = self.first({"pwrite64"}, self.ledger, since=created.ended)
        journalled = self.last({"pwrite64"}, self.journal, since=created.ended, until=first_write.begun)
        self.first(SYNCS, self.journal, since=journalled.ended, until=first_write.begun)
        self.first(SYNCS, str(self.root), since=created.ended, until=first_write.begun)
        removed = self.first({"unlink", "unlinkat"}, self.journal, since=write.ended)
        last_write = self.last({"pwrite64"}, self.ledger, until=removed.begun)
        self.first(SYNCS, self.ledger, since=last_write.ended, until=removed.begun)
        following = self.all({"openat", "open"}, self.journal, since=removed.ended)
        until = following[0].begun if following else float("inf")
        return self.first(SYNCS, str(self.root), since=removed.ended, until=until).ended


def run(folder: Path, provider: str, weakness: str | None = None) -> tuple[Log, list[Job]]:
    """Run a small batch under strace; return its calls and its jobs."""
    manifest, root = folder / "m.yaml", folder / "batch"
    write_manifest(manifest, provider, ITEMS, SPEED)
    with sandbox(folder, *worst_case(SPEED, 1)) as urls:
        around = environment(urls, folder / "state") | ({VARIABLE: weakness} if weakness else {})
        module = "tests.torture.weakened" if weakness else "pipeline"
        command = [sys.executable, "-m", module, "run", str(manifest), "-o", str(root), "--yes"]
        code, calls = trace(command, around)
    assert code == 0
    return Log(calls, root), jobs_of(root)


def venice_submit(job: Job) -> tuple[str, str]:
    return "POST /api/v1/video/queue ", f'"{job.request.prompt}"'


def modelmax_submit(job: Job) -> tuple[str, str]:
    return f"POST /v1/queue/{job.request.model} ", f'"{job.request.prompt}"'


def modelmax_claim(job: Job) -> tuple[str, str]:
    return f"GET /v1/queue/{job.request.model}/requests/{job.job_id} ", ""


def check_intents(log: Log, jobs: Sequence[Job], event: str, request: Callable[[Job], tuple[str, str]]) -> None:
    """Check for every item that its call left once, on a connection of its own, and its intent was durable before."""
    assert len(jobs) == ITEMS
    for job in jobs:
        line, body = request(job)
        connections = {call.on for call in log.sends(body)}
        sent = [call for call in log.sends(line) if call.on in connections]
        assert len(sent) == 1
        assert log.durable_from(job.item_id, event) < sent[0].begun


def check_clips(log: Log, jobs: Sequence[Job]) -> None:
    """Check for every clip: bytes, synced; stored, durable; the name, its folder synced; the part's name gone; done."""
    folder = str(log.root / "clips")
    for job in jobs:
        for clip in job.clips:
            link = log.first({"link", "linkat"}, str(log.root / clip.file))
            part, _ = link.paths
            last_write = log.last({"write", "writev"}, part, until=link.begun)
            synced = log.first(SYNCS, part, since=last_write.ended, until=link.begun)
            assert synced.ended < log.first_write_of(job.item_id, "clip_stored").begun
            assert log.durable_from(job.item_id, "clip_stored") < link.begun
            named = log.first(SYNCS, folder, since=link.ended)
            assert named.ended < log.first({"unlink", "unlinkat"}, part, since=link.ended).begun
            assert named.ended < log.first_write_of(job.item_id, "clip_published").begun


@needs_strace
def test_venice_is_asked_after_the_intent_is_durable_and_clips_are_named_after_their_bytes(tmp_path: Path) -> None:
    log, jobs = run(tmp_path, "venice")
    check_intents(log, jobs, "submit_started", venice_submit)
    check_clips(log, jobs)


@needs_strace
def test_modelmax_is_asked_after_the_intent_is_durable_and_clips_are_named_after_their_bytes(tmp_path: Path) -> None:
    log, jobs = run(tmp_path, "modelmax")
    check_intents(log, jobs, "submit_started", modelmax_submit)
    check_intents(log, jobs, "claim_started", modelmax_claim)
    check_clips(log, jobs)


@needs_strace
@pytest.mark.judge
@pytest.mark.parametrize(("weakness", "missing"), [("synchronous-off", "-journal"), ("synchronous-full", "/batch")])
def test_an_intent_that_is_not_durable_is_noticed(tmp_path: Path, weakness: str, missing: str) -> None:
    log, jobs = run(tmp_path, "venice", weakness)
    with pytest.raises(AssertionError, match=rf"no fdatasync or fsync of \S+{missing} "):
        check_intents(log, jobs, "submit_started", venice_submit)


@needs_strace
@pytest.mark.judge
@pytest.mark.parametrize(("weakness", "missing"), [("no-fsync", r"\.part"), ("no-folder-sync", "/clips")])
def test_a_name_that_comes_too_early_is_noticed(tmp_path: Path, weakness: str, missing: str) -> None:
    log, jobs = run(tmp_path, "venice", weakness)
    with pytest.raises(AssertionError, match=rf"no fdatasync or fsync of \S+{missing} "):
        check_clips(log, jobs)


def test_a_call_that_waited_spans_the_calls_of_other_threads() -> None:
    calls = calls_in(
        [
            "11 fdatasync(7</b/ledger.sqlite> <unfinished ...>",
            '12 sendto(8<TCP:[127.0.0.1:1->127.0.0.1:2]>, "GET /", 5, 0, NULL, 0) = 5',
            "11 <... fdatasync resumed>)             = 0",
            '12 unlink("/b/gone") = -1 ENOENT (No such file or directory)',
            '12 linkat(AT_FDCWD</w>, "/b/a b", AT_FDCWD</w>, "/b/c", 0) = 0',
            "12 fsync(9</b>)      = 0",
            "11 fsync(9</b> <unfinished ...>",
            "11 +++ killed by SIGKILL +++",
        ]
    )
    assert [(call.name, call.on, call.begun, call.ended) for call in calls] == [
        ("fdatasync", "/b/ledger.sqlite", 0, 2),
        ("sendto", "TCP:[127.0.0.1:1->127.0.0.1:2]", 1, 1),
        ("linkat", "", 4, 4),
        ("fsync", "/b", 5, 5),
    ]
    assert calls[2].paths == ("/b/a b", "/b/c")
