"""A Ray cluster on this machine, of real processes on loopback: a head that gets no work, and nodes that can die.

Each node has a state folder of its own, as each machine has: what its workers share, they share through the ledger.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "Ray is not installed (make judges)"
OBJECTS_BYTES = 80 << 20
NODE_CPUS = 2
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""To be set before anything of Ray is imported."""


def is_installed() -> bool:
    """Tell whether there is a Ray to start."""
    return find_spec("ray") is not None


class RayCluster:
    """One cluster. The mutable state is its nodes."""

    def __init__(self, folder: Path, nodes: int) -> None:
        """Start the head and so many nodes; `folder` is for their states."""
        os.environ.update(ON_LOOPBACK)
        from ray.cluster_utils import Cluster

        self._folder = folder
        self._started = 0
        self._cluster = Cluster()
        self.nodes: list[Any] = []
        self._cluster.add_node(num_cpus=0, object_store_memory=OBJECTS_BYTES, include_dashboard=False)
        self.address: str = self._cluster.address
        self.session = Path(self._cluster.head_node.get_session_dir_path())
        for _ in range(nodes):
            self.add_node()

    def add_node(self) -> None:
        """Start one more node."""
        self._started += 1
        home = self._folder / f"machine{self._started}"
        node = self._cluster.add_node(
            num_cpus=NODE_CPUS,
            object_store_memory=OBJECTS_BYTES,
            env_vars={"XDG_STATE_HOME": str(home), "XDG_CACHE_HOME": str(home)},
        )
        self.nodes.append(node)

    def node_of(self, pid: int) -> Any:
        """Return the node on which a worker lives; None where it lives on none."""
        return next((node for node in self.nodes if _raylet(node) == _parent_of(pid)), None)

    def at_work(self, task: str) -> list[int]:
        """Return the processes that do a task at this moment, by the title that Ray gives them."""
        children = [pid for node in self.nodes for pid in _children_of(_raylet(node))]
        return [pid for pid in children if _title(pid) == f"ray::{task}"]

    def kill_node(self, node: Any) -> None:
        """Let a node die as a machine does: all of its processes at once, with no time for a word."""
        raylet = _raylet(node)
        for pid in [raylet, *_children_of(raylet)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def servants(self) -> list[int]:
        """Return the processes of Ray's own: its control store and each node's."""
        head = self._cluster.head_node.all_processes
        return [info[0].process.pid for name, info in head.items() if name in {"gcs_server", "raylet"}] + [
            _raylet(node) for node in self.nodes
        ]

    def close(self) -> None:
        """Leave no process behind."""
        everything = [pid for node in self.nodes for pid in (_raylet(node), *_children_of(_raylet(node)))]
        self._cluster.shutdown()
        for pid in everything:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def ray_cluster(folder: Path, nodes: int = 2) -> Iterator[RayCluster]:
    """Run a cluster while the block runs."""
    cluster = RayCluster(folder, nodes)
    try:
        yield cluster
    finally:
        cluster.close()


def holds(pid: int, secret: bytes) -> bool:
    """Tell whether a process has these bytes anywhere in what it may write to."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps:
                found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
                if found is None:
                    continue
                begin, end = (int(part, 16) for part in found.groups())
                with suppress(OSError, OverflowError, ValueError):  # a region that is not there to be read
                    memory.seek(begin)
                    if secret in memory.read(end - begin):
                        return True
    except OSError:
        return False
    return False


def written_down(session: Path, secret: bytes) -> list[str]:
    """Return the files of a session in which these bytes are."""
    return [str(path) for path in sorted(session.rglob("*")) if path.is_file() and secret in path.read_bytes()]


def resident_bytes(pid: int) -> int:
    """Return a process's memory: its own, and its share of what it shares."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _children_of(pid: int) -> list[int]:
    return [
        int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and _parent_of(int(each.name)) == pid
    ]
