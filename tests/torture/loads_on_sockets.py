"""Load on real sockets and real disks: ten thousand jobs in flight, and many minutes among faults.

The real runner, ledger and providers in this process, so that its tasks can be counted; the sandbox in another.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import resource
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import KEY, ask, sandbox
from benchmarks.tables import percentile, show
from pipeline.durable import make_folder
from pipeline.ledger.reader import reading
from pipeline.ledger.store import Ledger
from pipeline.paths import BatchFolder
from pipeline.providers.base import Account
from pipeline.providers.registry import find_provider
from pipeline.runner.batch import BatchRun
from pipeline.runner.context import LaneLimits, RunContext, Seat
from pipeline.runner.money import Prices
from pipeline.runner.progress import Progress
from pipeline.runner.reconcile import NothingKnown, write_plan
from pipeline.runner.stop import Stop
from pipeline.sandbox.settings import Fault
from pipeline.system.effects import SystemClock, system
from pipeline.system.files import SystemFiles
from tests.support.batches import an_item
from tests.torture.load_figures import Figure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from pipeline.effects import Effects
    from pipeline.providers.answers import LookAnswer, Receipt
    from pipeline.runner.schedule import Live

PROVIDERS = ("modelmax", "venice")
CLOCK = SystemClock()
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
FREE_LIMITS: dict[str, Any] = {
    "submits_per_minute": None,
    "looks_per_minute": None,
    "failures_per_30_s": None,
    "look_spacing_s": 5.0,
    "concurrent_billing": 4,
    "concurrent_downloads": 8,
}


class Roomy(SystemFiles):
    """A disk with room for all clips that may come: for each job in flight a run wants to have that of a large one."""

    def free_bytes(self, path: Path) -> int:
        """Return a petabyte."""
        return 10**15


class Watched:
    """A provider that notes how late each look at a job leaves. The mutable state is what was noted."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self.run: BatchRun | None = None
        self.late_s: list[float] = []
        self._lives: dict[str, Live] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def look(self, receipt: Receipt) -> LookAnswer:
        """Look, and note how long ago the schedule wanted that."""
        live = self._lives.get(receipt.job_id)
        if live is None and self.run is not None:
            lives = (each for lane in self.run.lanes.values() for each in lane.live.values())
            self._lives = {each.job.job_id: each for each in lives}
            live = self._lives.get(receipt.job_id)
        if live is not None:
            self.late_s.append(max(0.0, asyncio.get_running_loop().time() - live.due))
        answer: LookAnswer = await self._provider.look(receipt)
        return answer


@dataclass
class Undertaking:
    """A batch in a folder of its own against a sandbox. The mutable state is that of its one run."""

    root: Path
    origin: str
    limits: dict[str, Any]
    stop: Stop = field(default_factory=Stop)
    progress: Progress = field(default_factory=Progress)
    watched: dict[str, Watched] = field(default_factory=dict)
    run: BatchRun | None = None

    async def work(self, items: int, providers: Sequence[str], watch: Callable[[Undertaking], Awaitable[None]]) -> None:
        """Plan items, in turns of the providers, and run them until they are done or `watch` has returned."""
        effects = replace(system(), files=Roomy())
        try:
            await self._work(items, providers, watch, effects)
        finally:
            effects.threads.close()

    async def _work(
        self, items: int, providers: Sequence[str], watch: Callable[[Undertaking], Awaitable[None]], effects: Effects
    ) -> None:
        folder = BatchFolder(self.root / "batch")
        make_folder(effects.files, folder.root)
        ledger = await Ledger.open(folder.ledger, effects, {"pid": os.getpid()})
        turns = zip(range(items), itertools.cycle(providers), strict=False)
        wanted = (an_item(f"i{number}", provider) for number, provider in turns)
        await write_plan(ledger, wanted, NothingKnown(), None, effects.clock.now())
        await ledger.write_meta({"name": "load"})
        seats = {name: self._seat(name, effects) for name in providers}
        context = RunContext(
            ledger=ledger,
            folder=folder,
            inputs=self.root,
            effects=effects,
            prices=Prices(),
            progress=self.progress,
        )
        self.run = BatchRun(run=context, seats=seats, chosen=None, stop=self.stop)
        for watched in self.watched.values():
            watched.run = self.run
        watching = asyncio.get_running_loop().create_task(self._watch(watch))
        try:
            await self.run.go()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            for seat in seats.values():
                await seat.provider.close()
            await ledger.close("finished")

    async def _watch(self, watch: Callable[[Undertaking], Awaitable[None]]) -> None:
        await watch(self)
        self.stop.ask(2)

    def _seat(self, name: str, effects: Effects) -> Seat:
        factory = find_provider(name)
        account = Account(key=KEY, base_url=self.origin + ("/api/v1" if name == "venice" else ""))
        self.watched[name] = watched = Watched(factory(account, effects))
        return Seat(
            provider=watched,  # type: ignore[arg-type]
            capabilities=factory.capabilities,
            base_url=account.base_url,
            account=account.fingerprint,
            limits=LaneLimits(**{**FREE_LIMITS, **self.limits}),
        )


def resident_mib() -> float:
    """Return how much memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


def in_flight(jobs: int = 10_000, watched_s: float = 60.0) -> Iterator[Figure]:
    """Have many jobs at a vendor at once; yield the memory, and how late looks leave."""
    late_s: list[float] = []
    most = 0

    async def watch(undertaking: Undertaking) -> None:
        nonlocal most
        while undertaking.progress.submitted < jobs:
            await CLOCK.sleep(0.5)
        watched = undertaking.watched["modelmax"]
        seen = len(watched.late_s)
        await CLOCK.sleep(watched_s)
        late_s.extend(watched.late_s[seen:])
        most = undertaking.progress.at_provider

    before_mib = resident_mib()
    slow = ("--render", "template", "--no-limits", "--duration-scale", "100")
    with tempfile.TemporaryDirectory(prefix="clipmill-load-") as name, sandbox(*slow) as origin:
        undertaking = Undertaking(Path(name), origin, {"in_flight": jobs})
        asyncio.run(undertaking.work(jobs, ["modelmax"], watch))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    label = f"{jobs:,} in flight"
    yield Figure(f"{label}: at the vendor", most, "jobs", least=jobs)
    yield Figure(f"{label}: peak memory", peak_mib, "MiB", most=200, beside=f"{before_mib:.0f} MiB before")
    yield Figure(f"{label}: looks in {watched_s:g} s", len(late_s), "looks", least=1)
    yield Figure(f"{label}: a look is late by, p50", percentile(late_s, 0.5), "s")
    yield Figure(f"{label}: a look is late by, p99", percentile(late_s, 0.99), "s", most=1.0)


@dataclass(frozen=True)
class Sample:
    """What the process holds at one moment."""

    at_s: float
    done: int
    other: int
    """Items that ended otherwise, or are in doubt."""
    resident_mib: float
    objects: int
    descriptors: int
    tasks: int
    threads: int

    def row(self) -> tuple[str, ...]:
        """Return the line of a table."""
        return (
            f"{self.at_s:.0f}",
            f"{self.done:,}",
            f"{self.other:,}",
            f"{self.resident_mib:.1f}",
            f"{self.objects:,}",
            str(self.descriptors),
            str(self.tasks),
            str(self.threads),
        )


ITEMS_A_SECOND = 40
"""More than can be made."""
COLUMNS = ("s", "done", "otherwise", "MiB", "objects", "descriptors", "tasks", "threads")


def soak(seconds: float = 1200.0, every_s: float = 30.0, fault: float = 0.01) -> Iterator[Figure]:
    """Run among faults of every kind; print what the process holds, and yield by how much that grows."""
    samples: list[Sample] = []

    async def watch(undertaking: Undertaking) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() < began + seconds:
            await CLOCK.sleep(every_s)
            progress = undertaking.progress
            progress.notes.clear()  # as the command does when it has told them
            gc.collect()
            samples.append(
                Sample(
                    loop.time() - began,
                    progress.done,
                    progress.failed + progress.in_doubt,
                    resident_mib(),
                    len(gc.get_objects()),
                    len(os.listdir("/proc/self/fd")),
                    len(asyncio.all_tasks()),
                    threading.active_count(),
                )
            )

    faults = [option for each in Fault for option in ("--fault", f"{each}={fault}")]
    behaviour = ("--render", "template", "--no-limits", "--duration-scale", "0.1", *faults)
    with tempfile.TemporaryDirectory(prefix="clipmill-load-") as name, sandbox(*behaviour) as origin:
        undertaking = Undertaking(Path(name), origin, {"in_flight": 60, "look_spacing_s": 2.0})
        asyncio.run(undertaking.work(int(seconds * ITEMS_A_SECOND), PROVIDERS, watch))
        with reading(undertaking.root / "batch" / "ledger.sqlite", system()) as reader:
            summary = reader.summary()
        charged_twice = sum(job["charges"] > 1 for job in ask(f"{origin}/sandbox/bill")["jobs"].values())
        struck = sum(ask(f"{origin}/sandbox/requests")["faults"].values())
    show(f"{seconds:g} s with {fault:.0%} of every fault", COLUMNS, [sample.row() for sample in samples])
    label = f"soak of {seconds:g} s"
    yield Figure(f"{label}: clips", summary.clips_done, "clips", least=1, beside=f"{struck:,} faults")
    yield Figure(f"{label}: charged more than once", charged_twice, "jobs", most=0)
    third = len(samples) // 3
    for name, unit, most in (
        ("resident_mib", "MiB", 8.0),
        ("objects", "objects", 5_000),
        ("descriptors", "descriptors", 10),
        ("tasks", "tasks", 20),
        ("threads", "threads", 2),
    ):
        middle, last = (
            percentile([getattr(each, name) for each in part], 0.5)
            for part in (samples[third : 2 * third], samples[-third:])
        )
        says = f"{label}: {name.removesuffix('_mib')}, last third over middle"
        yield Figure(says, last - middle, unit, most, beside=f"{middle:,.0f}, then {last:,.0f}")
