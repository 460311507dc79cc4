"""Batches in a simulated world: the real runner, ledger and providers against the real sandbox, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.running.storing import uploading_to
from pipeline.durable import make_folder
from pipeline.ledger.opening import LEASE_S
from pipeline.ledger.reader import reading
from pipeline.ledger.store import Ledger
from pipeline.paths import BatchFolder
from pipeline.planning.cost import Cost, PriceIs
from pipeline.planning.identity import fingerprint
from pipeline.planning.item import Item
from pipeline.planning.problems import Source
from pipeline.providers.base import Account, GenerationRequest
from pipeline.providers.registry import find_provider
from pipeline.runner.batch import RESULTS_EVERY_S, BatchRun, Outcome
from pipeline.runner.cleanup import vendors_to_ask
from pipeline.runner.context import LaneLimits, RunContext, Seat
from pipeline.runner.decoding import Decoding
from pipeline.runner.meter import Meter
from pipeline.runner.money import Prices
from pipeline.runner.progress import Progress
from pipeline.runner.reconcile import OnChange, compare, refuse_undecided, write_plan
from pipeline.runner.stop import Stop
from pipeline.sandbox.app import make_app
from pipeline.sandbox.settings import Render, SandboxSettings
from pipeline.sandbox.state import open_state
from tests.support.memory_store import URL, MemoryStore
from tests.support.simulation.simulated_effects import InlineThreads, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from aiohttp.typedefs import Middleware

    from pipeline.clips.decoders import Decodes
    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job
    from pipeline.ledger.reader import Reader
    from pipeline.ledger.tallies import Summary
    from pipeline.manifest.model import Price
    from pipeline.providers.base import ProviderFactory
    from tests.support.memory_store import Bucket
    from tests.support.simulation.process import Process
    from tests.support.simulation.world import World

ROOT = Path("/batch")
HOST, PORT = "127.0.0.1", 8000
ORIGIN = f"http://{HOST}:{PORT}"
BASE_URLS = {"modelmax": ORIGIN, "venice": f"{ORIGIN}/api/v1", "openai-videos": f"{ORIGIN}/openai/v1"}
MODELS = {"modelmax": "veo-3", "venice": "wan-2-7-text-to-video", "openai-videos": "sora-2"}
PARAMETERS = {
    "modelmax": {"duration_seconds": 8},
    "venice": {"duration_seconds": 5, "aspect_ratio": "16:9", "resolution": "720p"},
    "openai-videos": {"duration_seconds": 4, "aspect_ratio": "16:9", "resolution": "720p"},
}


def an_item(item_id: str, provider: str = "modelmax", **changes: Any) -> Item:
    """Return a small item; `model`, `prompt`, `metadata` and parameters can be changed."""
    model = changes.pop("model", MODELS[provider])
    prompt = changes.pop("prompt", f"A picture of {item_id}")
    metadata = changes.pop("metadata", {})
    request = GenerationRequest(model=model, prompt=prompt, parameters={**PARAMETERS[provider], **changes})
    return Item(
        id=item_id,
        entry_index=0,
        provider=provider,
        request=request,
        metadata=metadata,
        fingerprint=fingerprint(provider, request),
        cost=Cost(price_usd=None, price_is=PriceIs.UNKNOWN, seconds=8, clips=1),
        source=Source(file="m.yaml", line=1, column=1),
    )


def items(count: int, provider: str = "modelmax", **changes: Any) -> list[Item]:
    """Return small items `i0`, `i1`, ..."""
    return [an_item(f"i{number}", provider, **changes) for number in range(count)]


@dataclass
class Vendor:
    """The sandbox in a world, and what it has charged."""

    world: World
    settings: SandboxSettings
    doorkeepers: Sequence[Middleware] = ()
    """They see every request before the sandbox does, the first one first."""

    def __post_init__(self) -> None:
        """Start it."""
        self.state = open_state(None, lambda path: None)  # type: ignore[arg-type,return-value]
        app = make_app(self.settings, clock=VirtualClock(self.world.loop), state=self.state, threads=InlineThreads())
        app.middlewares.extend(self.doorkeepers)
        self.world.serve(app, HOST, PORT)

    def ask(self, path: str) -> Any:
        """Ask the sandbox for its bill or its counts."""
        import aiohttp

        async def get() -> Any:
            connector = self.world.network.connector(True)
            async with aiohttp.ClientSession(connector=connector) as session, session.get(ORIGIN + path) as answer:
                return await answer.json()

        return self.world.run(get())

    def bill(self) -> Any:
        """Return the bill."""
        return self.ask("/sandbox/bill")

    def requests(self) -> Any:
        """Return how often each endpoint was called."""
        return self.ask("/sandbox/requests")

    def calls(self) -> dict[str, int]:
        """Return how many calls each of the vendors' endpoints has had, the sandbox's own pages left out."""
        counted = {name: sum(statuses.values()) for name, statuses in self.requests()["endpoints"].items()}
        return {name: count for name, count in counted.items() if not name.startswith("sandbox-")}


def a_vendor(world: World, **settings: Any) -> Vendor:
    """Start a sandbox that stamps template clips."""
    return Vendor(world, SandboxSettings(render=Render.TEMPLATE, **settings))


@dataclass
class Batch:
    """One batch in a world; `run` is a process working on it."""

    world: World
    items: Sequence[Item]
    key: str = "test-key"
    prices: dict[str, Price] = field(default_factory=dict)
    max_cost_usd: float | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    quotes: dict[str, float] = field(default_factory=dict)
    """What the provider is said to have quoted, by `planning.cost.quote_key`."""
    inputs: Path = Path("/")
    """The folder that input files are relative to, on the real disk."""
    cleanup: bool = False
    """Whether the providers' copies are deleted once a clip is here."""
    factories: dict[str, ProviderFactory] = field(default_factory=dict)
    """Providers that stand in for the installed ones, by name."""
    results_every_s: float = RESULTS_EVERY_S
    """The least time between two rewrites of the results."""
    root: Path = ROOT
    """The batch's folder; another one where the world is the real one."""
    base_urls: dict[str, str] = field(default_factory=lambda: BASE_URLS)
    progress: Progress = field(default_factory=Progress)
    """That of the latest run."""
    meter: Meter = field(default_factory=Meter)
    """That of the latest run, too."""
    decoders: Decodes | None = None
    """What decodes finished clips; None for nothing."""
    bucket: Bucket | None = None
    """What finished clips are uploaded to; None for nothing."""
    lease_s: float = LEASE_S
    """For how long a worker may be silent, where the ledger is shared."""
    store_url: str = URL

    def run(
        self,
        process: Process | None = None,
        *,
        stop: Stop | None = None,
        on_change: OnChange | None = None,
        chosen: frozenset[str] | None = None,
    ) -> Outcome:
        """Run the batch as one process, to its end."""
        process = process or self.world.process("run")
        try:
            return self.world.run(self.work(self.world.effects(process), stop or Stop(), on_change, chosen), process)
        except Exception:
            self.world.bury(process)  # what it left open goes with it
            raise

    async def work(
        self, effects: Effects, stop: Stop, on_change: OnChange | None = None, chosen: frozenset[str] | None = None
    ) -> Outcome:
        """What one process does."""
        folder = BatchFolder(self.root)
        make_folder(effects.files, folder.root)
        ledger = await Ledger.open(folder.ledger, effects, {"pid": 1}, lease_s=self.lease_s)
        try:
            outcome = await self._work_on(ledger, folder, effects, stop, on_change, chosen)
        except Exception:
            await ledger.close("failed")
            raise
        await ledger.close("finished")
        return outcome

    async def _work_on(
        self,
        ledger: Ledger,
        folder: BatchFolder,
        effects: Effects,
        stop: Stop,
        on_change: OnChange | None,
        chosen: frozenset[str] | None,
    ) -> Outcome:
        async with ledger.alone("plan"):
            with reading(folder.ledger, effects) as reader:
                refuse_undecided(compare(self.items, reader), on_change)
                await write_plan(ledger, self.items, reader, on_change, effects.clock.now())
        await ledger.write_meta({"name": "batch", "max_cost_usd": self.max_cost_usd})
        with reading(folder.ledger, effects) as reader:
            names = {*reader.providers()}
            if self.cleanup:
                known = {name: self.factory(name).capabilities for name in {item.provider for item in self.items}}
                names |= vendors_to_ask(reader.uncleaned(), known.__getitem__, effects.clock.now())
        seats = {name: self.seat(name, effects) for name in sorted(names)}
        self.progress = progress = Progress()
        decoding = Decoding(ledger, folder.root, self.decoders, effects.clock, progress.note) if self.decoders else None
        store = MemoryStore(self.bucket, self.store_url) if self.bucket else None
        turns = decoding.turns if decoding else None
        meter = self.meter = Meter()
        uploading = await uploading_to(store, ledger, folder, effects, progress, meter, turns)
        context = RunContext(
            ledger=ledger,
            folder=folder,
            inputs=self.inputs,
            effects=effects,
            prices=Prices(listed=self.prices, quotes=dict(self.quotes)),
            progress=progress,
            meter=meter,
            decoding=decoding,
            uploading=uploading,
            cleanup=self.cleanup,
            lease_s=self.lease_s,
        )
        outcome = await BatchRun(
            run=context, seats=seats, chosen=chosen, stop=stop, results_every_s=self.results_every_s
        ).go()
        for seat in seats.values():
            await seat.provider.close()
        return outcome

    def factory(self, name: str) -> ProviderFactory:
        """Return a provider's factory, or what stands in for it."""
        return self.factories.get(name) or find_provider(name)

    def seat(self, name: str, effects: Effects) -> Seat:
        """Return a provider with a key."""
        factory = self.factory(name)
        account = Account(key=self.key, base_url=self.base_urls[name])
        documented = factory.capabilities.limits
        limits = {
            "in_flight": 100,
            "submits_per_minute": documented.submits_per_minute,
            "looks_per_minute": documented.looks_per_minute,
            "failures_per_30_s": documented.failures_per_30_s,
            "look_spacing_s": documented.look_spacing_s,
            "concurrent_billing": 2,
            "concurrent_downloads": 8,
        }
        return Seat(
            provider=factory(account, effects),
            capabilities=factory.capabilities,
            base_url=account.base_url,
            account=account.fingerprint,
            limits=LaneLimits(**{**limits, **self.limits}),
        )

    def jobs(self) -> list[Job]:
        """Return the latest revision of every item."""
        with self._reading() as reader:
            return list(reader.jobs())

    def job(self, item_id: str = "i0") -> Job:
        """Return the latest revision of one item."""
        return next(job for job in self.jobs() if job.item_id == item_id)

    def events(self, item_id: str | None = None) -> list[Event]:
        """Return the history of one item, or of the batch."""
        with self._reading() as reader:
            return reader.events(item_id)

    def kinds(self, item_id: str = "i0") -> list[str]:
        """Return the kinds of an item's events, in order."""
        return [event.kind.value for event in self.events(item_id)]

    def summary(self) -> Summary:
        """Return how the batch stands."""
        with self._reading() as reader:
            return reader.summary()

    def _reading(self) -> AbstractContextManager[Reader]:
        return reading(BatchFolder(ROOT).ledger, self.world.effects(self.world.process("reader")))

    def clip(self, item_id: str = "i0") -> bytes | None:
        """Return the bytes under an item's final name, or None where there are none."""
        return self.world.files.bytes_at(ROOT / "clips" / f"{item_id}.mp4")

    def states(self) -> dict[str, str]:
        """Return the state of every item."""
        return {job.item_id: job.state.value for job in self.jobs()}
