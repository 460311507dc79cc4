"""An operator's world: one batch, all that a person can do to it, and a small model of the money.

The model knows what every prompt was charged and how often it may be: once, and once more for each time the operator
said so. Everything else is read off the world: the vendor's bill, the ledger, and the files.
"""

from __future__ import annotations

import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.running.epoch import begin_epoch
from pipeline.durable import make_folder
from pipeline.errors import ClipmillError, DiskRefused, InputError
from pipeline.jobs.state import ENDED, IN_DOUBT, UNSUCCESSFUL, ClipState, State
from pipeline.ledger.reader import reading
from pipeline.paths import BatchFolder
from pipeline.providers.modelmax.provider import ModelMax
from pipeline.providers.registry import find_provider
from pipeline.providers.venice.provider import Venice
from pipeline.runner.batch import BatchRun
from pipeline.runner.context import RunContext
from pipeline.runner.money import Prices
from pipeline.runner.progress import Progress
from pipeline.runner.reconcile import Change, OnChange, change_of, compare, meet, refuse_undecided, write_plan
from pipeline.runner.settle import Answer, after_restore, price_at_risk, retry, settle
from pipeline.runner.stop import Stop
from pipeline.sandbox.settings import ClaimBills
from tests.support.batches import ROOT, Batch, a_vendor, an_item
from tests.support.memory_files import Crash
from tests.support.simulation.world import World
from tests.torture.scenarios import PRICES
from tests.torture.witness import true_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline.effects import Effects
    from pipeline.jobs.job import Job
    from pipeline.planning.item import Item
    from pipeline.runner.reconcile import Known
    from tests.support.simulation.process import Process

FOLDER = BatchFolder(ROOT)
MARKS = Path("/state/marks")
ENTRIES = {"i0": "modelmax", "i1": "venice", "i2": "venice"}
CONCURRENT_BILLING = 2
RUNS_TO_REST = 8
LATENCY_S = (0.002, 0.02)
TAKES_S = 0.2


class Violation(AssertionError):
    """The promise was broken."""


class MemoryLocks:
    """The machine's one lock. Processes of this world run one after the other, so nobody is ever refused."""

    def acquire(self, path: Path, holder: str) -> Callable[[], None]:
        return lambda: None

    def is_seen(self, path: Path) -> bool:
        return True


class Operating:
    """One batch and its operator. The mutable state is the world's, the manifest, and what the model counts."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed, shuffle=True, latency_s=LATENCY_S, limit_s=60 * 86_400.0)
        takes = dict.fromkeys(("modelmax", "venice"), TAKES_S)
        self.vendor = a_vendor(self.world, seed=seed, claim_bills=ClaimBills.EVERY, durations_s=takes)
        self.random = random.Random(f"operating/{seed}")
        self.manifest = {name: f"{name}, version 1" for name in ENTRIES}
        self.versions = dict.fromkeys(ENTRIES, 1)
        self.allowed: Counter[str] = Counter()
        """By prompt, charges that the operator has said yes to, beyond the first."""
        self.removed: set[str] = set()
        """Clips that the operator deleted, or that a lost ledger no longer knows."""
        self.snapshot: bytes | None = None
        self.is_restored = False
        self.interruptions = 0
        self.runs = 0
        self._processes = 0
        self._batch = Batch(
            self.world, [], key="an-operators-key", prices=PRICES, factories={"modelmax": ModelMax, "venice": Venice}
        )

    # What the operator does

    def edit(self, name: str) -> None:
        """Change an entry's prompt."""
        self.versions[name] += 1
        if name in self.manifest:
            self.manifest[name] = f"{name}, version {self.versions[name]}"

    def delete_entry(self, name: str) -> None:
        """Take an entry out of the manifest."""
        self.manifest.pop(name, None)

    def add_entry(self, name: str) -> None:
        """Put it back."""
        self.manifest.setdefault(name, f"{name}, version {self.versions[name]}")

    def delete_clip(self, place: int) -> None:
        """Delete one of the finished clips."""
        clips = sorted(path for path in self.world.files.sizes(FOLDER.clips) if path.suffix == ".mp4")
        if clips:
            path = clips[place % len(clips)]
            self.world.files.unlink(path)
            self.removed.add(path.name)

    def delete_results(self) -> None:
        """Delete the view."""
        with suppress(FileNotFoundError):
            self.world.files.unlink(FOLDER.results)

    def fill_disk(self, room_bytes: int) -> None:
        """Leave so much room on the disk."""
        used = sum(map(len, self.world.files.snapshot().values()))
        self.world.files.capacity_bytes = used + room_bytes

    def free_disk(self) -> None:
        """Make room again."""
        self.world.files.capacity_bytes = None

    def copy_ledger(self) -> None:
        """Copy the ledger away."""
        self.snapshot = self.world.databases.bytes_of(FOLDER.ledger) or self.snapshot

    def put_back_ledger(self) -> None:
        """Put the older copy in the ledger's place."""
        if self.snapshot is None:
            return
        kept = self.world.databases._kept[FOLDER.ledger][1]  # the machine's own hold on the file
        with closing(sqlite3.connect(":memory:")) as copy:
            copy.deserialize(self.snapshot)
            copy.backup(kept)
        self.is_restored = True
        self.removed |= {path.name for path in self.world.files.sizes(FOLDER.clips)}

    def accept_restored(self) -> None:
        """Say that the older ledger is the one to go on with (`check --repair`)."""
        if not self.is_restored:
            return
        # What the copy does not know at all, nobody can hold: the operator is told so, and takes the risk.
        known = {job.request.prompt for job in self.jobs()}
        self.allowed.update(prompt for prompt in self.charges() if prompt not in known)
        self._as_a_process(self._accept)

    def answer(self, name: str, said: Answer) -> None:
        """Settle a doubt."""
        adopted = self._lost_job_of(name) if said is Answer.ADOPT else ""
        if said is not Answer.ADOPT or adopted:
            self._as_a_process(lambda effects: self._settle(effects, name, said, adopted))

    def try_again(self, name: str) -> None:
        """Have a failed item attempted once more."""
        self._as_a_process(lambda effects: self._retry(effects, name))

    def leave_alone(self, seconds: float) -> None:
        """Let time pass."""
        self.world.pass_time(seconds)

    def run(self, *, on_change: OnChange | None = None, kill_at: int = 0, power: bool = False, stop_at: int = 0) -> str:
        """Run the batch as one process; return how it ended."""
        self.runs += 1
        process = self._process("run")
        process.crash_at = kill_at or None
        process.power_cut = power and bool(kill_at)
        stop = Stop()
        if stop_at:
            self._stop_soon(stop, stop_at)
        try:
            ended = self.world.run(self._work(self._effects(process), stop, on_change), process)
        except Crash:
            self.interruptions += 1
            return "killed"
        except (InputError, DiskRefused) as error:
            self.world.bury(process)
            return type(error).__name__
        finally:
            self.world.loop.before_callback = None
        self.world.bury(process)
        if stop.asked > 1:
            self.interruptions += 1
        return ended

    # How

    def _stop_soon(self, stop: Stop, at: int) -> None:
        turns = [0]

        def between() -> None:
            turns[0] += 1
            if turns[0] == at or (turns[0] == at + 40 and at % 2):
                stop.ask(signal.SIGINT)

        self.world.loop.before_callback = between

    def _process(self, name: str) -> Process:
        self._processes += 1
        return self.world.process(f"{name} {self._processes}")

    def _effects(self, process: Process) -> Effects:
        return replace(self.world.effects(process), locks=MemoryLocks(), mounts=lambda: "disk / ext4 rw 0 0")

    def _as_a_process(self, work: Callable[[Effects], Any]) -> None:
        process = self._process("operator")
        try:
            self.world.run(work(self._effects(process)), process)
        except (InputError, DiskRefused):
            pass
        finally:
            self.world.bury(process)

    async def _work(self, effects: Effects, stop: Stop, on_change: OnChange | None) -> str:
        make_folder(effects.files, FOLDER.root)
        items = self._items()
        async with begin_epoch(FOLDER, effects, MARKS, command="run", tell=lambda said: None) as epoch:
            ledger = epoch.ledger
            with reading(FOLDER.ledger, effects) as reader:
                refuse_undecided(compare(items, reader), on_change)
                if on_change is OnChange.NEW:
                    self._note_new_revisions(items, reader)
                await write_plan(ledger, items, reader, on_change, effects.clock.now())
            with reading(FOLDER.ledger, effects) as reader:
                names = reader.providers()
            seats = {name: self._batch.seat(name, effects) for name in names}
            context = RunContext(
                ledger=ledger,
                folder=FOLDER,
                inputs=Path("/"),
                effects=effects,
                prices=Prices(listed=PRICES),
                progress=Progress(),
            )
            outcome = await BatchRun(run=context, seats=seats, chosen=None, stop=stop, checkpoint=epoch.move_mark).go()
            for seat in seats.values():
                await seat.provider.close()
        return "stopped" if outcome.signal else "paused" if outcome.paused_because else "finished"

    def _note_new_revisions(self, items: Iterable[Item], known: Known) -> None:
        """A prompt that was bought before, edited away and edited back is bought anew by a new revision."""
        charged = self.charges()
        changed = [item for item, head in meet(items, known) if change_of(item, head) is Change.CHANGED]
        self.allowed.update(item.request.prompt for item in changed if charged[item.request.prompt])

    def _items(self) -> list[Item]:
        return [an_item(name, ENTRIES[name], prompt=prompt) for name, prompt in sorted(self.manifest.items())]

    async def _accept(self, effects: Effects) -> None:
        async with begin_epoch(FOLDER, effects, MARKS, command="check", restored=True, tell=lambda said: None) as epoch:
            for job in await epoch.ledger.jobs([State.PLANNED, State.SUBMITTING, State.SUBMITTED]):
                found = job
                again = price_at_risk(job)
                for move in after_restore(job, find_provider(job.provider).capabilities, again):
                    found = await epoch.ledger.record(found, move.event(effects.clock.now()))
            await epoch.ledger.take_in(lambda said: None)
            epoch.reached = 0
            await epoch.move_mark()
        self.is_restored = False

    async def _settle(self, effects: Effects, name: str, said: Answer, adopted: str) -> None:
        async with begin_epoch(FOLDER, effects, MARKS, command="resolve", tell=lambda said: None) as epoch:
            for job in await epoch.ledger.jobs(sorted(IN_DOUBT)):
                if job.item_id != name:
                    continue
                with reading(FOLDER.ledger, effects) as reader:
                    events = reader.events(name)
                to = ("http://127.0.0.1:8000", "")
                move = settle(job, said, events, price_at_risk(job), adopted_id=adopted, submitted_to=to)
                if isinstance(move, str):
                    continue
                if said in {Answer.RESUBMIT, Answer.ASK_ONCE}:
                    self.allowed[job.request.prompt] += 1
                await epoch.ledger.record(job, move.event(effects.clock.now()))

    def _lost_job_of(self, name: str) -> str:
        """Return the vendor's id of what an operator finds there for a submit in doubt; empty for nothing."""
        jobs = self.jobs()
        known = {each.job_id for each in jobs}
        prompts = {
            job.request.prompt
            for job in jobs
            if job.item_id == name and job.state is State.SUBMIT_IN_DOUBT and job.base_url
        }
        mine = [each.id for each in self.vendor.state.jobs.values() if each.prompt in prompts]
        return next((job_id for job_id in mine if job_id not in known), "")

    async def _retry(self, effects: Effects, name: str) -> None:
        async with begin_epoch(FOLDER, effects, MARKS, command="retry", tell=lambda said: None) as epoch:
            for job in await epoch.ledger.jobs(sorted(UNSUCCESSFUL)):
                if job.item_id != name:
                    continue
                move = retry(job, price_at_risk(job))
                if not isinstance(move, str):
                    self.allowed[job.request.prompt] += 1
                    await epoch.ledger.record(job, move.event(effects.clock.now()))

    # What is seen

    def charges(self) -> Counter[str]:
        """Return how often each prompt was charged."""
        found: Counter[str] = Counter()
        for job in self.vendor.state.jobs.values():
            found[job.prompt] += self.vendor.state.billed[job.id]
        return found

    def jobs(self) -> list[Job]:
        """Return every revision that the ledger knows."""
        process = self._process("reader")
        try:
            with reading(FOLDER.ledger, self._effects(process)) as reader:
                return list(reader.jobs())
        except ClipmillError:
            return []
        finally:
            self.world.bury(process)

    def rows(self, query: str) -> list[Any]:
        """Ask the ledger; nothing where there is none."""
        if not self.world.databases.bytes_of(FOLDER.ledger):
            return []
        with closing(self.world.databases.open(FOLDER.ledger)) as database:
            if not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                return []
            return database.execute(query).fetchall()

    def judge(self) -> None:
        """Hold the world against the model.

        Raises:
            Violation: the promise was broken.
        """
        charged = self.charges()
        for prompt, times in charged.items():
            if times > 1 + self.allowed[prompt]:
                raise Violation(f"{prompt!r} was charged {times} times, and {1 + self.allowed[prompt]} were allowed")
        self._judge_files()
        if self.is_restored:
            return  # what the copy does not say is what was lost with the newer ledger
        self._judge_ledger(charged)

    def _judge_files(self) -> None:
        true = {}
        for job in self.vendor.state.jobs.values():
            true.setdefault(job.prompt.partition(",")[0], set()).add(true_clip(job, 0))
        for path in self.world.files.sizes(FOLDER.clips):
            if path.suffix == ".mp4":
                data = self.world.files.bytes_at(path)
                if data not in true.get(path.stem.partition("__")[0], set()):
                    raise Violation(f"{path} bears a final name and is no whole clip of its item")

    def _judge_ledger(self, charged: Counter[str]) -> None:
        total = self.rows("SELECT committed_micro_usd FROM money")
        summed = self.rows("SELECT coalesce(sum(committed_micro_usd), 0) FROM item")
        if total != summed:
            raise Violation(f"the rows add up to {summed}, and the sum kept is {total}")
        jobs = self.jobs()
        doubts = [job for job in jobs if job.state in IN_DOUBT]
        lost = {job.item_id for job in doubts if job.failure and job.failure.kind == "history_lost"}
        per_provider = Counter(job.provider for job in doubts if job.item_id not in lost)
        for provider, count in per_provider.items():
            if count > CONCURRENT_BILLING * max(self.interruptions, 1):
                raise Violation(f"{count} items of {provider} are in doubt after {self.interruptions} interruptions")
        for job in jobs:
            if (
                job.state is State.PLANNED
                and job.attempt <= 1
                and charged[job.request.prompt] > self.allowed[job.request.prompt]
            ):
                raise Violation(f"{job.item_id} was charged, and the ledger says that it is only planned")
            if job.state is not State.DONE:
                continue
            for clip in job.clips:
                name = clip.file.rpartition("/")[2]
                there = self.world.files.bytes_at(FOLDER.root / clip.file)
                if clip.state is ClipState.DONE and there is None and name not in self.removed:
                    raise Violation(f"{job.item_id} is done, and {clip.file} is gone")

    def come_to_rest(self) -> None:
        """Mend everything, settle every doubt, run to the end, and then run with nothing to do.

        Raises:
            Violation: something does not end, or a run with nothing to do asked for something.
        """
        self.free_disk()
        self.accept_restored()
        ended = ""
        for _ in range(RUNS_TO_REST):
            ended = self.run(on_change=OnChange.KEEP)
            for job in self.jobs():
                if job.state in IN_DOUBT:
                    self.answer(job.item_id, Answer.ABANDON)
            self.judge()
            if ended == "finished" and all(job.state in ENDED for job in self.jobs()):
                break
        left = [f"{job.item_id} is {job.state}" for job in self.jobs() if job.state not in ENDED]
        if left or ended != "finished":
            raise Violation(f"the last run ended {ended!r}: {', '.join(left)}")
        self.world.pass_time(5.0)
        asked = sum(self.vendor.calls().values())
        self.run(on_change=OnChange.KEEP)
        if sum(self.vendor.calls().values()) != asked:
            raise Violation("a run with nothing to do asked for something")
        self.judge()

    def end(self) -> None:
        """Let the world go."""
        self.world.loop.before_callback = None
        self.world.__exit__(None)
