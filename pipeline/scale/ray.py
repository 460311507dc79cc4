"""Ray as the engine: each worker is an actor, and the decoding of each clip a task.

An actor whose process or node dies is started again by Ray, on another node where it must be, and its work is begun
anew. Ray makes no promise that the first has ended when the second begins, and needs none here (`crew`). Facts about
Ray are from its documentation: Ray Core, "Fault tolerance" of actors and tasks, and "Scheduling".

What a worker is lent (keys, the ledger's password) goes with the call of its method, and with nothing else. Such a call
is sent from process to process. What creates an actor is kept by Ray's control store and may be written to its disk;
`env_vars` of a runtime environment are shown by its dashboard and written into its logs; an argument of more than
100 kB goes through the store of objects, which may spill to disk. None of these holds a secret here: what is lent is
an argument of its own, and small.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import logging
import os
import re
import socket
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline.clips.decoders import Decoders
from pipeline.clips.probe import DecodeFacts, can_decode
from pipeline.errors import DiskRefused, InputError
from pipeline.runner.stop import Stop
from pipeline.scale.crew import AGAIN_MOST, WorkerLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.scale.crew import Ended, Lent, Work

log = logging.getLogger(__name__)

WORKER_CPUS = 0.001
"""A worker waits for others nearly all the time. It is not nothing, so that a node to which its owner gave no
processors, as to the head of a large cluster, gets no workers."""
DECODING_CPUS = 0.9
"""So that a node of one processor has room for a task beside workers."""
DECODING_MOST = 8
"""Clips that one worker has decoded at once, or waiting for a processor of the cluster."""
OBJECTS_BYTES = 80 << 20
"""Ray's least, nearly: nothing large goes through its store of objects."""
NO_CPU = (
    "No node of the cluster has a processor to offer; workers wait for one that has. The head of a small cluster may "
    "have some: ray start --head --num-cpus N"
)
CLIENTS = "ray://"
NO_CLIENTS = (
    "ray:// leads through a proxy of Ray's, and keys do not go there. Run this command on a node of the cluster, with "
    "--address auto."
)
KNOCK_S = 10.0
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
INSTALL = "--engine ray needs Ray; install it with: pip install 'clipmill[ray]'"


class ClipmillWorker:
    """A worker's process, as Ray knows it. The mutable state is how often it was told to stop."""

    def __init__(self) -> None:
        self._stop = Stop()

    async def work(self, work: Work, lent: Lent) -> Ended:
        """Work to the end."""
        return await work(lent, self._stop, RayDecoders)

    async def stop(self, asked: int, signal: int) -> None:
        """Be told to stop, so often in all."""
        while self._stop.asked < asked:
            self._stop.ask(signal)


class RayWorker:
    """A worker, as the crew knows it."""

    def __init__(self, actor: Any, work: Work, lent: Lent) -> None:
        self._actor = actor
        self._work = work
        self._lent = lent

    async def work(self) -> Ended:  # noqa: D102
        ended: Ended = await _heard(self._actor.work.remote(self._work, self._lent))
        return ended

    async def stop(self, asked: int, signal: int) -> None:  # noqa: D102
        await _heard(self._actor.stop.remote(asked, signal))


async def _heard(answer: Any) -> Any:
    from ray.exceptions import RayError

    try:
        return await answer
    except RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = f"{lines[0]} {lines[-1]}" if len(lines) > 1 else "".join(lines)
        raise WorkerLost(f"Ray says: {said} Every node needs this version of clipmill, and memory to run it in.") from (
            error
        )


class RayEngine:
    """Hires workers of the cluster that this process is connected to."""

    def __init__(self, work: Work, lent: Lent) -> None:
        import ray

        self._work = work
        self._lent = lent
        self._actors = ray.remote(
            num_cpus=WORKER_CPUS,
            max_restarts=AGAIN_MOST,
            max_task_retries=-1,  # as often as it is started again: what is done twice is done once by the ledger
            scheduling_strategy="SPREAD",
        )(ClipmillWorker)

    def hire(self, number: int) -> RayWorker:  # noqa: ARG002, D102
        return RayWorker(self._actors.remote(), self._work, self._lent)


@contextmanager
def cluster(address: str | None, work: Work, lent: Lent) -> Iterator[RayEngine]:
    """Connect to a cluster, or start one on this machine alone; let it go at the end, with all workers.

    Args:
        address: `auto` or HOST:PORT; None for one of this machine's own.
        work: what the workers are to do.
        lent: what they may use, and may tell nobody.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached, or only through its proxy.
    """
    if address is not None and address.startswith(CLIENTS):
        raise InputError(NO_CLIENTS)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told that somebody makes clips
    options: dict[str, Any] = {"address": address}
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # it then listens on loopback alone
        options = {"address": "local", "include_dashboard": False, "object_store_memory": OBJECTS_BYTES}
    try:
        import ray
    except ImportError:
        raise InputError(INSTALL) from None
    try:
        _knock(address or "")
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"No Ray cluster could be reached at {address or 'this machine'}: {error}. Start one with `ray start "
            "--head`, or leave --address out for one of this machine's own."
        ) from error
    if not ray.cluster_resources().get("CPU"):
        log.warning(NO_CPU)
    try:
        with redirect_stdout(_Logged()):  # Ray prints there, at any moment; it is for results
            yield RayEngine(work, lent)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()


class _Logged(io.TextIOBase):
    """A text file that becomes lines of the log, without the colours."""

    def write(self, text: str) -> int:
        for line in COLOUR.sub("", text).splitlines():
            if line.strip():
                log.info("Ray: %s", line.strip())
        return len(text)


class RayDecoders:
    """Decodes clips wherever in the cluster a processor is free, and here where others do not see the file.

    The mutable state is `_elsewhere`: whether others are asked at all.
    """

    def __init__(self, at_once: int) -> None:
        import ray

        self.at_once = max(at_once, min(DECODING_MOST, int(ray.cluster_resources().get("CPU", 1))))
        self._here = Decoders(at_once)
        self._decode_there = ray.remote(num_cpus=DECODING_CPUS, max_retries=1)(decode_there)
        self._elsewhere = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._here.__aexit__()

    async def decode(self, path: Path) -> DecodeFacts:
        """Decode a clip to its last frame. Raises DiskRefused where the file or the decoder cannot be had."""
        from ray.exceptions import RayError

        if self._elsewhere:
            try:
                told = await self._decode_there.remote(str(path), _seen(path))
            except (RayError, OSError):
                told = None  # a node died, or the file is not to be had, which is found out here
            else:
                self._elsewhere = told is not None
            if told is not None:
                if "refused" in told:
                    raise DiskRefused(told["refused"])
                return DecodeFacts.from_json(told)
        return await self._here.decode(path)


def _seen(path: Path) -> tuple[int, int]:
    """Return what tells a file from another of the same name on another machine: its size, and when it was written."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def decode_there(path: str, seen: tuple[int, int]) -> dict[str, Any] | None:
    """Decode a clip in a process beside this one, which has no keys and may hang or crash.

    Args:
        path: the clip's.
        seen: what `_seen` says of it where it was asked for.

    Returns:
        The facts as JSON; `refused` with a sentence where it could not be decoded; None where nothing decodes here, or
        the file is not here, or is another one of the same name.
    """
    try:
        is_it = _seen(Path(path)) == seen
    except OSError:
        return None
    if not is_it or not can_decode():
        return None
    loop, decoders = _decoders()
    try:
        return loop.run_until_complete(decoders.decode(Path(path))).to_json()
    except DiskRefused as refused:
        return {"refused": str(refused)}


@cache
def _decoders() -> tuple[asyncio.AbstractEventLoop, Decoders]:
    """Return this process's own; Ray gives one process task after task."""
    loop, decoders = asyncio.new_event_loop(), Decoders(1)
    atexit.register(_end, loop, decoders)
    return loop, decoders


def _end(loop: asyncio.AbstractEventLoop, decoders: Decoders) -> None:
    loop.run_until_complete(decoders.__aexit__())
    loop.close()
