"""Finished clips, decoded beside the run: nothing waits for them, and what they are like is in the ledger in the end.

A job whose clips are home comes in; for each clip that no decoder has seen an event of what it saw is recorded. A job
is written about here only when no lane follows it any more, and in turns with whoever cleans up after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import DiskRefused
from pipeline.jobs.event import Event
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.runner.backlog import Backlog
from pipeline.runner.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.clips.decoders import Decodes
    from pipeline.effects import Clock
    from pipeline.jobs.job import Clip, Job
    from pipeline.ledger.store import Ledger

FINISHED = frozenset({State.DONE, State.LOST})


class Decoding:
    """The mutable state is the backlog of jobs that wait to have their clips decoded."""

    def __init__(
        self, ledger: Ledger, root: Path, decoders: Decodes, clock: Clock, note: Callable[[str], None]
    ) -> None:
        """`root` is the batch's folder; `note` is given sentences for the user."""
        self._ledger = ledger
        self.turns = Turns(ledger)
        """Whoever else writes about finished jobs takes part in them."""
        self._root = root
        self._decoders = decoders
        self._clock = clock
        self._note = note
        self._backlog = Backlog()

    @property
    def left(self) -> int:
        """Jobs that wait or are being decoded."""
        return self._backlog.left

    def add(self, job: Job) -> None:
        """Have the clips of a job decoded, if it has come to an end with any."""
        if job.state in FINISHED and any(_is_unseen(clip) for clip in job.clips):
            self._backlog.put(job.item_id, job.revision)

    async def add_earlier(self) -> int:
        """Have all clips decoded that earlier runs left; return in how many jobs."""
        found = await self._ledger.undecoded()
        for key in found:
            self._backlog.put(*key)
        return len(found)

    async def work(self) -> None:
        """Decode what comes, for ever.

        Raises:
            ClipmillError: the ledger can no longer be written.
        """
        await self._backlog.work(self._decode, self._decoders.at_once)

    async def drained(self) -> None:
        """Wait until nothing is left; somebody must be at `work`."""
        await self._backlog.drained()

    async def _decode(self, item_id: str, revision: int) -> None:
        job = await self._ledger.job(item_id, revision)
        for clip in job.clips:
            if not _is_unseen(clip):
                continue
            try:
                seen = await self._decoders.decode(self._root / clip.file)
            except DiskRefused as refused:  # the clip is not at fault, and is decoded by the next who wants to know
                self._note(f"{clip.file} was not decoded. {refused}")
                return
            event = Event(
                kind=EventKind.CLIP_DECODED,
                item_id=job.item_id,
                revision=job.revision,
                at=self._clock.now(),
                data={"index": clip.index, "decoded": seen.to_json()},
            )
            async with self.turns.at(job.item_id, job.revision) as now:
                await self._ledger.record(now, event)


def _is_unseen(clip: Clip) -> bool:
    return clip.state is ClipState.DONE and not clip.facts.get("decoded")
