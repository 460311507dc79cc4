"""Real connections cut at real bytes: a proxy stands between the runner and the sandbox, and ends one connection.

The runner, its ledger and its files are the real ones, in this process; so are the sockets. What is drawn is drawn
from the seed: which connection of a batch's life, which way, after how many bytes, and how it ends. Time is real, so a
run is repeated in kind and not to the byte.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.providers.modelmax.provider import ModelMax
from pipeline.providers.transport import Patience
from pipeline.providers.venice.provider import Venice
from pipeline.runner.stop import Stop
from pipeline.sandbox.app import make_app
from pipeline.sandbox.settings import ClaimBills, Render, SandboxSettings
from pipeline.sandbox.state import open_state
from pipeline.system.databases import open_database
from pipeline.system.effects import SystemClock, system
from pipeline.system.threads import SystemThreads
from tests.support.batches import Batch, an_item
from tests.torture.scenarios import PRICES
from tests.torture.verdict import Tally, ask, judge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HASTE = Patience(connect_s=2.0, submit_s=0.4, claim_s=0.4, look_s=0.4, gap_s=0.4)
SPEED = 200.0
ITEMS = 2
ACTIONS = ("close", "reset", "stall")
PROVIDERS = ("modelmax", "venice")
RUNS_MOST = 4
RUN_MOST_S = 60.0
READ_BYTES = 4096
SAID_EVERY = 100


@dataclass(kw_only=True)
class Plan:
    """Which connection is cut, where and how; 0 for none. The mutable state is what was counted."""

    connection: int = 0
    request: bool = False
    after_bytes: int = 0
    action: str = "close"
    opened: int = 0
    sizes: list[list[int]] = field(default_factory=list)
    """By connection: bytes of requests, bytes of answers."""
    struck: bool = False


class Proxy:
    """Passes connections on, and ends one of them. The mutable state is the plan and what is open."""

    def __init__(self, port: int) -> None:
        self.plan = Plan()
        self.port = 0
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Proxy]:
        """Listen."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.end()
            await asyncio.sleep(0)  # noqa: TID251  # let the ended tasks go

    def end(self) -> None:
        """End every connection that is open."""
        for task in self._tasks:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._pass_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plan = self.plan
        plan.opened += 1
        number = plan.opened
        plan.sizes.append([0, 0])
        above, upwards = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(plan, number, True, reader, upwards, (writer, upwards)))
                group.create_task(self._pump(plan, number, False, above, writer, (writer, upwards)))
        finally:
            for end in (writer, upwards):
                end.close()

    async def _pump(
        self,
        plan: Plan,
        number: int,
        is_request: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                passed = plan.sizes[number - 1][not is_request]
                plan.sizes[number - 1][not is_request] += len(data)
                strikes = number == plan.connection and is_request == plan.request
                if strikes and passed + len(data) > plan.after_bytes:
                    writer.write(data[: max(0, plan.after_bytes - passed)])
                    plan.struck = True
                    await strike(plan.action, ends)
                    return
                writer.write(data)
                await writer.drain()
            writer.write_eof()


async def strike(action: str, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
    """End a connection on both sides, or let it hang."""
    if action == "stall":
        await asyncio.Event().wait()
    for end in ends:
        if action == "reset":
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()
        end.close()


@asynccontextmanager
async def sandbox(seed: int) -> AsyncIterator[int]:
    """Serve the sandbox on a port of its own, at its worst: every claim bills."""
    state, threads = open_state(None, open_database), SystemThreads()
    quick = dict.fromkeys(PROVIDERS, 0.02)
    settings = SandboxSettings(
        seed=seed, render=Render.TEMPLATE, claim_bills=ClaimBills.EVERY, limits=False, durations_s=quick
    )
    app = make_app(settings, clock=SystemClock(), state=state, threads=threads)
    silent = logging.getLogger("clipmill.tests.cut")  # a server has much to say about connections that are cut
    silent.setLevel(logging.CRITICAL + 1)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, logger=silent)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
        state.close()
        threads.close()


async def run_batch(folder: Path, proxy: Proxy, provider: str) -> bool:
    """Run a batch once; tell whether nothing is left to do."""
    origin = f"http://127.0.0.1:{proxy.port}"
    world: Any = None  # the real one
    batch = Batch(
        world,
        [an_item(f"{folder.name}-{number}", provider) for number in range(ITEMS)],
        prices=PRICES,
        factories={"modelmax": partial_of(ModelMax), "venice": partial_of(Venice)},
        limits={"speed": SPEED, "look_spacing_s": 0.02, "submits_per_minute": None, "looks_per_minute": None},
        root=folder,
        base_urls={"modelmax": origin, "venice": f"{origin}/api/v1"},
    )
    effects = system()
    try:
        async with asyncio.timeout(RUN_MOST_S):
            outcome = await batch.work(effects, Stop())
    finally:
        effects.threads.close()
    return not outcome.paused_because


def partial_of(factory: Any) -> Any:
    """Return a provider's factory with little patience."""
    made = partial(factory, patience=HASTE)
    made.capabilities = factory.capabilities  # type: ignore[attr-defined]  # what a factory is known by
    return made


async def live(folder: Path, proxy: Proxy, provider: str, plan: Plan) -> None:
    """Run a batch through one cut, and again until it is done."""
    proxy.plan = plan
    for _ in range(RUNS_MOST):
        done = await run_batch(folder, proxy, provider)
        proxy.end()
        proxy.plan = Plan()
        if done:
            return


def drawn(chance: random.Random, sizes: list[list[int]]) -> Plan:
    """Draw a cut of one of the connections of an unhurt life; half of them near the beginning or the end."""
    connection = chance.randrange(len(sizes))
    request = chance.random() < 0.4
    size = sizes[connection][0 if request else 1]
    near = chance.choice((chance.randrange(min(600, size) or 1), size - 1 - chance.randrange(min(40, size) or 1)))
    after = near if chance.random() < 0.5 else chance.randrange(size or 1)
    return Plan(connection=connection + 1, request=request, after_bytes=max(0, after), action=chance.choice(ACTIONS))


async def cut_sockets(folder: Path, cuts: int, seed: int) -> int:
    """Cut so many connections; print the figures; return the exit code."""
    began_s = time.monotonic()
    total, struck = Tally(), 0
    async with sandbox(seed) as port, Proxy(port).open() as proxy:
        bill_url = f"http://127.0.0.1:{port}/sandbox/bill"
        unhurt: dict[str, list[list[int]]] = {}
        for provider in PROVIDERS:
            plan = Plan()
            await live(folder / f"unhurt-{provider}", proxy, provider, plan)
            unhurt[provider] = plan.sizes
        for number in range(cuts):
            provider = PROVIDERS[number % len(PROVIDERS)]
            chance = random.Random(f"sockets/{seed}/{number}")
            before = set((await asyncio.to_thread(ask, bill_url))["jobs"])
            plan = drawn(chance, unhurt[provider])
            tally = Tally(batches=1, crashes=1)
            root = folder / f"cut{number}"
            told = f"{provider}: connection {plan.connection}, {'request' if plan.request else 'answer'}, "
            told += f"after {plan.after_bytes} bytes, {plan.action}"
            try:
                await live(root, proxy, provider, plan)
            except Exception as error:
                tally.violations.append(f"{told}: {error!r}")
            judge(root, await asyncio.to_thread(ask, bill_url), before, tally)
            tally.violations = [f"{told}: {wrong}" for wrong in tally.violations]
            struck += plan.struck
            total.add(tally)
            if (number + 1) % SAID_EVERY == 0:
                print(f"{number + 1} cuts, {len(total.violations)} violations", flush=True)
    total.crashes = struck
    for violation in total.violations[:20]:
        print(f"  {violation}")
    print(f"sockets, seed {seed}: {total.line('connections cut')}, in {time.monotonic() - began_s:.0f} s")
    return 1 if total.violations else 0
