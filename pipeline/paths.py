"""Where everything of a batch lies, and the only place that joins those names.

output/<name>/
  clips/<id>.mp4 · <id>__1.mp4 (further clips of a job) · <id>__r2.mp4 (a later revision)
                                      <id>__x1.mp4 (where a file of the user's bears the name)
  clips/.<id>.<attempt>.part      bytes on their way; never a final name
  ledger.sqlite · ledger.lock · ledger.reserve · ledger.emergency.jsonl
  ledger.postgresql                   in place of those, where several workers share a ledger: which one
  ledger.emergency.<epoch>.jsonl      what one of them could not write into it
  results.jsonl · report.html · thumbnails/ · exports/ · export.lock
  sandbox.sqlite                  only in a rehearsal's folder
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """One batch's folder; every path below it comes from here."""

    root: Path

    @property
    def ledger(self) -> Path:
        """The SQLite ledger: the truth."""
        return self.root / "ledger.sqlite"

    @property
    def shared(self) -> Path:
        """Names the ledger that several workers share; where it is, there is no SQLite ledger."""
        return self.root / "ledger.postgresql"

    def has_ledger(self) -> bool:
        """Tell whether there is a ledger of either kind."""
        return self.ledger.is_file() or self.shared.is_file()

    @property
    def lock(self) -> Path:
        """Held by the one process that runs the batch; never deleted."""
        return self.root / "ledger.lock"

    @property
    def reserve(self) -> Path:
        """Space kept back, so that answers already paid for can be written down on a full disk."""
        return self.root / "ledger.reserve"

    @property
    def emergency(self) -> Path:
        """Where an answer goes when even the ledger cannot be written."""
        return self.root / "ledger.emergency.jsonl"

    def emergency_of(self, epoch: int) -> Path:
        """Where an answer goes that one of several workers cannot write into the ledger that they share."""
        return self.root / f"ledger.emergency.{epoch}.jsonl"

    @property
    def results(self) -> Path:
        """One line an item; a view of the ledger."""
        return self.root / "results.jsonl"

    @property
    def clips(self) -> Path:
        """Finished clips."""
        return self.root / "clips"

    @property
    def exports(self) -> Path:
        """Datasets made of the finished clips, each in a folder of its own."""
        return self.root / "exports"

    @property
    def export_lock(self) -> Path:
        """Held by the one process that exports; never deleted."""
        return self.root / "export.lock"

    @property
    def report(self) -> Path:
        """The page on which the batch can be looked at; a view of the ledger."""
        return self.root / "report.html"

    @property
    def thumbnails(self) -> Path:
        """The page's pictures."""
        return self.root / "thumbnails"

    @property
    def report_lock(self) -> Path:
        """Held by the one process that makes the page; never deleted."""
        return self.root / "report.lock"

    @property
    def sandbox_state(self) -> Path:
        """The rehearsal's emulator keeps its jobs and its bill here."""
        return self.root / "sandbox.sqlite"

    @property
    def sandbox_port(self) -> Path:
        """The port that the rehearsal's emulator listened on; links it has handed out name it."""
        return self.root / "sandbox.port"

    def clip_name(self, item_id: str, index: int, revision: int, spare: int = 0) -> str:
        """Return the final name of a job's clip, relative to the batch folder.

        Ids hold no `__`, so no two of these can meet. `spare` counts the names that were found taken by the user's own
        files; the n-th spare name ends in `__x<n>`.
        """
        suffix = f"__r{revision}" if revision > 1 else ""
        suffix += f"__{index}" if index else ""
        suffix += f"__x{spare}" if spare else ""
        return f"clips/{item_id}{suffix}.mp4"

    def part_name(self, item_id: str, index: int, epoch: int, revision: int = 1) -> str:
        """Return the name under which a run collects a clip's bytes, relative to the batch folder."""
        suffix = f"__r{revision}" if revision > 1 else ""
        return f"clips/.{item_id}{suffix}.{index}.{epoch}.part"


def default_root(working_folder: Path, name: str, *, sandbox: bool) -> Path:
    """Return `output/<name>/` under the working folder; a rehearsal has a folder of its own."""
    return working_folder / "output" / (f"{name}-sandbox" if sandbox else name)


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return where what can be fetched again lies: `$XDG_CACHE_HOME/clipmill`, else under ~/.cache."""
    home = environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path(environ.get("HOME", "~")).expanduser() / ".cache") / "clipmill"


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return where this user's state outside any batch lies: `$XDG_STATE_HOME/clipmill`, else under ~/.local/state."""
    home = environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path(environ.get("HOME", "~")).expanduser() / ".local" / "state") / "clipmill"
