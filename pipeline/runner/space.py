"""Pay only for what can be stored: no call that can bill is made without room for the clips that it would bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.durable import told_as_disk_refused
from pipeline.errors import DiskRefused

if TYPE_CHECKING:
    from pipeline.runner.lane import Lane


class NoRoom(DiskRefused):
    """There is no room for one clip more. What is paid for already may still fit."""


SPARE_BYTES = 64 << 20
CLIP_BYTES = 8 << 20
"""What a clip is taken to need: 8 s of 1080p are 2 to 8 MB."""

ASKED_EVERY_S = 0.5
"""How long an answer of the disk's is believed. Each call in between is taken to have filled a clip's room."""


async def refuse_without_space(lane: Lane) -> None:
    """Check that there is room for everything in flight, one clip more, and the ledger.

    On return nobody else has checked since: a call that is begun at once is seen by the next check.

    Raises:
        NoRoom: there is not. DiskRefused: the disk does not even say.
    """
    run, space = lane.run, lane.run.space
    space.free_bytes -= CLIP_BYTES
    if space.free_bytes >= _needed_bytes(lane) and lane.now() < space.asked_at + ASKED_EVERY_S:
        return
    with told_as_disk_refused(f"ask for the free space of {run.folder.root}"):
        free_bytes = await run.effects.threads.run(run.effects.files.free_bytes, run.folder.root)
    space.free_bytes, space.asked_at = free_bytes, lane.now()
    if free_bytes < (needed_bytes := _needed_bytes(lane)):
        raise NoRoom(
            f"{run.folder.root} has {free_bytes >> 20} MiB free, and {needed_bytes >> 20} MiB are needed for the clips "
            f"that are on their way. Free space, then run the same command."
        )


def _needed_bytes(lane: Lane) -> int:
    return (len(lane.live) + len(lane.billing) + 1) * CLIP_BYTES + SPARE_BYTES
