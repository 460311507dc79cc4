"""Ray as the engine: each worker is an actor. What a process of the cluster does on its own is in `tasks`.

An actor whose process or node dies is started again by Ray, on another node where it must be, and its work is begun
anew. Ray makes no promise that the first has ended when the second begins, and needs none here (`crew`). Facts about
Ray are from its documentation: Ray Core, "Fault tolerance" of actors and tasks, and "Scheduling".

What a worker is lent (keys, the ledger's password) goes with the call of its method, and with nothing else. Such a call
is sent from process to process. What creates an actor is kept by Ray's control store and may be written to its disk;
`env_vars` of a runtime environment are shown by its dashboard and written into its logs; an argument of more than
100 kB goes through the store of objects, which may spill to disk. None of these holds a secret here: what is lent is
an argument of its own, and small. A cluster that is started here does not inherit it either.
"""

from __future__ import annotations

import io
import logging
import os
import re
import socket
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.runner.stop import Stop
from pipeline.scale.crew import AGAIN_MOST, WorkerLost
from pipeline.scale.figures import Teller
from pipeline.scale.tasks import RayDecoders
from pipeline.system.locks import without_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.scale.crew import Ended, Lent, Work
    from pipeline.scale.figures import Told

log = logging.getLogger(__name__)

WORKER_CPUS = 0.001
"""A worker waits for others nearly all the time. It is not nothing, so that a node to which its owner gave no
processors, as to the head of a large cluster, gets no workers."""
OBJECTS_BYTES = 80 << 20
"""Ray's least, nearly: nothing large goes through its store of objects."""
NO_CPU = (
    "No node of the cluster has a processor to offer, and the work waits for one that has. The head of a small cluster "
    "may have some: ray start --head --num-cpus N"
)
CLIENTS = "ray://"
NO_CLIENTS = (
    "ray:// leads through a proxy of Ray's, and neither keys nor clips go there. Run this command on a node of the "
    "cluster, with --address auto."
)
KNOCK_S = 10.0
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
INSTALL = "--engine ray needs Ray; install it with: pip install 'clipmill[ray]'"


class ClipmillWorker:
    """A worker's process, as Ray knows it. The mutable state is how often it was told to stop, and what it tells."""

    def __init__(self) -> None:
        self._stop = Stop()
        self._teller = Teller()

    async def work(self, work: Work, lent: Lent) -> Ended:
        """Work to the end."""
        return await work(lent, self._stop, RayDecoders, self._teller)

    async def tell(self) -> Told | None:
        """Tell its figures."""
        return self._teller.tell()

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

    async def tell(self) -> Told | None:  # noqa: D102
        told: Told | None = await _heard(self._actor.tell.remote())
        return told


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
def connected(address: str | None, withheld: Iterable[str] | None = None) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine alone; let it go at the end, with all that it does for us.

    Args:
        address: `auto` or HOST:PORT; None for one of this machine's own.
        withheld: the variables of the environment that one of this machine's own is not to inherit; None for all that
            hold keys.

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
        with _withheld(_keys() if withheld is None else withheld):
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
            yield
    finally:
        ray.shutdown()


def _keys() -> set[str]:
    """Return which variables hold keys, but for Ray's own."""
    return {name for name in os.environ.keys() - without_keys(os.environ).keys() if not name.startswith("RAY_")}


@contextmanager
def _withheld(names: Iterable[str]) -> Iterator[None]:
    """Have the processes that are begun meanwhile inherit an environment without these variables."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


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
