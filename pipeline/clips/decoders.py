"""Processes that decode clips: where a decoder may hang, crash or take a whole core, and nobody else notices.

A path comes in, `DecodeFacts` come out. Each process decodes one clip at a time, at a low priority, and ends when its
standard input does, so that a killed run leaves nothing behind. A process that takes too long is ended by the operating
system, whatever its threads wait for (docs/decisions/0011).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from pipeline.clips.probe import LIMIT_S, DecodeFacts, decode
from pipeline.errors import DiskRefused
from pipeline.system.files import SystemFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMAND = (sys.executable, "-m", "pipeline.clips.decoders")
GRACE_S = 30
"""How much longer than it allows itself a process may take before it is ended."""
TRIES = 2
"""How many processes a clip may take down with it before it is said to be its fault."""
READY = b"ready\n"
"""The first line of a process that has all it needs. One that ends before it was not ended by a clip."""
NICENESS = 10


class Decodes(Protocol):
    """What decodes clips, several at once."""

    at_once: int

    async def decode(self, path: Path) -> DecodeFacts:
        """Decode a clip to its last frame. Raises DiskRefused where the file or the decoder cannot be had."""


class Decoders:
    """A small pool of processes, started when they are first needed; use it in an `async with`.

    The mutable state is the processes that have nothing to do.
    """

    def __init__(self, at_once: int, command: Sequence[str] = COMMAND, limit_s: float = LIMIT_S) -> None:
        self.at_once = at_once
        self._command = command
        self._limit_s = limit_s
        self._slots = asyncio.Semaphore(at_once)
        self._idle: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._idle:
            await _end(self._idle.pop())

    async def decode(self, path: Path) -> DecodeFacts:
        """Decode a clip to its last frame.

        Returns:
            What came out; `stopped_because` says so where the clip ends every process that tries.

        Raises:
            DiskRefused: the file cannot be read, or a process cannot be started, or the system ends it for its own
                reasons (memory): the clip is not at fault.
        """
        async with self._slots:
            for _ in range(TRIES):
                told = await self._ask(path)
                if told is not None:
                    return told
        return DecodeFacts(frames=0, corrupt=0, stopped_because="the decoder crashed on it, or hung")

    async def _ask(self, path: Path) -> DecodeFacts | None:
        """Return what a process says of a clip; None where it ended without a word."""
        child = self._idle.pop() if self._idle else await self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        is_sound = False
        line = b""
        try:
            child.stdin.write(json.dumps([str(path), self._limit_s]).encode() + b"\n")
            async with asyncio.timeout(self._limit_s + 2 * GRACE_S):
                line = await child.stdout.readline()
            is_sound = bool(line)
        except TimeoutError:
            return None
        except ConnectionError:  # it has ended; how is asked below
            pass
        finally:
            if is_sound:
                self._idle.append(child)
            else:
                await asyncio.shield(_end(child) if child.stdout.at_eof() else _kill(child))
        if not line:
            if child.returncode == -signal.SIGKILL:
                raise DiskRefused("The system ended a process that decodes clips; memory may be short.")
            return None
        told = json.loads(line)
        if "refused" in told:
            raise DiskRefused(f"Could not read {path}: {told['refused']}.")
        return DecodeFacts.from_json(told)

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.endswith("_KEY")},
            )
        except OSError as error:
            raise DiskRefused(f"Could not start a process to decode clips in: {error.strerror}.") from error
        assert child.stdout is not None
        ready = b""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * GRACE_S):
                    ready = await child.stdout.readline()
        finally:
            if ready != READY:
                await asyncio.shield(_kill(child))
        if ready != READY:
            raise DiskRefused("A process that decodes clips did not come up. Try: python -m pipeline.clips.decoders")
        return child


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.stdin is not None:
        child.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            await child.wait()
            return
    await _kill(child)


async def _kill(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()
    await child.communicate()


def answer(line: str, work: Callable[..., DecodeFacts] = decode, grace_s: int = GRACE_S) -> dict[str, Any]:
    """Decode the clip that a request names, and return what there is to say of it."""
    path, limit_s = json.loads(line)
    signal.alarm(int(limit_s) + grace_s)  # its default action ends the process, whoever holds which lock
    try:
        return work(SystemFiles(), Path(path), time.monotonic, limit_s).to_json()
    except OSError as error:
        return {"refused": error.strerror or str(error)}
    finally:
        signal.alarm(0)


def main() -> None:
    """Answer requests, one a line, until there are no more."""
    import av  # noqa: F401 - what is missing is missed before a clip can be blamed

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(NICENESS)
    sys.stdout.write(READY.decode())
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
