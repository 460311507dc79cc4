"""Pieces of an export done by several processes, twice, and by some that were given up for dead and live on."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.dataset.build import Build, Options, Work
from pipeline.dataset.export import Order, export
from pipeline.dataset.formats import FORMATS
from pipeline.dataset.split import Shares
from pipeline.errors import DiskRefused
from pipeline.system.effects import system
from pipeline.system.files import SystemFiles
from tests.dataset.made import everything_below
from tests.dataset.test_export import NoThreads, carry_out, order, pristine, root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["pristine", "root"]

LATE_S = 10.0


def by(wanted: Order, hands: Any) -> None:
    """Have hands make an export."""
    asyncio.run(export(wanted, replace(system(), threads=NoThreads()), lambda _: None, hands))


def another(build: Build, files: SystemFiles | None = None) -> Build:
    """Return the same build as another process has it."""
    return Build(files or SystemFiles(), build.batch, build.part, Random(), build.stage)


class Elsewhere:
    """Does every piece so many times, each time from what another process would be sent."""

    at_once = 3

    def __init__(self, times: int = 1) -> None:
        self._times = times

    async def do(self, work: Work, build: Build) -> int:
        for _ in range(self._times):
            there = another(build)
            clip_bytes = pickle.loads(pickle.dumps(work))(there)
        build.take(there.written.values())
        return int(clip_bytes)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("form", FORMATS)
def test_what_others_make_of_it_and_make_again_is_the_same_to_the_byte(
    root: Path, tmp_path: Path, form: str, times: int
) -> None:
    here, there = tmp_path / "one" / "reefs", tmp_path / "two" / "reefs"
    carry_out(order(root, form, here))
    by(order(root, form, there), Elsewhere(times))
    assert everything_below(here) == everything_below(there)


class Held(SystemFiles):
    """The disk of a process that hangs before it does one thing, as one does that everybody takes for dead."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self.hangs, self.goes_on = Event(), Event()
        self._call = call

    def _hang(self, call: str) -> None:
        if call == self._call and not self.hangs.is_set():
            self.hangs.set()
            assert self.goes_on.wait(LATE_S)

    def create(self, path: Path, mode: int = 0o666) -> int:
        self._hang("create")
        return super().create(path, mode)

    def write(self, descriptor: int, data: bytes) -> None:
        super().write(descriptor, data[: len(data) // 2])
        self._hang("write")
        super().write(descriptor, data[len(data) // 2 :])

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self._hang("link")

    def replace(self, source: Path, target: Path) -> None:
        self._hang("replace")
        super().replace(source, target)


class Undead:
    """One piece is begun by somebody who hangs in the middle, and done by somebody else. The others are done once."""

    at_once = 1

    def __init__(self, call: str) -> None:
        self.files = Held(call)
        self.ended: list[str] = []
        self._thread: Thread | None = None

    async def do(self, work: Work, build: Build) -> int:
        if self._thread is None:
            self._thread = Thread(target=self._begin, args=(work, another(build, self.files)), daemon=True)
            self._thread.start()
            assert await asyncio.to_thread(self.files.hangs.wait, LATE_S)
        return work(build)

    def _begin(self, work: Work, build: Build) -> None:
        try:
            work(build)
        except DiskRefused as refused:
            self.ended.append(str(refused))
        else:
            self.ended.append("")

    def wake(self) -> str:
        """Let the one that hangs go on; return what it was told in the end, empty where all went well for it."""
        self.files.goes_on.set()
        assert self._thread is not None
        self._thread.join(LATE_S)
        (told,) = self.ended
        return told


def calls_of(form: str) -> Iterator[tuple[str, str]]:
    yield from ((form, call) for call in ("create", "write", "replace"))


CASES = [case for form in FORMATS for case in calls_of(form)]


@pytest.mark.parametrize(("form", "call"), [*CASES, ("linked", "link"), ("linked", "replace")])
def test_who_wakes_up_when_the_export_is_finished_changes_nothing(
    root: Path, tmp_path: Path, form: str, call: str
) -> None:
    options = Options(shard_clips=2, link=form == "linked")
    form = "videofolder" if options.link else form
    dest = tmp_path / "exports" / "reefs"
    carry_out(order(root, form, tmp_path / "whole" / "reefs", options))
    whole = everything_below(tmp_path / "whole" / "reefs")
    undead = Undead(call)
    by(order(root, form, dest, options), undead)
    assert everything_below(dest) == whole
    assert "Could not write" in undead.wake()
    assert everything_below(dest) == whole
    assert [path.name for path in dest.parent.iterdir()] == ["reefs"]


class WokenMeanwhile(Undead):
    """The one that hangs goes on as soon as the other has done the piece."""

    async def do(self, work: Work, build: Build) -> int:
        is_first = self._thread is None
        done = await super().do(work, build)
        if is_first:
            assert self.wake() == ""
        return done


@pytest.mark.parametrize(("form", "call"), CASES)
def test_two_that_do_the_same_at_the_same_time_do_each_other_no_harm(
    root: Path, tmp_path: Path, form: str, call: str
) -> None:
    here, there = tmp_path / "one" / "reefs", tmp_path / "two" / "reefs"
    carry_out(order(root, form, here))
    by(order(root, form, there), WokenMeanwhile(call))
    assert everything_below(here) == everything_below(there)


@pytest.mark.parametrize(("form", "call"), CASES)
def test_who_wakes_up_in_a_build_of_something_else_changes_nothing(
    root: Path, tmp_path: Path, form: str, call: str
) -> None:
    early, late = order(root, form, tmp_path / "reefs"), order(root, form, tmp_path / "reefs", shares=Shares())
    assert {row.split for row in late.selection.rows} == {"train"}

    class LeftAlone(Undead):
        async def do(self, work: Work, build: Build) -> int:
            await super().do(work, build)
            raise DiskRefused("The one that began it is gone.")

    left = LeftAlone(call)
    with pytest.raises(DiskRefused):
        by(early, left)

    class Woken:
        at_once = 1

        async def do(self, work: Work, build: Build) -> int:
            done = work(build)
            if not left.files.goes_on.is_set():
                assert "Could not write" in left.wake()
            return done

    by(late, Woken())
    carry_out(order(root, form, tmp_path / "whole" / "reefs", shares=Shares()))
    assert everything_below(tmp_path / "reefs") == everything_below(tmp_path / "whole" / "reefs")


def test_a_build_that_was_cut_short_while_it_made_room_is_still_known_as_ours(root: Path) -> None:
    early, late = order(root, "videofolder"), order(root, "videofolder", shares=Shares())

    class Stops:
        at_once = 1

        async def do(self, work: Work, build: Build) -> int:
            work(build)
            raise DiskRefused("It stops here.")

    class Refuses(SystemFiles):
        left = 3

        def unlink(self, path: Path) -> None:
            self.left -= 1
            if not self.left:
                raise OSError(5, "Input/output error")
            super().unlink(path)

    with pytest.raises(DiskRefused):
        by(early, Stops())
    with pytest.raises(DiskRefused):
        carry_out(late, Refuses())
    assert carry_out(late).fresh
