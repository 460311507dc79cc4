"""Lane 3: finished jobs are claimed where that is a step, and their clips are brought home.

The order of every clip: bytes durable and walked to the last box -> `stored` in the ledger -> the final name, durable
-> `done` in the ledger. A clip that does not arrive whole is fetched again; nothing is ever submitted again for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.clips.compare import differences
from pipeline.clips.download import Collected, DownloadLimits, collect
from pipeline.clips.publish import Settled, publish_clip
from pipeline.errors import BrokenClip
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.providers.answers import (
    Ambiguous,
    Billing,
    Claimed,
    Failed,
    Gone,
    NotSent,
    Refused,
    Running,
    Scope,
    Streaming,
    Throttled,
    Transient,
)
from pipeline.runner.contested import hold
from pipeline.runner.lane import failure
from pipeline.runner.progress import Binding
from pipeline.runner.retry import backoff_s
from pipeline.runner.space import refuse_without_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.jobs.job import Clip, Job
    from pipeline.providers.answers import ClaimAnswer, FetchAnswer, Output
    from pipeline.runner.lane import Lane, RunContext
    from pipeline.runner.schedule import Live

BROKEN_MOST = 6
"""Downloads of one clip that do not arrive whole or whose link is overused, before it is left for the next run."""
OVERUSED_WAITS_S = (300.0, 900.0, 3600.0)
"""How long a link is left alone that says that it was used too often; it is no limit of the API's."""
FAILED_MOST = 20
"""Downloads of one clip that did not even begin, over about a quarter of an hour, before the same."""
GONE_MOST = 3
OUTPUT_REFUSALS_MOST = 3
UNSENT_MOST, UNSENT_OVER_S = 5, 120.0
"""Claims of one job in a row, and over how long, that could not even be sent, before the run gives up for now."""


async def claim_and_fetch(lane: Lane, live: Live) -> None:
    """Claim a finished job, once, then fetch its clips.

    What a claim names may be fetched for a short while only: it is paid for when there is a slot to fetch it in.
    """
    try:
        await _take_slots(lane, live.job)
        try:
            if lane.drained:
                return
            if live.job.job_id in lane.contested and await hold(lane, live):
                return
            await refuse_without_space(lane)
            await lane.bill(_intend_and_claim(lane, live))
        finally:
            lane.billing_slots.release(live.job)
        if live.job.state is State.CLAIMED:
            await fetch_outputs(lane, live, live.job.outputs)
    finally:
        lane.download_slots.release(live.job)


async def _take_slots(lane: Lane, job: Job) -> None:
    """Wait until the job may be claimed. A slot to download in comes last: nobody who has one waits to claim."""
    while not lane.drained:
        if (wait_s := lane.claims.wait_s(lane.now())) > 0:
            await lane.run.effects.clock.sleep(wait_s)
            continue
        if lane.billing_slots.full:
            lane.run.progress.binding[lane.name] = Binding.BILLING_CALLS
        await lane.billing_slots.acquire(job)
        if lane.download_slots.full:
            lane.run.progress.binding[lane.name] = Binding.DOWNLOADS
        await lane.download_slots.acquire(job)
        if lane.claims.wait_s(lane.now()) <= 0:
            return
        lane.billing_slots.release(job)
        lane.download_slots.release(job)


async def _intend_and_claim(lane: Lane, live: Live) -> None:
    live.job = await lane.intend(live.job, EventKind.CLAIM_STARTED, EventKind.CLAIM_DEFERRED)
    receipt = live.job.receipt
    assert receipt is not None
    try:
        answer: ClaimAnswer = await lane.seat.provider.claim(receipt)
    except asyncio.CancelledError:
        await _hold_claim(lane, live, Ambiguous(message="The run was stopped before the answer came."))
        raise
    await lane.write_to_the_end(_settle_claim(lane, live, answer))


async def _settle_claim(lane: Lane, live: Live, answer: ClaimAnswer) -> None:
    """Write down what became of a claim, then act on it."""
    now = lane.now()
    if not isinstance(answer, NotSent):
        live.unsent_at.clear()
    match answer:
        case Claimed():
            await _claimed(lane, live, answer)
        case Running():
            await _claim_again_later(lane, live, f"it is {answer.word} after all", 5.0)
        case Failed():
            told = failure(answer.kind, answer.message, answer.billing)
            live.job = await lane.record(live.job, EventKind.JOB_FAILED, failure=told)
            lane.finish(live)
        case Refused(scope=Scope.ACCOUNT):
            await _claim_again_later(lane, live, answer.message, 0.0)
            lane.drain(f"{lane.name} refuses the account ({answer.kind}): {answer.message}")
        case Refused():
            lane.failures.note(now)
            live.refused += 1
            if live.refused >= OUTPUT_REFUSALS_MOST:
                live.job = await lane.record(live.job, EventKind.CLAIM_DEFERRED, why=answer.message)
                told = failure(answer.kind, answer.message, Billing.UNBILLED)
                live.job = await lane.record(live.job, EventKind.JOB_LOST, failure=told)
                lane.finish(live)
            else:
                await _claim_again_later(lane, live, answer.message, 30.0)
        case Throttled(wait_s=wait_s):
            lane.claims.pause(now, wait_s)
            lane.run.progress.throttled += 1
            await _claim_again_later(lane, live, answer.message, 0.0)
        case NotSent():
            await _not_sent(lane, live, answer)
        case Ambiguous():
            await _hold_claim(lane, live, answer)


async def _claimed(lane: Lane, live: Live, answer: Claimed) -> None:
    job = live.job
    cost_usd = lane.run.prices.of_usage(lane.name, job.request.model, answer.usage, len(answer.outputs))
    live.job = await lane.record(
        job,
        EventKind.CLAIM_RECEIVED,
        outputs=[{"index": o.index, "location": dict(o.location)} for o in answer.outputs],
        usage=dict(answer.usage),
        answer=dict(answer.answer),
        cost_usd=cost_usd,
        warnings=list(answer.warnings),
    )
    for warning in answer.warnings:
        lane.run.progress.note(f"{job.item_id}: {warning}")
    if not answer.outputs:
        message = "The provider billed the result and named no clip. Ask its support, with the job id."
        told = failure("billed_without_clip", message, Billing.BILLED)
        live.job = await lane.record(live.job, EventKind.JOB_LOST, failure=told)
        lane.not_delivered()
        lane.finish(live)


async def _claim_again_later(lane: Lane, live: Live, why: str, wait_s: float) -> None:
    live.job = await lane.record(live.job, EventKind.CLAIM_DEFERRED, why=why)
    lane.schedule.add(live, lane.now(), lane.now() + lane.scaled(wait_s))
    lane.changed()


async def _not_sent(lane: Lane, live: Live, answer: NotSent) -> None:
    """Wait longer each time; a vendor that takes no claims for minutes is not asked on and on."""
    now = lane.now()
    live.unsent_at.append(now)
    wait_s = backoff_s(len(live.unsent_at), lane.run.effects.random)
    await _claim_again_later(lane, live, answer.message, wait_s)
    if len(live.unsent_at) >= UNSENT_MOST and now - live.unsent_at[0] >= lane.scaled(UNSENT_OVER_S):
        lane.halt(f"{lane.name} cannot be reached: {answer.message}. Check the network, then resume.")


async def _hold_claim(lane: Lane, live: Live, answer: Ambiguous) -> None:
    told = failure("claim_unanswered", answer.message, Billing.UNKNOWN, **answer.evidence)
    live.job = await lane.record(live.job, EventKind.CLAIM_LOST, failure=told)
    lane.run.progress.note(
        f"{live.job.item_id} is in doubt: {answer.message} It may be paid for, and asking again may bill again; "
        f"see: clipmill show {lane.run.folder.root} {live.job.item_id}"
    )
    lane.finish(live)


async def fetch_outputs(lane: Lane, live: Live, outputs: Sequence[Output]) -> None:
    """Bring every clip of a finished job home, one after the other."""
    by_index = {output.index: output for output in outputs}
    for clip in live.job.clips:
        if clip.state is ClipState.WANTED and clip.index in by_index:
            await _fetch(lane, live, by_index[clip.index])
    if live.job.state in {State.DONE, State.LOST}:
        lane.finish(live)
    else:
        lane.left_behind(live, f"{live.job.item_id} is paid for and not all here; the next run fetches the rest.")


async def _fetch(lane: Lane, live: Live, output: Output) -> None:
    receipt = live.job.receipt
    assert receipt is not None
    broken = gone = failures = overused = 0
    wait_s = 0.0
    while broken + overused < BROKEN_MOST and failures < FAILED_MOST and not lane.halted:
        answer: FetchAnswer | None = None
        arrived = None
        try:
            async with lane.download_slots.held(live.job):
                answer = await lane.seat.provider.fetch(receipt, output)
                if isinstance(answer, Streaming):
                    arrived = await _receive(lane, live, output.index, answer)
            if arrived is not None:
                await _keep(lane, live, arrived)
                return
        except BrokenClip as reason:
            broken += 1
            lane.run.progress.note(f"{live.job.item_id} is fetched again: {reason}")
        match answer:
            case Streaming():
                wait_s = backoff_s(broken, lane.run.effects.random)
            case Gone():
                gone += 1
                if gone >= GONE_MOST:
                    await _lose_clip(lane, live, output.index, answer)
                    return
                wait_s = 20.0
            case Refused(scope=Scope.ACCOUNT):
                lane.halt(f"{lane.name} refuses the key ({answer.kind}): {answer.message}")
                return
            case Throttled(wait_s=told_s):
                wait_s = 300.0 if told_s is None else told_s
            case Transient(status=429):
                wait_s = OVERUSED_WAITS_S[min(overused, len(OVERUSED_WAITS_S) - 1)]
                overused += 1
            case Refused() | NotSent() | Transient():
                failures += 1
                wait_s = backoff_s(failures, lane.run.effects.random)
        await lane.run.effects.clock.sleep(lane.scaled(wait_s))


async def keep_stream(lane: Lane, live: Live, answer: Streaming) -> None:
    """Bring the one clip home whose bytes a look found; while it waits for a slot, no more looks leave."""
    lane.arriving += 1
    try:
        async with lane.download_slots.held(live.job):
            lane.arriving -= 1
            lane.changed()
            arrived = await _receive(lane, live, 0, answer)
        await _keep(lane, live, arrived)
    except BrokenClip as reason:
        live.broken += 1
        lane.run.progress.note(f"{live.job.item_id} is fetched again: {reason}")
        if live.broken >= BROKEN_MOST:
            lane.left_behind(live, f"{live.job.item_id} did not arrive whole {BROKEN_MOST} times; resume to try again.")
            return
        wait_s = lane.scaled(backoff_s(live.broken, lane.run.effects.random))
        lane.schedule.add(live, lane.now(), lane.now() + wait_s)
        lane.changed()
        return
    finally:
        await answer.source.close()
    lane.finish(live)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived:
    """A clip in its part file, whole and durable, that the ledger does not know of yet."""

    index: int
    part: str
    collected: Collected


async def _receive(lane: Lane, live: Live, index: int, answer: Streaming) -> Arrived:
    """Collect and verify a clip's bytes.

    Raises:
        BrokenClip: the bytes are not one whole clip; nothing of them is left.
    """
    run = lane.run
    part = run.folder.part_name(live.job.item_id, index, run.ledger.epoch, live.job.revision)
    limits = DownloadLimits(max_bytes=run.max_clip_bytes)
    collected = await collect(
        answer.source,
        run.folder.root / part,
        files=run.effects.files,
        threads=run.effects.threads,
        clock=run.effects.clock,
        limits=limits,
    )
    return Arrived(index=index, part=part, collected=collected)


async def _keep(lane: Lane, live: Live, arrived: Arrived) -> None:
    """Store and publish: a clip comes home. It holds no slot any more, for nothing of it is still to be downloaded.

    Raises:
        BrokenClip: the part file has vanished.
    """
    run, index, collected = lane.run, arrived.index, arrived.collected
    live.job = await lane.record(
        live.job,
        EventKind.CLIP_STORED,
        index=index,
        part=arrived.part,
        file=run.folder.clip_name(live.job.item_id, index, live.job.revision),
        sha256=collected.sha256,
        size_bytes=collected.size_bytes,
        facts=collected.facts.to_json(),
        warnings=list(differences(live.job.request.parameters, collected.facts)),
    )
    clip = next(c for c in live.job.clips if c.index == index)
    try:
        file = await publish_under_free_name(run, live.job, clip)
    except BrokenClip:
        live.job = await lane.record(live.job, EventKind.CLIP_DISCARDED, index=index)
        raise
    live.job = await lane.record(live.job, EventKind.CLIP_PUBLISHED, index=index, file=file)
    run.progress.downloaded += 1


async def publish_under_free_name(run: RunContext, job: Job, clip: Clip) -> str:
    """Give a stored clip its final name, or the next free one where a file of the user's bears it; return the name.

    Raises:
        BrokenClip: the part file has vanished.
    """
    spare = 0
    while True:
        file = run.folder.clip_name(job.item_id, clip.index, job.revision, spare)
        settled = await run.effects.threads.run(
            publish_clip,
            run.effects.files,
            run.folder.root / clip.part,
            run.folder.root / file,
            clip.sha256,
            clip.size_bytes,
        )
        match settled:
            case Settled.PUBLISHED | Settled.ADOPTED:
                return file
            case Settled.MISSING:
                raise BrokenClip(f"{clip.part} vanished while it was being published.")
            case Settled.TAKEN:
                run.progress.note(f"{file} is not a clip of this batch and stays as it is; the next free name is used.")
                spare += 1


async def _lose_clip(lane: Lane, live: Live, index: int, answer: Gone) -> None:
    lane.not_delivered()
    told: dict[str, Any] = failure("clip_gone", answer.message, Billing.BILLED)
    live.job = await lane.record(live.job, EventKind.CLIP_LOST, index=index, failure=told)
