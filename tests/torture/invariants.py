"""The invariants of the promise, as code: each a number, a sentence, and rules that hold evidence against it.

A rule takes `Evidence` and yields a sentence for each thing that is wrong. Rules marked ALWAYS hold at every moment at
which nobody's callback is running, a crash included; those marked AT_REST hold once everything has come to its end.
What can only be seen while it happens (a byte that leaves before its intent, a name that shows half a clip for an
instant) is seen by `witness`, which reports under the same numbers.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from pipeline.errors import LedgerError
from pipeline.jobs.codec import job_to_json
from pipeline.jobs.job import CleanUp
from pipeline.jobs.record import apply
from pipeline.jobs.state import ENDED, IN_DOUBT, ClipState, EventKind, State
from pipeline.providers.answers import Billing
from pipeline.sandbox.settings import Fault
from pipeline.sandbox.state import CountKind, Ending
from tests.support.batches import ROOT
from tests.torture.scenarios import CONCURRENT_BILLING, REFUSE

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.jobs.job import Job
    from pipeline.sandbox.state import Job as VendorJob
    from pipeline.sandbox.state import State as VendorState
    from tests.torture.books import Books
    from tests.torture.scenarios import Scenario

SENTENCES = {
    "I1": "An item is charged at most once, and once more for each time that the operator said so.",
    "I2": "Whatever bills is on disk before its first byte leaves, and every charge has a row that says so.",
    "I3": "A done clip is there, and its bytes are the vendor's and those of the recorded size and digest.",
    "I4": "No final name ever shows partial or foreign bytes, at any instant.",
    "I5": "Nothing is deleted at the vendor but what is durably done.",
    "I6": "Doubt comes only of a crash or an ambiguous answer in an item's own billing window, and is bounded.",
    "I7": "Once faults stop, everything ends or is held, in bounded time, without a deadlock, a busy loop or a leak.",
    "I8": "Recovering twice equals recovering once, and a run with nothing to do asks nothing.",
    "I9": "What the ledger counts covers the vendor's bill at every moment, adds up, and never passes the cap.",
    "I10": "An id that was acted on is on disk before, and is never forgotten.",
    "I11": "A file of the user's is never changed.",
    "I12": "Only the newest run writes; where a ledger is shared, only who has the item and was not taken over from.",
    "I13": "Only legal moves appear, and every row is the fold of its events.",
    "I14": "In every window, calls, failures and open billing calls stay within the limits.",
    "I15": "The key goes to the API of its origin alone, and into no byte that is written.",
    "I16": "A job whose receipt was never written down is never claimed.",
    "I17": "The same seed gives the same trace, byte for byte.",
    "I18": "An item that ends without a clip has its cause at the vendor; nothing that was paid for is given up.",
    "I19": "Once a run is told to stop, no further call that bills leaves.",
}
"""I1 to I17 are the specification's; I18 and I19 say of ends and of signals what its catalogue says."""

KEY = "sk-canary-3f9a1c77d2e84b60"
LOST_SUBMITS = (Fault.DROP_BEFORE_ACCEPT, Fault.DROP_AFTER_ACCEPT, Fault.SUBMIT_500, Fault.SUBMIT_502)
AMBIGUOUS_FAULTS = {
    "venice": LOST_SUBMITS,
    "openai-videos": LOST_SUBMITS,
    "modelmax": (Fault.CLAIM_DROP, Fault.CLAIM_502),
}
TAKEN_IN_AS = {"submit_accepted": ("doubt_adopted",)}
"""What an event of the journal becomes where somebody who took over has held the item in doubt meanwhile."""
UNCHARGED = frozenset({State.PLANNED, State.REJECTED})
BEFORE_CLAIM = UNCHARGED | {State.SUBMITTING, State.SUBMITTED}


class When(Enum):
    """When a rule holds."""

    ALWAYS = "always"
    AT_REST = "at rest"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What happened in a world that can be the cause of a doubt; it is counted by the witness and the stage."""

    crashes: int = 0
    leaves: int = 0
    """Runs that were told twice to stop, or terminated and out of patience."""
    broken_billing_calls: int = 0
    """Calls that can bill whose connection was broken on purpose."""
    cut_short: frozenset[str] = frozenset()
    """Items with an open intent when a new run began."""
    ids_seen: frozenset[str] = frozenset()
    """The vendor's ids that were acted on."""
    saved: frozenset[tuple[str, str]] = frozenset()
    """Item and kind of the events that were ever seen in the journal of last resort."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A world at one moment."""

    scenario: Scenario
    books: Books
    vendor: VendorState
    now_s: float
    """The vendor's clock."""
    prompts: dict[str, str]
    """Prompt to item."""
    files: dict[Path, bytes]
    """Every file of the machine with its live bytes, but for databases and the reserve."""
    database_bytes: bytes
    clips: Callable[[VendorJob, int], bytes]
    """The true bytes of a vendor's clip."""
    foreign: dict[Path, bytes]
    tally: Tally = field(default_factory=Tally)

    @cached_property
    def at_vendor(self) -> dict[str, list[VendorJob]]:
        """The vendor's jobs of each item, in the order in which they were accepted."""
        found: defaultdict[str, list[VendorJob]] = defaultdict(list)
        for job in self.vendor.jobs.values():
            found[self.prompts[job.prompt]].append(job)
        return found

    def charges(self, item_id: str) -> int:
        """Return how often an item was charged."""
        return sum(self.vendor.billed[job.id] for job in self.at_vendor.get(item_id, ()))

    def debit_micro_usd(self, item_id: str) -> int:
        """Return what an item has cost at the vendor, refunds taken off."""
        return sum(
            round(job.price_usd * 1_000_000) * (self.vendor.billed[job.id] - (job.id in self.vendor.refunded))
            for job in self.at_vendor.get(item_id, ())
        )

    def faults(self, *names: Fault) -> int:
        """Return how often the vendor struck with these faults."""
        return sum(self.vendor.counts[CountKind.FAULT.value, name.value, ""] for name in names)


Rule = Callable[[Evidence], Iterable[str]]
RULES: list[tuple[str, When, Rule]] = []


def rule(number: str, when: When = When.ALWAYS) -> Callable[[Rule], Rule]:
    """Enter a rule under its invariant's number."""

    def enter(check: Rule) -> Rule:
        RULES.append((number, when, check))
        return check

    return enter


def judge(evidence: Evidence, *, at_rest: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (number, sentence) for everything that is wrong."""
    for number, when, check in RULES:
        if when is When.ALWAYS or at_rest:
            for wrong in check(evidence):
                yield number, wrong


@rule("I1")
def charged_once(seen: Evidence) -> Iterator[str]:
    for item_id in seen.at_vendor:
        most = 1 + seen.books.authorised(item_id)
        if seen.charges(item_id) > most:
            yield f"{item_id} was charged {seen.charges(item_id)} times, and {most} is the most"


@rule("I2")
def charges_have_rows(seen: Evidence) -> Iterator[str]:
    for item_id, jobs in seen.at_vendor.items():
        for job in jobs:
            wrong = uncovered(seen.books.jobs.get(item_id), job, seen.vendor)
            if wrong and not seen.books.authorised(item_id):
                yield f"{item_id}: {wrong}"


def uncovered(row: Job | None, job: VendorJob, vendor: VendorState) -> str:
    """Return why a row does not cover what the vendor has charged for a job; empty where it does."""
    if not vendor.billed[job.id] or job.id in vendor.refunded:
        return ""
    if row is None:
        return f"{job.id} was charged, and the ledger does not know the item"
    if row.state in (BEFORE_CLAIM if job.provider == "modelmax" else UNCHARGED):
        return f"{job.id} was charged, and the row is {row.state}"
    if row.state is State.FAILED and row.failure is not None and row.failure.billing is Billing.UNBILLED:
        return f"{job.id} was charged, and the row failed unbilled"
    return ""


@rule("I3")
def done_clips_are_there(seen: Evidence) -> Iterator[str]:
    for item_id, job in seen.books.jobs.items():
        if job.state is State.DONE and not (job.clips and all(c.state is ClipState.DONE for c in job.clips)):
            yield f"{item_id} is done, and its clips are {[clip.state.value for clip in job.clips]}"
        for clip in job.clips:
            if clip.state is not ClipState.DONE:
                continue
            data = seen.files.get(ROOT / clip.file)
            if data is None:
                yield f"{item_id} is done, and {clip.file} is not there"
            elif job.job_id not in seen.vendor.jobs or data != seen.clips(seen.vendor.jobs[job.job_id], clip.index):
                yield f"{clip.file} is not the vendor's clip {clip.index} of {job.job_id}"
            elif (len(data), digest(job.job_id, clip.index, data)) != (clip.size_bytes, clip.sha256):
                yield f"{clip.file} is not what the ledger says it is"


@lru_cache(maxsize=64)
def digest(job_id: str, index: int, data: bytes) -> str:
    """Return the SHA-256 of a vendor's clip in hex; the same few are asked for after every run."""
    return hashlib.sha256(data).hexdigest()


@rule("I5")
def deleted_only_when_done(seen: Evidence) -> Iterator[str]:
    for item_id, jobs in seen.at_vendor.items():
        row = seen.books.jobs.get(item_id)
        for job in jobs:
            if job.deleted and (row is None or row.state is not State.DONE or row.job_id != job.id):
                yield f"{job.id} of {item_id} was deleted at the vendor, and the row is {row and row.state}"


@rule("I5", When.AT_REST)
def what_is_done_is_cleaned_up(seen: Evidence) -> Iterator[str]:
    for item_id, job in seen.books.jobs.items():
        vendors = seen.vendor.jobs.get(job.job_id)
        if (job.cleanup is CleanUp.DONE) > bool(vendors and (vendors.deleted or is_expired(seen, vendors))):
            yield f"{item_id} is said to be cleaned up, and the vendor still has it"
        wanted = seen.scenario.cleanup and seen.scenario.is_orderly and job.state is State.DONE
        if wanted and job.provider != "modelmax" and job.cleanup is CleanUp.NONE:
            yield f"{item_id} is done, and its copies at the vendor were left there"


@rule("I6")
def doubts_have_causes(seen: Evidence) -> Iterator[str]:
    unanswered: defaultdict[str, int] = defaultdict(int)
    for _, event in seen.books.events:
        if event.kind not in {EventKind.SUBMIT_LOST, EventKind.CLAIM_LOST}:
            continue
        failure = event.data["failure"]
        if failure["kind"] == "interrupted":
            if event.item_id not in seen.tally.cut_short:
                yield f"{event.item_id} is in doubt as interrupted, and no intent of it was open when a run began"
        elif "no answer in time" not in failure["message"] or not seen.scenario.late[0]:
            unanswered[seen.books.jobs[event.item_id].provider] += 1
    for provider, count in unanswered.items():
        most = seen.faults(*AMBIGUOUS_FAULTS[provider]) + seen.tally.broken_billing_calls
        most += CONCURRENT_BILLING * seen.tally.leaves
        if count > most:
            yield f"{count} calls of {provider} are in doubt, and {most} answers were lost at most"


@rule("I7", When.AT_REST)
def everything_ends_or_is_held(seen: Evidence) -> Iterator[str]:
    if len(seen.books.jobs) != len(seen.prompts):
        yield f"the ledger knows {len(seen.books.jobs)} of {len(seen.prompts)} items"
    for item_id, job in seen.books.jobs.items():
        if job.state in ENDED | IN_DOUBT:
            continue
        if job.state is State.PLANNED and is_unaffordable(seen, item_id):
            continue
        yield f"{item_id} is still {job.state}"


def is_unaffordable(seen: Evidence, item_id: str) -> bool:
    """Tell whether the cap is what keeps an item from being submitted."""
    cap, provider = seen.books.max_cost_usd, seen.books.jobs[item_id].provider
    if cap is None:
        return False
    price = next((job.price_usd for job in seen.vendor.jobs.values() if job.provider == provider), 0.0)
    return seen.books.committed_micro_usd + round(price * 1_000_000) > round(cap * 1_000_000)


@rule("I9")
def money_is_covered(seen: Evidence) -> Iterator[str]:
    books = seen.books
    total = sum(books.by_item_micro_usd.values())
    if total != books.committed_micro_usd:
        yield f"the rows add up to {total} millionths of a dollar, and the sum kept is {books.committed_micro_usd}"
    for item_id, job in books.jobs.items():
        if books.by_item_micro_usd[item_id] != round(job.committed_usd * 1_000_000):
            yield f"{item_id}: the column and the record of what it cost differ"
    debit = 0
    for item_id in seen.at_vendor:
        its_debit, committed = seen.debit_micro_usd(item_id), books.by_item_micro_usd.get(item_id, 0)
        debit += its_debit
        if its_debit > committed:
            yield f"{item_id} has cost {its_debit} millionths of a dollar, and the ledger counts {committed}"
        row = books.jobs.get(item_id)
        if row is not None and row.state is State.DONE and not books.authorised(item_id) and its_debit != committed:
            yield f"{item_id} is done and has cost {its_debit}, and the ledger counts {committed}"
    cap = books.max_cost_usd
    if cap is not None and max(books.committed_micro_usd, debit) > round(cap * 1_000_000):
        yield f"the cap is ${cap}; the ledger counts {books.committed_micro_usd} millionths, the vendor {debit}"


@rule("I10")
def ids_are_not_forgotten(seen: Evidence) -> Iterator[str]:
    for job_id in sorted(seen.tally.ids_seen - seen.books.accepted_ids - seen.books.saved_ids):
        yield f"{job_id} was acted on, and no event tells of it any more"
    for item_id, kind in sorted(seen.tally.saved - seen.books.saved):
        if not seen.books.count(item_id, kind, *TAKEN_IN_AS.get(kind, ())):
            yield f"{kind} of {item_id} was in the journal, and was never taken into the ledger"
    for item_id, job in seen.books.jobs.items():
        accepted = [
            event.data["receipt"]["job_id"]
            for _, event in seen.books.events
            if event.item_id == item_id and event.kind in {EventKind.SUBMIT_ACCEPTED, EventKind.DOUBT_ADOPTED}
        ]
        if accepted and job.job_id != accepted[-1] and not seen.books.authorised(item_id):
            yield f"{item_id} was accepted as {accepted[-1]}, and the row says {job.job_id or 'nothing'}"


@rule("I11")
def foreign_files_stay(seen: Evidence) -> Iterator[str]:
    for path, data in seen.foreign.items():
        if seen.files.get(path) != data:
            yield f"{path} was the user's and was changed"


@rule("I13")
def rows_are_folds(seen: Evidence) -> Iterator[str]:
    folded: dict[str, Job] = {}
    for _, event in seen.books.events:
        try:
            folded[event.item_id] = apply(folded.get(event.item_id), event)
        except (LedgerError, KeyError, AssertionError) as error:
            yield f"{event.item_id}: {event.kind} cannot follow: {error!r}"
            return
    if folded.keys() != seen.books.jobs.keys():
        yield f"events tell of {sorted(folded)}, rows of {sorted(seen.books.jobs)}"
        return
    for item_id, job in seen.books.jobs.items():
        if job_to_json(job) != job_to_json(folded[item_id]):
            yield f"{item_id}: the row is not the fold of its events"


@rule("I15")
def the_key_is_not_written(seen: Evidence) -> Iterator[str]:
    papers = {path: data for path, data in seen.files.items() if path.suffix not in {".mp4", ".part"}}
    for name, secret in SECRETS.items():
        for path, data in papers.items():
            if secret in data:
                yield f"{path} holds the key ({name})"
        if secret in seen.database_bytes:
            yield f"the ledger's file holds the key ({name})"


SECRETS = {
    "as it is": KEY.encode(),
    "its beginning": KEY[:12].encode(),
    "base64": base64.b64encode(KEY.encode()),
    "hex": KEY.encode().hex().encode(),
    "escaped": quote(KEY, safe="").encode(),
}


@rule("I16")
def orphans_are_not_claimed(seen: Evidence) -> Iterator[str]:
    for (kind, name, call), count in seen.vendor.counts.items():
        if kind == CountKind.JOB.value and call == "result" and count and name not in seen.books.accepted_ids:
            yield f"{name} was claimed, and its receipt is not in the ledger"


@rule("I18")
def ends_have_causes(seen: Evidence) -> Iterator[str]:
    for item_id, job in seen.books.jobs.items():
        vendors = seen.vendor.jobs.get(job.job_id)
        match job.state:
            case State.REJECTED if REFUSE not in job.request.prompt:
                yield f"{item_id} is rejected, and the vendor did not refuse it: {job.failure}"
            case State.FAILED if not has_failed(job, vendors):
                yield f"{item_id} is failed, and the vendor has not said so: {job.failure}"
            case State.LOST if not is_lost(seen, vendors):
                yield f"{item_id} is lost, and the vendor still has it: {job.failure}"
            case State.ABANDONED if not seen.books.operators:
                yield f"{item_id} is abandoned, and nobody said so"


def has_failed(job: Job, vendors: VendorJob | None) -> bool:
    """Tell whether a failure is the vendor's word, or that of the third submit in a row that was lost for free."""
    if vendors is not None:
        return vendors.ending is not Ending.COMPLETED
    return job.provider == "modelmax" and job.orphans >= 2 and not job.job_id


def is_expired(seen: Evidence, vendors: VendorJob) -> bool:
    """Tell whether the vendor keeps a job no longer."""
    return seen.now_s >= vendors.accepted_s + 86_400


def is_lost(seen: Evidence, vendors: VendorJob | None) -> bool:
    """Tell whether the vendor no longer has what was paid for."""
    if vendors is None:
        return False
    if is_expired(seen, vendors):
        return True
    return seen.faults(Fault.EXPIRED_LINK, Fault.CLAIM_EMPTY) > 0
