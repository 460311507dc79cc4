"""Decoding, as the commands order it: beside a run, or before something that goes by what clips look like."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pipeline.cli.wording.console import count, say
from pipeline.clips.decoders import Decoders
from pipeline.clips.probe import can_decode
from pipeline.runner.decoding import Decoding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from pipeline.clips.acceptance import Acceptance
    from pipeline.clips.decoders import Decodes
    from pipeline.effects import Effects
    from pipeline.ledger.store import Ledger
    from pipeline.paths import BatchFolder

AT_ONCE_MOST = 8
TOLD_EVERY_S = 30.0
INSTALL = "install it with: pip install 'clipmill[media]'"


def cores() -> int:
    """Return how many processors there are to decode with."""
    return min(os.cpu_count() or 1, AT_ONCE_MOST)


@asynccontextmanager
async def decoding_beside(
    ledger: Ledger,
    folder: BatchFolder,
    rules: Acceptance,
    effects: Effects,
    note: Callable[[str], None],
    at_once: int,
    decoders: Callable[[int], AbstractAsyncContextManager[Decodes]] = Decoders,
) -> AsyncIterator[Decoding | None]:
    """Yield what decodes finished clips; None where the rules do not ask for it, or nothing is there to do it with."""
    if not rules.wants_decoding or not can_decode():
        if rules.needs_decoding:
            note(f"`accept` has rules that only decoding can tell, and PyAV is not here; {INSTALL}")
        yield None
        return
    async with decoders(at_once) as pool:
        yield Decoding(ledger, folder.root, pool, effects.clock, note)


async def decode_the_rest(
    ledger: Ledger,
    folder: BatchFolder,
    rules: Acceptance,
    effects: Effects,
    decoders: Callable[[int], AbstractAsyncContextManager[Decodes]] = Decoders,
) -> None:
    """Decode every finished clip that no decoder has seen, and say how far that has come.

    Raises:
        ClipmillError: the ledger can no longer be written.
    """
    async with decoding_beside(ledger, folder, rules, effects, say, cores(), decoders) as decoding:
        if decoding is None or not await decoding.add_earlier():
            return
        say(f"Decoding the clips of {count(decoding.left, 'item')} that no decoder has seen yet.")
        loop = asyncio.get_running_loop()
        work = loop.create_task(decoding.work())
        drained = loop.create_task(decoding.drained())
        try:
            while not drained.done() and not work.done():
                await asyncio.wait({work, drained}, timeout=TOLD_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                if not drained.done() and not work.done():
                    say(f"{count(decoding.left, 'item')} left to decode.")
        finally:
            drained.cancel()
            work.cancel()
            await asyncio.wait({work, drained})
        if not work.cancelled():
            work.result()
