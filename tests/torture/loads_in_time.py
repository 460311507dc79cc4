"""Load in virtual time: storms of 429, bad prompts, clips that trickle, and thousands of jobs found at a start.

The real runner, ledger and providers; the real sandbox, or the light vendor of the benchmarks where the batch is long.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from benchmarks import laws
from benchmarks.tables import percentile
from benchmarks.vendor import BLOCK_S, FAILURE_WINDOW_S, FAILURES_MOST, Gate, LightVendor
from pipeline.jobs.state import State
from pipeline.runner.stop import Stop
from pipeline.sandbox.settings import Fault, Render, SandboxSettings
from tests.support.batches import HOST, PORT, Batch, Vendor, an_item, items
from tests.support.simulation.simulated_effects import VirtualClock
from tests.support.simulation.world import World
from tests.torture.load_figures import Figure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aiohttp.typedefs import Middleware

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LATENCY_S = (0.03, 0.08)
ON_THE_WAY_S = 0.2
"""What left within this time of the first refusal may have left before that was read."""
CLASSES = {"/api/v1/video/queue": "submits", "/api/v1/video/retrieve": "looks"}
RESULTS_EVERY_S = 3600.0
"""A rewrite of the results takes no virtual time, so the runner would never see that it makes too many of them."""


def most_within(moments: list[float], window_s: float) -> int:
    """Return the most moments, in their order, that lie in any window of some length."""
    inside: deque[float] = deque()
    most = 0
    for at in moments:
        inside.append(at)
        while inside[0] <= at - window_s:
            inside.popleft()
        most = max(most, len(inside))
    return most


@dataclass
class Doorkeeper:
    """Sees every call of the API before the sandbox does. The mutable state is when calls of each class came."""

    now: Callable[[], float]
    came: dict[str, list[float]] = field(default_factory=lambda: {"submits": [], "looks": []})

    async def keep(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a call, or let it through."""
        return await handler(request)

    def middleware(self) -> Middleware:
        """Return what an application is given."""

        @web.middleware
        async def at_the_door(request: web.Request, handler: Handler) -> web.StreamResponse:
            name = CLASSES.get(request.path)
            if name is None:
                return await handler(request)
            self.came[name].append(self.now())
            return await self.keep(request, handler)

        return at_the_door


def a_vendor(world: World, doorkeeper: Doorkeeper, **settings: Any) -> Vendor:
    """Start a sandbox with somebody at its door."""
    return Vendor(world, SandboxSettings(render=Render.TEMPLATE, **settings), [doorkeeper.middleware()])


# a storm of 429


@dataclass
class Storm(Doorkeeper):
    """Refuses everything for a while, and says when to come again."""

    begins_s: float = 150.0
    lasts_s: float = 600.0
    reset_s: float = 60.0

    async def keep(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a call during the storm."""
        if not self.begins_s <= self.now() < self.begins_s + self.lasts_s:
            return await handler(request)
        headers = {"Retry-After": f"{self.reset_s:g}"}
        return web.json_response({"error": "Rate limit exceeded."}, status=429, headers=headers)

    def most_in_a_reset(self, name: str) -> int:
        """Return the most calls of a class within one reset's time, without those that were on their way already."""
        during = [at for at in self.came[name] if self.begins_s <= at < self.begins_s + self.lasts_s]
        return most_within([at for at in during if at > during[0] + ON_THE_WAY_S], self.reset_s - 1.0)


def storm(clips: int = 200, lasts_s: float = 600.0) -> Iterator[Figure]:
    """Refuse everything for ten minutes in the middle of a batch."""
    with World(1, latency_s=LATENCY_S) as world:
        door = Storm(world.loop.time, lasts_s=lasts_s)
        vendor = a_vendor(world, door)
        batch = Batch(world, items(clips, "venice"), limits={"in_flight": None})
        batch.run()
        done, blocked = batch.summary().count(State.DONE), vendor.requests()["blocked"]
    label = f"429 for {lasts_s:g} s"
    for name in door.came:
        yield Figure(f"{label}: {name} in one reset's time", door.most_in_a_reset(name), name, most=1)
    yield Figure(f"{label}: done in the end", done, "clips", least=clips)
    yield Figure(f"{label}: lock-outs", blocked, "lock-outs", most=0)


# bad prompts


@dataclass
class Prudish(Doorkeeper):
    """Refuses what shows something bad, and counts failures as Venice does: more than 20 in 30 s shut the key out."""

    failed: deque[float] = field(default_factory=deque)
    failures: list[float] = field(default_factory=list)
    shut_until: float = 0.0
    lockouts: int = 0

    async def keep(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a bad prompt, and whoever is shut out."""
        now = self.now()
        if now < self.shut_until:
            text = "Too many failed attempts. Please wait 30s and try again."
            return web.json_response({"error": text}, status=429)
        if request.path.endswith("/queue") and "bad" in (await request.json())["prompt"]:
            self._note(now)
            told = {"error": "The prompt violates the content policy.", "suggested_prompt": "A good picture"}
            return web.json_response(told, status=422)
        answer = await handler(request)
        if answer.status >= 400:
            self._note(now)
        return answer

    def _note(self, now: float) -> None:
        self.failed.append(now)
        self.failures.append(now)
        while self.failed[0] <= now - FAILURE_WINDOW_S:
            self.failed.popleft()
        if len(self.failed) > FAILURES_MOST:
            self.failed.clear()
            self.shut_until = now + BLOCK_S
            self.lockouts += 1


def bad_prompts(bad: int = 500, good: int = 20) -> Iterator[Figure]:
    """Submit bad prompts in a row, and good ones after them."""
    with World(1, latency_s=LATENCY_S) as world:
        door = Prudish(world.loop.time)
        a_vendor(world, door, venice_failures=10**9)  # who counts stands at the door
        wanted = [an_item(f"bad{number}", "venice", prompt=f"A bad picture {number}") for number in range(bad)]
        batch = Batch(world, [*wanted, *items(good, "venice")], limits={"in_flight": None})
        batch.run()
        summary, took_s = batch.summary(), world.loop.time()
    label = f"{bad} bad prompts in a row"
    yield Figure(f"{label}: lock-outs", door.lockouts, "lock-outs", most=0)
    most = most_within(door.failures, FAILURE_WINDOW_S)
    yield Figure(f"{label}: failures in any 30 s", most, "failures", most=FAILURES_MOST)
    yield Figure(f"{label}: rejected", summary.count(State.REJECTED), "items", least=bad, most=bad)
    yield Figure(f"{label}: good ones after them", summary.count(State.DONE), "clips", least=good)
    yield Figure(f"{label}: took", took_s / 60, "virtual minutes")


# clips that trickle


def trickling(clips: int = 200, slots: int = 64, share: float = 0.5) -> Iterator[Figure]:
    """Have a share of all downloads trickle, a byte in many seconds; the others must not wait for them."""
    took: dict[float, tuple[float, int, int, list[float]]] = {}
    for slow in (0.0, share):
        with World(1, latency_s=LATENCY_S) as world:
            door = Doorkeeper(world.loop.time)
            a_vendor(world, door, faults={Fault.SLOW: slow}, slow_s=1e6)
            limits = {"in_flight": None, "concurrent_downloads": slots}
            batch = Batch(world, items(clips, "venice"), limits=limits)
            batch.run()
            done = batch.summary().count(State.DONE)
            took[slow] = (world.loop.time(), done, len(door.came["looks"]), door.came["submits"])
    smooth, rough = took[0.0], took[share]
    label = f"{share:.0%} of all downloads trickle, {slots} slots"
    yield Figure(f"{label}: done", rough[1], "clips", least=clips)
    later = max(abs(one - other) for one, other in zip(smooth[3], rough[3], strict=False))
    yield Figure(f"{label}: a submit leaves later by, at most", later, "s", most=30.0)
    longer = (rough[0] - smooth[0]) / 60
    yield Figure(f"{label}: longer by", longer, "virtual minutes", beside=f"{smooth[0] / 60:.1f} without")
    yield Figure(f"{label}: looks", rough[2], "looks", beside=f"{smooth[2]:,} without")


# many jobs found at a start


def found_at_a_start(rows: int = 10_000, watched_s: float = 1800.0) -> Iterator[Figure]:
    """Begin a run with thousands of jobs at the vendor, all of them due."""
    with World(1, latency_s=LATENCY_S) as world:
        world.trace.listener = lambda _: world.trace.lines.clear()  # nobody reads that of a long batch
        gate = Gate(0.0, 0.0)
        vendor = LightVendor(laws.USUAL, 1, world.loop.time, gate)
        door = Doorkeeper(world.loop.time)
        app = vendor.app()
        app.middlewares.append(door.middleware())
        world.serve(app, HOST, PORT)
        free: dict[str, Any] = {"submits_per_minute": None, "in_flight": rows + 1, "concurrent_billing": 16}
        batch = Batch(
            world,
            items(rows, "venice"),
            limits=free | {"looks_per_minute": 0.5},
            results_every_s=RESULTS_EVERY_S,
        )
        _run_until(world, batch, lambda: len(vendor.jobs) >= rows)
        submitted = batch.summary().count(State.SUBMITTED)
        world.pass_time(600.0)  # by now every one of them is finished
        gate.windows["look"].limit = 120.0
        door.came["looks"].clear()
        batch.limits = {"in_flight": None}
        began = world.loop.time()
        _run_until(world, batch, lambda: world.loop.time() >= began + watched_s)
        looks = list(door.came["looks"])
        home = batch.summary().count(State.DONE)
    label = f"{rows:,} jobs found at the start"
    yield Figure(f"{label}: at the vendor", submitted, "jobs", least=rows * 0.99)
    yield Figure(f"{label}: to the first look", looks[0] - began, "virtual s", most=10.0)
    yield Figure(f"{label}: looks in any 60 s", most_within(looks, 60.0), "looks", most=120)
    yield Figure(f"{label}: refused", gate.refusals, "calls", most=0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(looks)]
    yield Figure(f"{label}: between two looks, p50", percentile(gaps, 0.5), "virtual s")
    per_minute = 60 * home / watched_s
    yield Figure(f"{label}: brought home a minute", per_minute, "clips")


def _run_until(world: World, batch: Batch, is_enough: Callable[[], bool]) -> None:
    """Run a batch until something holds, then tell it to stop."""
    process = world.process(f"run at {world.loop.time():.0f}")
    stop, clock = Stop(), VirtualClock(world.loop)

    async def watch() -> None:
        while not is_enough():
            await clock.sleep(1.0)
        stop.ask(2)

    watching = world.start(watch())
    batch.run(process, stop=stop)
    watching.cancel()
