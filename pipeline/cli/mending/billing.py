"""`resolve --from-billing`: what Venice's bill suggests of each doubt, in sentences. It changes nothing."""

from __future__ import annotations

import shlex
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.cli.mending.resolution import doubts_of, every_revision, named_doubts, rehearsal_speed
from pipeline.cli.running.rehearsal import KEY, sandbox_child
from pipeline.cli.running.seats import SANDBOX_ORIGIN
from pipeline.cli.wording.console import count, plain, put, put_json, usd
from pipeline.errors import Exit, InputError, Paused
from pipeline.jobs.state import IN_DOUBT, State
from pipeline.ledger.lock import only_process
from pipeline.ledger.reader import reading
from pipeline.providers.answers import NotSent, Throttled, Transient
from pipeline.providers.registry import account_from
from pipeline.providers.venice.billing import Bill, VeniceBilling
from pipeline.providers.venice.provider import Venice
from pipeline.runner.debits import Verdict, clusters, explain, spans, submissions
from pipeline.runner.retry import backoff_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pipeline.cli.mending.resolution import Wish
    from pipeline.effects import Effects
    from pipeline.jobs.event import Event
    from pipeline.jobs.job import Job
    from pipeline.providers.base import Account
    from pipeline.providers.venice.billing import BillRow
    from pipeline.runner.debits import Cluster, Evidence, Submission

ADMIN_KEY = "VENICE_ADMIN_KEY"
TRIES = 5


async def propose(wish: Wish, effects: Effects, environ: Mapping[str, str]) -> Exit:
    """Read the bill around each doubt and say what it suggests.

    Raises:
        InputError: no admin key, one that may not read the bill, or an item that does not exist.
        Paused: Venice cannot be reached.
    """
    folder = wish.folder
    speed = rehearsal_speed(folder, effects)
    async with AsyncExitStack() as stack:
        if speed:
            stack.enter_context(only_process(folder, effects))  # the sandbox's state is one process's
            urls = await stack.enter_async_context(sandbox_child(folder, speed))
            environ = {**environ, ADMIN_KEY: f"{KEY}-ADMIN", "VENICE_BASE_URL": urls["venice"]}
        with reading(folder.ledger, effects) as reader:
            remaining = len(doubts_of(reader))
            held = [job for job in named_doubts(reader, wish.items) if job.state in IN_DOUBT]
            events = reader.events()
            mine = [job for job in every_revision(reader) if job.provider == Venice.capabilities.name]
        if not held:
            return _tell(wish, [], remaining)
        account = account_from(environ, replace(Venice.capabilities, key_variable=ADMIN_KEY))
        origin = SANDBOX_ORIGIN if speed else account.base_url
        asked = [job for job in held if _why_not(job, origin) is None]
        evidence = await _evidence(asked, events, mine, account, effects)
    proposals = [
        _proposal(wish.root, job, evidence.get((job.item_id, job.revision)), _why_not(job, origin)) for job in held
    ]
    return _tell(wish, proposals, remaining)


def _why_not(job: Job, origin: str) -> str | None:
    """Return why Venice's bill says nothing of a doubt; None where it may."""
    if job.provider != Venice.capabilities.name:
        return f"{job.provider} has no bill that can be asked for; look into your account there."
    if job.state is not State.SUBMIT_IN_DOUBT:
        return "it is not its submit that is in doubt, and Venice bills nothing else."
    if job.base_url and job.base_url != origin:
        return f"it was submitted to {job.base_url}; set VENICE_BASE_URL to it."
    return None


async def _evidence(
    doubts: Sequence[Job], events: Sequence[Event], mine: Sequence[Job], account: Account, effects: Effects
) -> dict[tuple[str, int], Evidence]:
    submitted = submissions(events, {(job.item_id, job.revision): job.request.model for job in mine})
    # An item's last submit is the one in doubt; earlier ones were settled, and may have been charged too.
    last = {(each.item_id, each.revision): each for each in submitted}
    wanted = [last[job.item_id, job.revision] for job in doubts if (job.item_id, job.revision) in last]
    near: list[tuple[Submission, Cluster]] = [
        (doubt, cluster) for cluster in clusters(submitted) for doubt in wanted if doubt in cluster.submissions
    ]
    rows: list[BillRow] = []
    billing = VeniceBilling(account, effects)
    try:
        for start, end in spans(cluster for _, cluster in near):
            rows += (await _bill(billing, start, end, effects)).rows
    finally:
        await billing.close()
    models = {model.id for model in Venice.known_models()}
    now = effects.clock.now()
    return {(doubt.item_id, doubt.revision): explain(doubt, cluster, rows, models, now) for doubt, cluster in near}


async def _bill(billing: VeniceBilling, start: datetime, end: datetime, effects: Effects) -> Bill:
    for tries in range(1, TRIES + 1):
        answer = await billing.between(start, end)
        match answer:
            case Bill():
                return answer
            case Throttled(wait_s=wait_s) if wait_s is not None and tries < TRIES:
                await effects.clock.sleep(wait_s)
            case Throttled() | NotSent() | Transient() if tries < TRIES:
                await effects.clock.sleep(backoff_s(tries, effects.random))
            case Throttled() | NotSent() | Transient():
                why = answer.message.rstrip(".")
                raise Paused(f"Venice's bill could not be read: {why}. Nothing was changed; ask again later.")
            case _:
                raise InputError(f"{answer.message.rstrip('.')}. Put an admin key of the account into {ADMIN_KEY}.")
    raise AssertionError("the last try returns or raises")


def _proposal(root: Path, job: Job, evidence: Evidence | None, why_not: str | None) -> dict[str, Any]:
    """Return what is proposed of one doubt, as plain JSON with its sentence under `says`."""
    told: dict[str, Any] = {"id": job.item_id, "revision": job.revision, "verdict": None, "debits": []}
    if evidence is None:
        return told | {"says": why_not or "the ledger does not say when it was submitted."}
    resolve = shlex.join(["clipmill", "resolve", str(root), job.item_id])
    debits = [
        {"at": row.at.isoformat(), "amount": row.amount, "currency": row.currency, "request_id": row.request_id or None}
        for row in evidence.candidates
    ]
    return told | {"verdict": evidence.verdict.value, "debits": debits, "says": _says(evidence, resolve)}


def _says(evidence: Evidence, resolve: str) -> str:
    others = evidence.unknown - 1
    match evidence.verdict:
        case Verdict.NOT_ACCEPTED:
            return f"0 unexplained debits: probably not accepted, so that this is safe: {resolve} --resubmit"
        case Verdict.TOO_EARLY:
            until = f"{evidence.doubt.window[1]:%H:%M:%S}"
            return f"0 unexplained debits so far; one may still be entered, so ask again after {until} UTC."
        case Verdict.PAID if not others and evidence.candidates:
            return f"1 unexplained debit, {_debit(evidence.candidates[0])}: probably paid. " + _then(
                evidence.candidates[0], resolve
            )
        case Verdict.PAID:
            counted = count(evidence.unexplained, "unexplained debit")
            return (
                f"{counted} for as many submits of unknown outcome: probably all of them paid. "
                + _listed(evidence.candidates, resolve)
            ).rstrip()
        case Verdict.UNCLEAR if not evidence.unexplained:
            return (
                f"No debit of its model, and {count(evidence.strangers, 'debit')} for a model that is not known here, "
                "which Venice may have put in its place: cannot tell."
            )
        case _:
            return (
                f"Cannot tell: {count(evidence.unknown, 'submit')} of unknown outcome, "
                f"{count(max(evidence.unexplained, 0), 'unexplained debit')}. " + _listed(evidence.candidates, resolve)
            ).rstrip()


def _debit(row: BillRow) -> str:
    amount = usd(-row.amount) if row.currency == "USD" else f"{-row.amount:g} {row.currency}"
    return f"{amount} at {row.at:%Y-%m-%d %H:%M:%S} UTC"


def _then(row: BillRow, resolve: str) -> str:
    if not row.request_id:
        return f"The bill does not name the job, so its id is lost: {resolve} --abandon, or pay again with --resubmit."
    return f"If the request's id is the job's, this brings it home: {resolve} --adopt {shlex.quote(row.request_id)}"


def _listed(rows: Sequence[BillRow], resolve: str) -> str:
    if not rows:
        return ""
    listed = "; ".join(_debit(row) + (f", request {row.request_id}" if row.request_id else "") for row in rows)
    return f"Its own may be: {listed}. With a request's id that is the job's: {resolve} --adopt ID"


def _tell(wish: Wish, proposals: Sequence[Mapping[str, Any]], remaining: int) -> Exit:
    if wish.as_json:
        put_json({"output": str(wish.root), "proposals": list(proposals), "in_doubt": remaining})
    elif proposals:
        put("\n".join(f"{proposal['id']}: {plain(proposal['says'])}" for proposal in proposals))
        put("These are proposals: whatever else spends on the account is in the bill too. Nothing was changed.")
    else:
        put(f"Nothing is in doubt in {wish.root}.")
    return Exit.SOME_IN_DOUBT if remaining else Exit.DONE
