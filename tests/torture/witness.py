"""Who watches a world while it runs: at the vendor's door, on the wire, on the disk, and at every commit.

What it sees is held against the invariants at once; what is wrong is kept in `blamed`, never raised, since what is
raised in a simulated program can be caught by it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipeline.sandbox.render import stamp, template_name
from pipeline.sandbox.state import CountKind
from tests.support.simulation.simulated_effects import VirtualClock
from tests.torture.books import FOLDER, Auditor
from tests.torture.fences import Fences
from tests.torture.invariants import KEY, Evidence, Tally, judge, uncovered
from tests.torture.scenarios import CONCURRENT_BILLING

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from pipeline.sandbox.state import Job as VendorJob
    from pipeline.sandbox.state import State as VendorState
    from tests.support.simulation.memory_network import Exchange
    from tests.support.simulation.process import Process
    from tests.support.simulation.world import World
    from tests.torture.scenarios import Scenario

SUBMIT = re.compile(r"POST (/api/v1/video/queue|/openai/v1/videos|/v1/queue/[^/]+)")
CLAIM = re.compile(r"GET /v1/queue/[^/]+/requests/[^/]+")
BILLING_SUBMITS = frozenset({"POST /api/v1/video/queue", "POST /openai/v1/videos"})
RETRIEVE = "POST /api/v1/video/retrieve"
CLEANS_UP = frozenset({"venice-complete", "venice-free", "openai-videos-delete"})
NAMED_IN_PATH = frozenset({"modelmax-status", "modelmax-result"}) | {
    f"openai-videos-{call}" for call in ("retrieve", "content", "delete")
}
"""Calls whose address holds the job's id."""
CHANGES_NAMES = frozenset({"create", "write", "write the rest", "link", "replace", "unlink"})
CLIENT_PORTS = 32768
LEAVES_WITHIN_S = 0.15
"""What a call that was begun needs to connect and send its first byte."""
FAILURE_WINDOW_S = 30.0
MINUTE_S = 60.0
BLAMED_MOST = 20
TEMPLATES: dict[str, bytes] = {}
"""The sandbox's packaged clips, read once a process."""


def true_clip(job: VendorJob, index: int) -> bytes:
    """Return the bytes that the vendor sends for a clip when it sends them whole."""
    name = template_name(job.picture)
    if name not in TEMPLATES:
        TEMPLATES[name] = (resources.files("pipeline.sandbox") / "templates" / name).read_bytes()
    return TEMPLATES[name] + stamp(job.id, index, job.prompt)


@dataclass(frozen=True, kw_only=True, slots=True)
class Blame:
    """One thing that was wrong."""

    number: str
    """Of the invariant."""
    what: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.number} at {self.at_s:.3f} s: {self.what}"


@dataclass
class Witness:
    """The watcher of one world. All of it is mutable state: what was seen so far."""

    world: World
    scenario: Scenario
    prompts: dict[str, str]
    """Prompt to item."""
    foreign: dict[Path, bytes] = field(default_factory=dict)
    vendor: VendorState | None = None
    shares_pace: bool = False
    """Whether all processes share one record of their calls, which outlives them."""
    blamed: list[Blame] = field(default_factory=list)
    crashes: int = 0
    leaves: int = 0
    broken_billing_calls: int = 0
    cut_short: set[str] = field(default_factory=set)
    epoch: int = 0
    """Of the newest run."""
    _submits: int = 0
    _claims: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _calls: defaultdict[tuple[Process | None, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    _charges: int = 0
    _last_event: int = 0
    _names_changed: bool = False
    _whole: set[tuple[Path, int]] = field(default_factory=set)
    _known_ids: set[str] = field(default_factory=set)
    _ids_seen: set[str] = field(default_factory=set)
    _saved: set[tuple[str, str]] = field(default_factory=set)
    _told_to_stop: dict[Process | None, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin to watch."""
        self.auditor = Auditor(self.world)
        self.fences = Fences(self.world, self.auditor) if self.world.sessions is not None else None

    def blame(self, number: str, what: str) -> None:
        """Keep what is wrong."""
        if len(self.blamed) < BLAMED_MOST:
            self.blamed.append(Blame(number=number, what=what, at_s=self.world.loop.time()))

    def is_told_to_stop(self, process: Process) -> None:
        """Note that a run was told to stop, for the first time or once more."""
        self._told_to_stop.setdefault(process, self.world.loop.time())

    # On the wire, as the first byte of a request leaves

    def first_byte_leaves(self, exchange: Exchange) -> None:
        """Hold every call that makes a job or bills against the intents on disk, and every call against its pace."""
        process = self.world.network.process_of(exchange.connection)
        is_claim = CLAIM.fullmatch(exchange.line) is not None
        if is_claim or exchange.line in BILLING_SUBMITS:
            told_at_s = self._told_to_stop.get(process, math.inf)
            if self.world.loop.time() > told_at_s + LEAVES_WITHIN_S:
                self.blame("I19", f"{exchange.line} leaves, and the run was told to stop at {told_at_s:.3f} s")
        if SUBMIT.fullmatch(exchange.line):
            self._submits += 1
            (intents,) = self._one("SELECT count(*) FROM event WHERE kind = 'submit_started'")
            if self._submits > intents:
                self.blame("I2", f"submit {self._submits} leaves, and {intents} intents are on disk")
            if "/video/" in exchange.line:
                self._keep_pace(process, "submits", self.scenario.settings.get("venice_queue_per_minute", 40))
        elif is_claim:
            job_id = exchange.line.rpartition("/")[2]
            self._claims[job_id] += 1
            (intents,) = self._one("SELECT count(*) FROM event WHERE kind = 'claim_started'")
            if sum(self._claims.values()) > intents:
                self.blame("I2", f"claim {sum(self._claims.values())} leaves, and {intents} intents are on disk")
        elif exchange.line == RETRIEVE:
            self._keep_pace(process, "looks", self.scenario.settings.get("venice_retrieve_per_minute", 120))

    def _keep_pace(self, owner: Process | None, what: str, most: int) -> None:
        calls, now_s = self._calls[owner, what], self.world.loop.time()
        calls.append(now_s)
        if len(calls) > most and calls[-1 - most] > now_s - MINUTE_S:
            self.blame("I14", f"{most + 1} {what} left within a minute")

    # At the vendor's door

    @web.middleware
    async def doorkeeper(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """See every request that arrives, before the vendor does."""
        endpoint = request.match_info.route.name or ""
        self._check_key(endpoint, request)
        await self._check_job(endpoint, request)
        port = request.transport.get_extra_info("peername")[1] if request.transport is not None else 0
        response = await handler(request)
        if endpoint.startswith("venice") and 400 <= response.status < 500 and response.status != 429:
            process = self.world.network.process_of(port - CLIENT_PORTS)
            calls, now_s = self._calls[process, "failures"], self.world.loop.time()
            calls.append(now_s)
            most = self.scenario.settings.get("venice_failures", 20)
            if process is not None and len(calls) > most and calls[-1 - most] > now_s - FAILURE_WINDOW_S:
                self.blame("I14", f"{most + 1} calls of one run failed within {FAILURE_WINDOW_S:.0f} s")
        return response

    def _check_key(self, endpoint: str, request: web.Request) -> None:
        sent = request.headers.get("Authorization")
        if endpoint in {"venice-download", "venice-free"}:
            if sent is not None:
                self.blame("I15", f"the key was sent to {request.path}")
        elif sent != f"Bearer {KEY}":
            self.blame("I15", f"{endpoint} was called with {'no key' if sent is None else 'another key'}")
        if KEY in str(request.url):
            self.blame("I15", f"{endpoint} was called with the key in its address")

    async def _check_job(self, endpoint: str, request: web.Request) -> None:
        """Hold a request about a job against what is on disk of it."""
        assert self.vendor is not None
        if endpoint in {"venice-retrieve", "venice-complete"}:
            job_id = (await request.json()).get("queue_id", "")
        elif endpoint in NAMED_IN_PATH:
            job_id = request.match_info["id"]
        elif endpoint in {"modelmax-content", "venice-download", "venice-free"}:
            token = request.match_info.get("id") or request.match_info.get("token", "")
            job_id = self.vendor.tokens[token].id if token in self.vendor.tokens else ""
        else:
            return
        if endpoint in CLEANS_UP:
            self._check_home(endpoint, job_id)
        if self._is_known(job_id):
            self._ids_seen.add(job_id)
            self._check_done(endpoint, job_id)
        else:
            self.blame("I10", f"{endpoint} asks about {job_id or 'a job that nobody knows'}, which is not on disk")
            if endpoint == "modelmax-result":
                self.blame("I16", f"{job_id} is claimed, and its receipt was never written down")

    def _check_home(self, endpoint: str, job_id: str) -> None:
        """A vendor is told to delete what the manifest wants deleted, and what is done, durably and under its name."""
        if not self.scenario.cleanup:
            self.blame("I5", f"{endpoint} is called for {job_id}, and nobody asked for it")
        rows = self.auditor.rows(
            "SELECT item.state, clip.state, clip.file FROM item LEFT JOIN clip ON clip.item_id = item.id "
            "WHERE item.job_id = ?",
            job_id,
        )
        for state, clip_state, file in rows or [("not there", None, None)]:
            if (state, clip_state) != ("done", "done"):
                self.blame("I5", f"{endpoint} is called for {job_id}, and its row is {state}, its clip {clip_state}")
            elif self.world.files.bytes_at(FOLDER.root / file) is None:
                self.blame("I5", f"{endpoint} is called for {job_id}, and {file} is not there")

    def _check_done(self, endpoint: str, job_id: str) -> None:
        """Nothing is asked about what is done; where requests are late or doubled, an old one may still arrive."""
        if endpoint in CLEANS_UP:
            return
        if self.scenario.twins or self.scenario.wire_faults or self.scenario.late[0]:
            return
        if self.auditor.rows("SELECT 1 FROM item WHERE job_id = ? AND state = 'done'", job_id):
            self.blame("I8", f"{endpoint} asks about {job_id}, which is done")

    def _is_known(self, job_id: str) -> bool:
        if job_id not in self._known_ids:
            self._known_ids |= {value for (value,) in self.auditor.rows("SELECT job_id FROM item WHERE job_id <> ''")}
            self._known_ids |= self.auditor.saved_ids()
        return job_id in self._known_ids

    # On the disk

    def file_is_called(self, operation: str, subject: Path | int) -> None:
        """Look at the names, if the operation before this one may have changed them."""
        if self._names_changed:
            self.look_at_names()
        self._names_changed = operation in CHANGES_NAMES

    def look_anew(self) -> None:
        """Trust nothing that was seen before: the machine has lost its power since."""
        self._whole.clear()
        self._known_ids.clear()
        self._calls.clear()  # and so has the record of calls, where there is one
        self.auditor.let_go()
        self._last_event = min(self._last_event, *self._one("SELECT coalesce(max(seq), 0) FROM event"))
        self.epoch = min(self.epoch, *self._one("SELECT coalesce(max(epoch), 0) FROM run"))
        self.look_at_names()

    def look_at_names(self) -> None:
        """Hold every final name against the vendor's clips."""
        self._names_changed = False
        sizes = self.world.files.sizes(FOLDER.clips)
        self._whole &= set(sizes.items())
        for path, size in sizes.items():
            if path.name.startswith(".") or path in self.foreign or (path, size) in self._whole:
                continue
            data = self.world.files.bytes_at(path)
            if any(data == true_clip(job, index) for job, index in self._clips_of(path.stem)):
                self._whole.add((path, size))
            else:
                self.blame("I4", f"{path} shows {size} bytes that are no whole clip of its item")

    def _clips_of(self, stem: str) -> list[tuple[VendorJob, int]]:
        assert self.vendor is not None
        item_id = stem.partition("__")[0]
        jobs = [job for job in self.vendor.jobs.values() if self.prompts[job.prompt] == item_id]
        return [(job, index) for job in jobs for index in range(job.outputs)]

    # At every commit, and at every charge

    def hear(self, line: str) -> None:
        """Listen to the trace."""
        if line.endswith("database: committed"):
            self._look_at_commit()

    def _look_at_commit(self) -> None:
        """Hold the open intents against the slots, and the newest events against the newest run."""
        if self.fences is not None:
            for number, what in self.fences.look():
                self.blame(number, what)
            self.epoch = self.fences.epoch
            self.cut_short |= self.fences.cut_short
            return
        intents = self.open_intents()
        for provider in {provider for provider, _ in intents}:
            mine = [item_id for name, item_id in intents if name == provider]
            if len(mine) > CONCURRENT_BILLING:
                self.blame("I14", f"{len(mine)} calls of {provider} that bill are open at once: {mine}")
        (epoch,) = self._one("SELECT coalesce(max(epoch), 0) FROM run")
        if epoch != self.epoch:
            self.epoch = epoch
            self.cut_short |= {item_id for _, item_id in intents}
        fresh = self.auditor.rows("SELECT seq, epoch, kind FROM event WHERE seq > ? ORDER BY seq", self._last_event)
        for seq, written_by, kind in fresh:
            self._last_event = seq
            if written_by != epoch:
                self.blame("I12", f"run {written_by} wrote {kind} after run {epoch} had begun")

    def open_intents(self) -> list[tuple[str, str]]:
        """Return provider and item of every call that bills whose outcome is not on disk."""
        return self.auditor.rows(
            "SELECT provider, id FROM item "
            "WHERE (provider <> 'modelmax' AND state = 'submitting') OR state = 'claiming'"
        )

    def look_at_charges(self) -> None:
        """Hold new charges against the rows, as they are on disk at this moment."""
        assert self.vendor is not None
        if len(self.vendor.charges) == self._charges:
            return
        fresh, self._charges = self.vendor.charges[self._charges :], len(self.vendor.charges)
        books = self.auditor.books()
        for charge in fresh:
            job = self.vendor.jobs[charge.job]
            item_id = self.prompts[job.prompt]
            extra = books.authorised(item_id)
            times = sum(self.vendor.billed[j.id] for j in self.vendor.jobs.values() if j.prompt == job.prompt)
            if times > 1 + extra:
                self.blame("I1", f"{item_id} is charged for the {times}. time")
            wrong = uncovered(books.jobs.get(item_id), job, self.vendor)
            if wrong and not extra:
                self.blame("I2", f"{item_id}: {wrong}")
        debit = round(sum(self.vendor.spent_usd.values()) * 1_000_000) if self.scenario.outage != "poor" else 0
        if debit > books.committed_micro_usd:
            self.blame("I9", f"the vendor has charged {debit} millionths, and the ledger counts less")

    def _one(self, query: str) -> Any:
        found = self.auditor.rows(query)
        return found[0] if found else (0,)

    # Everything at once

    def evidence(self) -> Evidence:
        """Return the world as it is now."""
        assert self.vendor is not None
        books = self.auditor.books()
        self._saved |= books.saved
        return Evidence(
            scenario=self.scenario,
            books=books,
            vendor=self.vendor,
            now_s=VirtualClock(self.world.loop).now().timestamp(),
            prompts=self.prompts,
            files=self.files(),
            database_bytes=self.auditor.bytes_of_ledger(),
            clips=true_clip,
            foreign=self.foreign,
            tally=Tally(
                crashes=self.crashes,
                leaves=self.leaves,
                broken_billing_calls=self.broken_billing_calls,
                cut_short=frozenset(self.cut_short),
                ids_seen=frozenset(self._ids_seen),
                saved=frozenset(self._saved),
            ),
        )

    def files(self) -> dict[Path, bytes]:
        """Return every file but the databases and the reserve, which is a megabyte of nothing."""
        files = self.world.files
        here = {FOLDER.root, FOLDER.clips, *(path.parent for path in self.foreign)}
        paths = sorted(path for folder in here for path in files.sizes(folder) if path != FOLDER.reserve)
        return {path: data for path in paths if (data := files.bytes_at(path)) is not None}

    def judge(self, *, at_rest: bool = False) -> None:
        """Hold the whole world to the invariants."""
        self.look_at_charges()
        self.look_at_names()
        for number, what in judge(self.evidence(), at_rest=at_rest):
            self.blame(number, what)

    def vendor_calls(self) -> int:
        """Return how many requests the vendor has seen."""
        assert self.vendor is not None
        return sum(count for (kind, _, _), count in self.vendor.counts.items() if kind == CountKind.ANSWER.value)
