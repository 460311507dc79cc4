"""Where a batch stands: its counts, whether a process runs it now, and the command that comes next."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.cli.wording.console import duration
from pipeline.jobs.state import LIVE, State
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.effects import Effects
    from pipeline.ledger.tallies import Summary


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How one batch stands."""

    root: Path
    summary: Summary
    running: bool | None
    """Whether a process runs it now; None where the last run was on another machine and did not say goodbye."""
    last_run: str
    """What is known of the last run, as words; empty where there was none."""
    next_command: str
    figures: Mapping[str, Any]
    """What a run that is at work says of itself now and then: expected finish, looks a clip, lag, what it waits for."""

    @property
    def at_provider(self) -> int:
        """Items of which something is at the vendor."""
        return self.summary.count(*LIVE)


def standing_of(root: Path, effects: Effects) -> Standing:
    """Read how a batch stands.

    Raises:
        InputError: the folder holds no ledger of ours.
    """
    folder = BatchFolder(root)
    with reading(folder.ledger, effects) as reader:
        summary = reader.summary()
        workers = reader.workers()
        running = bool(workers) if reader.is_shared else is_running(summary.last_run, folder.lock)
        store = reader.meta("store")
        to_upload = bool(store and not running and reader.not_uploaded(store))
        next_command = shlex.join(_next(root, summary, running, to_upload=to_upload))
        figures = (reader.meta("progress") or {}) if running else {}
    return Standing(
        root=root,
        summary=summary,
        running=running,
        last_run=f"running, {len(workers)} workers" if len(workers) > 1 else _told(summary.last_run, running),
        next_command=next_command,
        figures=figures,
    )


def standing_json(standing: Standing) -> dict[str, Any]:
    """Return a standing as plain JSON, under the names that `run --json` uses."""
    summary = standing.summary
    return {
        "batch": summary.name,
        "output": str(standing.root),
        "items": summary.total,
        "done": summary.count(State.DONE),
        "at_provider": standing.at_provider,
        "planned": summary.count(State.PLANNED),
        "failed": summary.failed,
        "in_doubt": summary.in_doubt,
        "clips": summary.clips_done,
        "spent_usd": round(summary.committed_usd, 6),
        "in_doubt_usd": round(summary.in_doubt_usd, 6),
        "max_cost_usd": summary.max_cost_usd,
        "running": standing.running,
        "last_run": standing.last_run or None,
        "next": standing.next_command,
        "figures": dict(standing.figures) or None,
    }


def figures_text(standing: Standing) -> str:
    """Return what a run says of itself, as one sentence; empty where it has not said anything yet."""
    told = standing.figures
    parts = []
    if told.get("finishes_in_s") is not None:
        parts.append(f"about {duration(told['finishes_in_s'])} to go")
    if told.get("looks_a_clip") is not None and told.get("lag_s") is not None:
        parts.append(f"{told['looks_a_clip']:.1f} looks a clip, found after {told['lag_s']:.1f} s")
    if told.get("waiting_for"):
        parts.append(f"waiting for {' and '.join(told['waiting_for'])}")
    return f"as of {told['at'][11:19]} UTC: {', '.join(parts)}" if parts else ""


def batch_folders(output: Path) -> list[Path]:
    """Return the folders below `output` that hold a ledger, sorted by name."""
    if not output.is_dir():
        return []
    return sorted(folder for folder in output.iterdir() if BatchFolder(folder).has_ledger())


def is_running(last_run: Mapping[str, Any], lock: Path) -> bool | None:
    """Tell whether the last run is still at work.

    Only where its row is open and its process lives is the lock tried, shared and for an instant: then whoever holds
    it refuses at once, so that no run that is starting can meet us there.
    """
    if not last_run or last_run["ended_at"] is not None:
        return False
    about = _about(last_run)
    if about.get("host") != socket.gethostname():
        return None
    pid = about.get("pid")
    if not isinstance(pid, int) or pid == os.getpid() or not _is_alive(pid):
        return False
    return _is_held(lock)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    return True


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True  # unreadable for us, and the process lives
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _about(last_run: Mapping[str, Any]) -> dict[str, Any]:
    about = json.loads(last_run["about"])
    return about if isinstance(about, dict) else {}


def _told(last_run: Mapping[str, Any], running: bool | None) -> str:
    if not last_run:
        return ""
    about = _about(last_run)
    if running:
        return f"running, process {about.get('pid')}"
    if running is None:
        return f"perhaps running on {about.get('host')}"
    return str(last_run["outcome"] or "ended") if last_run["ended_at"] else "cut short"


def _next(root: Path, summary: Summary, running: bool | None, *, to_upload: bool) -> list[str]:
    """Return the one command that the batch waits for."""
    here = str(root)
    if running:
        return ["clipmill", "status", here, "--watch"]
    if summary.count(State.PLANNED, *LIVE) or to_upload:
        return ["clipmill", "resume", here]
    if summary.in_doubt:
        return ["clipmill", "resolve", here]
    return ["clipmill", "results", here]
