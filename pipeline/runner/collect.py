"""Lane 3: the clips of finished jobs are brought home.

The order of every clip: bytes durable and walked to the last box -> `stored` in the ledger -> the final name, durable
-> `done` in the ledger. A clip that does not arrive whole is fetched again; nothing is ever submitted again for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.clips.compare import differences
from pipeline.clips.download import Collected, DownloadLimits, collect
from pipeline.clips.publish import Settled, publish_clip
from pipeline.errors import BrokenClip
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.providers.answers import (
    Billing,
    Gone,
    NotSent,
    Refused,
    Scope,
    Streaming,
    Throttled,
    Transient,
)
from pipeline.runner.lane import GONE_OVER_S, GONE_TIMES, failure
from pipeline.runner.retry import backoff_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.jobs.job import Clip, Job
    from pipeline.providers.answers import FetchAnswer, Output
    from pipeline.runner.context import RunContext
    from pipeline.runner.lane import Lane
    from pipeline.runner.schedule import Live

BROKEN_MOST = 6
"""Downloads of one clip that do not arrive whole or whose link is overused, before it is left for the next run."""
OVERUSED_WAITS_S = (300.0, 900.0, 3600.0)
"""How long a link is left alone that says that it was used too often; it is no limit of the API's."""
FAILED_MOST = 20
"""Downloads of one clip that did not even begin, over about a quarter of an hour, before the same."""


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
    broken = failures = overused = 0
    gone_at: list[float] = []
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
            case Gone() if why := lane.of_another_key(live.job):
                lane.run.progress.note(why)
                return
            case Gone():
                gone_at.append(lane.now())
                if len(gone_at) >= GONE_TIMES and gone_at[-1] - gone_at[0] >= lane.scaled(GONE_OVER_S):
                    await _lose_clip(lane, live, output.index, answer)
                    return
                wait_s = GONE_OVER_S / (GONE_TIMES - 1)
            case Refused(scope=Scope.ACCOUNT):
                lane.halt(f"{lane.name} refuses the key ({answer.kind}): {answer.message}")
                return
            case Throttled(wait_s=told_s):
                failures += 1
                wait_s = 300.0 if told_s is None else max(1.0, told_s)
            case Transient(status=429):
                wait_s = OVERUSED_WAITS_S[min(overused, len(OVERUSED_WAITS_S) - 1)]
                overused += 1
            case Refused() | NotSent() | Transient():
                failures += 1
                wait_s = backoff_s(failures, lane.run.effects.random)
        await lane.rest(lane.scaled(wait_s), until=lane.when_halted)


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
        warnings=list(differences(live.job.request.parameters, collected.facts, collected.size_bytes)),
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
