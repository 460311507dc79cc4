"""Seeded bugs in how bytes are checked, made durable and given names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline import durable
from pipeline.clips import download, publish
from pipeline.clips.mp4 import ClipFacts
from pipeline.errors import BrokenClip
from pipeline.jobs import record
from pipeline.jobs.state import ClipState, EventKind, State
from pipeline.paths import BatchFolder
from pipeline.runner import batch, collect, recover
from tests.torture.mutant import KILL, POWER, in_the_background, mutant, not_awaited

if TYPE_CHECKING:
    from tests.torture.mutant import Patch


def lenient(read: Any, size_bytes: int) -> ClipFacts:
    """Take anything for a whole clip."""
    return ClipFacts(
        duration_s=8.0, width=1280, height=720, fps=24.0, frames=192, codec="avc1", has_audio=True, fragmented=False
    )


@mutant("The boxes of a clip are not walked.", "modelmax-faults", "venice-faults")
def boxes_not_walked(patch: Patch) -> None:
    patch(download, "walk", lenient)


@mutant("A body that is cut counts as ended, and nothing is checked.", "modelmax-faults", "venice-faults")
def length_not_checked(patch: Patch) -> None:
    original = download._next

    async def until_it_ends(chunks: Any, meter: Any) -> Any:
        try:
            return await original(chunks, meter)
        except BrokenClip:
            return None

    patch(download, "_next", until_it_ends)
    patch(download._Meter, "check_end", lambda self: None)
    patch(download, "walk", lenient)


@mutant("A clip is collected under its final name.", "venice", "modelmax")
def clip_written_in_place(patch: Patch) -> None:
    def final_name(self: BatchFolder, item_id: str, index: int, epoch: int, revision: int = 1) -> str:
        return self.clip_name(item_id, index, revision)

    patch(BatchFolder, "part_name", final_name)
    patch(collect, "publish_clip", lambda *_: publish.Settled.PUBLISHED)


class Without:
    """Files that pretend to have done one thing."""

    def __init__(self, files: Any, name: str) -> None:
        self._files = files
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: None) if name == self._name else getattr(self._files, name)


@mutant("The bytes of a clip are not made durable.", "venice", flavours=POWER)
def clip_not_synced(patch: Patch) -> None:
    original = download._PartFile.finish

    def finish(self: Any, rest: Any) -> Any:
        self._files = Without(self._files, "fsync")
        return original(self, rest)

    patch(download._PartFile, "finish", finish)


@mutant("The names in a folder are not made durable.", "venice", flavours=POWER)
def folder_not_synced(patch: Patch) -> None:
    patch(durable, "sync_folder", lambda files, folder: None)
    patch(publish, "sync_folder", lambda files, folder: None)


@mutant("The name of a clip is not made durable.", "venice", flavours=POWER)
def clip_name_not_synced(patch: Patch) -> None:
    original = durable.sync_folder

    def sync_folder(files: Any, folder: Any) -> None:
        if folder.name != "clips":
            original(files, folder)

    patch(durable, "sync_folder", sync_folder)
    patch(publish, "sync_folder", sync_folder)


@mutant("A clip is written down as done before it has its name.", "venice", "modelmax", flavours=KILL)
def done_before_published(patch: Patch) -> None:
    original = collect.publish_under_free_name

    async def later(run: Any, job: Any, clip: Any) -> str:
        in_the_background(original(run, job, clip))
        return run.folder.clip_name(job.item_id, clip.index, job.revision)

    patch(collect, "publish_under_free_name", later)


@mutant("A final name is given by a rename over whatever is there.", "both")
def foreign_file_overwritten(patch: Patch) -> None:
    def overwrite(files: Any, part: Any, target: Any) -> None:
        files.replace(part, target)
        durable.sync_folder(files, target.parent)

    patch(publish, "publish", overwrite)


@mutant("A part file of a dead run is taken for the clip, unverified.", "venice", "modelmax")
def dead_part_adopted(patch: Patch) -> None:
    original = recover.recover

    async def adopt_and_recover(run: Any, *args: Any, **rest: Any) -> Any:
        files, folder = run.effects.files, run.folder
        names = files.names(folder.clips) if files.exists(folder.clips) else []
        for job in await run.ledger.jobs([State.SUBMITTED, State.CLAIMED]):
            for clip in job.clips:
                part = next((name for name in names if name.startswith(f".{job.item_id}.{clip.index}.")), "")
                if clip.state is not ClipState.WANTED or not part:
                    continue
                path = folder.clips / part
                job = await recover._record(
                    run,
                    job,
                    EventKind.CLIP_STORED,
                    index=clip.index,
                    part=f"clips/{part}",
                    file=folder.clip_name(job.item_id, clip.index, job.revision),
                    sha256=publish.digest(files, path),
                    size_bytes=files.size(path),
                    facts={},
                    warnings=[],
                )
        return await original(run, *args, **rest)

    patch(batch, "recover", adopt_and_recover)


@mutant("The clips of a job are fetched in the wrong order.", "modelmax-samples")
def clips_swapped(patch: Patch) -> None:
    original = collect._fetch

    async def fetch(lane: Any, live: Any, output: Any) -> None:
        other = live.job.outputs[-1 - output.index]
        await original(lane, live, replace(output, location=other.location))

    patch(collect, "_fetch", fetch)


@mutant("The vendor's copy is deleted as soon as the bytes are here.", "cleanup")
def cleaned_up_before_published(patch: Patch) -> None:
    original = collect._keep

    async def keep(lane: Any, live: Any, arrived: Any) -> None:
        if lane.cleans_up:
            await lane.seat.provider.cleanup(live.job.receipt)
        await original(lane, live, arrived)

    patch(collect, "_keep", keep)


@mutant("The vendor's copy is deleted before the clip is durably done.", "cleanup", "cleanup-twins")
def cleaned_up_before_durable(patch: Patch) -> None:
    not_awaited(patch, EventKind.CLIP_PUBLISHED)


@mutant("Nobody remembers that the vendor's copies are deleted.", "cleanup")
def clean_up_forgotten(patch: Patch) -> None:
    patch.item(record._EFFECTS, EventKind.CLEANED_UP, lambda job, event: job)
