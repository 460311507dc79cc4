"""An export on its way: built beside its destination, made durable, and given its name last, whole or not at all.

A format says which clips are to lie where and which files are to be written; a `Build` puts them into a hidden folder
beside the destination and remembers the size and the digest of each. What was there already from a build that was cut
short is held against its digest and kept. `finish` gives the folder its name. All of it blocks, and is meant for
threads.

Every file is written in a folder of unfinished ones and gets its name when it is durable and whole. That folder's name
is new each time a build begins or goes on, and whoever begins, goes on or finishes takes the earlier ones away. So
several processes can do pieces of one build, and the same piece twice: what one that was given up for dead still
writes gets no name any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from pipeline.clips.publish import verify_file
from pipeline.dataset.folders import INDEX, PLAN, STAGE, clear, is_ours, is_same_file, sweep, tree
from pipeline.durable import make_folder, sync_folder, told_as_disk_refused, write_durably
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from random import Random

    from pipeline.dataset.rows import Row, Selection
    from pipeline.effects import Files

READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One file of an export."""

    name: str
    """Relative to the export, with slashes."""
    size_bytes: int
    sha256: str
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else the index says of it."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a line of the index."""
        return {"name": self.name, "bytes": self.size_bytes, "sha256": self.sha256, **self.more}


CLIPS_AT_ONCE: Final = 32
"""Copied by one piece of work: enough that handing it to a thread costs nothing."""
Work = Callable[["Build"], int]
"""A piece of an export that can be done beside the others, twice too, and in another process: it can be pickled.

It is given the build, and returns how many bytes of clips it has dealt with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the user may choose about an export."""

    link: bool = False
    """Hard links to the batch's own clips, instead of copies."""
    shard_clips: int = 10_000
    """The most clips in one shard."""
    shard_bytes: int = 1 << 30
    """The most bytes in one shard; a clip that is larger has one to itself."""


class ClipChanged(InputError):
    """A clip is not what was published."""

    def __init__(self, source: str) -> None:
        super().__init__(
            f"{source} is missing, or not what was published. See: clipmill check DIR; with --repair it fetches again "
            "what is missing."
        )


class Build:
    """The mutable state is the files that have been written, by name, and how many were begun."""

    def __init__(self, files: Files, batch: Path, part: Path, random: Random, stage: Path | None = None) -> None:
        """Make a build, or let one more process take part in one that another has begun.

        Args:
            files: the disk.
            batch: the folder with the clips.
            part: the one that is built in.
            random: makes names that nobody else has.
            stage: where the other puts what is unfinished.
        """
        self.files = files
        self.batch = batch
        self.part = part
        self.stage = stage or part / f"{STAGE}{random.getrandbits(64):016x}"
        self.written: dict[str, Written] = {}
        self._mine = f"{random.getrandbits(64):016x}"
        self._begun = count()

    def begin(self, plan: str) -> None:
        """Make the folder; one in which another build was cut short is emptied first.

        Raises:
            InputError: something else bears its name. DiskRefused: the disk said no.
        """
        marker = self.part / PLAN
        if self.files.exists(self.part):
            is_same = is_ours(self.files, self.part, plan)
            sweep(self.files, self.part)
            if not is_same:
                clear(self.files, self.part)
        make_folder(self.files, self.part)
        if not self.files.exists(marker):
            with told_as_disk_refused(f"write {marker}"):
                write_durably(self.files, marker, plan.encode())
            sync_folder(self.files, self.part)
        with told_as_disk_refused(f"create the folder {self.stage}"):
            self.files.make_folder(self.stage)

    def folder(self, name: str) -> None:
        """Make a folder within the export."""
        make_folder(self.files, self.part / name)

    def clips(self, placed: Iterable[tuple[Row, str]], *, link: bool) -> int:
        """Put clips under names within the export, by a copy or a hard link; return how many bytes they have.

        Raises:
            ClipChanged: one is not what was published. InputError: hard links cannot be made here.
            DiskRefused: the disk said no.
        """
        total = 0
        for row, name in placed:
            if not self._is_there(self.part / name, row, link=link):
                self._link(row, name) if link else self._copy(row, name)
            self._note(Written(name=name, size_bytes=row.size_bytes, sha256=row.sha256))
            total += row.size_bytes
        return total

    @contextmanager
    def unfinished(self, name: str) -> Iterator[Path]:
        """Yield where to write a file; when the block ends it gets its name, over whatever bears that.

        Raises:
            DiskRefused: the disk said no, in the block too.
        """
        target = self.part / name
        with told_as_disk_refused(f"write {target}"):
            path = self.stage / f"{self._mine}-{next(self._begun)}"
            yield path
            self.files.replace(path, target)

    def write(self, name: str, data: bytes, **more: Any) -> None:
        """Write a file, durable on return but for its name. Raises DiskRefused."""
        with self.unfinished(name) as path:
            write_durably(self.files, path, data)
        self._note(Written(name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), more=more))

    def note(self, name: str, size_bytes: int, sha256: str, **more: Any) -> None:
        """Remember a file that a format has written by itself."""
        self._note(Written(name=name, size_bytes=size_bytes, sha256=sha256, more=more))

    def take(self, written: Iterable[Written]) -> None:
        """Remember the files that another process has written for this build."""
        for each in written:
            self._note(each)

    def finish(self, index: Mapping[str, Any]) -> None:
        """Write the index, make every name durable, and let go of the marker: the folder may be given its name.

        Raises:
            DiskRefused: the disk said no.
        """
        sweep(self.files, self.part)
        expected = set(self.written) | {PLAN}
        for name in list(tree(self.files, self.part)):
            if name not in expected:  # left by an earlier version
                with told_as_disk_refused(f"remove {self.part / name}"):
                    self.files.unlink(self.part / name)
        lines = [self.written[name].to_json() for name in sorted(self.written)]
        text = json.dumps({**index, "files": lines}, ensure_ascii=False, indent=1)
        with told_as_disk_refused(f"write {self.part / INDEX}"):
            write_durably(self.files, self.part / INDEX, (text + "\n").encode())
            self.files.unlink(self.part / PLAN)
        for folder in sorted({name.rpartition("/")[0] for name in self.written}):
            sync_folder(self.files, self.part / folder)

    def bytes_of(self, row: Row) -> bytes:
        """Return a clip's bytes. Raises ClipChanged where they are not what was published."""
        path = self.batch / row.source
        with told_as_disk_refused(f"read {path}"):
            try:
                if self.files.size(path) != row.size_bytes:
                    raise ClipChanged(row.source)
                data = self.files.read(path)
            except FileNotFoundError:
                raise ClipChanged(row.source) from None
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise ClipChanged(row.source)
        return data

    def _note(self, written: Written) -> None:
        assert written.name not in self.written, written.name
        self.written[written.name] = written

    def _is_there(self, target: Path, row: Row, *, link: bool) -> bool:
        """Tell whether an earlier build put the clip there."""
        with told_as_disk_refused(f"look at {target}"):
            if not self.files.exists(target):
                return False
            is_linked = is_same_file(target, self.batch / row.source)
        if is_linked is link and verify_file(self.files, target, row.sha256, row.size_bytes):
            if not link:  # whoever wrote it may have been killed before its bytes were durable
                with told_as_disk_refused(f"write {target}"):
                    self.files.fsync_file(target)
            return True
        return False

    def _link(self, row: Row, target: str) -> None:
        source = self.batch / row.source
        if not verify_file(self.files, source, row.sha256, row.size_bytes):
            raise ClipChanged(row.source)
        with self.unfinished(target) as path:
            try:
                self.files.link(source, path)
            except OSError as error:
                raise InputError(
                    f"{source} cannot be linked to {self.part / target}: {error.strerror}. Leave --link out to have "
                    "the clips copied."
                ) from error

    def _copy(self, row: Row, target: str) -> None:
        if row.size_bytes <= READ_BYTES:
            data = self.bytes_of(row)
            with self.unfinished(target) as path:
                write_durably(self.files, path, data)
            return
        source = self.batch / row.source
        digest = hashlib.sha256()
        with self.unfinished(target) as path:
            descriptor = self.files.create(path)
            try:
                for piece in pieces(self.files, source, row.source):
                    digest.update(piece)
                    self.files.write(descriptor, piece)
                self.files.fsync(descriptor)
            finally:
                self.files.close(descriptor)
            if digest.hexdigest() != row.sha256:
                raise ClipChanged(row.source)


def clip_work(build: Build, selection: Selection, *, link: bool) -> Iterator[Work]:
    """Yield the work of putting every clip into the folder of its split, under its own name."""
    for split, rows in selection.splits.items():
        build.folder(split)
        for first in range(0, len(rows), CLIPS_AT_ONCE):
            placed = [(row, f"{split}/{row.key}.mp4") for row in rows[first : first + CLIPS_AT_ONCE]]
            yield partial(Build.clips, placed=placed, link=link)


def pieces(files: Files, path: Path, source: str) -> Iterator[bytes]:
    """Yield a clip's bytes a piece at a time. Raises ClipChanged where it is missing."""
    offset = 0
    while True:
        try:
            piece = files.read(path, offset, READ_BYTES)
        except FileNotFoundError:
            raise ClipChanged(source) from None
        if not piece:
            return
        yield piece
        offset += len(piece)
