"""What goes wrong around a run: connections that break, outages of network, key, funds and disk, clocks that jump.

A scenario says what may go wrong; when and where is drawn. Trouble ends when it is told to calm down, and never before
a run has ended by itself or been struck.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.batches import HOST
from tests.support.simulation.memory_network import Action, Direction, Fault
from tests.support.simulation.mishaps import Mishap
from tests.torture.books import FOLDER
from tests.torture.invariants import KEY
from tests.torture.witness import CLAIM, SUBMIT

if TYPE_CHECKING:
    import random

    from aiohttp.typedefs import Handler

    from tests.support.simulation.memory_network import Exchange
    from tests.support.simulation.world import World
    from tests.torture.scenarios import Scenario
    from tests.torture.witness import Witness

CUT_AT = (0, 1, 60, 200, 400, 5_000, 100_000)
"""After how many bytes a connection breaks: before, in and after heads, bodies and clips."""
ALL_SPENT_USD = 1e9
WRONG_BY_S = (0.0, 2.0, -30.0, 86_400.0, -86_400.0)
ASLEEP_S = (0.0, 100.0, 20_000.0)
BREAKING = frozenset({"create", "write", "fsync", "close", "link", "unlink", "replace", "fsync_folder", "read"})
BAD_DISK = 0.15
"""How probable it is that an operation fails while the disk is bad."""


CUT = 0.3
"""How probable it is that a connection is cut at a commit while connections are."""


class Trouble:
    """The mutable state is `faults`, which the vendor reads, and whether there is an outage, or peace for good."""

    def __init__(self, world: World, scenario: Scenario, chance: random.Random, witness: Witness) -> None:
        self.faults = dict(scenario.faults)
        self.is_out = False
        """Whether the scenario's outage has begun and not ended."""
        self._is_calm = False
        self._world = world
        self._scenario = scenario
        self._random = chance
        self._witness = witness
        self._clock: Any = None

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """Draw whether an exchange's connection breaks, and where."""
        scenario = self._scenario
        if not scenario.wire_faults or self._is_calm or self._random.random() >= scenario.wire_faults:
            return None
        if SUBMIT.fullmatch(exchange.line) or CLAIM.fullmatch(exchange.line):
            self._witness.broken_billing_calls += 1
        return Fault(
            action=self._random.choice(list(Action)),
            direction=self._random.choice(list(Direction)),
            after_bytes=self._random.choice(CUT_AT),
        )

    def set_clock(self, clock: Any) -> None:
        """Give a process a wall clock that may be wrong, and remember it for jumps to come."""
        self._clock = clock
        if self._scenario.outage == "clock" and not self._is_calm:
            clock.wall_offset_s = self._random.choice(WRONG_BY_S)

    def before_file(self, operation: str) -> None:
        """Refuse some of what is done to files while the disk is bad."""
        if not (self.is_out and self._scenario.outage == "bad-disk" and operation in BREAKING):
            return
        if self._random.random() < BAD_DISK:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def begin_outage(self) -> None:
        """Take away what the scenario says."""
        self.is_out = True
        match self._scenario.outage:
            case "offline":
                self._world.network.connect_faults[HOST] = ConnectionRefusedError(111, "Connection refused")
                if self._random.random() < 0.5:
                    self._witness.broken_billing_calls += len(self._witness.open_intents())
                    self._world.network.cut()
            case "disk":
                used_bytes = sum(map(len, self._world.files.snapshot().values()))
                self._world.files.capacity_bytes = used_bytes + self._random.randint(0, 400_000)
            case "clock":
                self._clock.wall_offset_s = self._random.choice(WRONG_BY_S)
                self._clock.suspended_s += self._random.choice(ASLEEP_S)
            case "poor":
                self._set_spent(ALL_SPENT_USD)

    def end_outage(self) -> None:
        """Bring the network, the disk, the key's right and its funds back."""
        self.is_out = False
        self._world.network.connect_faults.clear()
        self._world.files.capacity_bytes = None
        if self._scenario.outage == "poor":
            self._set_spent(0.0)

    def calm_down(self) -> None:
        """Let nothing go wrong from now on."""
        self.faults.clear()
        self._is_calm = True
        self.end_outage()

    def _set_spent(self, spent_usd: float) -> None:
        assert self._witness.vendor is not None
        self._witness.vendor.spent_usd[hashlib.sha256(KEY.encode()).hexdigest()[:12]] = spent_usd

    @web.middleware
    async def at_the_door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse the key while it is revoked."""
        if not (self.is_out and self._scenario.outage == "revoked" and "Authorization" in request.headers):
            return await handler(request)
        body: dict[str, Any] = {"error": "Authentication failed"}
        if not request.path.startswith("/api"):
            body = {"error": {"message": "invalid or missing API key", "type": "unauthorized"}}
        return web.json_response(body, status=401)

    def mishap(self) -> Mishap | None:
        """Draw what becomes of a commit of a shared ledger: its server is full, or its connections are cut.

        These stand for what a full disk does to a ledger in a file: `ledger-journal` is what only the journal of last
        resort helps against, `ledger-reserve` what a worker gets over by itself.
        """
        outage = self._scenario.outage if self.is_out else ""
        if outage == "ledger-journal":
            return Mishap.NO_ROOM
        if outage == "ledger-reserve" and self._random.random() < CUT:
            return self._random.choice((Mishap.CUT_BEFORE, Mishap.CUT_AFTER))
        return None

    def before_commit(self) -> None:
        """Refuse a commit while the ledger's disk is full; letting go of the reserve helps in one of two scenarios."""
        if not self.is_out or self._world.sessions is not None:
            return
        has_reserve = self._world.files.bytes_at(FOLDER.reserve) is not None
        outage = self._scenario.outage
        if outage == "ledger-journal" or (outage == "ledger-reserve" and has_reserve):
            raise sqlite3.OperationalError("database or disk is full")
