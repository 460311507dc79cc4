"""Processes that decode: real ones, and ones that hang, crash and have nothing to say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pipeline.clips.decoders import Decoders, answer
from pipeline.clips.probe import DecodeFacts
from pipeline.errors import DiskRefused

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

IS_READY = "print('ready', flush=True)\n"
CRASHED = DecodeFacts(frames=0, corrupt=0, stopped_because="the decoder crashed on it, or hung")


def decoded(paths: Sequence[Path], at_once: int = 1, code: str = "", limit_s: float = 60.0) -> list[DecodeFacts]:
    """Decode clips by a pool; `code` is a stand-in for the real process."""

    async def work() -> list[DecodeFacts]:
        command = {"command": (sys.executable, "-c", f"{IS_READY}{code}")} if code else {}
        async with Decoders(at_once, limit_s=limit_s, **command) as decoders, asyncio.TaskGroup() as group:
            tasks = [group.create_task(_decode(decoders.decode(path))) for path in paths]
        return [task.result() for task in tasks]

    return asyncio.run(work())


async def _decode(decode: Coroutine[None, None, DecodeFacts]) -> DecodeFacts:
    return await decode


def test_clips_are_decoded_several_at_once_and_each_gets_its_own_answer(real_clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the full decode is PyAV's")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(real_clip.read_bytes()[: real_clip.stat().st_size // 2])

    found = decoded([real_clip, cut, real_clip], at_once=2)

    assert [seen.frames for seen in (found[0], found[2])] == [48, 48]
    assert found[1].frames < 48


def test_a_clip_that_is_not_there_is_the_disks_doing_and_the_pool_goes_on(real_clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the full decode is PyAV's")

    async def work() -> int:
        async with Decoders(1) as decoders:
            with pytest.raises(DiskRefused, match=r"Could not read .*none\.mp4"):
                await decoders.decode(tmp_path / "none.mp4")
            return (await decoders.decode(real_clip)).frames

    assert asyncio.run(work()) == 48


def test_a_clip_that_takes_every_process_down_is_told_as_damaged(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    code = f"import sys; sys.stdin.readline(); open({str(tries)!r}, 'a').write('x'); sys.exit(1)"
    assert decoded([tmp_path / "clip.mp4"], code=code) == [CRASHED]
    assert tries.read_text() == "xx"


def test_a_crash_that_does_not_come_again_is_none(tmp_path: Path) -> None:
    once = tmp_path / "once"
    facts = json.dumps({"frames": 7, "corrupt": 0})
    code = (
        f"import os, sys; sys.stdin.readline(); known = os.path.exists({str(once)!r})\n"
        f"open({str(once)!r}, 'w').close()\n"
        f"if not known: os.abort()\nprint({facts!r}, flush=True); sys.stdin.read()"
    )
    assert decoded([tmp_path / "clip.mp4"], code=code) == [DecodeFacts(frames=7, corrupt=0)]


def test_a_decoder_that_hangs_with_every_lock_held_is_ended_by_the_system() -> None:
    """`PyDLL` keeps the interpreter's lock while it sleeps, as a dead-locked PyAV does."""
    hang = "import ctypes; hang = lambda *_: ctypes.PyDLL(None).sleep(60)"
    code = f"{hang}; from pipeline.clips.decoders import answer; answer('[\"x.mp4\", 1]', hang, 0)"
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGALRM
    assert time.monotonic() - began < 30


def test_the_alarm_is_off_again_when_an_answer_is_there() -> None:
    told = answer('["x.mp4", 5]', lambda *_: DecodeFacts(frames=1, corrupt=0))
    assert told["frames"] == 1
    assert signal.alarm(0) == 0


def test_a_process_that_cannot_be_started_is_no_fault_of_the_clip(tmp_path: Path) -> None:
    async def work() -> None:
        async with Decoders(1, command=(str(tmp_path / "no-such-program"),)) as decoders:
            await decoders.decode(tmp_path / "clip.mp4")

    with pytest.raises(DiskRefused, match="Could not start a process"):
        asyncio.run(work())


def test_a_process_that_does_not_come_up_is_no_fault_of_the_clip(tmp_path: Path) -> None:
    async def work() -> None:
        async with Decoders(1, command=(sys.executable, "-c", "raise ImportError")) as decoders:
            await decoders.decode(tmp_path / "clip.mp4")

    with pytest.raises(DiskRefused, match="did not come up"):
        asyncio.run(work())


def test_a_process_that_the_system_ends_is_no_fault_of_the_clip(tmp_path: Path) -> None:
    """As it does where memory is short."""

    async def work() -> None:
        code = f"{IS_READY}import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)"
        async with Decoders(1, command=(sys.executable, "-c", code)) as decoders:
            await decoders.decode(tmp_path / "clip.mp4")

    with pytest.raises(DiskRefused, match="memory may be short"):
        asyncio.run(work())


def test_no_key_is_handed_to_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENICE_API_KEY", "canary")
    told = tmp_path / "told"
    code = (
        f"import os, sys; sys.stdin.readline(); open({str(told)!r}, 'w').write(repr(dict(os.environ)))\n"
        'print(\'{"frames": 1, "corrupt": 0}\', flush=True); sys.stdin.read()'
    )
    decoded([tmp_path / "clip.mp4"], code=code)
    assert "PATH" in told.read_text()
    assert "canary" not in told.read_text()


def test_no_process_outlives_the_pool_even_when_it_is_left_in_the_middle(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"import os, sys, time; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(60)"

    async def work() -> None:
        async with Decoders(1, command=(sys.executable, "-c", IS_READY + code)) as decoders:
            waiting = asyncio.get_running_loop().create_task(_decode(decoders.decode(tmp_path / "clip.mp4")))
            while not pids.exists() or not pids.read_text():
                await asyncio.sleep(0.01)  # noqa: TID251 - a real process is waited for
            waiting.cancel()
            await asyncio.wait({waiting})

    asyncio.run(work())
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
